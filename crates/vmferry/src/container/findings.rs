//! What was found out about a container while the stream in it was read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Damage;

/// The most findings of each kind that are kept; after the first ones, one is like the other.
const KEPT: usize = 16;

/// What is wrong with a container, and what was passed over in it. Some of it is only known when the stream was read
/// to its end. Clones share what they hold.
#[derive(Debug, Clone, Default)]
pub struct Findings(Arc<Mutex<Lists>>);

#[derive(Debug, Default)]
struct Lists {
    damages: Vec<Damage>,
    notes: Vec<String>,
    is_compressed: bool,
}

impl Findings {
    /// What is wrong, in the order in which it was found. In strict mode each of them was an error, too.
    pub fn damages(&self) -> Vec<Damage> {
        self.lists().damages.clone()
    }

    /// What was passed over, as the programs do that the container is made for.
    pub fn notes(&self) -> Vec<String> {
        self.lists().notes.clone()
    }

    /// Whether any of what was opened is compressed.
    pub fn is_compressed(&self) -> bool {
        self.lists().is_compressed
    }

    pub(super) fn set_compressed(&self) {
        self.lists().is_compressed = true;
    }

    pub(super) fn damage(&self, damage: Damage) {
        let damages = &mut self.lists().damages;
        if damages.len() < KEPT {
            damages.push(damage);
        }
    }

    pub(super) fn note(&self, note: impl Into<String>) {
        let notes = &mut self.lists().notes;
        if notes.len() < KEPT {
            notes.push(note.into());
        }
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
