//! How much a piece of code loads from memory.
//!
//! `-sanitizer-coverage-trace-loads` makes the compiler call one of these functions before each load. They are written
//! in assembler, because those of Rust would be instrumented, too, and call themselves. x86-64 only.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static LOADS: AtomicU64 = AtomicU64::new(0);

macro_rules! count {
    ($($name:literal)*) => {$(
        std::arch::global_asm!(
            concat!(".globl ", $name),
            concat!($name, ":"),
            // One thread reads; what others load meanwhile may get lost.
            "inc qword ptr [rip + {loads}]",
            "ret",
            loads = sym LOADS,
        );
    )*};
}

count!("__sanitizer_cov_load1" "__sanitizer_cov_load2" "__sanitizer_cov_load4" "__sanitizer_cov_load8" "__sanitizer_cov_load16");

/// The loads of `run`.
pub fn of(run: impl FnOnce()) -> u64 {
    let before = LOADS.load(Relaxed);
    run();
    LOADS.load(Relaxed).wrapping_sub(before)
}
