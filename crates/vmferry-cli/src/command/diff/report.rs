//! The result of a comparison: `docs/json.md` describes it.

use serde::Serialize;
use vmferry::machine::MachineState;

use super::devices::{DeviceDifferences, OldNew};
use super::memory::MemoryDifferences;
use crate::args::Diff;
use crate::saved::Saved;

/// What changed.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    schema: u32,
    pub(super) old: &'a str,
    pub(super) new: &'a str,
    pub(super) same: bool,
    /// The machine types.
    pub(super) machine: OldNew<Option<String>>,
    pub(super) run_state: OldNew<Option<String>>,
    pub(super) devices: DeviceDifferences,
    /// `None` if it was left out.
    pub(super) memory: Option<MemoryDifferences>,
}

impl<'a> Report<'a> {
    pub(super) fn new(
        diff: &'a Diff,
        old: &Saved,
        new: &Saved,
        devices: DeviceDifferences,
        memory: Option<MemoryDifferences>,
    ) -> Self {
        let both = |of: fn(&MachineState) -> Option<String>| OldNew {
            old: of(old.state()),
            new: of(new.state()),
        };
        let machine = both(|state| state.configuration.as_ref().map(|c| c.machine.clone()));
        let memory_is_same = memory.as_ref().is_none_or(MemoryDifferences::is_empty);
        Self {
            schema: crate::ui::SCHEMA,
            old: &diff.old,
            new: &diff.new,
            same: machine.old == machine.new && devices.is_empty() && memory_is_same,
            machine,
            run_state: both(|state| state.run_state().map(str::to_owned)),
            devices,
            memory,
        }
    }
}
