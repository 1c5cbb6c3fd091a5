//! The callbacks of a file as a channel.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::io;
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use libc::iovec;
use vmferry::channel::{Interest, ReadChannel, Segment, SegmentMut, Shutdown, WriteChannel};

use super::QEMUFileOps;
use crate::errno::positive;

/// The most pieces that a callback gets at once.
const MAX_PIECES: usize = 64;

/// Waits double until one is as long as this.
const LONGEST_WAIT: Duration = Duration::from_millis(1);

/// What moves the bytes of one file.
#[derive(Debug)]
pub(crate) struct Callbacks {
    opaque: *mut c_void,
    ops: QEMUFileOps,
    /// Bytes moved so far: the position that a callback is told.
    at: u64,
    /// Calls that sent something.
    sends: usize,
    /// Waits since the channel was ready last.
    waits: u32,
    /// What a callback has made the file fail with, positive; 0: nothing.
    pending: Rc<Cell<c_int>>,
}

impl Callbacks {
    pub(crate) fn new(opaque: *mut c_void, ops: QEMUFileOps, pending: Rc<Cell<c_int>>) -> Self {
        Self {
            opaque,
            ops,
            at: 0,
            sends: 0,
            waits: 0,
            pending,
        }
    }

    /// Stands for the memory of C that waits to be sent with one call: what lies side by side may be
    /// joined there, and nothing with what was sent before, which C may have used otherwise since.
    pub(crate) fn memory(&self) -> *const u8 {
        // Addresses of the first page, where nobody's memory is.
        ptr::without_provenance(1 + self.sends % 4095)
    }

    fn position(&self) -> i64 {
        i64::try_from(self.at).unwrap_or(i64::MAX)
    }

    /// What the answer of a callback means.
    fn moved(&mut self, answer: isize, at_most: usize) -> io::Result<usize> {
        let pending = self.pending.replace(0);
        if pending != 0 {
            return Err(io::Error::from_raw_os_error(pending));
        }
        let Ok(moved) = usize::try_from(answer) else {
            let errno = c_int::try_from(answer).unwrap_or(-libc::EIO);
            return Err(io::Error::from_raw_os_error(positive(errno)));
        };
        if moved > at_most {
            let what =
                format!("a callback was given {at_most} bytes and says that it moved {moved}");
            return Err(io::Error::other(what));
        }
        self.at += moved as u64;
        self.waits = 0;
        Ok(moved)
    }

    /// Waits a little, longer each time: no callback tells when the channel is ready.
    fn wait_a_little(&mut self) {
        let wait = Duration::from_micros(1 << self.waits.min(10));
        self.waits += 1;
        std::thread::sleep(wait.min(LONGEST_WAIT));
    }
}

impl WriteChannel for Callbacks {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        let Some(writev_buffer) = self.ops.writev_buffer else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        // A copy of the array, because a callback may change it.
        let mut pieces = [iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        }; MAX_PIECES];
        let (mut count, mut len) = (0, 0);
        for (piece, segment) in pieces.iter_mut().zip(segments) {
            piece.iov_base = segment.as_ptr().cast_mut().cast();
            piece.iov_len = segment.len();
            len += segment.len();
            count += 1;
        }
        self.sends += 1;
        let position = self.position();
        // SAFETY: the function and its argument belong together, as the caller that opened the file has
        // promised; the array has `count` pieces, and each is of memory that can be read.
        let answer = unsafe { writev_buffer(self.opaque, pieces.as_mut_ptr(), count, position) };
        self.moved(answer, len)
    }

    fn wait(&mut self, _: Interest, _: Option<Duration>) -> io::Result<()> {
        self.wait_a_little();
        Ok(())
    }

    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        shutdown_handle(self)
    }
}

impl ReadChannel for Callbacks {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        let Some(get_buffer) = self.ops.get_buffer else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        // The callback takes one piece.
        let Some(room) = segments.iter_mut().find(|segment| !segment.is_empty()) else {
            return Ok(0);
        };
        let (len, position) = (room.len(), self.position());
        // SAFETY: the function and its argument belong together, as the caller that opened the file has
        // promised; `len` bytes can be written there.
        let answer = unsafe { get_buffer(self.opaque, room.as_mut_ptr(), position, len) };
        self.moved(answer, len)
    }

    fn wait(&mut self, _: Option<Duration>) -> io::Result<()> {
        self.wait_a_little();
        Ok(())
    }

    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        shutdown_handle(self)
    }
}

/// What ends blocked calls of the other callbacks.
struct ShutDown {
    shut_down: unsafe extern "C" fn(*mut c_void, bool, bool) -> c_int,
    opaque: *mut c_void,
}

// SAFETY: QEMU's contract for `shut_down` is that another thread calls it, with the same argument, while
// one is blocked in a callback; nothing else is done with the two.
unsafe impl Send for ShutDown {}
// SAFETY: as above.
unsafe impl Sync for ShutDown {}

impl Shutdown for ShutDown {
    fn shutdown(&self) -> io::Result<()> {
        // SAFETY: the function and its argument belong together, as the caller that opened the file has
        // promised, and the file is open.
        match unsafe { (self.shut_down)(self.opaque, true, true) } {
            errno if errno < 0 => Err(io::Error::from_raw_os_error(positive(errno))),
            _ => Ok(()),
        }
    }
}

fn shutdown_handle(callbacks: &Callbacks) -> Option<Arc<dyn Shutdown>> {
    let shut_down = callbacks.ops.shut_down?;
    let opaque = callbacks.opaque;
    Some(Arc::new(ShutDown { shut_down, opaque }))
}
