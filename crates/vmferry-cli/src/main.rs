//! The `vmferry` command.

fn main() {}
