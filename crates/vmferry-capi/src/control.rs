//! Errors, positions and limits.

use std::ffi::c_int;

use vmferry::stream::RateLimiter;

use crate::QEMUFile;
use crate::call::exported;
use crate::errno::positive;
use crate::file::Side;

exported! {
    /// The first error, negative; 0: there was none.
    fn qemu_file_get_error(file) -> c_int = 0; {
        -file.errno()
    }

    /// Makes the file fail with a negative error number, unless it has failed already. Nothing is sent
    /// any more, not even what waits. What is no error changes nothing.
    fn qemu_file_set_error(file, ret: c_int) {
        if ret < 0 {
            file.with(|side| file.fail(side, positive(ret)));
        }
    }

    /// Where the stream stands once everything is sent, which this does.
    fn qemu_ftell(file) -> i64 = 0; {
        file.with(|side| match side {
            Side::Out(out) => {
                // The stream keeps its error.
                let _ = out.flush();
                out.flushed_position()
            }
            Side::In(reader) => reader.position(),
            Side::Staged(_) | Side::None => 0,
        }).try_into().unwrap_or(i64::MAX)
    }

    /// Where the stream stands: bytes put, or bytes taken.
    fn qemu_ftell_fast(file) -> i64 = 0; {
        file.with(|side| match side {
            Side::Out(out) => out.queued_position(),
            Side::In(reader) => reader.position(),
            Side::Staged(staged) => staged.bytes.len() as u64,
            Side::None => 0,
        }).try_into().unwrap_or(i64::MAX)
    }

    /// Counts bytes that went another way. No position moves.
    fn qemu_update_position(file, size: usize) {
        file.with(|side| {
            if let Side::Out(out) = side {
                out.account_external(size as u64);
            }
        });
    }

    /// 1 if no more is to be put for now: more than the limit was put since the last reset, or the file
    /// has failed.
    fn qemu_file_rate_limit(file) -> c_int = 1; {
        let held_back = file.with(|side| match side {
            Side::Out(out) => out.is_held_back(&file.limiter),
            Side::In(reader) => reader.error().is_some(),
            Side::Staged(staged) => staged.is_held_back(&file.limiter),
            Side::None => true,
        });
        held_back.into()
    }

    /// The limit, in bytes; 0: none.
    fn qemu_file_get_rate_limit(file) -> i64 = 0; {
        file.limiter.get().map_or(0, |limit| limit.try_into().unwrap_or(i64::MAX))
    }

    /// At most so many bytes until the next reset; 0 or less: no limit.
    fn qemu_file_set_rate_limit(file, limit: i64) {
        file.limiter.set(u64::try_from(limit).ok().filter(|limit| *limit > 0));
    }

    /// Counts from here on.
    fn qemu_file_reset_rate_limit(file) {
        file.limiter.start_window(transferred(file));
    }
}

/// Bytes put into the file, and those that went another way.
fn transferred(file: &QEMUFile) -> u64 {
    file.with(|side| match side {
        Side::Out(out) => out.transferred(),
        Side::Staged(staged) => staged.transferred(),
        Side::In(_) | Side::None => 0,
    })
}

impl crate::file::Staged {
    fn transferred(&self) -> u64 {
        self.moved + self.bytes.len() as u64
    }

    fn is_held_back(&self, limiter: &RateLimiter) -> bool {
        self.has_failed() || limiter.exceeded(self.transferred())
    }
}
