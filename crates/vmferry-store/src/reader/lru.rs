//! A small cache that forgets what was not used for longest.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// At most `capacity` values. The lock is held for a look-up, never while a value is made: two threads
/// that miss the same key both make it, and neither waits for the other.
pub(super) struct Lru<K, V> {
    capacity: usize,
    entries: Mutex<Entries<K, V>>,
}

struct Entries<K, V> {
    clock: u64,
    by_key: HashMap<K, (V, u64)>,
}

impl<K: Copy + Eq + Hash, V: Clone> Lru<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            entries: Mutex::new(Entries {
                clock: 0,
                by_key: HashMap::new(),
            }),
        }
    }

    /// The value of `key`, made by `make` if it is not there.
    pub(super) fn get_or<E>(&self, key: K, make: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        {
            let mut entries = self.lock();
            entries.clock += 1;
            let clock = entries.clock;
            if let Some((value, used)) = entries.by_key.get_mut(&key) {
                *used = clock;
                return Ok(value.clone());
            }
        }
        let value = make()?;
        let mut entries = self.lock();
        if entries.by_key.len() >= self.capacity && !entries.by_key.contains_key(&key) {
            // Some hundred entries: walking them costs less than keeping them in order would.
            let oldest = entries.by_key.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                entries.by_key.remove(&oldest);
            }
        }
        let clock = entries.clock;
        entries.by_key.insert(key, (value.clone(), clock));
        Ok(value)
    }

    fn lock(&self) -> MutexGuard<'_, Entries<K, V>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::Lru;

    #[test]
    fn what_was_not_used_for_longest_is_forgotten_first() {
        let cache = Lru::new(2);
        let mut made = Vec::new();
        for key in [1, 2, 1, 3, 1, 2] {
            let value = cache.get_or(key, || {
                made.push(key);
                Ok::<_, Infallible>(key * 10)
            });
            assert_eq!(value, Ok(key * 10));
        }
        assert_eq!(made, [1, 2, 3, 2]);
    }

    #[test]
    fn a_value_that_could_not_be_made_is_asked_for_again() {
        let cache: Lru<u32, u32> = Lru::new(2);
        assert_eq!(cache.get_or(1, || Err("no")), Err("no"));
        assert_eq!(cache.get_or(1, || Ok::<_, &str>(7)), Ok(7));
    }
}
