//! Reading. A number is whole or 0; bytes are as many as there are. The first error is the file's.

use std::ffi::{c_char, c_int, c_uint};

use vmferry::channel::RamSliceMut;
use vmferry::stream::StreamError;

use crate::call::exported;
use crate::errno::user_error;
use crate::file::In;

exported! {
    /// One byte; 0 after an error.
    fn qemu_get_byte(file) -> c_int = 0; {
        file.get(0, |reader| reader.lenient().get_u8().into())
    }

    /// A big-endian 16-bit number; 0 after an error.
    fn qemu_get_be16(file) -> c_uint = 0; {
        file.get(0, |reader| reader.lenient().get_be16().into())
    }

    /// A big-endian 32-bit number; 0 after an error.
    fn qemu_get_be32(file) -> c_uint = 0; {
        file.get(0, |reader| reader.lenient().get_be32())
    }

    /// A big-endian 64-bit number; 0 after an error.
    fn qemu_get_be64(file) -> u64 = 0; {
        file.get(0, |reader| reader.lenient().get_be64())
    }

    /// The byte after the next `offset`, which is not taken; 0 after an error.
    fn qemu_peek_byte(file, offset: c_int) -> c_int = 0; {
        file.get(0, |reader| {
            let Ok(offset) = usize::try_from(offset) else {
                return invalid(reader);
            };
            match reader.peek_u8(offset) {
                Ok(byte) => byte.into(),
                Err(error) => kept(reader, &error, 0),
            }
        })
    }

    /// Lets `*buf` point to the `size` bytes after the next `offset`, which are not taken, and tells how
    /// many are there: fewer only behind an error. They stay until the next call, and must not be changed.
    fn qemu_peek_buffer(file, buf: *mut *mut u8, size: usize, offset: usize) -> usize = 0; {
        if size == 0 {
            return 0;
        }
        file.get(0, |reader| {
            if reader.error().is_some() {
                return 0;
            }
            let bytes = match reader.peek_at(offset, size) {
                Ok(bytes) => bytes,
                Err(error) => {
                    let failed = error.is_sticky();
                    kept(reader, &error, 0);
                    if !failed {
                        return 0;
                    }
                    let there = reader.unread();
                    let there = there.get(offset..).unwrap_or_default();
                    &there[..there.len().min(size)]
                }
            };
            if !bytes.is_empty() {
                // SAFETY: `buf` is a pointer's place, as the caller has promised.
                unsafe { buf.write(bytes.as_ptr().cast_mut()) };
            }
            bytes.len()
        })
    }

    /// Fills `buf`, and tells how many bytes are there: fewer only behind an error.
    fn qemu_get_buffer(file, buf: *mut u8, size: usize) -> usize = 0; {
        file.get(0, |reader| {
            // SAFETY: `size` bytes can be written there, as the caller has promised.
            unsafe { get_buffer(reader, buf, size) }
        })
    }

    /// Lets `*buf` point to the next `size` bytes, or fills it where they are more than are read ahead,
    /// and tells how many bytes are there: fewer only behind an error. They stay until the next call,
    /// and must not be changed.
    fn qemu_get_buffer_in_place(file, buf: *mut *mut u8, size: usize) -> usize = 0; {
        file.get(0, |reader| {
            let has_failed = reader.error().is_some();
            if let Ok(bytes) = reader.get_ref(size) {
                if size > 0 {
                    // SAFETY: `buf` is a pointer's place, as the caller has promised.
                    unsafe { buf.write(bytes.as_ptr().cast_mut()) };
                }
                return size;
            }
            if has_failed {
                return 0;
            }
            // SAFETY: `buf` is a pointer's place, and `size` bytes can be written where that points to,
            // as the caller has promised.
            unsafe {
                let out = buf.read();
                if reader.error().is_none() {
                    return get_buffer(reader, out, size);
                }
                RamSliceMut::from_raw(out, size).copy_from(reader.unread())
            }
        })
    }

    /// Drops the next `size` bytes. There is no way back.
    fn qemu_file_skip(file, size: c_int) {
        file.get((), |reader| {
            let Ok(size) = u64::try_from(size) else {
                return invalid(reader);
            };
            if let Err(error) = reader.skip(size) {
                kept(reader, &error, ());
            }
        });
    }

    /// A length byte and as many bytes, and a zero behind them: how many, without the zero. The string is
    /// empty behind an error.
    fn qemu_get_counted_string(file, buf: *mut c_char) -> usize = 0; {
        let buf = buf.cast::<u8>();
        // SAFETY: 256 bytes can be written there, as the caller has promised.
        let text = unsafe { &mut *buf.cast::<[u8; 255]>() };
        let len = file.get(0, |reader| reader.get_counted(text).map_or(0, |text| text.len()));
        // SAFETY: as above, and `len` is at most 255.
        unsafe { buf.add(len).write(0) };
        len
    }
}

/// Fills `out`, and tells how many bytes are there: fewer only behind an error.
///
/// # Safety
/// `size` bytes can be written there.
unsafe fn get_buffer(reader: &mut In, out: *mut u8, size: usize) -> usize {
    if size == 0 || reader.error().is_some() {
        return 0;
    }
    // SAFETY: the caller's promise; it is used once, here.
    let room = unsafe { RamSliceMut::from_raw(out, size) };
    match reader.get_ram(room) {
        Ok(()) => size,
        // All that came and was not taken; where the stream was aborted, it is not in `out` yet.
        // SAFETY: the caller's promise, and the first use of the room is over.
        Err(_) => unsafe { RamSliceMut::from_raw(out, size) }.copy_from(reader.unread()),
    }
}

/// The error of a call becomes that of the file, and `nothing` its answer.
#[cold]
fn kept<R>(reader: &mut In, error: &StreamError, nothing: R) -> R {
    if !error.is_sticky() {
        reader.fail_with(user_error(error.errno(), reader.position()));
    }
    nothing
}

/// An argument that there cannot be.
#[cold]
fn invalid<R: Default>(reader: &mut In) -> R {
    reader.fail_with(user_error(libc::EINVAL, reader.position()));
    R::default()
}
