//! Where cases read from.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use vmferry::channel::{Duplex, ReadChannel, SegmentMut, Socket, SocketReader};

use super::case::pin;

/// Bytes in memory, from their start again behind their end.
pub(super) struct Cycle<'d> {
    bytes: &'d [u8],
    at: usize,
}

impl<'d> Cycle<'d> {
    pub(super) fn new(bytes: &'d [u8]) -> Self {
        Self { bytes, at: 0 }
    }
}

impl ReadChannel for Cycle<'_> {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        let mut total = 0;
        for segment in segments {
            let n = segment.copy_from(&self.bytes[self.at..]);
            self.at += n;
            total += n;
            if self.at == self.bytes.len() {
                self.at = 0;
                break;
            }
        }
        Ok(total)
    }
}

/// A socket into which another thread writes such bytes for as long as it is read.
pub(super) struct Fed {
    feeder: Option<JoinHandle<()>>,
}

impl Fed {
    pub(super) fn new(bytes: &[u8]) -> io::Result<(Self, SocketReader)> {
        let (ours, mut theirs) = UnixStream::pair()?;
        let bytes = bytes.to_vec();
        let feeder = std::thread::spawn(move || {
            pin(1);
            'all: loop {
                for part in bytes.chunks(256 << 10) {
                    if theirs.write_all(part).is_err() {
                        break 'all;
                    }
                }
            }
        });
        let (reader, _) = Socket::from(ours).split();
        let feeder = Some(feeder);
        Ok((Self { feeder }, reader))
    }

    /// To be called when the reader is gone.
    pub(super) fn end(mut self) {
        if let Some(feeder) = self.feeder.take() {
            let _ = feeder.join();
        }
    }
}
