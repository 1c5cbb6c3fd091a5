//! Writing a migration stream: a machine's state and its pages, as QEMU would have sent them.
//!
//! [`precopy`] writes a whole stream, all pages before the devices, which any QEMU of the same
//! machine type loads with a plain `-incoming`; [`multifd()`] spreads its pages over several channels. To write
//! what another stream holds while it is read, see [`relay`](crate::relay); for a stream that lets the guest run
//! before its pages have come, see [`postcopy`](crate::postcopy).
//!
//! A machine of one's own needs no stream that it came from:
//!
//! ```
//! use vmferry::load::{Image, Options, Visitor, VmDescRule, load};
//! use vmferry::machine::{Configuration, DeviceState, Phase};
//! use vmferry::progress::Progress;
//! use vmferry::ram::{Page, PageIndex, PageSize, RamBlock, RamBlocks};
//! use vmferry::save::precopy;
//! use vmferry::wire::{SliceSource, section::SectionHeader};
//!
//! let mut machine = Image::default();
//! machine.state.configuration = Some(Configuration {
//!     machine: "tiny-1.0".into(),
//!     ..Configuration::default()
//! });
//! let uart = SectionHeader {
//!     section_id: 2,
//!     idstr: "uart".into(),
//!     instance_id: 0,
//!     version_id: 1,
//! };
//! let uart = DeviceState::new(uart, Phase::Device, b"registers")?;
//! machine.state.devices.push(uart);
//! let mut blocks = RamBlocks::default();
//! let ram = blocks.insert(RamBlock {
//!     idstr: "ram".into(),
//!     used_length: 1 << 20,
//!     host_page_size: None,
//! });
//! machine.ram_blocks(&blocks, PageSize::X86)?;
//! machine.put(ram, PageIndex(7), Page::Data(&[1; 4096]));
//!
//! let mut stream = Vec::new();
//! precopy(&mut stream, &machine.state, &machine, &Progress::default())?;
//!
//! let mut back = Image::default();
//! let options = Options {
//!     // It has none that says what the registers are.
//!     vmdesc: VmDescRule::Optional,
//!     ..Options::default()
//! };
//! load(&mut SliceSource::new(&stream), &mut back, &options)?;
//! assert_eq!(back, machine);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod lanes;
mod mapped_ram;
mod multifd;
mod options;
mod parallel;
mod ram_writer;
mod runs;
mod stream_writer;

pub use mapped_ram::{mapped_ram, mapped_ram_at, mapped_ram_parallel};
pub use multifd::multifd;
pub use options::MultifdOptions;
pub use ram_writer::RamWriter;

pub(crate) use multifd::with_multifd;
pub(crate) use stream_writer::StreamWriter;

use std::ops::ControlFlow;

use crate::error::Error;
use crate::machine::{MachineState, Phase};
use crate::progress::Progress;
use crate::ram::{BlockIndex, Page, PageIndex, PageKind, PageSource};
use crate::wire::command::Command;
use crate::wire::ram::ListFields;
use crate::wire::section::ElementType;
use crate::wire::xbzrle::{self, Encoded};
use crate::wire::{Sink, header, vmdesc};

/// Where a stream goes: a [`stream::Writer`](crate::stream::Writer), or memory.
///
/// What is put may be held back until [`flush`](Outgoing::flush); an error is kept, and what comes
/// after it is dropped.
pub trait Outgoing: Sink {
    /// Sends everything that was put.
    ///
    /// # Errors
    /// It could not be sent; the first error stays.
    fn flush(&mut self) -> Result<(), Error>;

    /// Whether everything up to now could be taken.
    ///
    /// # Errors
    /// The first error, if one has happened.
    fn check(&self) -> Result<(), Error>;
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<K: Outgoing + ?Sized> Outgoing for $pointer {
            fn flush(&mut self) -> Result<(), Error> {
                (**self).flush()
            }

            fn check(&self) -> Result<(), Error> {
                (**self).check()
            }
        }
    )*};
}

forward!(&mut K, Box<K>);

