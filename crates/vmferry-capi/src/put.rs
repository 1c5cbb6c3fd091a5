//! Writing.

use std::ffi::{c_int, c_uint};

use vmferry::channel::RamSlice;
use vmferry::stream::{Compressor, Release};

use crate::QEMUFile;
use crate::call::{exported, with_file};
use crate::file::Side;

exported! {
    /// The low byte of `v`.
    fn qemu_put_byte(file, v: c_int) {
        let [.., byte] = v.to_be_bytes();
        file.put(|out| out.put_u8(byte), |staged| staged.put_u8(byte));
    }

    /// The low 16 bits of `v`, big-endian.
    fn qemu_put_be16(file, v: c_uint) {
        let [.., high, low] = v.to_be_bytes();
        let v = u16::from_be_bytes([high, low]);
        file.put(|out| out.put_be16(v), |staged| staged.put_be16(v));
    }

    /// 32 bits, big-endian.
    fn qemu_put_be32(file, v: c_uint) {
        file.put(|out| out.put_be32(v), |staged| staged.put_be32(v));
    }

    /// 64 bits, big-endian.
    fn qemu_put_be64(file, v: u64) {
        file.put(|out| out.put_be64(v), |staged| staged.put_be64(v));
    }

    /// Bytes, copied.
    fn qemu_put_buffer(file, buf: *const u8, size: usize) {
        if size == 0 {
            return;
        }
        // Guest memory, maybe, which may change meanwhile: no slice.
        // SAFETY: `size` bytes can be read there, as the caller has promised; they are copied or sent
        // before this returns.
        let bytes = unsafe { RamSlice::from_raw(buf, size) };
        file.put(
            |out| out.put_ram_copied(bytes),
            |staged| staged.put_ram_copied(bytes),
        );
    }

    /// Bytes that stay where they are, and may change, until they are sent. Then their whole pages are
    /// given back where `may_free` says so.
    fn qemu_put_buffer_async(file, buf: *const u8, size: usize, may_free: bool) {
        if size == 0 {
            return;
        }
        let release = match may_free {
            true => Release::AfterSend,
            false => Release::Keep,
        };
        file.put(
            |out| {
                // SAFETY: the memory stays until it is sent, as the caller has promised, and nobody
                // relies on it then if it may be freed; only what waits together is one memory.
                let bytes = unsafe { RamSlice::from_raw_part(out.channel().memory(), buf, size) };
                out.put_ram(bytes, release);
            },
            |staged| {
                // SAFETY: `size` bytes can be read there, as the caller has promised.
                staged.put_ram_copied(unsafe { RamSlice::from_raw(buf, size) });
            },
        );
    }

    /// A length of 32 bits and as many bytes: what zlib makes of `size` bytes with this level. Tells how
    /// many bytes that took; -1, and nothing was put, if they are too many or the file has failed.
    fn qemu_put_compression_data(file, p: *const u8, size: usize, level: c_int) -> isize = -1; {
        let Some(level) = zlib_level(level) else {
            file.with(|side| file.fail(side, libc::EINVAL));
            return -1;
        };
        if size > vmferry::stream::MAX_COMPRESSED_BLOCK {
            return -1;
        }
        // A copy, because guest memory may change while it is compressed.
        let mut block = vec![0; size];
        if size > 0 {
            // SAFETY: `size` bytes can be read there, as the caller has promised.
            unsafe { RamSlice::from_raw(p, size) }.copy_to(&mut block);
        }
        let mut compressor = match file.compressor.take() {
            Some((of_level, compressor)) if of_level == level => compressor,
            _ => Compressor::new(level),
        };
        let put = compress(file, &mut compressor, &block);
        file.compressor.set(Some((level, compressor)));
        put.and_then(|len| isize::try_from(len).ok()).unwrap_or(-1)
    }
}

/// Moves everything that `f_src` holds to `f_des`, and tells how many bytes that were. Only a file
/// without callbacks can be moved; one that has failed makes the other fail. Where `f_des` has failed,
/// `f_src` stays as it is.
///
/// # Safety
/// Each is null, or has come from [`qemu_fopen_ops`](crate::qemu_fopen_ops) and was not closed, and no
/// other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_put_qemu_file(f_des: *mut QEMUFile, f_src: *mut QEMUFile) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        with_file(f_des, 0, |to| {
            with_file(f_src, 0, |from| move_all(to, from))
        })
    }
}

fn move_all(to: &QEMUFile, from: &QEMUFile) -> c_int {
    // If both are the same file, the second use finds it in use.
    let moved = to.with(|to_side| {
        from.with(|from_side| match (to_side, from_side) {
            (side @ (Side::In(_) | Side::None), _) => {
                to.refuse(side);
                0
            }
            (side, Side::Staged(staged)) if staged.has_failed() => {
                to.fail(side, staged.errno());
                0
            }
            (Side::Out(out), Side::Staged(staged)) => {
                let moved = out.put_staged(&mut staged.bytes).unwrap_or(0);
                staged.moved += moved;
                moved
            }
            (Side::Staged(into), Side::Staged(staged)) if !into.has_failed() => {
                let moved = staged.bytes.len() as u64;
                into.bytes.put_bytes(staged.bytes.as_bytes());
                staged.bytes.clear();
                staged.moved += moved;
                moved
            }
            (Side::Staged(_), Side::Staged(_)) => 0,
            (side, _) => {
                to.fail(side, libc::EINVAL);
                0
            }
        })
    });
    c_int::try_from(moved).unwrap_or(c_int::MAX)
}

fn compress(file: &QEMUFile, compressor: &mut Compressor, block: &[u8]) -> Option<usize> {
    file.with(|side| match side {
        Side::Out(out) => out.put_compressed(compressor, block).ok(),
        Side::Staged(staged) if staged.has_failed() => None,
        Side::Staged(staged) => staged.bytes.put_compressed(compressor, block).ok(),
        other => {
            file.refuse(other);
            None
        }
    })
}

/// zlib's level; `None` if there is none such.
fn zlib_level(level: c_int) -> Option<u32> {
    match level {
        // The default.
        -1 => Some(6),
        0..=9 => u32::try_from(level).ok(),
        _ => None,
    }
}
