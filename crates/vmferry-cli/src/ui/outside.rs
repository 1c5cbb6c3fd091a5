//! Text from outside, made harmless: names come from the machines that are looked at, and their makers may want
//! a terminal to do something, or a line to look like one of ours.
//!
//! Everything that is printed passes through here: whole results and messages through [`harmless`], what stands within
//! a line of them through [`in_line`] before, JSON through [`json`].

use std::borrow::Cow;
use std::fmt::Write;
use std::io;

use serde::Serialize;

/// Whether a character tells a terminal what to do, or makes text look like other text than it is.
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Lines of text without anything harmful.
pub fn harmless(text: &str) -> Cow<'_, str> {
    escaped(text.into(), |c| is_harmful(c) && c != '\n')
}

/// Text for the inside of one line: nothing in it begins another.
pub fn in_line<'a>(text: impl Into<Cow<'a, str>>) -> Cow<'a, str> {
    escaped(text.into(), is_harmful)
}

fn escaped(text: Cow<'_, str>, is_harmful: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_harmful) {
        return text;
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe.into()
}

/// A message: what follows its first line is indented, so that no line looks like a message of its own.
pub(super) fn message(text: &str) -> String {
    harmless(text.trim_end()).replace('\n', "\n  ")
}

/// Standard error for what others format: logs.
#[derive(Debug, Clone, Copy)]
pub struct HarmlessStderr;

impl io::Write for HarmlessStderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        io::Write::write_all(&mut io::stderr(), harmless(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::Write::flush(&mut io::stderr())
    }
}

/// A value as JSON, on one line.
///
/// # Errors
/// It cannot be written as JSON.
pub fn json(value: &impl Serialize) -> serde_json::Result<String> {
    Ok(harmless_json(&serde_json::to_string(value)?))
}

/// A value as JSON, laid out for people.
///
/// # Errors
/// It cannot be written as JSON.
pub(super) fn pretty_json(value: &impl Serialize) -> serde_json::Result<String> {
    Ok(harmless_json(&serde_json::to_string_pretty(value)?))
}

/// JSON with everything harmful escaped, which is in strings only: a parser gives back what was there.
fn harmless_json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_tell_the_terminal_what_to_do() {
        assert_eq!(harmless("a\nb é"), "a\nb é");
        assert_eq!(
            harmless("a\x1b[2Jb\r\u{9b}\u{202e}"),
            "a\\u{1b}[2Jb\\r\\u{9b}\\u{202e}"
        );
    }

    #[test]
    fn a_name_cannot_begin_a_line() {
        assert_eq!(in_line("a\nerror: b"), "a\\nerror: b");
        assert_eq!(message("a\nerror: b\n"), "a\n  error: b");
    }

    #[test]
    fn json_is_harmless_and_says_the_same() {
        let text = "\u{0}\x1b\x7f\u{80}\u{9b}\u{9f}\u{61c}\u{202e}\u{feff}\u{e0041}\"\\\né";
        for json in [json(&[text]), pretty_json(&[text])] {
            let json = json.unwrap();
            assert!(!json.contains(|c| is_harmful(c) && c != '\n'), "{json:?}");
            assert_eq!(serde_json::from_str::<[String; 1]>(&json).unwrap(), [text]);
        }
    }
}
