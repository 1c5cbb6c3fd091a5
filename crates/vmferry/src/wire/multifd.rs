//! What goes through a multifd channel: packets of pages, beside the main channel.
//!
//! ```text
//! channel = init packet*
//! init    = u32 magic  u32 1  uuid[16]  u8 id  39 zeros
//! packet  = u32 magic  u32 1  u32 flags
//!           flags without DEVICE_STATE                     flags with DEVICE_STATE
//!             u32 pages_alloc  u32 normal  u32 size          idstr[256]  u32 instance  u32 size
//!             u64 number  u32 zero  28 zeros                 size bytes of that device
//!             name of the block[256]
//!             u64 offsets[512 KiB / page size]
//!             payload, if normal > 0
//! ```
//!
//! The offsets of the normal pages come first, then those of the pages that are zero; what is behind
//! them is left over from an earlier packet (QEMU up to 8.2). The payload is `normal` pages as they are, or
//! `size` bytes of compressed ones.

use super::{FormatError, Sink, Source};
use crate::ram::PageSize;

/// The magic number of every packet; the main channel begins with `QEVM` instead.
#[doc(alias = "MULTIFD_MAGIC")]
pub const MAGIC: u32 = 0x1122_3344;

/// The only version.
#[doc(alias = "MULTIFD_VERSION")]
pub const VERSION: u32 = 1;

/// Bytes of pages in one packet, at most.
#[doc(alias = "MULTIFD_PACKET_SIZE")]
pub const PACKET_BYTES: usize = 512 << 10;

const SYNC: u32 = 0x01;
const METHODS: u32 = 0x3e;
const ZLIB: u32 = 0x02;
const ZSTD: u32 = 0x04;
const QPL: u32 = 0x08;
const UADK: u32 = 0x10;
const QATZIP: u32 = 0x20;
const DEVICE_STATE: u32 = 0x40;

/// Bytes of the name of a block or device, with the zeros behind it.
const NAME: usize = 256;

/// Pages in one packet, at most.
pub const fn packet_pages(page_size: PageSize) -> usize {
    PACKET_BYTES >> page_size.bits()
}

/// The most bytes that a packet's compressed pages may take: twice what they are. QEMU's own buffer has room
/// for what zlib could make of them, which is a thousandth more.
pub const PAYLOAD_LIMIT: usize = 2 * PACKET_BYTES;

/// How the pages of a packet are compressed (parameter `multifd-compression`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Method {
    /// Not at all.
    #[default]
    #[doc(alias = "MULTIFD_FLAG_NOCOMP")]
    None,
    /// One deflate stream for each channel (QEMU 5.0 on).
    #[doc(alias = "MULTIFD_FLAG_ZLIB")]
    Zlib,
    /// One zstd frame for each channel (QEMU 5.0 on).
    #[doc(alias = "MULTIFD_FLAG_ZSTD")]
    Zstd,
    /// A deflate stream for each page, by Intel's accelerator (QEMU 9.1 on).
    #[doc(alias = "MULTIFD_FLAG_QPL")]
    Qpl,
    /// A zlib stream for each page, by an ARM accelerator (QEMU 9.1 on).
    #[doc(alias = "MULTIFD_FLAG_UADK")]
    Uadk,
    /// By Intel's QuickAssist (QEMU 9.2 on).
    #[doc(alias = "MULTIFD_FLAG_QATZIP")]
    Qatzip,
}

impl Method {
    const fn bits(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Zlib => ZLIB,
            Self::Zstd => ZSTD,
            Self::Qpl => QPL,
            Self::Uadk => UADK,
            Self::Qatzip => QATZIP,
        }
    }

    fn from_bits(bits: u32) -> Option<Self> {
        [
            Self::None,
            Self::Zlib,
            Self::Zstd,
            Self::Qpl,
            Self::Uadk,
            Self::Qatzip,
        ]
        .into_iter()
        .find(|method| method.bits() == bits)
    }

    /// As QEMU calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
            Self::Qpl => "qpl",
            Self::Uadk => "uadk",
            Self::Qatzip => "qatzip",
        }
    }
}

/// The first thing in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[doc(alias = "MultiFDInit_t")]
pub struct Init {
    /// The machine's `-uuid`, or zeros.
    pub uuid: [u8; 16],
    /// Which of the channels it is, from 0 on. They connect in any order.
    pub id: u8,
}

impl Init {
    /// Bytes that it takes.
    pub const LEN: usize = 64;

    /// Reads it.
    ///
    /// # Errors
    /// It is no multifd channel that begins here, or the stream ends.
    pub fn decode<S: Source>(source: &mut S) -> Result<Self, S::Error> {
        const WHAT: &str = "the first packet of a multifd channel";
        magic(source, WHAT)?;
        let uuid = source.array(WHAT)?;
        let id = source.u8(WHAT)?;
        // Reserved: zeros, that nobody looks at.
        source.take(39, WHAT)?;
        Ok(Self { uuid, id })
    }

