//! Where cases write to.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vmferry::channel::{Duplex, Segment, Socket, SocketWriter, WriteChannel};

use super::case::pin;

const RING: usize = 1 << 20;

const HUGE_PAGE: usize = 2 << 20;

/// Copies everything into a ring of 1 MiB.
pub(super) struct Ring {
    bytes: Vec<u8>,
    /// The ring begins on a huge page, as the original's does, where the allocator was told to ask for such (see
    /// `./x peer`): what it lies on decides how fast `memcpy` is.
    begin: usize,
    at: usize,
}

impl Ring {
    pub(super) fn new() -> Self {
        let bytes = vec![1; 2 * HUGE_PAGE];
        let begin = bytes.as_ptr().align_offset(HUGE_PAGE);
        Self {
            bytes,
            begin,
            at: 0,
        }
    }
}

impl WriteChannel for &mut Ring {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        let mut total = 0;
        let ring = &mut self.bytes[self.begin..][..RING];
        for segment in segments {
            total += segment.len();
            let mut done = 0;
            while done < segment.len() {
                let copied = segment.skip(done).copy_to(&mut ring[self.at..]);
                done += copied;
                self.at = (self.at + copied) % RING;
            }
        }
        Ok(total)
    }
}

/// The other end of a socket, which another thread drains.
pub(super) struct Drained(Arc<AtomicU64>);

impl Drained {
    pub(super) fn new() -> io::Result<(Self, SocketWriter)> {
        let (ours, mut theirs) = UnixStream::pair()?;
        let drained = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&drained);
        std::thread::spawn(move || {
            pin(1);
            let mut buffer = vec![0; 256 << 10];
            while let Ok(n @ 1..) = theirs.read(&mut buffer) {
                counted.fetch_add(n as u64, Ordering::Release);
            }
        });
        let (_, writer) = Socket::from(ours).split();
        Ok((Self(drained), writer))
    }

    /// Waits until so many bytes have come out since the last time.
    pub(super) fn settle(&self, bytes: u64) {
        while self.0.load(Ordering::Acquire) != bytes {
            std::thread::yield_now();
        }
        self.0.store(0, Ordering::Release);
    }
}
