//! How a call from C comes in.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::QEMUFile;

/// Does `work` with the file that C has passed. No panic goes out to C, which could not take it: the
/// file is lost then, and the answer is `nothing`, as it is for no file at all.
///
/// # Safety
/// `file` is null, or has come from [`qemu_fopen_ops`](crate::qemu_fopen_ops) and is not closed before
/// this returns.
#[inline]
pub(crate) unsafe fn with_file<R>(
    file: *mut QEMUFile,
    nothing: R,
    work: impl FnOnce(&QEMUFile) -> R,
) -> R {
    // SAFETY: the caller's promise. The file is shared: its cells are used by one thread at a time, as
    // the caller of an exported function has promised, and all else in it does not change.
    let Some(file) = (unsafe { file.as_ref() }) else {
        return nothing;
    };
    match catch_unwind(AssertUnwindSafe(|| work(file))) {
        Ok(result) => result,
        Err(_) => {
            file.lose();
            nothing
        }
    }
}

/// Makes functions for C. Each takes a file first; behind `=` is what it answers where there is no
/// file, or a panic was caught.
macro_rules! exported {
    ($(
        $(#[$attribute:meta])*
        fn $name:ident($file:ident $(, $argument:ident: $type:ty)*) $(-> $result:ty = $nothing:expr;)?
        $body:block
    )*) => {$(
        $(#[$attribute])*
        ///
        /// # Safety
        /// `f` is null, or has come from [`qemu_fopen_ops`](crate::qemu_fopen_ops) and was not closed,
        /// and no other thread uses it, with the exceptions that the crate's documentation names. Any
        /// other pointer is to what the C header says.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(f: *mut $crate::QEMUFile $(, $argument: $type)*) $(-> $result)? {
            #[allow(unused_variables, reason = "not every call answers something")]
            let nothing = ();
            $(let nothing: $result = $nothing;)?
            let work = |$file: &$crate::QEMUFile| $body;
            // SAFETY: the promise of the caller of this function.
            unsafe { $crate::call::with_file(f, nothing, work) }
        }
    )*};
}

pub(crate) use exported;

#[cfg(test)]
mod tests {
    use std::ffi::{c_int, c_void};
    use std::ptr;

    use libc::iovec;

    use super::*;
    use crate::*;

    unsafe extern "C" fn take(_: *mut c_void, iov: *mut iovec, count: c_int, _: i64) -> isize {
        // SAFETY: the library passes `count` pieces.
        let pieces = unsafe { std::slice::from_raw_parts(iov, count.try_into().unwrap()) };
        let len: usize = pieces.iter().map(|piece| piece.iov_len).sum();
        len.try_into().unwrap()
    }

    unsafe extern "C" fn panicking(
        f: *mut QEMUFile,
        _: *mut c_void,
        _: u64,
        _: *mut c_void,
    ) -> c_int {
        // SAFETY: the file of the hook is open.
        unsafe { with_file(f, 0, |file| file.with(|_| panic!("as told"))) }
    }

    fn writer() -> *mut QEMUFile {
        let ops = QEMUFileOps {
            writev_buffer: Some(take),
            ..QEMUFileOps::default()
        };
        // SAFETY: the callback looks at no argument of its own.
        unsafe { qemu_fopen_ops(ptr::null_mut(), &raw const ops) }
    }

    #[test]
    fn a_panic_ends_the_file_and_does_not_go_out() {
        let f = writer();
        // SAFETY: the file is open until the last line.
        unsafe {
            qemu_put_byte(f, 1);
            let answer = with_file(f, 7, |file| file.with(|_| panic!("as told")));
            assert_eq!(answer, 7);
            assert_eq!(qemu_file_get_error(f), -libc::ENOTRECOVERABLE);
            qemu_put_byte(f, 1);
            qemu_fflush(f);
            assert_eq!(qemu_ftell_fast(f), 0);
            assert_eq!(qemu_file_rate_limit(f), 1);
            assert_eq!(qemu_fclose(f), -libc::ENOTRECOVERABLE);
        }
    }

    #[test]
    fn a_panic_of_a_call_in_a_hook_is_the_error_of_the_file() {
        let hooks = QEMUFileHooks {
            before_ram_iterate: Some(panicking),
            ..QEMUFileHooks::default()
        };
        let f = writer();
        // SAFETY: the file is open until the last line, and the hooks stay as long.
        unsafe {
            qemu_file_set_hooks(f, &raw const hooks);
            ram_control_before_iterate(f, RAM_CONTROL_SETUP);
            assert_eq!(qemu_file_get_error(f), -libc::ENOTRECOVERABLE);
            assert_eq!(qemu_fclose(f), -libc::ENOTRECOVERABLE);
        }
    }
}
