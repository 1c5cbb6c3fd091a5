//! What a person sees: messages, progress, tables, numbers.
//!
//! Standard output is for results; everything here goes to standard error, except what is printed
//! as the result.

mod human;
mod progress;
mod result;
mod signals;

pub use human::{bytes, duration, percent};
pub use progress::{PassProgress, Progress, ProgressStyle, RamSnapshot, Snapshot, StoreSnapshot};
pub use result::{Table, print_bytes, print_json, print_text};
pub use signals::{Interrupted, Signals};

use std::borrow::Cow;
use std::fmt::Display;

use anstream::eprintln;
use anstyle::{AnsiColor, Style};

const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const ERROR: Style = AnsiColor::Red.on_default().bold();

/// Something that is good to know.
pub fn note(text: impl Display) {
    eprintln!("vmferry: {text}");
}

/// Something that should not be overlooked.
pub fn warn(text: impl Display) {
    let text = text.to_string();
    eprintln!("{WARNING}warning:{WARNING:#} {}", harmless(&text));
}

/// Why it could not be done: the chain of causes, once.
pub fn error(error: &anyhow::Error) {
    eprintln!("{ERROR}error:{ERROR:#} {}", harmless(&chain(error)));
}

/// Text in which nothing tells a terminal what to do: names come from the machines that are looked at.
fn harmless(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| c.is_control() && c != '\n';
    if !text.contains(harmful) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if harmful(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe.into()
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

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn a_name_cannot_tell_the_terminal_what_to_do() {
        assert_eq!(harmless("a\nb é"), "a\nb é");
        assert_eq!(harmless("a\x1b[2Jb\r\u{9b}"), "a\\u{1b}[2Jb\\r\\u{9b}");
    }
}