impl Outgoing for Vec<u8> {
    fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Why a stream could not be written to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError<P> {
    /// The destination takes no more.
    #[error("the stream could not be sent")]
    Send(#[source] Error),
    /// A page could not be had.
    #[error("a page could not be read")]
    Page(#[source] P),
    /// The machine was sent with capability `x-ignore-shared`, so its shared memory is not here.
    /// Nothing was written.
    #[error("the machine's shared memory was left out of its stream (x-ignore-shared)")]
    SharedMemoryLeftOut,
}

/// Pages in one PART: a point at which errors are noticed and progress is counted.
const PART_PAGES: u64 = 4096;

/// Writes a whole stream for a plain `-incoming`: all pages, then the devices, then their
/// description. `progress` counts the pages that were written.
///
/// # Errors
/// A page could not be read, or the destination takes no more. What was sent until then is no
/// stream that a QEMU would start from. Nothing is written for a machine whose shared memory is
/// not here.
#[doc(alias = "qemu_savevm_state")]
pub fn precopy<K: Outgoing, P: PageSource>(
    sink: &mut K,
    state: &MachineState,
    source: &P,
    progress: &Progress,
) -> Result<(), SaveError<P::Error>> {
    let mut stream = Stream::begin(sink, state, source, progress)?;
    stream.pages(source, |ram, sink, block, page, content| {
        ram.page(block, page, content, sink);
    })?;
    stream.end(state)
}

/// Writes a whole stream for a plain `-incoming` as a machine sends it that was at `before` when its
/// pages were sent first, and is at `source` now: all pages of `before`, and then those that differ,
/// each as its differences (XBZRLE) where that is shorter. Both have the same blocks.
///
/// The destination takes it whether its `xbzrle` capability is on or not.
///
/// # Errors
/// As for [`precopy`].
pub fn precopy_xbzrle<K: Outgoing, P: PageSource>(
    sink: &mut K,
    state: &MachineState,
    before: &P,
    source: &P,
    progress: &Progress,
) -> Result<(), SaveError<P::Error>> {
    let mut stream = Stream::begin(sink, state, source, progress)?;
    stream.pages(before, |ram, sink, block, page, content| {
        ram.page(block, page, content, sink);
    })?;
    let page_len = source.page_size().bytes();
    let (mut old, mut new, mut out) = (vec![0; page_len], vec![0; page_len], vec![0; page_len]);
    let mut failed = None;
    stream.pages(source, |ram, sink, block, page, content| {
        match before.page(block, page, &mut old) {
            Ok(PageKind::Data) => {}
            // What never came is zeros at the destination.
            Ok(PageKind::Zero | PageKind::Absent) => old.fill(0),
            Err(error) => {
                failed.get_or_insert(error);
            }
        }
        match content {
            Page::Data(data) => new.copy_from_slice(data),
            Page::Zero => new.fill(0),
        }
        match xbzrle::encode(&old, &new, &mut out) {
            Encoded::Same => {}
            Encoded::Bytes(n) => ram.differences(block, page, &out[..n], sink),
            Encoded::Overflow => ram.page(block, page, content, sink),
        }
    })?;
    failed.map_or(Ok(()), |error| Err(SaveError::Page(error)))?;
    stream.end(state)
}

/// A stream between its head and its devices.
struct Stream<'a, K> {
    sink: &'a mut K,
    ram: RamWriter,
    progress: &'a Progress,
}

impl<'a, K: Outgoing> Stream<'a, K> {
    fn begin<P: PageSource>(
        sink: &'a mut K,
        state: &MachineState,
        source: &P,
        progress: &'a Progress,
    ) -> Result<Self, SaveError<P::Error>> {
        if state.lacks_shared_memory() {
            return Err(SaveError::SharedMemoryLeftOut);
        }
        let mut ram = RamWriter::of_machine(state, source);
        header::encode(sink);
        state.encode_configuration(sink);
        ram.start(sink, ListFields::Plain);
        state.encode_devices(Phase::Early, sink);
        Ok(Self {
            sink,
            ram,
            progress,
        })
    }

    /// Shows each page of `source` to `put`, in PARTs.
    fn pages<P: PageSource>(
        &mut self,
        source: &P,
        mut put: impl FnMut(&mut RamWriter, &mut K, BlockIndex, PageIndex, Page<'_>),
    ) -> Result<(), SaveError<P::Error>> {
        let Self {
            sink,
            ram,
            progress,
        } = self;
        let mut sent = Ok(());
        let mut in_part = 0;
        source
            .pages(&|_, _| true, &mut |block, page, content| {
                if in_part == 0 {
                    ram.begin(ElementType::Part, *sink);
                }
                put(ram, sink, block, page, content);
                in_part += 1;
                if in_part == PART_PAGES {
                    ram.end(*sink);
                    progress.add_sent(in_part);
                    in_part = 0;
                    sent = sink.check();
                }
                match sent {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            })
            .map_err(SaveError::Page)?;
        sent.map_err(SaveError::Send)?;
        if in_part > 0 {
            ram.end(*sink);
            progress.add_sent(in_part);
        }
        Ok(())
    }

    fn end<E>(self, state: &MachineState) -> Result<(), SaveError<E>> {
        end(self.sink, &self.ram, state)
    }
}

/// Ends the RAM, and writes the devices and their description.
fn end<E>(
    sink: &mut impl Outgoing,
    ram: &RamWriter,
    state: &MachineState,
) -> Result<(), SaveError<E>> {
    if state.rules().is_some_and(|rules| rules.switchover_start) {
        Command::SwitchoverStart.encode(sink);
    }
    ram.begin(ElementType::End, sink);
    ram.end(sink);
    state.encode_devices(Phase::Device, sink);
    sink.put(&[ElementType::Eof as u8]);
    if let Some(json) = &state.vmdesc {
        put_vmdesc(json, sink);
    }
    sink.flush().map_err(SaveError::Send)
}

fn put_vmdesc(json: &[u8], sink: &mut impl Outgoing) {
    sink.put(&[vmdesc::ELEMENT]);
    sink.put(&u32::try_from(json.len()).unwrap_or(u32::MAX).to_be_bytes());
    sink.put(json);
}
