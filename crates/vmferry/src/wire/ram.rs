//! The records inside a `ram` section, and the list of RAM blocks.
//!
//! START, PART and END hold the same thing: records, the last of which is EOS.
//!
//! ```text
//! record   = u64 word                     offset in the block | flags in the bits below the page size
//!            [name of the block]          for page records without CONTINUE
//!            content                      by kind
//! MEM_SIZE   offset = bytes of all blocks; then the blocks until their lengths add up to it
//! ZERO       u8 fill byte, 0
//! PAGE       one page
//! ```
//!
//! CONTINUE means "the same block as the page record before on this channel", also across sections.

use super::{FormatError, Sink, Source, limits};
use crate::ram::{PageSize, RamBlock, RamBlocks};

/// The idstr of the section.
pub const IDSTR: &str = "ram";

/// The only version of the section that any QEMU of the last decade takes.
pub const VERSION: u32 = 4;

const ZERO: u64 = 0x02;
const MEM_SIZE: u64 = 0x04;
const PAGE: u64 = 0x08;
const EOS: u64 = 0x10;
const CONTINUE: u64 = 0x20;
const XBZRLE: u64 = 0x40;
const HOOK: u64 = 0x80;
const COMPRESS_PAGE: u64 = 0x100;
const MULTIFD_FLUSH: u64 = 0x200;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// A page of zeros (older: of one repeated byte).
    #[doc(alias = "RAM_SAVE_FLAG_ZERO")]
    Zero,
    /// The list of RAM blocks.
    #[doc(alias = "RAM_SAVE_FLAG_MEM_SIZE")]
    MemSize,
    /// A page as it is.
    #[doc(alias = "RAM_SAVE_FLAG_PAGE")]
    Page,
    /// No more records in this section.
    #[doc(alias = "RAM_SAVE_FLAG_EOS")]
    Eos,
    /// Changes against the page as it was.
    #[doc(alias = "RAM_SAVE_FLAG_XBZRLE")]
    Xbzrle,
    /// RDMA's control point.
    #[doc(alias = "RAM_SAVE_FLAG_HOOK")]
    Hook,
    /// A page compressed with zlib (until QEMU 9.0).
    #[doc(alias = "RAM_SAVE_FLAG_COMPRESS_PAGE")]
    CompressPage,
    /// All multifd channels have come to this point.
    #[doc(alias = "RAM_SAVE_FLAG_MULTIFD_FLUSH")]
    MultifdFlush,
}

/// The word that begins a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// What it is.
    pub kind: RecordKind,
    /// Offset of the page in its RAM block, in bytes; for [`RecordKind::MemSize`], the length of
    /// all blocks together.
    pub offset: u64,
    /// Which block a page record is about.
    pub block: BlockRef,
}

/// How a page record names its RAM block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockRef {
    /// The name follows the word.
    Named,
    /// The block of the page record before, on the same channel.
    #[doc(alias = "RAM_SAVE_FLAG_CONTINUE")]
    Continue,
}

impl Record {
    /// Takes apart the word of a record.
    ///
    /// # Errors
    /// The flags are not exactly one kind, with or without CONTINUE: they come back.
    #[inline]
    pub fn from_word(word: u64, page_size: PageSize) -> Result<Self, u64> {
        let mask = page_size.mask();
        let flags = word & mask;
        let kind = match flags & !CONTINUE {
            PAGE => RecordKind::Page,
            ZERO => RecordKind::Zero,
            EOS => RecordKind::Eos,
            MEM_SIZE => RecordKind::MemSize,
            XBZRLE => RecordKind::Xbzrle,
            HOOK => RecordKind::Hook,
            COMPRESS_PAGE => RecordKind::CompressPage,
            MULTIFD_FLUSH => RecordKind::MultifdFlush,
            _ => return Err(flags),
        };
        let block = if flags & CONTINUE == 0 {
            BlockRef::Named
        } else {
            BlockRef::Continue
        };
        Ok(Self {
            kind,
            offset: word & !mask,
            block,
        })
    }

