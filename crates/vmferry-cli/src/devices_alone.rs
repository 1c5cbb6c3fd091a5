//! A state without memory: what it is, and what cannot be made of it.

use anyhow::{Result, bail};
use vmferry::machine::MachineState;
use vmferry::ram::{PageSource, RamBlocks};

use crate::saved::Saved;

/// What a state is that has devices, and nothing else.
pub(crate) const DEVICES_ALONE: &str = "this is the state of devices alone, without configuration and RAM, as QMP's \
    xen-save-devices-state writes it; xen-load-devices-state takes it as it is";

/// Whether a state is that.
pub(crate) fn is_devices_alone(state: &MachineState, blocks: &RamBlocks) -> bool {
    state.configuration.is_none() && blocks.is_empty() && !state.devices.is_empty()
}

/// Refuses a state without memory, where it is memory that is wanted.
pub(crate) fn has_memory(saved: &Saved) -> Result<()> {
    if is_devices_alone(saved.state(), saved.blocks()) {
        bail!("{DEVICES_ALONE}");
    }
    if saved.blocks().is_empty() {
        bail!("there is no RAM in it");
    }
    Ok(())
}
