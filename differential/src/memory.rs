//! The bytes that programs put: a pool that never changes, and memory of a guest that may be given back.

use std::ptr;
use std::sync::LazyLock;

/// Bytes of the pool.
pub(crate) const POOL: usize = 256 << 10;

/// Text, zeros and noise, in turns: what compresses well, best, and not at all.
pub(crate) static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut noise = fastrand::Rng::with_seed(16);
    let text = b"the page of a guest's memory, and its next one; ";
    let byte = |at: usize| match at / 3000 % 4 {
        0 | 2 => text[(at + usize::from(noise.u8(..) == 0)) % text.len()],
        1 => noise.u8(..),
        _ => 0,
    };
    (0..POOL).map(byte).collect()
});

/// `len` bytes of the pool from `from` on; less at its end.
pub(crate) fn pool(from: u32, len: u32) -> &'static [u8] {
    let from = (from as usize).min(POOL);
    let to = from.saturating_add(len as usize).min(POOL);
    &BYTES[from..to]
}

/// What the source `seed` gives, byte by byte.
pub(crate) fn source(seed: u8, len: u32) -> Vec<u8> {
    let mut noise = fastrand::Rng::with_seed(u64::from(seed) + 1);
    let mut bytes = vec![0; len as usize];
    noise.fill(&mut bytes);
    bytes
}

/// Pages of the guest.
pub(crate) const PAGES: usize = 48;
const PAGE: usize = 4096;

/// What the guest's memory holds: no byte is 0.
static FILLING: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let byte = |at: usize| u8::try_from((at / PAGE * 7 + at % 251) % 255 + 1).unwrap_or(1);
    (0..Guest::LEN).map(byte).collect()
});

/// Memory of a guest: private, and gone where its pages were given back.
#[derive(Debug)]
pub(crate) struct Guest {
    start: *mut u8,
    is_changed: bool,
}

impl Guest {
    pub(crate) const LEN: usize = PAGES * PAGE;

    pub(crate) fn new() -> Self {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: new memory at a place of the system's choice, so nothing that exists is mapped over.
        let start =
            unsafe { mmap_anonymous(ptr::null_mut(), Self::LEN, access, MapFlags::PRIVATE) };
        let mut guest = Self {
            start: start.expect("memory for a guest").cast(),
            is_changed: true,
        };
        guest.restore();
        guest
    }

    /// Where `len` bytes from `at` on are, with as many of them as there are.
    pub(crate) fn at(&self, at: u32, len: u32) -> (*mut u8, usize) {
        let at = (at as usize).min(Self::LEN);
        // SAFETY: at most at the end of the mapping.
        (
            unsafe { self.start.add(at) },
            (len as usize).min(Self::LEN - at),
        )
    }

    /// Other bytes are in `len` bytes from `at` on.
    pub(crate) fn change(&mut self, at: u32, len: u32) {
        self.is_changed = true;
        let (start, len) = self.at(at, len);
        // SAFETY: within the mapping, and the streams look at it only when they are called.
        unsafe { start.write_bytes(0x5a, len) };
    }

    /// Pages may be given back.
    pub(crate) fn may_be_released(&mut self) {
        self.is_changed = true;
    }

    /// The pages that are gone, as bits.
    pub(crate) fn gone(&self) -> u64 {
        if !self.is_changed {
            return 0;
        }
        let is_gone = |page: &usize| {
            // SAFETY: within the mapping.
            unsafe { self.start.add(page * PAGE + 1).read_volatile() == 0 }
        };
        (0..PAGES).filter(is_gone).map(|page| 1 << page).sum()
    }

    /// As it was at first: no byte is 0.
    pub(crate) fn restore(&mut self) {
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        // SAFETY: as long as the mapping, which is no Rust object.
        unsafe {
            self.start
                .copy_from_nonoverlapping(FILLING.as_ptr(), Self::LEN);
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and no stream refers to it any more.
        let _ = unsafe { rustix::mm::munmap(self.start.cast(), Self::LEN) };
    }
}
