//! Where cases write to.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vmferry::channel::{Duplex, Segment, Socket, SocketWriter, WriteChannel};

/// Copies everything into a ring of 1 MiB.
pub(super) struct Ring {
    bytes: Vec<u8>,
    at: usize,
}

impl Ring {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![1; 1 << 20],
            at: 0,
        }
    }
}

impl WriteChannel for &mut Ring {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        let mut total = 0;
        for segment in segments {
            let len = segment.len();
            total += len;
            if self.at + len <= self.bytes.len() {
                self.at += segment.copy_to(&mut self.bytes[self.at..]);
                continue;
            }
            // Around the end, or larger than the ring: through a copy, for brevity.
            let mut copy = Vec::new();
            segment.append_to(&mut copy);
            for part in copy.chunks(self.bytes.len()) {
                let first = part.len().min(self.bytes.len() - self.at);
                self.bytes[self.at..self.at + first].copy_from_slice(&part[..first]);
                self.bytes[..part.len() - first].copy_from_slice(&part[first..]);
                self.at = (self.at + part.len()) % self.bytes.len();
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
            let mut buffer = vec![0; 256 << 10];
            while let Ok(n @ 1..) = theirs.read(&mut buffer) {
                counted.fetch_add(n as u64, Ordering::Release);
            }
        });
        let (_, writer) = Socket::from(ours).split();
        Ok((Self(drained), writer))
    }

    /// Waits until so many bytes have come out in all.
    pub(super) fn settle(&self, bytes: u64) {
        while self.0.load(Ordering::Acquire) != bytes {
            std::thread::yield_now();
        }
    }
}
