//! When a blow falls: at random, but everywhere, and above all where something begins or ends.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// How much longer than an undisturbed save the last moments are: what comes at the very end counts, too.
const OVERTIME: f64 = 1.05;

/// How long after an event of QEMU's a blow falls, at most.
const AFTER_EVENT: Duration = Duration::from_millis(80);

/// What is known of a save that nobody disturbs.
#[derive(Debug, Clone, Default)]
pub(super) struct Undisturbed {
    /// How long it takes.
    pub(super) whole: Duration,
    /// How long it takes until QEMU says something of it.
    pub(super) setup: Duration,
    /// What QEMU says of it, in this order.
    pub(super) events: Vec<String>,
}

/// When a blow falls.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Moment {
    /// So long after the start of the save.
    After(Duration),
    /// So long after there is a guardian.
    AfterGuardian(Duration),
    /// So long after QEMU has said something.
    AfterEvent(String, Duration),
}

/// The moment of one of `runs` runs.
///
/// Half of them are spread over the whole save, so that few runs see all of it, too. A quarter falls where
/// settings are changed, and a quarter where the state of the migration or of the guest changes: that takes
/// milliseconds, and pure chance would seldom hit it.
pub(super) fn of(run: u32, runs: u32, undisturbed: &Undisturbed) -> Moment {
    let fraction = chance();
    let setup = undisturbed.setup.max(Duration::from_millis(50));
    match run % 4 {
        1 => match pick(&undisturbed.events) {
            Some(event) => {
                Moment::AfterEvent(event.clone(), AFTER_EVENT.mul_f64(fraction * fraction))
            }
            None => Moment::After(setup.mul_f64(fraction)),
        },
        2 if run % 8 == 2 => Moment::AfterGuardian(setup.mul_f64(fraction)),
        2 => Moment::After(setup.mul_f64(fraction * OVERTIME)),
        _ => {
            // In an order that a campaign that is cut short has been all over the save with, too.
            let part = (f64::from(run) * 0.618_033_988_75).fract();
            let width = 1.0 / f64::from(runs.max(1));
            let at = (part + width * fraction) * OVERTIME;
            Moment::After(undisturbed.whole.mul_f64(at.min(OVERTIME)))
        }
    }
}

fn pick(events: &[String]) -> Option<&String> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a small number"
    )]
    let index = (chance() * events.len() as f64) as usize;
    events.get(index)
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
    fn moments_are_all_over_a_save_and_where_things_change() {
        let undisturbed = Undisturbed {
            whole: Duration::from_secs(2),
            setup: Duration::from_millis(100),
            events: vec!["setup".to_owned(), "completed".to_owned()],
        };
        let moments: Vec<_> = (0..30).map(|run| of(run, 30, &undisturbed)).collect();
        for quarter in 0..4 {
            let from = Duration::from_millis(500) * quarter;
            let within = from..from + Duration::from_millis(500);
            let hits = |moment: &Moment| matches!(moment, Moment::After(at) if within.contains(at));
            assert!(moments.iter().any(hits), "{quarter}");
        }
        let count =
            |wanted: fn(&Moment) -> bool| moments.iter().filter(|moment| wanted(moment)).count();
        assert!(
            count(|moment| matches!(moment, Moment::AfterEvent(_, after) if *after < AFTER_EVENT))
                >= 7
        );
        assert!(count(|moment| matches!(moment, Moment::AfterGuardian(_))) >= 3);
        let first: Vec<_> = (0..3).map(|run| of(run, 3, &undisturbed)).collect();
        assert!(matches!(
            first.as_slice(),
            [
                Moment::After(_),
                Moment::AfterEvent(..),
                Moment::AfterGuardian(_)
            ]
        ));
    }
}
