//! The note with which a Linux guest tells debuggers how to find its kernel.
//!
//! A guest that has a `vmcoreinfo` device gives it the guest-physical address of an ELF note; only that is
//! in the device's state, and the note is in its RAM.

use anyhow::{Context, Result, bail, ensure};
use vmferry::machine::MachineState;
use vmferry::ram::layout::Layout;
use vmferry::ram::{PageIndex, PageKind, PageSource};
use vmferry::wire::vmdesc::VmDesc;
use vmferry::wire::vmstate::{self, Value};

/// The device.
const IDSTR: &str = "vmcoreinfo";

/// The format that the guest says if it is an ELF note.
const FORMAT_ELF: u64 = 1;

/// A note that is longer is none: Linux keeps one in a page.
pub const LONGEST: u64 = 1 << 20;

/// The note as it is in the guest's memory, where the guest gave one.
///
/// # Errors
/// It is not what it should be, or lies where there is no memory.
pub fn find<S: PageSource>(
    state: &MachineState,
    source: &S,
    layout: &Layout,
) -> Result<Option<Vec<u8>>> {
    let Some((address, len)) = place(state)? else {
        return Ok(None);
    };
    ensure!(
        len <= LONGEST,
        "its note of {len} bytes is longer than the limit of {LONGEST}"
    );
    let mut note = read(source, layout, address, len)?;
    let whole = length(&note);
    let whole = whole.with_context(|| {
        format!("at {address:#x}, expected an ELF note 'VMCOREINFO' in {len} bytes")
    })?;
    note.truncate(whole);
    Ok(Some(note))
}

/// Address and length of the note.
fn place(state: &MachineState) -> Result<Option<(u64, u64)>> {
    let Some(device) = state
        .devices
        .iter()
        .find(|device| device.header().idstr == IDSTR)
    else {
        return Ok(None);
    };
    let json = state.vmdesc.as_deref();
    let description = VmDesc::parse(json.context("the state has no description (vmdesc)")?, 0)?;
    let described = description
        .devices
        .iter()
        .find(|device| device.name == IDSTR);
    let described = described.context("its section is not described")?;
    let decoded = vmstate::decode(described, device.payload(), 0)?;
    let field = |name: &str| decoded.fields.iter().find(|field| field.name == name);
    if !field("has_vmcoreinfo").is_some_and(|field| field.value == Value::Bool(true)) {
        return Ok(None);
    }
    let number = |name: &str| match field(name).map(|field| &field.value) {
        Some(Value::Unsigned(number)) => Ok(*number),
        _ => bail!("expected a field '{name}'"),
    };
    let format = number("vmcoreinfo.guest_format")?;
    ensure!(
        format == FORMAT_ELF,
        "expected an ELF note (format {FORMAT_ELF}), found format {format}"
    );
    Ok(Some((
        number("vmcoreinfo.paddr")?,
        number("vmcoreinfo.size")?,
    )))
}

/// Reads guest-physical memory.
fn read<S: PageSource>(source: &S, layout: &Layout, address: u64, len: u64) -> Result<Vec<u8>> {
    let page_size = source.page_size();
    let mut page = vec![0; page_size.bytes()];
    let mut bytes = Vec::new();
    let (mut at, mut left) = (address, usize::try_from(len)?);
    while left > 0 {
        let found = layout.find(at);
        let (block, offset, _) = found.with_context(|| format!("there is no memory at {at:#x}"))?;
        let index = PageIndex(offset >> page_size.bits());
        if source.page(block, index, &mut page)? != PageKind::Data {
            page.fill(0);
        }
        let within = usize::try_from(offset & page_size.mask())?;
        let len = left.min(page.len() - within);
        bytes.extend_from_slice(&page[within..within + len]);
        left -= len;
        at = at
            .checked_add(len as u64)
            .context("it lies at the end of the address space")?;
    }
    Ok(bytes)
}

/// The length of the note that `bytes` begin with, if it has this name and a content. Linux gives all the
/// room that it has for its note, and fills less of it.
fn length(bytes: &[u8]) -> Option<usize> {
    const NAME: &[u8; 11] = b"VMCOREINFO\0";
    let (header, rest) = bytes.split_first_chunk::<12>()?;
    let [n0, n1, n2, n3, c0, c1, c2, c3, ..] = *header;
    let name = u32::from_le_bytes([n0, n1, n2, n3]) as usize;
    let content = u32::from_le_bytes([c0, c1, c2, c3]) as usize;
    let is_named = name == NAME.len() && rest.starts_with(NAME);
    let content = content.checked_next_multiple_of(4)?;
    let len = content.checked_add(header.len() + NAME.len().next_multiple_of(4))?;
    (is_named && content > 0 && len <= bytes.len()).then_some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_note_of_its_name_is_taken_and_not_the_room_behind_it() {
        let mut note = Vec::new();
        crate::export::note::put(&mut note, "VMCOREINFO", 0, b"OSRELEASE=6.1\n");
        let whole = note.len();
        assert_eq!(length(&note), Some(whole));
        for end in 0..whole {
            assert_eq!(length(&note[..end]), None, "{end}");
        }
        note.resize(4132, 0);
        assert_eq!(length(&note), Some(whole));
        for at in 0..23 {
            let mut other = note.clone();
            other[at] ^= 0x80;
            let taken = length(&other) == Some(whole);
            // Its type is nobody's business.
            assert_eq!(taken, (8..12).contains(&at), "{at}");
        }
        let empty = [&note[..4], &[0; 4], &note[8..]].concat();
        assert_eq!(length(&empty), None);
    }
}
