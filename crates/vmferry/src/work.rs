//! How much is looked at, for tests that hold it against the length of what is read.
//!
//! Input is hostile: a loop over it is linear in its length, or has a named limit. Loops that look ahead, search, or
//! walk over what is kept count their steps here, each thread its own. Counting is compiled in where debug assertions
//! are, and costs nothing elsewhere.

#[cfg(debug_assertions)]
thread_local! {
    static DONE: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Counts steps: bytes looked at, or entries walked over.
#[inline]
pub fn count(steps: usize) {
    #[cfg(debug_assertions)]
    DONE.with(|done| done.set(done.get().saturating_add(steps as u64)));
    #[cfg(not(debug_assertions))]
    let _ = steps;
}

/// What `run` returns, and the steps that it took in this thread: always 0 where they are not counted.
pub fn of<T>(run: impl FnOnce() -> T) -> (T, u64) {
    let before = done();
    let result = run();
    (result, done().wrapping_sub(before))
}

fn done() -> u64 {
    #[cfg(debug_assertions)]
    return DONE.with(std::cell::Cell::get);
    #[cfg(not(debug_assertions))]
    0
}
