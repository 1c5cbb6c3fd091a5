//! zlib for the original, as vmferry has it: see `c/zlib.h`.

use std::cell::RefCell;
use std::ffi::{c_int, c_ulong};
use std::slice;

use flate2::{Compress, Compression, FlushCompress, Status};

thread_local! {
    /// One state for each level: making one costs more than using it.
    static STATES: RefCell<[Option<Compress>; 10]> = const { RefCell::new([const { None }; 10]) };
}

/// Compresses all of `block` into `out`; `None`: there is not enough room.
pub(crate) fn compress(block: &[u8], out: &mut [u8], level: u32) -> Option<usize> {
    STATES.with_borrow_mut(|states| {
        let state = states.get_mut(level as usize)?;
        let state = state.get_or_insert_with(|| Compress::new(Compression::new(level), true));
        state.reset();
        let status = state.compress(block, out, FlushCompress::Finish).ok()?;
        let is_whole = status == Status::StreamEnd && state.total_in() == block.len() as u64;
        is_whole.then(|| usize::try_from(state.total_out()).ok())?
    })
}

/// zlib's own bound, by which the original decides whether a record fits.
pub(crate) fn bound(len: usize) -> usize {
    len + (len >> 12) + (len >> 14) + (len >> 25) + 13
}

/// Z_STREAM_ERROR
const NO_SUCH_LEVEL: c_int = -2;
/// Z_BUF_ERROR
const NO_ROOM: c_int = -5;

#[unsafe(no_mangle)]
unsafe extern "C" fn differential_compress2(
    out: *mut u8,
    out_len: *mut c_ulong,
    block: *const u8,
    block_len: c_ulong,
    level: c_int,
) -> c_int {
    // -1 is zlib's own choice.
    let level = if level == -1 { 6 } else { level };
    let Some(level) = u32::try_from(level).ok().filter(|level| *level <= 9) else {
        return NO_SUCH_LEVEL;
    };
    let len = |len: c_ulong| usize::try_from(len).unwrap_or(0);
    // SAFETY: the original hands over a block, and room for as many bytes as it says.
    let (out, block) = unsafe {
        let out = slice::from_raw_parts_mut(out, len(*out_len));
        (out, slice::from_raw_parts(block, len(block_len)))
    };
    match compress(block, out, level) {
        Some(written) => {
            // SAFETY: a number of the original's.
            unsafe { *out_len = written as c_ulong };
            0
        }
        None => NO_ROOM,
    }
}

#[unsafe(no_mangle)]
extern "C" fn differential_compress_bound(len: c_ulong) -> c_ulong {
    bound(usize::try_from(len).unwrap_or(usize::MAX >> 1)) as c_ulong
}
