//! An ELF core file: memory at its guest-physical address, and notes with the processors' registers.
//!
//! As QEMU's `dump-guest-memory` makes it, with its addresses for virtual ones, too, so that a debugger that
//! knows nothing of page tables reads physical memory.

use anyhow::{Context, Result, bail};
use object::Endianness;
use object::elf;
use object::write::elf::{FileHeader, ProgramHeader, Writer};
use vmferry::ram::layout::Layout;

use super::{Extent, Plan};

/// Segments begin at a page of the file: what is zero stays a hole, and what reads it may map it.
const ALIGN: u64 = 4096;

/// The processor that a machine has, as ELF numbers it.
///
/// # Errors
/// Nothing is known of its core files.
pub fn processor(machine: Option<&str>) -> Result<elf::Machine> {
    match machine {
        Some(arm) if arm.starts_with("virt-") => Ok(elf::EM_AARCH64),
        Some(other)
            if ["s390", "pseries", "riscv", "spike", "sbsa"]
                .iter()
                .any(|m| other.starts_with(m)) =>
        {
            bail!(
                "core files of machine type {other} are not known here: --format raw, lime and blocks are"
            )
        }
        _ => Ok(elf::EM_X86_64),
    }
}

/// Everything that has an address, and `notes`.
///
/// # Errors
/// There are too many segments.
pub fn plan(layout: &Layout, processor: elf::Machine, notes: &[u8]) -> Result<Plan> {
    let mut head = Vec::new();
    let mut writer = Writer::new(Endianness::Little, true, &mut head);
    writer.reserve_file_header();
    writer.reserve_program_headers(u32::try_from(layout.segments.len() + 1)?);
    let notes_at = writer.reserve(notes.len() as u64, 4);
    let mut at = writer.reserve(0, ALIGN);
    let header = FileHeader {
        os_abi: elf::ELFOSABI_NONE,
        abi_version: 0,
        e_type: elf::ET_CORE,
        e_machine: processor,
        e_entry: 0,
        e_flags: elf::FileFlags(0),
    };
    writer
        .write_file_header(&header)
        .context("an ELF header cannot be made")?;
    writer.write_align_program_headers();
    writer.write_program_header(&ProgramHeader {
        p_type: elf::PT_NOTE,
        p_flags: elf::ProgramFlags(0),
        p_offset: notes_at,
        p_vaddr: 0,
        p_paddr: 0,
        p_filesz: notes.len() as u64,
        p_memsz: notes.len() as u64,
        p_align: 4,
    });
    let mut extents = Vec::new();
    for segment in &layout.segments {
        writer.write_program_header(&ProgramHeader {
            p_type: elf::PT_LOAD,
            p_flags: elf::ProgramFlags(0),
            p_offset: at,
            p_vaddr: segment.address,
            p_paddr: segment.address,
            p_filesz: segment.len,
            p_memsz: segment.len,
            p_align: ALIGN,
        });
        extents.push(Extent {
            at,
            block: segment.block,
            offset: segment.offset,
            len: segment.len,
        });
        at += segment.len.next_multiple_of(ALIGN);
    }
    writer.write_align(4);
    writer.write(notes);
    Ok(Plan {
        texts: vec![(0, head)],
        extents,
        len: at,
    })
}
