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
            // SAFETY: the promise of whoever calls this function.
            unsafe { $crate::call::with_file(f, nothing, work) }
        }
    )*};
}

pub(crate) use exported;
