//! What is known of where a machine's memory lies, once a person has said more.

use vmferry::machine::MachineState;
use vmferry::ram::RamBlocks;
use vmferry::ram::layout::Known;

use crate::args::Export;
use crate::view::known::of_state;

/// What the state says, and what a person said, which counts more.
pub fn known(state: &MachineState, blocks: &RamBlocks, export: &Export) -> Known {
    let mut known = of_state(state, blocks);
    let placed = &mut known.placed;
    placed.retain(|(name, _)| !export.place.iter().any(|(other, _)| other == name));
    placed.extend(export.place.iter().cloned());
    Known {
        below_4g: export.below_4g,
        main: export.ram.clone(),
        ..known
    }
}
