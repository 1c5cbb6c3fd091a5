//! Pages that come through multifd channels, next to the main one.
//!
//! What ties the channels together are meeting points. Each is once in the main channel (a MULTIFD_FLUSH
//! record, or with machine types up to 8.0 every end of a piece of RAM) and once in each of the others
//! (a packet with SYNC). What a channel has before one of them is in the memory before anything that comes
//! after it in any channel; between two of them a page comes at most once.
//!
//! | file | what |
//! |---|---|
//! | `channel` | one channel, packet by packet |
//! | `payload` | pages as they are, or compressed |
//! | `recorded` | channels that are all there: read in turn, up to each meeting point |
//! | `live` | channels that are sent now: a thread reads each, or their sender would wait for ever |

mod channel;
mod live;
mod payload;
mod recorded;

pub(super) use live::while_live;
pub(super) use recorded::Recorded;

use channel::Batch;

use super::{ChannelName, Encoding, LoadError, Origin, PageCounts, Visitor};
use crate::error::{Error, FormatError};
use crate::ram::{Page, PageIndex, PageSize, RamBlocks};
use crate::wire::multifd::{Init, Method, Pages};

/// Where the pages of packets go, and what they are held against.
pub(super) struct Destination<'a, V> {
    pub(super) visitor: &'a mut V,
    pub(super) blocks: &'a RamBlocks,
    pub(super) page_size: PageSize,
    pub(super) pages: &'a mut PageCounts,
}

/// The channels next to the main one.
pub(super) trait SideChannels<V: Visitor> {
    /// Whether there are any.
    fn any(&self) -> bool;

    /// The machine's id is known, or that it has none.
    fn belongs_to(&mut self, uuid: Option<[u8; 16]>) -> Result<(), Error>;

