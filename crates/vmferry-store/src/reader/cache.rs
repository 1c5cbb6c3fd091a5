//! What is kept in memory, up to a total weight.
//!
//! `get_or_insert_with` makes a missing value once: other threads that want it wait for the one that
//! makes it, and for nobody else. If that fails, the next of them tries.

use std::hash::Hash;
use std::sync::Arc;

use quick_cache::sync::{Cache as QuickCache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

/// Shared values by key.
pub(super) type Cache<K, V> = QuickCache<K, Arc<V>, Weigher>;

/// A value that knows how much of a cache's capacity it takes: at least 1.
pub(super) trait Weight {
    fn weight(&self) -> u64;
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Weigher;

impl<K, V: Weight> Weighter<K, Arc<V>> for Weigher {
    fn weight(&self, _: &K, value: &Arc<V>) -> u64 {
        value.weight()
    }
}

/// Half of the room goes to what was asked for more than once, so that a walk over everything does
/// not drive it out; the other half is a queue, in which several walks find each other's values.
const SHARE_OF_THE_OFTEN_USED: f64 = 0.5;

/// A cache of at most `capacity`, whose values weigh about `typical` each.
pub(super) fn cache<K: Eq + Hash, V: Weight>(capacity: u64, typical: u64) -> Cache<K, V> {
    let mut options = OptionsBuilder::new();
    let options = options
        .weight_capacity(capacity)
        .estimated_items_capacity(usize::try_from(capacity / typical.max(1)).unwrap_or(usize::MAX))
        .hot_allocation(SHARE_OF_THE_OFTEN_USED)
        .build();
    match options {
        Ok(options) => Cache::with_options(
            options,
            Weigher,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        ),
        // Both values that it needs were given.
        Err(_) => Cache::with_weighter(1, capacity, Weigher),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;

    struct Bytes(u64);

    impl Weight for Bytes {
        fn weight(&self) -> u64 {
            self.0
        }
    }

    fn ok(bytes: u64) -> Result<Arc<Bytes>, &'static str> {
        Ok(Arc::new(Bytes(bytes)))
    }

    #[test]
    fn the_weight_of_all_values_is_bounded_and_a_value_that_is_too_heavy_is_not_kept() {
        let cache: Cache<u32, Bytes> = cache(1000, 100);
        for key in 0..100 {
            cache.get_or_insert_with(&key, || ok(100)).unwrap();
            assert!(cache.weight() <= 1000, "{}", cache.weight());
        }
        assert!(cache.weight() >= 500);
        let heavy = cache.get_or_insert_with(&1000, || ok(5000)).unwrap();
        assert_eq!(heavy.0, 5000);
        assert!(cache.peek(&1000).is_none());
    }

    #[test]
    fn threads_that_miss_the_same_key_make_its_value_once() {
        let cache: Cache<u32, Bytes> = cache(1000, 100);
        let made = AtomicU32::new(0);
        let start = Barrier::new(8);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    for key in 0..50 {
                        let value = cache.get_or_insert_with(&key, || {
                            made.fetch_add(1, Ordering::Relaxed);
                            thread::yield_now();
                            ok(1)
                        });
                        assert_eq!(value.unwrap().0, 1);
                    }
                });
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 50);
    }

    #[test]
    fn a_value_that_could_not_be_made_is_asked_for_again() {
        let cache: Cache<u32, Bytes> = cache(1000, 100);
        assert_eq!(cache.get_or_insert_with(&1, || Err("no")).err(), Some("no"));
        assert_eq!(cache.get_or_insert_with(&1, || ok(7)).unwrap().0, 7);
    }
}