    /// Writes it.
    pub fn encode(&self, sink: &mut impl Sink) {
        sink.put(&MAGIC.to_be_bytes());
        sink.put(&VERSION.to_be_bytes());
        sink.put(&self.uuid);
        sink.put(&[self.id]);
        sink.put(&[0; 39]);
    }
}

/// The head of a packet: its payload follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// Pages, or a meeting point, or both.
    Pages(Pages),
    /// A device's state (QEMU 10.0 on, where a VFIO device wants it).
    DeviceState(DeviceState),
}

/// A packet of pages of one block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[doc(alias = "MultiFDPacket_t")]
pub struct Pages {
    /// The channel has come to a meeting point with the main channel, behind these pages.
    pub sync: bool,
    /// How the payload is compressed.
    pub method: Method,
    /// Room for pages, as the sender counts it; up to QEMU 8.2 also where there are none.
    pub pages_alloc: u32,
    /// Bytes of the payload; means nothing where there are no normal pages.
    pub size: u32,
    /// Counts the packets of all channels; up to QEMU 8.2 a number may come twice, and some never.
    pub number: u64,
    /// The block; left over from an earlier packet, or empty, where there are no pages.
    pub block: String,
    /// The offsets in the block of the pages that have a payload, in its order.
    pub normal: Vec<u64>,
    /// The offsets in the block of the pages that are zero.
    pub zero: Vec<u64>,
}

/// The head of a device's state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[doc(alias = "MultiFDPacketDeviceState_t")]
pub struct DeviceState {
    /// Whose state it is.
    pub idstr: String,
    /// Which of several owners of the same name.
    pub instance_id: u32,
    /// Bytes of it, which follow.
    pub size: u32,
}

impl Packet {
    /// Reads the head of the next packet, up to its payload.
    ///
    /// # Errors
    /// It is no packet that QEMU would take, or the stream ends.
    pub fn decode<S: Source>(source: &mut S, page_size: PageSize) -> Result<Self, S::Error> {
        const WHAT: &str = "a multifd packet";
        magic(source, WHAT)?;
        let at = source.position();
        let flags = source.be32(WHAT)?;
        if flags & DEVICE_STATE == 0 {
            return Pages::decode(source, flags, at, page_size).map(Self::Pages);
        }
        if flags != DEVICE_STATE {
            let found = format!("{flags:#x}");
            let expected = "a device's state, and nothing else";
            return Err(FormatError::unexpected(at, WHAT, expected, found).into());
        }
        DeviceState::decode(source).map(Self::DeviceState)
    }
}

impl Pages {
    /// Whether it has no pages.
    pub fn is_empty(&self) -> bool {
        self.normal.is_empty() && self.zero.is_empty()
    }

    /// Whether it is a meeting point as QEMU 9.0 and later send it: nothing else, and numbered like every other
    /// packet.
    pub fn is_bare_sync(&self) -> bool {
        self.sync && self.is_empty() && self.pages_alloc == 0
    }