    /// The word of a record: the offset must be on a page boundary.
    #[inline]
    pub const fn word(self) -> u64 {
        let kind = match self.kind {
            RecordKind::Zero => ZERO,
            RecordKind::MemSize => MEM_SIZE,
            RecordKind::Page => PAGE,
            RecordKind::Eos => EOS,
            RecordKind::Xbzrle => XBZRLE,
            RecordKind::Hook => HOOK,
            RecordKind::CompressPage => COMPRESS_PAGE,
            RecordKind::MultifdFlush => MULTIFD_FLUSH,
        };
        let block = match self.block {
            BlockRef::Named => 0,
            BlockRef::Continue => CONTINUE,
        };
        self.offset | kind | block
    }
}

/// The record that ends a section's payload.
pub const EOS_RECORD: [u8; 8] = EOS.to_be_bytes();

/// Which optional fields the entries of a block list have; the list itself does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListFields {
    /// Name and length.
    Plain,
    /// A host page size after the lengths of blocks on huge pages: a 16-byte POSTCOPY_ADVISE came.
    HostPageSize,
    /// A guest-physical address after each length: `x-ignore-shared`.
    GuestAddress,
}

/// Reads the block list behind a MEM_SIZE word that gave `total` bytes.
///
/// # Errors
/// The stream ends inside it, lengths do not add up to `total`, are no multiple of the page size or
/// above a limit, or a name comes twice.
pub fn decode_blocks<S: Source>(
    source: &mut S,
    total: u64,
    page_size: PageSize,
    fields: ListFields,
) -> Result<RamBlocks, S::Error> {
    let mut blocks = RamBlocks::default();
    let mut left = total;
    while left > 0 {
        let block = decode_block(source, &mut blocks, left, page_size, fields)?;
        left = left.saturating_sub(block.used_length);
    }
    Ok(blocks)
}

/// Reads the next entry of a list, of whose length `left` bytes are left, and adds it to those that are
/// in `blocks` already.
///
/// # Errors
/// As for [`decode_blocks`].
pub fn decode_block<S: Source>(
    source: &mut S,
    blocks: &mut RamBlocks,
    left: u64,
    page_size: PageSize,
    fields: ListFields,
) -> Result<RamBlock, S::Error> {
    const WHAT: &str = "the list of RAM blocks";
    if blocks.len() == limits::RAM_BLOCKS {
        let limit = limits::RAM_BLOCKS as u64;
        let more = limit.saturating_add(1);
        return Err(FormatError::too_long(source.position(), WHAT, more, limit).into());
    }
    let at = source.position();
    let idstr = source.name("the name of a RAM block")?.to_owned();
    if blocks.find(&idstr).is_some() {
        let found = format!("'{idstr}' a second time");
        return Err(FormatError::unexpected(at, WHAT, "each name once", found).into());
    }
    let at = source.position();
    let used_length = source.be64(WHAT)?;
    if used_length > limits::RAM_BLOCK_LENGTH {
        let limit = limits::RAM_BLOCK_LENGTH;
        return Err(FormatError::too_long(at, "a RAM block", used_length, limit).into());
    }
    if used_length & page_size.mask() != 0 || used_length == 0 {
        let found = format!("{used_length:#x} for '{idstr}'");
        let expected = "a length of whole pages";
        return Err(FormatError::unexpected(at, WHAT, expected, found).into());
    }
    if used_length > left {
        let found = format!("{used_length:#x} for '{idstr}'");
        let expected = format!("at most the {left:#x} bytes that are left of all blocks");
        return Err(FormatError::unexpected(at, WHAT, expected, found).into());
    }
    let (host_page_size, address) = match fields {
        ListFields::Plain => (None, None),
        ListFields::HostPageSize => (host_page_size(source, page_size)?, None),
        ListFields::GuestAddress => {
            let address = source.be64("the address of a RAM block")?;
            (None, Some(address))
        }
    };
    let block = RamBlock {
        idstr,
        used_length,
        host_page_size,
    };
    let index = blocks.insert(block.clone());
    blocks.set_address(index, address);
    Ok(block)
}

