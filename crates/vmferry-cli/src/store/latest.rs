//! Which checkpoint is the latest: ids begin with the time of their save by the wall clock, and a clock can go back.

use jiff::{SignedDuration, Timestamp};
use vmferry_store::{CheckpointId, CheckpointName, CheckpointRef, Store, StoreError, Which};

use crate::ui;

/// Clocks of hosts that share a store may differ by so much.
const APART: SignedDuration = SignedDuration::from_secs(5);

/// Which checkpoint is meant. Says so where the latest is dated later than now.
///
/// # Errors
/// None or several.
pub(crate) fn resolve(
    store: &Store,
    reference: &CheckpointRef,
) -> Result<CheckpointName, StoreError> {
    let name = store.resolve(reference)?;
    if reference.which == Which::Latest && is_later(&name.id, Timestamp::now()) {
        ui::warn(format_args!(
            "the latest checkpoint of '{}' is {name}, and it is not yet that time: the clock went back, or that of \
             the host which saved it is ahead. One that was saved since is not 'latest': 'vmferry list {}' shows \
             them",
            name.vm, name.vm
        ));
    }
    Ok(name)
}

/// Says so where a checkpoint that was just saved is not the latest.
pub(crate) fn warn_if_another_is_latest(store: &Store, saved: &CheckpointName) {
    let latest = CheckpointRef {
        vm: saved.vm.clone(),
        which: Which::Latest,
    };
    match store.resolve(&latest) {
        Ok(latest) if latest.id > saved.id => ui::warn(format_args!(
            "'{}@latest' is still {latest}: the clock went back since that was saved, or another save began later. \
             This one is {saved}",
            saved.vm
        )),
        // Whatever is wrong with the store, this one has been saved.
        _ => {}
    }
}

fn is_later(id: &CheckpointId, now: Timestamp) -> bool {
    let Ok(now) = now.checked_add(APART) else {
        return false;
    };
    let now = now.strftime("%Y%m%dT%H%M%S").to_string();
    // As texts: the ids of others need not be times.
    let time = id.as_str().get(..now.len());
    time.is_some_and(|time| time.contains('T') && time > now.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_later_time_is_told_from_one_of_now() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let later = |id: &str| is_later(&id.parse().unwrap(), now);
        assert!(!later("20261128T115959999Z-00000000"));
        assert!(!later("20261128T120004000Z-00000000"));
        assert!(later("20261128T120006000Z-00000000"));
        assert!(later("20270101T000000000Z-00000000"));
        assert!(!later("9"));
        assert!(!later("99999999999999999999"));
    }
}