    fn decode<S: Source>(
        source: &mut S,
        flags: u32,
        at: u64,
        page_size: PageSize,
    ) -> Result<Self, S::Error> {
        const WHAT: &str = "a multifd packet";
        let Some(method) =
            Method::from_bits(flags & METHODS).filter(|_| flags & !(METHODS | SYNC) == 0)
        else {
            let found = format!("{flags:#x}");
            let expected = "SYNC, and one method of compression";
            return Err(FormatError::unexpected(
                at,
                "the flags of a multifd packet",
                expected,
                found,
            )
            .into());
        };
        let most = packet_pages(page_size);
        let at = source.position();
        let pages_alloc = source.be32(WHAT)?;
        let normal = source.be32(WHAT)?;
        let size = source.be32(WHAT)?;
        let number = source.be64(WHAT)?;
        let zero = source.be32(WHAT)?;
        // Reserved: zeros, that nobody looks at.
        source.take(28, WHAT)?;
        let pages = u64::from(normal).saturating_add(u64::from(zero));
        if pages > most as u64 || pages > u64::from(pages_alloc) {
            let found = format!("{normal} and {zero} zero ones, with room for {pages_alloc}");
            let expected = format!("at most {most} pages");
            return Err(FormatError::unexpected(at, WHAT, expected, found).into());
        }
        let name_at = source.position();
        let block = padded_name(source.take(NAME, WHAT)?);
        let block = match block {
            Some(block) => block.to_owned(),
            // It is left over.
            None if pages == 0 => String::new(),
            None => {
                let what = "the RAM block of a multifd packet";
                let expected = "at most 255 bytes of UTF-8 text, and zeros";
                return Err(FormatError::unexpected(name_at, what, expected, "others").into());
            }
        };
        let at = source.position();
        let table = source.take(most.saturating_mul(8), WHAT)?;
        let mut offsets = table
            .chunks_exact(8)
            .filter_map(|bytes| bytes.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)));
        let normal: Vec<_> = offsets.by_ref().take(normal as usize).collect();
        let zero: Vec<_> = offsets.take(zero as usize).collect();
        let off = normal
            .iter()
            .chain(&zero)
            .find(|offset| **offset & page_size.mask() != 0);
        if let Some(offset) = off {
            let what = "the offset of a page in a multifd packet";
            let found = format!("{offset:#x}");
            return Err(FormatError::unexpected(at, what, "one on a page boundary", found).into());
        }
        if !normal.is_empty() && method != Method::None && size as usize > PAYLOAD_LIMIT {
            let what = "the payload of a multifd packet";
            return Err(FormatError::too_long(at, what, size.into(), PAYLOAD_LIMIT as u64).into());
        }
        Ok(Self {
            sync: flags & SYNC != 0,
            method,
            pages_alloc,
            size,
            number,
            block,
            normal,
            zero,
        })
    }

    /// Writes the head, as QEMU 9.0 and later do: zeros where nothing is said. There are no more pages than
    /// [`packet_pages`] allows; others are cut off.
    pub fn encode(&self, page_size: PageSize, sink: &mut impl Sink) {
        let most = packet_pages(page_size);
        let count = |pages: &[u64]| u32::try_from(pages.len()).unwrap_or(u32::MAX).to_be_bytes();
        sink.put(&MAGIC.to_be_bytes());
        sink.put(&VERSION.to_be_bytes());
        sink.put(&(self.method.bits() | if self.sync { SYNC } else { 0 }).to_be_bytes());
        sink.put(&self.pages_alloc.to_be_bytes());
        sink.put(&count(&self.normal));
        sink.put(&self.size.to_be_bytes());
        sink.put(&self.number.to_be_bytes());
        sink.put(&count(&self.zero));
        sink.put(&[0; 28]);
        put_padded_name(&self.block, sink);
        let rest = most
            .saturating_sub(self.normal.len())
            .saturating_sub(self.zero.len());
        let offsets = self.normal.iter().chain(&self.zero).copied();
        for offset in offsets.take(most).chain(std::iter::repeat_n(0, rest)) {
            sink.put(&offset.to_be_bytes());
        }
    }
}

impl DeviceState {
    fn decode<S: Source>(source: &mut S) -> Result<Self, S::Error> {
        const WHAT: &str = "a device's state in a multifd packet";
        let at = source.position();
        let Some(idstr) = padded_name(source.take(NAME, WHAT)?).map(str::to_owned) else {
            let expected = "at most 255 bytes of UTF-8 text, and zeros";
            return Err(FormatError::unexpected(at, WHAT, expected, "others").into());
        };
        let instance_id = source.be32(WHAT)?;
        let at = source.position();
        let size = source.be32(WHAT)?;
        if size == 0 {
            return Err(FormatError::unexpected(at, WHAT, "1 byte or more", 0).into());
        }
        Ok(Self {
            idstr,
            instance_id,
            size,
        })
    }

    /// Writes the head.
    pub fn encode(&self, sink: &mut impl Sink) {
        for word in [MAGIC, VERSION, DEVICE_STATE] {
            sink.put(&word.to_be_bytes());
        }
        put_padded_name(&self.idstr, sink);
        sink.put(&self.instance_id.to_be_bytes());
        sink.put(&self.size.to_be_bytes());
    }
}

fn magic<S: Source>(source: &mut S, what: &'static str) -> Result<(), S::Error> {
    let at = source.position();
    let magic = source.be32(what)?;
    if magic != MAGIC {
        let found = format!("{magic:08x}");
        return Err(FormatError::unexpected(at, what, "magic 11223344", found).into());
    }
    let at = source.position();
    let version = source.be32(what)?;
    if version != VERSION {
        let found = format!("version {version}");
        return Err(FormatError::unexpected(at, what, "version 1", found).into());
    }
    Ok(())
}

/// A name that ends with a zero.
fn padded_name(bytes: &[u8]) -> Option<&str> {
    let len = bytes.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(bytes.get(..len)?).ok()
}

fn put_padded_name(name: &str, sink: &mut impl Sink) {
    let mut bytes = [0; NAME];
    for (byte, of_name) in bytes.iter_mut().take(255).zip(name.bytes()) {
        *byte = of_name;
    }
    sink.put(&bytes);
}

#[cfg(test)]
mod tests;
