//! The `vmferry` command as a library: what the program does, and what the test lab uses of it.

pub mod args;
pub mod command;
pub mod guardian;
pub mod machine;
pub mod migration;
pub mod qmp;
pub mod settings;
pub mod ui;
