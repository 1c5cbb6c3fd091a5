//! How much a piece of code loads from memory.
//!
//! `-sanitizer-coverage-trace-loads` makes the compiler call one of these functions before each load. LLVM does not
//! instrument what is named `__sanitizer_…`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static LOADS: AtomicU64 = AtomicU64::new(0);

macro_rules! count {
    ($($name:ident)*) => {$(
        // The name is what the instrumentation calls, and nothing else has it.
        #[unsafe(no_mangle)]
        extern "C" fn $name(_: *const u8) {
            // One thread reads; what others load may get lost.
            LOADS.store(LOADS.load(Relaxed).wrapping_add(1), Relaxed);
        }
    )*};
}

count!(__sanitizer_cov_load1 __sanitizer_cov_load2 __sanitizer_cov_load4 __sanitizer_cov_load8 __sanitizer_cov_load16);

/// The loads of `run`.
pub fn of(run: impl FnOnce()) -> u64 {
    let before = LOADS.load(Relaxed);
    run();
    LOADS.load(Relaxed).wrapping_sub(before)
}
