//! A file's life: open, flush, close, and what concerns its channel alone.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use crate::call::{exported, with_file};
use crate::file::Side;
use crate::{QEMUFile, QEMUFileOps};

/// A file over the callbacks of `ops`, which are given `opaque`; null if there are none.
///
/// # Safety
/// `ops` is null or a table of callbacks. Until the file is closed, `opaque` is what they expect.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_fopen_ops(
    opaque: *mut c_void,
    ops: *const QEMUFileOps,
) -> *mut QEMUFile {
    // SAFETY: the caller's promise.
    let Some(ops) = (unsafe { ops.as_ref() }) else {
        return ptr::null_mut();
    };
    let file = std::panic::catch_unwind(|| Box::into_raw(Box::new(QEMUFile::new(opaque, *ops))));
    file.unwrap_or(ptr::null_mut())
}

/// Sends what waits, closes the channel whatever has happened, and frees the file: the first error,
/// negative, or else what the channel's `close` answers. A callback or hook of the file itself is
/// refused, with `-EBUSY`.
///
/// # Safety
/// `f` is null, or has come from [`qemu_fopen_ops`] and was not closed, and no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_fclose(f: *mut QEMUFile) -> c_int {
    let close = |file: &QEMUFile| {
        if file.is_in_use() {
            return None;
        }
        let errno = file.finish();
        // SAFETY: the function and its argument belong together, as the caller that opened the file promised.
        let closed = file
            .ops
            .close
            .map_or(0, |close| unsafe { close(file.opaque) });
        Some(if errno == 0 { closed } else { -errno })
    };
    // SAFETY: the caller's promise.
    let Some(answer) = (unsafe { with_file(f, Some(-libc::ENOTRECOVERABLE), close) }) else {
        return -libc::EBUSY;
    };
    if f.is_null() {
        return -libc::EBADF;
    }
    // SAFETY: `qemu_fopen_ops` made it by `Box::into_raw`, and nobody uses it any more.
    drop(unsafe { Box::from_raw(f) });
    answer
}

/// Whether `mode` is none of `rb` and `wb`. Nothing is printed.
///
/// # Safety
/// `mode` is null or a string that ends with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_file_mode_is_not_valid(mode: *const c_char) -> bool {
    if mode.is_null() {
        return true;
    }
    // SAFETY: the caller's promise.
    let mode = unsafe { std::ffi::CStr::from_ptr(mode) };
    !matches!(mode.to_bytes(), b"rb" | b"wb")
}

exported! {
    /// Whether the file can be written.
    fn qemu_file_is_writable(file) -> bool = false; {
        file.ops.writev_buffer.is_some()
    }

    /// Sends everything that was put. Its error is the file's.
    fn qemu_fflush(file) {
        file.with(|side| {
            if let Side::Out(out) = side {
                // The stream keeps its error.
                let _ = out.flush();
            }
        });
    }

    /// Ends the file from any thread: it has its error before the channel is shut down, which is what
    /// the answer tells about: 0, a negative error number, or `-ENOSYS` for one that cannot be.
    fn qemu_file_shutdown(file) -> c_int = -libc::ENOSYS; {
        let Some(abort) = &file.abort else {
            return file.shut_down_without_stream();
        };
        match abort.abort() {
            Ok(()) => 0,
            Err(error) => -error.raw_os_error().unwrap_or(libc::ENOSYS),
        }
    }

    /// The file for the opposite direction, as the callback has it; null if there is none.
    fn qemu_file_get_return_path(file) -> *mut QEMUFile = ptr::null_mut(); {
        let Some(get_return_path) = file.ops.get_return_path else {
            return ptr::null_mut();
        };
        // SAFETY: the function and its argument belong together, as the caller that opened the file promised.
        unsafe { get_return_path(file.opaque) }
    }

    /// Makes calls of the channel wait, or not.
    fn qemu_file_set_blocking(file, block: bool) {
        if let Some(set_blocking) = file.ops.set_blocking {
            // SAFETY: the function and its argument belong together, as the caller that opened the file
            // promised.
            unsafe { set_blocking(file.opaque, block) };
        }
    }
}
