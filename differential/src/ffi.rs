//! The types of the original's header.

use std::ffi::{c_int, c_void};

use libc::{iovec, ssize_t};

/// A stream, of whatever implementation: only its own functions know what it is.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct QemuFile {
    opaque: [u8; 0],
}

/// What a channel does, as the original's header has it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct QemuFileOps {
    pub(crate) get_buffer:
        Option<unsafe extern "C" fn(*mut c_void, *mut u8, i64, usize) -> ssize_t>,
    pub(crate) close: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
    pub(crate) set_blocking: Option<unsafe extern "C" fn(*mut c_void, bool) -> c_int>,
    pub(crate) writev_buffer:
        Option<unsafe extern "C" fn(*mut c_void, *mut iovec, c_int, i64) -> ssize_t>,
    pub(crate) get_return_path: Option<unsafe extern "C" fn(*mut c_void) -> *mut QemuFile>,
    pub(crate) shut_down: Option<unsafe extern "C" fn(*mut c_void, bool, bool) -> c_int>,
}

/// Called around the passes over RAM, and when it is loaded.
pub(crate) type Hook = unsafe extern "C" fn(*mut QemuFile, *mut c_void, u64, *mut c_void) -> c_int;

/// What a transport does that moves pages by itself.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct QemuFileHooks {
    pub(crate) before_ram_iterate: Option<Hook>,
    pub(crate) after_ram_iterate: Option<Hook>,
    pub(crate) hook_ram_load: Option<Hook>,
    pub(crate) save_page: Option<
        unsafe extern "C" fn(*mut QemuFile, *mut c_void, u64, u64, usize, *mut u64) -> usize,
    >,
}

/// What the rules have to know of the original's inside (`c/inside.h`).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Inside {
    /// Where the buffer is read or written.
    pub(crate) index: c_int,
    /// Bytes in the buffer of a stream that is read.
    pub(crate) size: c_int,
    /// Segments that wait.
    pub(crate) segments: c_int,
    /// Whether the last of them ends at `index`.
    pub(crate) adjacent: c_int,
}