    /// The main channel has come to a meeting point: after this call, the visitor has seen all pages that are
    /// before it.
    fn meet(&mut self, destination: Destination<'_, V>) -> Result<(), LoadError<V::Error>>;

    /// The main channel has ended: the others must, too.
    fn end(&mut self, destination: Destination<'_, V>) -> Result<(), LoadError<V::Error>>;
}

/// No channels.
pub(super) struct NoSideChannels;

impl<V: Visitor> SideChannels<V> for NoSideChannels {
    fn any(&self) -> bool {
        false
    }

    fn belongs_to(&mut self, _: Option<[u8; 16]>) -> Result<(), Error> {
        Ok(())
    }

    fn meet(&mut self, _: Destination<'_, V>) -> Result<(), LoadError<V::Error>> {
        Ok(())
    }

    fn end(&mut self, _: Destination<'_, V>) -> Result<(), LoadError<V::Error>> {
        Ok(())
    }
}

/// Shows the pages of a packet.
fn show<V: Visitor>(
    batch: &Batch<'_>,
    Init { id, .. }: Init,
    destination: &mut Destination<'_, V>,
) -> Result<(), LoadError<V::Error>> {
    const WHAT: &str = "a page in a multifd packet";
    let packet = &batch.packet;
    if packet.is_empty() {
        return Ok(());
    }
    let Some(index) = destination.blocks.find(&packet.block) else {
        let found = format!("'{}'", packet.block);
        let expected = "one of a block of the list";
        return Err(
            Error::from(FormatError::unexpected(batch.offset, WHAT, expected, found)).into(),
        );
    };
    let used = destination
        .blocks
        .get(index)
        .map_or(0, |block| block.used_length);
    let page_bits = destination.page_size.bits();
    let encoding = match packet.method {
        Method::None => Encoding::Page,
        Method::Zstd => Encoding::MultifdZstd,
        _ => Encoding::MultifdZlib,
    };
    let count = packet.normal.len() as u64;
    let data = batch.data.chunks_exact(destination.page_size.bytes());
    let normal = packet.normal.iter().zip(data).zip(0..);
    let normal = normal.map(|((offset, data), number)| {
        // Of one compressed piece, each page has its share.
        let (from, to) = (
            batch.bytes * number / count,
            batch.bytes * (number + 1) / count,
        );
        (
            *offset,
            Page::Data(data),
            batch.offset + from,
            to - from,
            encoding,
        )
    });
    let zero = packet.zero.iter();
    let zero = zero.map(|offset| (*offset, Page::Zero, batch.offset, 0, Encoding::Zero));
    for (offset, content, at, bytes, encoding) in normal.chain(zero) {
        if offset >= used {
            let expected = format!("an offset below the block's length {used:#x}");
            let found = format!("{offset:#x}");
            return Err(
                Error::from(FormatError::unexpected(batch.offset, WHAT, expected, found)).into(),
            );
        }
        *destination.pages += PageCounts {
            multifd: 1,
            zero: u64::from(content == Page::Zero),
            ..PageCounts::PAGE
        };
        let origin = Origin {
            channel: ChannelName::Multifd(id),
            offset: at,
            bytes,
            encoding,
        };
        destination
            .visitor
            .page(index, PageIndex(offset >> page_bits), content, origin)
            .map_err(LoadError::Visitor)?;
    }
    Ok(())
}

/// Says which channel is meant.
fn in_channel<E>(init: Init, error: LoadError<E>) -> LoadError<E> {
    match error {
        LoadError::Read(error) => {
            LoadError::Read(error.in_section(&format!("multifd channel {}", init.id)))
        }
        visitor @ LoadError::Visitor(_) => visitor,
    }
}

/// Whether these are the channels of one migration, all of them.
fn check_set<'a>(inits: impl Iterator<Item = &'a Init> + Clone) -> Result<(), Error> {
    const WHAT: &str = "the first packets of the multifd channels";
    let count = inits.clone().count();
    let mut seen = vec![false; count];
    for init in inits.clone() {
        match seen.get_mut(usize::from(init.id)) {
            Some(seen) if !*seen => *seen = true,
            _ => {
                let ids: Vec<_> = inits.map(|init| init.id.to_string()).collect();
                let expected = format!("the ids from 0 to {}, each once", count - 1);
                let found = ids.join(", ");
                return Err(FormatError::unexpected(0, WHAT, expected, found).into());
            }
        }
    }
    let mut uuids = inits.map(|init| init.uuid);
    let first = uuids.next();
    if uuids.any(|uuid| Some(uuid) != first) {
        let expected = "the same UUID in each of them";
        return Err(FormatError::unexpected(0, WHAT, expected, "several").into());
    }
    Ok(())
}

/// Whether the channels are those of a machine with this UUID, which only some streams tell.
fn check_uuid(init: &Init, uuid: Option<[u8; 16]>) -> Result<(), Error> {
    const WHAT: &str = "the UUID in a multifd channel";
    match uuid {
        Some(uuid) if uuid != init.uuid => {
            let expected = format!("{uuid:02x?}, as in the main channel");
            let found = format!("{:02x?}", init.uuid);
            Err(FormatError::unexpected(8, WHAT, expected, found).into())
        }
        _ => Ok(()),
    }
}

/// The numbers of all packets. QEMU 9.0 and later leave none out, so that the lack of one means that a channel
/// is missing.
#[derive(Debug, Clone, Copy, Default)]
struct Numbers {
    packets: u64,
    highest: u64,
    merged: bool,
}

impl Numbers {
    fn count(&mut self, packet: &Pages) {
        self.packets += 1;
        self.highest = self.highest.max(packet.number);
        self.merged |= packet.sync && !packet.is_bare_sync();
    }

    fn check(&self, device_states: u64) -> Result<(), Error> {
        // Whether a device's state takes a number is unknown: no machine with such a device was seen.
        if self.merged || device_states > 0 || self.packets == 0 {
            return Ok(());
        }
        if self.highest >= self.packets {
            let what = "the numbers of the multifd packets";
            let expected = format!("all from 0 to {}: is a channel missing?", self.highest);
            let found = format!("{} of them", self.packets);
            return Err(FormatError::unexpected(0, what, expected, found).into());
        }
        Ok(())
    }
}

/// After the last meeting point comes nothing but, up to QEMU 9.2, one more of them.
fn check_after_the_last(batch: &Batch<'_>) -> Result<(), Error> {
    if batch.packet.is_empty() {
        return Ok(());
    }
    let what = "the end of a multifd channel";
    let expected = "no pages behind the last meeting point";
    let found = format!("pages of '{}'", batch.packet.block);
    Err(FormatError::unexpected(batch.offset, what, expected, found).into())
}

/// A channel ended where it should have come to a meeting point.
fn ended_early(at: u64) -> Error {
    let what = "the way to the next meeting point of all multifd channels";
    FormatError::truncated(at, what, 1, 0).into()
}
