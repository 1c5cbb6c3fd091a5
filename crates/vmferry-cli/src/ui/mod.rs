//! What a person sees: messages, progress, tables, numbers.
//!
//! Standard output is for results; everything here goes to standard error, except what is printed
//! as the result.

mod human;
mod outside;
mod progress;
mod result;
mod signals;

pub use human::{bytes, duration, percent};
pub use outside::{HarmlessStderr, harmless, in_line, is_harmful, json};
pub use progress::{PassProgress, Progress, ProgressStyle, RamSnapshot, Snapshot, StoreSnapshot};
pub use result::{SCHEMA, Table, print_bytes, print_json, print_text};
pub use signals::{Interrupted, Signals};

use std::fmt::Display;

use anstream::eprintln;
use anstyle::{AnsiColor, Style};

const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const ERROR: Style = AnsiColor::Red.on_default().bold();

/// Something that is good to know.
pub fn note(text: impl Display) {
    eprintln!("vmferry: {}", outside::message(&text.to_string()));
}

/// Something that should not be overlooked.
pub fn warn(text: impl Display) {
    let text = outside::message(&text.to_string());
    eprintln!("{WARNING}warning:{WARNING:#} {text}");
}

/// Why it could not be done: the chain of causes, once.
pub fn error(error: &anyhow::Error) {
    let text = outside::message(&chain(error));
    eprintln!("{ERROR}error:{ERROR:#} {text}");
}

/// An error with its causes, in one line.
pub fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        let cause = cause.trim_end();
        // Some errors show their cause in their own text.
        if !text.contains(cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(cause);
        }
    }
    text
}
