//! The `vmferry` command as a library: what the program does, and what the test lab uses of it.

// What is printed goes through `ui`, which makes text from outside harmless.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod args;
pub mod command;
mod damage;
mod devices_alone;
pub mod exit;
pub mod export;
mod fault;
pub mod guardian;
pub mod machine;
pub mod map;
pub mod migration;
mod option_list;
pub mod output;
mod place;
pub mod qmp;
mod report;
pub mod saved;
pub mod settings;
mod store;
pub mod ui;
mod user_folder;
pub mod view;
mod watch;
