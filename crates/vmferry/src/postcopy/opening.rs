//! Everything that is sent before the guest runs.

use super::{HostPages, PostcopyError};
use crate::machine::{MachineState, Phase};
use crate::ram::{PageSource, RamBlocks};
use crate::save::{Outgoing, RamWriter};
use crate::wire::command::{Command, PostcopyAdvise, RamDiscard};
use crate::wire::ram::ListFields;
use crate::wire::{Sink, header};

/// The most that a package takes: what the first releases with postcopy took. A device state that
/// comes near it is some hundred times larger than any that we have seen.
#[doc(alias = "MAX_VM_CMD_PACKAGED_SIZE")]
const PACKAGE_LIMIT: usize = 16 << 20;

/// The PING behind the devices: its PONG says that they are loaded. QEMU's own sources number theirs so.
pub(super) const DEVICES_LOADED: u32 = 3;

/// Sends the opening, and gives the section that pages follow in.
pub(super) fn send<P: PageSource>(
    state: &MachineState,
    source: &P,
    host_pages: &HostPages,
    tx: &mut impl Outgoing,
) -> Result<RamWriter, PostcopyError<P::Error>> {
    if state.lacks_shared_memory() {
        return Err(PostcopyError::SharedMemoryLeftOut);
    }
    let mut ram = RamWriter::of_machine(state, source);
    let mut page_sizes = 0;
    let indices: Vec<_> = source.blocks().iter().map(|(index, _)| index).collect();
    for index in indices {
        let size = host_pages.of(index);
        page_sizes |= size;
        let mut block = source.blocks().as_slice()[index.0].clone();
        block.host_page_size = (size != host_pages.base).then_some(size);
        ram.blocks_mut().insert(block);
    }

    header::encode(tx);
    state.encode_configuration(tx);
    Command::OpenReturnPath.encode(tx);
    let target_page_size = source.page_size().bytes() as u64;
    Command::PostcopyAdvise(PostcopyAdvise::Ram {
        page_sizes,
        target_page_size,
    })
    .encode(tx);
    ram.start(tx, ListFields::HostPageSize);
    state.encode_devices(Phase::Early, tx);
    discard_a_page(ram.blocks(), host_pages, tx);
    tx.put(&package(state)?);
    tx.flush().map_err(PostcopyError::Send)?;
    Ok(ram)
}

/// Nothing was sent that would have to be discarded. But a LISTEN that no discard precedes leaves
/// QEMU's listening thread in the wrong state: it faults on the guest's memory itself, and hangs. An
/// empty range would do for private memory; for shared memory and huge pages QEMU refuses it.
fn discard_a_page(blocks: &RamBlocks, host_pages: &HostPages, tx: &mut impl Sink) {
    let Some((index, block)) = blocks.iter().max_by_key(|(_, block)| block.used_length) else {
        return;
    };
    let host_page = host_pages.of(index).min(block.used_length);
    let discard = RamDiscard {
        block: block.idstr.clone(),
        ranges: std::iter::once(0..host_page).collect(),
    };
    Command::PostcopyRamDiscard(discard).encode(tx);
}

/// The nested stream that starts the guest.
fn package<P>(state: &MachineState) -> Result<Vec<u8>, PostcopyError<P>> {
    let mut nested = Vec::new();
    Command::PostcopyListen.encode(&mut nested);
    state.encode_devices(Phase::Device, &mut nested);
    Command::Ping(DEVICES_LOADED).encode(&mut nested);
    Command::PostcopyRun.encode(&mut nested);
    let len = nested.len();
    let too_long = PostcopyError::Package {
        len,
        limit: PACKAGE_LIMIT,
    };
    if len > PACKAGE_LIMIT {
        return Err(too_long);
    }
    let mut package = Vec::with_capacity(len + 16);
    Command::Packaged(u32::try_from(len).map_err(|_| too_long)?).encode(&mut package);
    package.append(&mut nested);
    Ok(package)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Image;
    use crate::machine::Configuration;
    use crate::wire::configuration::X_IGNORE_SHARED;

    #[test]
    fn nothing_is_sent_of_a_machine_whose_shared_memory_is_not_there() {
        let mut image = Image::default();
        image.state.configuration = Some(Configuration {
            machine: "pc-q35-10.0".into(),
            capabilities: vec![X_IGNORE_SHARED.into()],
            ..Configuration::default()
        });
        let mut sent = Vec::new();
        let result = send(&image.state, &image, &HostPages::ordinary(4096), &mut sent);
        assert!(matches!(result, Err(PostcopyError::SharedMemoryLeftOut)));
        assert_eq!(sent, b"");
    }
}
