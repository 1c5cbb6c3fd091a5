//! A file: which stream it is, and who may use it now.

mod channel;
mod tables;

pub use tables::{QEMUFileHooks, QEMUFileOps};

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};
use std::rc::Rc;

use vmferry::stream::{
    AbortHandle, Compressor, DiscardPrivate, OnWouldBlock, RateLimiter, Reader, ReaderConfig,
    Staging, StreamError, Writer, WriterConfig,
};

use crate::errno::user_error;
use channel::Callbacks;

/// The original's window, and the most that may be peeked at.
const WINDOW: usize = 32 << 10;

/// The pieces that a callback gets at once: 64 at most, as callbacks expect that keep an array of their
/// own. A writer passes the last run of copied bytes and what it does not copy on top of its own.
const PIECES: usize = 62;

/// What is written to callbacks. Memory belongs to C, and stays until it is sent.
pub(crate) type Out = Writer<'static, Callbacks, DiscardPrivate>;

/// What is read from callbacks.
pub(crate) type In = Reader<Callbacks>;

/// A file without callbacks, which is to be put into another.
pub(crate) struct Staged {
    pub(crate) bytes: Staging,
    /// Bytes that have been moved to another file.
    pub(crate) moved: u64,
    /// The first error's number, positive; 0: none.
    errno: c_int,
}

impl Staged {
    pub(crate) fn errno(&self) -> c_int {
        self.errno
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.errno != 0
    }
}

/// The stream of a file, as its present user finds it.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    Out(NonNull<Out>),
    In(NonNull<In>),
    Staged(NonNull<Staged>),
    /// A call is using it.
    InUse,
    /// A call panicked while it was using it.
    Lost,
}

