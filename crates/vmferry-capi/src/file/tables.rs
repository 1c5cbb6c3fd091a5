//! The tables of callbacks, laid out as C knows them.

use std::ffi::{c_int, c_void};

use libc::iovec;

use super::QEMUFile;

/// The callbacks that move a file's bytes. A file with `writev_buffer` is written, one with
/// `get_buffer` alone is read, and one with neither is built in memory.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct QEMUFileOps {
    /// Reads up to `size` bytes: how many, 0 at the end, or a negative error number.
    pub get_buffer: Option<
        unsafe extern "C" fn(opaque: *mut c_void, buf: *mut u8, pos: i64, size: usize) -> isize,
    >,
    /// Closes the channel.
    pub close: Option<unsafe extern "C" fn(opaque: *mut c_void) -> c_int>,
    /// Makes calls wait, or not.
    pub set_blocking: Option<unsafe extern "C" fn(opaque: *mut c_void, enabled: bool) -> c_int>,
    /// Writes a prefix of what the array refers to: how many bytes, or a negative error number.
    pub writev_buffer: Option<
        unsafe extern "C" fn(
            opaque: *mut c_void,
            iov: *mut iovec,
            iovcnt: c_int,
            pos: i64,
        ) -> isize,
    >,
    /// A file for the opposite direction.
    pub get_return_path: Option<unsafe extern "C" fn(opaque: *mut c_void) -> *mut QEMUFile>,
    /// Ends blocked calls, from another thread.
    pub shut_down: Option<unsafe extern "C" fn(opaque: *mut c_void, rd: bool, wr: bool) -> c_int>,
}

/// A hook before or after a pass over RAM, or for the loading side.
type Hook = unsafe extern "C" fn(
    f: *mut QEMUFile,
    opaque: *mut c_void,
    flags: u64,
    data: *mut c_void,
) -> c_int;

/// The hooks of a transport that moves pages by itself. They may use the file that they are given.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct QEMUFileHooks {
    /// Before a pass.
    pub before_ram_iterate: Option<Hook>,
    /// After a pass.
    pub after_ram_iterate: Option<Hook>,
    /// Something for the loading side.
    pub hook_ram_load: Option<Hook>,
    /// A page that might be moved.
    pub save_page: Option<
        unsafe extern "C" fn(
            f: *mut QEMUFile,
            opaque: *mut c_void,
            block_offset: u64,
            offset: u64,
            size: usize,
            bytes_sent: *mut u64,
        ) -> usize,
    >,
}
