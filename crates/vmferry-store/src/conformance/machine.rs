//! Small machines with pages of their own and pages that all of them have.

use std::num::NonZeroUsize;

use vmferry::load::Visitor;
use vmferry::ram::{BlockIndex, Page, PageIndex, PageSize, RamBlock};

use crate::error::StoreError;
use crate::store::Store;
use crate::writer::{SaveOptions, Writer};

/// Pages of a machine, of 1 KiB each.
pub(crate) const PAGES: u64 = 12;

/// A page of a machine: half of the pages are the same in all machines.
pub(crate) fn page(machine: u64, page: u64) -> Vec<u8> {
    let machine = if page < PAGES / 2 { 0 } else { machine };
    let seed = format!("{machine} {page}");
    let mut bytes = vec![0; 1024];
    blake3::Hasher::new()
        .update(seed.as_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// A save that has all pages of a machine.
///
/// # Errors
/// The store refuses them.
pub(crate) fn begin_save(store: &Store, machine: u64) -> Result<Writer, StoreError> {
    let options = SaveOptions::default().workers(NonZeroUsize::MIN);
    let mut writer = store.save("vm".parse()?, &options)?;
    let block = RamBlock {
        idstr: "pc.ram".into(),
        used_length: PAGES * 1024,
        host_page_size: None,
    };
    writer.ram_blocks(&[block].into_iter().collect(), PageSize::MIN)?;
    for number in 0..PAGES {
        let bytes = page(machine, number);
        writer.put(BlockIndex(0), PageIndex(number), Page::Data(&bytes))?;
    }
    Ok(writer)
}