/// The stream of a file, for one call.
pub(crate) enum Side<'f> {
    Out(&'f mut Out),
    In(&'f mut In),
    Staged(&'f mut Staged),
    None,
}

/// A stream with its callbacks; C has a pointer to it and knows nothing of what is in it.
pub struct QEMUFile {
    pub(crate) ops: QEMUFileOps,
    pub(crate) opaque: *mut c_void,
    pub(crate) hooks: Cell<*const QEMUFileHooks>,
    pub(crate) limiter: RateLimiter,
    pub(crate) abort: Option<AbortHandle>,
    pub(crate) compressor: Cell<Option<(u32, Compressor)>>,
    /// What the file owns, for its end.
    owned: Cell<Stream>,
    stream: Cell<Stream>,
    /// A hook is using the file.
    lent: Cell<bool>,
    /// A callback has made the file fail with this error number, positive; 0: it has not.
    pending: Rc<Cell<c_int>>,
}

impl QEMUFile {
    pub(crate) fn new(opaque: *mut c_void, ops: QEMUFileOps) -> Self {
        let pending = Rc::new(Cell::new(0));
        let callbacks = || Callbacks::new(opaque, ops, Rc::clone(&pending));
        let (owned, abort) = if ops.writev_buffer.is_some() {
            let config = WriterConfig {
                max_segments: PIECES,
                on_would_block: OnWouldBlock::Wait,
                ..WriterConfig::default()
            };
            let out = Writer::with_releaser(callbacks(), &config, DiscardPrivate);
            let abort = out.abort_handle();
            (Stream::Out(leak(out)), Some(abort))
        } else if ops.get_buffer.is_some() {
            let config = ReaderConfig {
                window: WINDOW,
                // The callback takes one piece of memory: what is smaller comes with what is read ahead.
                direct_min: WINDOW,
                on_would_block: OnWouldBlock::Wait,
                ..ReaderConfig::default()
            };
            let reader = Reader::with_config(callbacks(), &config);
            let abort = reader.abort_handle();
            (Stream::In(leak(reader)), Some(abort))
        } else {
            let staged = Staged {
                bytes: Staging::default(),
                moved: 0,
                errno: 0,
            };
            (Stream::Staged(leak(staged)), None)
        };
        Self {
            ops,
            opaque,
            hooks: Cell::new(ptr::null()),
            limiter: RateLimiter::unlimited(),
            abort,
            compressor: Cell::new(None),
            owned: Cell::new(owned),
            stream: Cell::new(owned),
            lent: Cell::new(false),
            pending,
        }
    }

    /// Uses the stream: a callback that uses it meanwhile finds [`Side::None`].
    #[inline]
    pub(crate) fn with<R>(&self, work: impl FnOnce(Side<'_>) -> R) -> R {
        let stream = self.stream.replace(Stream::InUse);
        // SAFETY: each pointer is to what this file owns until its end, or to what a hook was lent,
        // which outlives the hook. It was in the cell, so no call has a reference to it that it uses
        // before this is over.
        let side = unsafe {
            match stream {
                Stream::Out(mut out) => Side::Out(out.as_mut()),
                Stream::In(mut reader) => Side::In(reader.as_mut()),
                Stream::Staged(mut staged) => Side::Staged(staged.as_mut()),
                Stream::InUse | Stream::Lost => Side::None,
            }
        };
        let result = work(side);
        self.stream.set(stream);
        result
    }

    /// Lets `hook` use the file, where it finds `stream`.
    ///
    /// # Errors
    /// A call of the hook panicked.
    pub(crate) fn lend(
        &self,
        stream: Stream,
        hook: impl FnOnce() -> c_int,
    ) -> Result<c_int, StreamError> {
        let was_lent = self.lent.replace(true);
        let before = self.stream.replace(stream);
        let answer = hook();
        let after = self.stream.replace(before);
        self.lent.set(was_lent);
        match after {
            Stream::Lost => Err(user_error(libc::ENOTRECOVERABLE, 0)),
            _ => Ok(answer),
        }
    }

    /// Shuts down the channel of a file without a stream, which may have such a callback all the same.
    pub(crate) fn shut_down_without_stream(&self) -> c_int {
        // SAFETY: the function and its argument belong together, as the caller that opened the file promised.
        let shut = self
            .ops
            .shut_down
            .map(|shut| unsafe { shut(self.opaque, true, true) });
        shut.unwrap_or(-libc::ENOSYS)
    }

    /// A call has panicked: nobody may use the stream any more.
    #[cold]
    pub(crate) fn lose(&self) {
        self.fail(Side::None, libc::ENOTRECOVERABLE);
        self.stream.set(Stream::Lost);
    }

    /// Whether a call is using the file, or was lent it.
    pub(crate) fn is_in_use(&self) -> bool {
        self.lent.get() || matches!(self.stream.get(), Stream::InUse)
    }

    /// Uses a file that is written, with or without callbacks.
    #[inline]
    pub(crate) fn put(&self, out: impl FnOnce(&mut Out), staged: impl FnOnce(&mut Staging)) {
        self.with(|side| match side {
            Side::Out(writer) => out(writer),
            Side::Staged(to) if !to.has_failed() => staged(&mut to.bytes),
            Side::Staged(_) => {}
            other => self.refuse(other),
        });
    }

    /// Uses a file that is read.
    #[inline]
    pub(crate) fn get<R>(&self, nothing: R, get: impl FnOnce(&mut In) -> R) -> R {
        self.with(|side| match side {
            Side::In(reader) => get(reader),
            other => {
                self.refuse(other);
                nothing
            }
        })
    }

    /// The call is not for this file, or not now.
    #[cold]
    pub(crate) fn refuse(&self, side: Side<'_>) {
        let errno = match side {
            Side::None => libc::EBUSY,
            _ => libc::EBADF,
        };
        self.fail(side, errno);
    }

    /// Makes the file fail, unless it has failed already.
    #[cold]
    pub(crate) fn fail(&self, side: Side<'_>, errno: c_int) {
        match side {
            Side::Out(out) => out.fail_with(user_error(errno, out.flushed_position())),
            Side::In(reader) => reader.fail_with(user_error(errno, reader.position())),
            Side::Staged(staged) if staged.errno == 0 => staged.errno = errno,
            Side::Staged(_) => {}
            // The callback that is running comes back to the stream, which fails then.
            Side::None if self.pending.get() == 0 => self.pending.set(errno),
            Side::None => {}
        }
    }

    /// The number of the first error, positive; 0: there was none.
    pub(crate) fn errno(&self) -> c_int {
        if matches!(self.stream.get(), Stream::Lost) {
            return libc::ENOTRECOVERABLE;
        }
        self.with(|side| match side {
            Side::Out(out) => out.error().map_or(0, StreamError::errno),
            Side::In(reader) => reader.error().map_or(0, StreamError::errno),
            Side::Staged(staged) => staged.errno,
            Side::None => self.pending.get(),
        })
    }

    /// Sends what waits, lets go of the stream, and tells the number of the first error, positive; 0:
    /// there was none. The file is of no use any more.
    pub(crate) fn finish(&self) -> c_int {
        let is_lost = matches!(self.stream.replace(Stream::InUse), Stream::Lost);
        // SAFETY: each was made by `leak` for this file, which owned it until now, and no call is using
        // it.
        let errno = unsafe {
            match self.owned.replace(Stream::InUse) {
                Stream::Out(out) => {
                    let out = Box::from_raw(out.as_ptr());
                    match is_lost {
                        true => 0,
                        false => out.finish().map_or_else(|end| end.error.errno(), |_| 0),
                    }
                }
                Stream::In(reader) => {
                    let reader = Box::from_raw(reader.as_ptr());
                    reader.error().map_or(0, StreamError::errno)
                }
                Stream::Staged(staged) => Box::from_raw(staged.as_ptr()).errno,
                Stream::InUse | Stream::Lost => 0,
            }
        };
        if is_lost {
            libc::ENOTRECOVERABLE
        } else {
            errno
        }
    }
}

impl std::fmt::Debug for QEMUFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QEMUFile").finish_non_exhaustive()
    }
}

fn leak<T>(value: T) -> NonNull<T> {
    NonNull::from(Box::leak(Box::new(value)))
}
