//! When a blow falls: at random, but everywhere.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The first milliseconds of a save, in which most is set up; the moments of some runs are all in there.
const BEGINNING: Duration = Duration::from_millis(150);

/// How much longer than an undisturbed save the last moments are: what comes at the very end counts, too.
const OVERTIME: f64 = 1.05;

/// The moment of one of `runs` runs, in a save that takes `whole` if nobody disturbs it.
///
/// Each run has a part of the time for itself, so that few runs see all of it, too; every fifth looks at
/// the beginning.
pub(super) fn of(run: u32, runs: u32, whole: Duration) -> Duration {
    let fraction = chance();
    if run % 5 == 4 {
        return BEGINNING.mul_f64(fraction);
    }
    // Spread over the time in an order that a campaign that is cut short has seen all of, too.
    let part = (f64::from(run) * 0.618_033_988_75).fract();
    let width = 1.0 / f64::from(runs.max(1));
    whole.mul_f64(((part + width * fraction) * OVERTIME).min(OVERTIME))
}

/// A random number from 0 to 1.
pub(super) fn chance() -> f64 {
    // The standard library's hasher is seeded anew each time.
    let bits = RandomState::new().hash_one(0) >> 11;
    #[expect(clippy::cast_precision_loss, reason = "these are 53 bits")]
    let fraction = bits as f64 / (1_u64 << 53) as f64;
    fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_all_over_a_save_and_in_its_beginning() {
        let whole = Duration::from_secs(2);
        let moments: Vec<_> = (0..30).map(|run| of(run, 30, whole)).collect();
        assert!(
            moments
                .iter()
                .all(|moment| *moment <= whole.mul_f64(OVERTIME))
        );
        assert!(moments.iter().filter(|moment| **moment < BEGINNING).count() >= 6);
        for quarter in 0..4 {
            let from = whole.mul_f64(f64::from(quarter) / 4.0);
            let within = from..from + whole / 4;
            assert!(
                moments.iter().any(|moment| within.contains(moment)),
                "{quarter}"
            );
        }
    }
}
