//! What is shown of a saved state: its devices as trees of named values, and its pages as ranges.
//!
//! Commands look at a state through here, so that a field has the same name, and a value the same
//! form, whichever command shows it.

pub mod container;
pub mod devices;
mod json;
pub mod known;
pub mod layout;
pub mod listing;
pub mod mode;
mod path;
pub mod ranges;
pub mod scan;
pub mod scanned;
mod seen;
mod text;

pub use json::Tree;
pub(crate) use json::{Hex, JsonValue};
pub use path::{Leaf, leaves, lookup};
pub(crate) use path::{key_label, label};
pub use text::write_tree;
pub(crate) use text::{show, text, write_dump};

/// `1 page`, `2 pages`.
pub(crate) fn count(number: u64, of: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {of}{plural}")
}
