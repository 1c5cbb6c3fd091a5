//! Text that anybody may have written, made harmless: for elements, for attributes, and inside a script.

use std::fmt::{self, Write};

use anyhow::Result;
use serde::Serialize;

use crate::ui::{self, is_harmful};

/// Text for the inside of an element, or of an attribute in quotes.
///
/// What would turn the direction of the text around, or cannot be seen, is shown as a character that stands for
/// all that cannot be shown: a name must look like what it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a>(pub(super) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(visible(c))?,
            }
        }
        Ok(())
    }
}

/// The same for text that a script shows.
pub(super) fn shown(text: &str) -> String {
    text.chars().map(visible).collect()
}

fn visible(c: char) -> char {
    match c {
        '\n' | '\t' => ' ',
        c if is_harmful(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

/// JSON for the inside of a script element, which nothing in it can end.
///
/// # Errors
/// It cannot be written as JSON.
pub(super) fn json(value: &impl Serialize) -> Result<String> {
    let text = ui::json(value)?;
    // In JSON these stand in strings only, where they may be written so.
    let mut harmless = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' | '>' | '&' => {
                write!(harmless, "\\u{:04x}", u32::from(c))?;
            }
            c => harmless.push(c),
        }
    }
    Ok(harmless)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_an_element_or_an_attribute() {
        let hostile = "</script><img src=x onerror='a()'>\" & \u{202e}\u{0}\n";
        let text = Text(hostile).to_string();
        assert_eq!(
            text,
            "&lt;/script&gt;&lt;img src=x onerror=&#39;a()&#39;&gt;&quot; &amp; \u{fffd}\u{fffd} "
        );
    }

    #[test]
    fn no_text_ends_a_script_and_all_of_it_comes_back() {
        let hostile = "</script><!--<script>]]>&\u{2028}\"\\\u{0}";
        let json = json(&hostile).unwrap();
        assert!(!json.contains(['<', '>', '&', '\u{2028}']), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), hostile);
    }

    #[test]
    fn ordinary_names_stay_as_they_are() {
        for name in ["0000:00:1f.2/ich9_ahci", "/rom@etc/acpi/tables", "Größe"] {
            assert_eq!(Text(name).to_string(), name);
            assert_eq!(shown(name), name);
        }
    }
}
