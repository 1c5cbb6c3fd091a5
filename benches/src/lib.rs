//! What the benchmarks share: the machine they run on, and how figures are put together.
//!
//! Peers take turns, round after round, on the same machine at the same time: what the machine does
//! besides meets all of them. What is compared is the median.

mod figures;
mod machine;
mod memory;

pub use figures::Figures;
pub use machine::describe;
pub use memory::PeakMemory;
