//! The functions of QEMU's byte stream (`QEMUFile`) under their names in C, over [`vmferry::stream`].
//!
//! This is a proof, not a product: a C program that was written for the original links against this
//! library without a change, and so both can be measured, probed and compared with the same code. It
//! follows the original as of about QEMU 2.12; nobody should build a QEMU with it.
//!
//! Where the original has a defect, this has what `docs/stream.md` says instead. What a Rust caller
//! learns from a result, a C caller has no way to see, so here
//!
//! * an error that a Rust caller could go on after (an argument that is too long, a call for the other
//!   direction) becomes the file's first error;
//! * a call waits where the channel is not ready: the callbacks have no other way to say when it is;
//! * a call that finds the file in use, because it comes from a callback of the file itself, does
//!   nothing and becomes its error, `EBUSY`. Hooks for RAM may use their file;
//! * a panic ends the file: its error is `ENOTRECOVERABLE`, and it does nothing any more.
//!
//! A file is used by one thread at a time. Any thread may call [`qemu_file_shutdown`],
//! [`qemu_file_get_rate_limit`] and [`qemu_file_set_rate_limit`] meanwhile.
//!
//! | file | what |
//! |---|---|
//! | `call` | how a call from C comes in: no panic goes out |
//! | `errno` | error numbers |
//! | `file` | `QEMUFile`: which stream it is, and who may use it now |
//! | `file::tables` | the tables of callbacks, as C knows them |
//! | `file::channel` | the callbacks as a channel |
//! | `life`, `control`, `put`, `get` | the functions |
//! | `hooks` | pages that go another way, and the constants for them |

#![allow(
    unsafe_code,
    reason = "functions for C, and calls of functions of C; everything else is `vmferry::sys`'s"
)]

mod call;
mod control;
mod errno;
mod file;
mod get;
mod hooks;
mod life;
mod put;

pub use control::{
    qemu_file_get_error, qemu_file_get_rate_limit, qemu_file_rate_limit,
    qemu_file_reset_rate_limit, qemu_file_set_error, qemu_file_set_rate_limit, qemu_ftell,
    qemu_ftell_fast, qemu_update_position,
};
pub use file::{QEMUFile, QEMUFileHooks, QEMUFileOps};
pub use get::{
    qemu_file_skip, qemu_get_be16, qemu_get_be32, qemu_get_be64, qemu_get_buffer,
    qemu_get_buffer_in_place, qemu_get_byte, qemu_get_counted_string, qemu_peek_buffer,
    qemu_peek_byte,
};
pub use hooks::{
    RAM_CONTROL_BLOCK_REG, RAM_CONTROL_FINISH, RAM_CONTROL_HOOK, RAM_CONTROL_ROUND,
    RAM_CONTROL_SETUP, RAM_SAVE_CONTROL_DELAYED, RAM_SAVE_CONTROL_NOT_SUPP, qemu_file_set_hooks,
    ram_control_after_iterate, ram_control_before_iterate, ram_control_load_hook,
    ram_control_save_page,
};
pub use life::{
    qemu_fclose, qemu_fflush, qemu_file_get_return_path, qemu_file_is_writable,
    qemu_file_mode_is_not_valid, qemu_file_set_blocking, qemu_file_shutdown, qemu_fopen_ops,
};
pub use put::{
    qemu_put_be16, qemu_put_be32, qemu_put_be64, qemu_put_buffer, qemu_put_buffer_async,
    qemu_put_byte, qemu_put_compression_data, qemu_put_qemu_file,
};