/// The page size behind a block's length, if there is one.
///
/// Nothing in the list says so. But a page size has eight bytes that begin with 00, while the next
/// entry begins with the length of a name, which is never 0; and behind the last entry comes a
/// record that has flags, where a page size has none.
fn host_page_size<S: Source>(source: &mut S, page_size: PageSize) -> Result<Option<u64>, S::Error> {
    let next = match source.peek(8)?.first_chunk::<8>() {
        Some(next) => u64::from_be_bytes(*next),
        None => return Ok(None),
    };
    let above = next > page_size.bytes() as u64;
    if !above || !next.is_power_of_two() || next > limits::RAM_BLOCK_LENGTH {
        return Ok(None);
    }
    source.take(8, "the page size of a RAM block")?;
    Ok(Some(next))
}

/// Writes a MEM_SIZE record with the block list. With [`ListFields::GuestAddress`], a block without an
/// address gets 0.
pub fn encode_blocks(blocks: &RamBlocks, fields: ListFields, sink: &mut impl Sink) {
    sink.put(&(blocks.total_length() | MEM_SIZE).to_be_bytes());
    for (index, block) in blocks.iter() {
        sink.put_name(&block.idstr);
        sink.put(&block.used_length.to_be_bytes());
        match (fields, block.host_page_size) {
            (ListFields::HostPageSize, Some(size)) => sink.put(&size.to_be_bytes()),
            (ListFields::GuestAddress, _) => {
                let address = blocks.address(index).unwrap_or_default();
                sink.put(&address.to_be_bytes());
            }
            (ListFields::Plain | ListFields::HostPageSize, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SliceSource;

    /// The block list of QEMU 10.0.2, `-machine q35 -m 64 -nodefaults`, behind its MEM_SIZE word.
    const Q35: &[u8] = b"\x06pc.ram\0\0\0\0\x04\0\0\0\
        \x14/rom@etc/acpi/tables\0\0\0\0\0\x02\0\0\
        \x07pc.bios\0\0\0\0\0\x04\0\0\
        \x06pc.rom\0\0\0\0\0\x02\0\0\
        \x15/rom@etc/table-loader\0\0\0\0\0\0\x10\0\
        \x12/rom@etc/acpi/rsdp\0\0\0\0\0\0\x10\0\
        \0\0\0\0\0\0\0\x10";
    const Q35_TOTAL: u64 = 0x0408_2000;

    fn blocks(bytes: &[u8], total: u64, fields: ListFields) -> Result<RamBlocks, FormatError> {
        decode_blocks(&mut SliceSource::new(bytes), total, PageSize::X86, fields)
    }

    #[test]
    fn the_block_list_of_qemu_is_read_and_written_back() {
        for fields in [ListFields::Plain, ListFields::HostPageSize] {
            let table = blocks(Q35, Q35_TOTAL, fields).unwrap();
            assert_eq!(table.len(), 6);
            assert_eq!(table.as_slice()[2].idstr, "pc.bios");
            assert_eq!(table.as_slice()[2].used_length, 0x40000);
            let mut bytes = Vec::new();
            encode_blocks(&table, fields, &mut bytes);
            assert_eq!(bytes[..8], (Q35_TOTAL | 4).to_be_bytes());
            assert_eq!(bytes[8..], Q35[..Q35.len() - 8]);
        }
    }

    #[test]
    fn a_block_list_that_is_cut_anywhere_is_an_error() {
        for end in 0..Q35.len() - 8 {
            assert!(
                blocks(&Q35[..end], Q35_TOTAL, ListFields::Plain).is_err(),
                "{end}"
            );
        }
    }

    #[test]
    fn the_page_size_of_a_block_on_huge_pages_is_told_from_what_follows() {
        let list = b"\x04mem0\0\0\0\0\x04\0\0\0\0\0\0\0\0\x20\0\0\x04bios\0\0\0\0\0\0\x10\0\
            \0\0\0\0\0\0\0\x10";
        let table = blocks(list, 0x0400_1000, ListFields::HostPageSize).unwrap();
        assert_eq!(table.as_slice()[0].host_page_size, Some(2 << 20));
        assert_eq!(table.as_slice()[1].host_page_size, None);
        let mut bytes = Vec::new();
        encode_blocks(&table, ListFields::HostPageSize, &mut bytes);
        assert_eq!(bytes[8..], list[..list.len() - 8]);
    }

    #[test]
    fn the_address_of_a_block_is_kept_and_written_back() {
        // As QEMU 10.0.2 lists them with `x-ignore-shared`.
        let list = b"\x07pc.bios\0\0\0\0\0\x04\0\0\0\0\0\0\xff\xfc\0\0\
            \x06pc.rom\0\0\0\0\0\x02\0\0\0\0\0\0\0\x0c\0\0";
        let table = blocks(list, 0x6_0000, ListFields::GuestAddress).unwrap();
        let address = |name| table.address(table.find(name).unwrap());
        assert_eq!(address("pc.bios"), Some(0xfffc_0000));
        assert_eq!(address("pc.rom"), Some(0xc_0000));
        let mut bytes = Vec::new();
        encode_blocks(&table, ListFields::GuestAddress, &mut bytes);
        assert_eq!(bytes[8..], list[..]);
        for end in 0..list.len() {
            assert!(blocks(&list[..end], 0x6_0000, ListFields::GuestAddress).is_err());
        }
    }

    #[test]
    fn lengths_must_add_up_and_names_must_differ() {
        let error = |bytes, total| {
            blocks(bytes, total, ListFields::Plain)
                .unwrap_err()
                .to_string()
        };
        assert!(error(Q35, 0x1000).contains("at most the 0x1000 bytes that are left"));
        assert!(error(Q35, Q35_TOTAL + 0x1000).contains("the name of a RAM block"));
        let twice = b"\x01a\0\0\0\0\0\0\x10\0\x01a\0\0\0\0\0\0\x10\0";
        assert!(error(twice, 0x2000).contains("found 'a' a second time, at offset 0xa"));
        assert!(error(b"\x01a\0\0\0\0\0\0\x10\x01", 0x2000).contains("whole pages"));
        assert!(error(b"\x01a\x7f\0\0\0\0\0\x10\0", u64::MAX).contains("the limit is"));
    }

    #[test]
    fn the_words_of_real_records_are_taken_apart_and_put_together() {
        let record = |kind, offset, block| Record {
            kind,
            offset,
            block,
        };
        for (word, expected) in [
            (0x02, record(RecordKind::Zero, 0, BlockRef::Named)),
            (0x1022, record(RecordKind::Zero, 0x1000, BlockRef::Continue)),
            (
                0x297_e008,
                record(RecordKind::Page, 0x297_e000, BlockRef::Named),
            ),
            (
                0x299_3060,
                record(RecordKind::Xbzrle, 0x299_3000, BlockRef::Continue),
            ),
            (0x10, record(RecordKind::Eos, 0, BlockRef::Named)),
            (
                0x408_2004,
                record(RecordKind::MemSize, 0x408_2000, BlockRef::Named),
            ),
            (0x200, record(RecordKind::MultifdFlush, 0, BlockRef::Named)),
            (
                0x1_0120,
                record(RecordKind::CompressPage, 0x1_0000, BlockRef::Continue),
            ),
        ] {
            assert_eq!(Record::from_word(word, PageSize::X86), Ok(expected));
            assert_eq!(expected.word(), word);
        }
    }

    #[test]
    fn two_kinds_at_once_unknown_flags_and_no_flag_are_refused() {
        for word in [0x0a, 0x400, 0x01, 0x800, 0x00, 0x20, 0x1000] {
            let flags = word & 0xfff;
            assert_eq!(
                Record::from_word(word, PageSize::X86),
                Err(flags),
                "{word:#x}"
            );
        }
    }
}
