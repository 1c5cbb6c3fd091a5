//! One table of functions for each implementation: the original, the copies of it that were changed, and ours.
//!
//! `build.rs` writes them from one list of the header's functions.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr;

use libc::ssize_t;
// So that its functions are linked.
use vmferry_capi as _;

use crate::ffi::{Inside, QemuFile, QemuFileHooks, QemuFileOps};

include!(concat!(env!("OUT_DIR"), "/api.rs"));

/// The C original.
pub static ORIGINAL: &Api = &original::API;

/// The C interface of `vmferry-capi`.
pub static OURS: &Api = &vmferry::API;

impl Api {
    /// Whether it takes this for no mode of a stream. The original says so on the standard error, too.
    pub fn refuses_mode(&self, mode: Option<&CStr>) -> bool {
        let mode = mode.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: null, or a string that ends with a zero.
        unsafe { (self.qemu_file_mode_is_not_valid)(mode) }
    }
}
