//! The only place with `unsafe` code: what safe Rust cannot say to the kernel.
