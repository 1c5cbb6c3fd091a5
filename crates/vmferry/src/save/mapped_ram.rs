//! Writing a mapped-ram file, which QEMU 9.0 and later load.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use super::parallel::with_writers;
use super::runs::Runs;
use super::{RamWriter, SaveError};
use crate::channel::{self, SeekChannel, WriteChannel};
use crate::error::{Error, FormatError};
use crate::machine::{MachineState, Phase};
use crate::progress::Progress;
use crate::ram::{BlockIndex, Page, PageSize, PageSource};
use crate::stream::{Releaser, StreamError, Writer};
use crate::wire::mapped_ram::{ALIGNMENT, Bitmap, Header, LEN};
use crate::wire::{Sink, header};

/// Bytes of neighbouring pages that are written at once, at most.
const RUN: usize = 1 << 20;

/// Writes a machine as a mapped-ram file: each page at its own place, and holes for zeros. `writer` must
/// stand at the beginning of the file, and the file be empty. `progress` counts the pages
/// that were written.
///
/// # Errors
/// As for [`precopy`](super::precopy); and for a machine without a configuration (of a type before
/// 2.4), which no such file can be of.
pub fn mapped_ram<C, M, P>(
    writer: &mut Writer<'_, C, M>,
    state: &MachineState,
    source: &P,
    progress: &Progress,
) -> Result<(), SaveError<P::Error>>
where
    C: WriteChannel + SeekChannel,
    M: Releaser,
    P: PageSource,
{
    mapped_ram_at(writer, 0, state, source, progress)
}

/// Writes a machine as a mapped-ram file that begins at `file_offset` of its file: its offsets are those of
/// the file. `writer` counts from there, and there must be nothing behind it.
///
/// # Errors
/// As for [`mapped_ram`].
pub fn mapped_ram_at<C, M, P>(
    writer: &mut Writer<'_, C, M>,
    file_offset: u64,
    state: &MachineState,
    source: &P,
    progress: &Progress,
) -> Result<(), SaveError<P::Error>>
where
    C: WriteChannel + SeekChannel,
    M: Releaser,
    P: PageSource,
{
    whole(writer, file_offset, state, source, |writer, places| {
        let mut runs = InTurn {
            writer,
            file_offset,
        };
        pages(&mut runs, source, places, progress)
    })
}

/// Writes a machine as a mapped-ram file that begins at `file_offset` of `file`, as [`mapped_ram_at`] does, with several
/// threads that write the pages.
///
/// The file is the same, byte for byte: only the order in which it is written differs.
///
/// # Errors
/// As for [`mapped_ram`].
pub fn mapped_ram_parallel<P: PageSource>(
    file: &File,
    file_offset: u64,
    threads: NonZeroUsize,
    state: &MachineState,
    source: &P,
    progress: &Progress,
) -> Result<(), SaveError<P::Error>> {
    let channel = file
        .try_clone()
        .and_then(|file| channel::File::from_offset(file, file_offset));
    let channel =
        channel.map_err(|error| SaveError::Send(StreamError::from_io(error, 0).into()))?;
    let mut writer = Writer::new(channel);
    whole(&mut writer, file_offset, state, source, |_, places| {
        with_writers(file, threads, SaveError::Send, |runs| {
            pages(runs, source, places, progress)
        })
    })?;
    let closed = writer.close();
    closed.map_err(|error| SaveError::Send(error.into()))
}

/// Writes the whole file, with the pages in the way of `put_pages`.
fn whole<C, M, P>(
    writer: &mut Writer<'_, C, M>,
    file_offset: u64,
    state: &MachineState,
    source: &P,
    put_pages: impl FnOnce(&mut Writer<'_, C, M>, &mut [Place]) -> Result<(), SaveError<P::Error>>,
) -> Result<(), SaveError<P::Error>>
where
    C: WriteChannel + SeekChannel,
    M: Releaser,
    P: PageSource,
{
    if state.lacks_shared_memory() {
        return Err(SaveError::SharedMemoryLeftOut);
    }
    let ram = RamWriter::of_machine(state, source);
    header::encode(writer);
    if !state.encode_mapped_configuration(writer) {
        let what = "a mapped-ram file of a machine without a configuration";
        return Err(SaveError::Send(FormatError::unsupported(0, what).into()));
    }
    ram.start_mapped(writer);
    let mut places = places(writer, file_offset, source).map_err(SaveError::Send)?;
    ram.end(writer);
    state.encode_devices(Phase::Early, writer);

    put_pages(writer, &mut places)?;
    for place in &places {
        let bitmap = place.bitmap.as_bytes();
        writer
            .write_at(bitmap, place.header.bitmap - file_offset)
            .map_err(|error| SaveError::Send(error.into()))?;
    }
    super::end(writer, &ram, state)
}

/// Where a block's pages are, and which are there.
struct Place {
    header: Header,
    bitmap: Bitmap,
}

/// Writes the entry of each block, and leaves room for its pages behind it.
fn places<C, M>(
    writer: &mut Writer<'_, C, M>,
    file_offset: u64,
    source: &impl PageSource,
) -> Result<Vec<Place>, Error>
where
    C: WriteChannel + SeekChannel,
    M: Releaser,
{
    let page_size = source.page_size();
    let mut places = Vec::new();
    // In the file, as everything in the headers is.
    let mut at = writer.queued_position() + file_offset;
    for (_, block) in source.blocks().iter() {
        let pages = block.pages(page_size);
        let entry = 1 + block.idstr.len() as u64 + 8 + LEN as u64;
        let bitmap = at + entry;
        let header = Header {
            bitmap,
            pages: (bitmap + Bitmap::len_of(pages)).next_multiple_of(ALIGNMENT),
        };
        writer.put_name(&block.idstr);
        writer.put(&block.used_length.to_be_bytes());
        header.encode(page_size, writer);
        places.push(Place {
            header,
            bitmap: Bitmap::new(pages, at)?,
        });
        at = header.pages + block.used_length;
        writer
            .seek(SeekFrom::Start(at - file_offset))
            .map_err(|error| StreamError::from_io(error, at - file_offset))?;
    }
    Ok(places)
}

/// One after the other.
struct InTurn<'a, 'ram, C, M> {
    writer: &'a mut Writer<'ram, C, M>,
    file_offset: u64,
}

impl<C: WriteChannel, M: Releaser> Runs for InTurn<'_, '_, C, M> {
    fn put(&mut self, bytes: &mut Vec<u8>, at: u64) -> Result<(), Error> {
        self.writer.write_at(bytes, at - self.file_offset)?;
        bytes.clear();
        Ok(())
    }
}

fn pages<P: PageSource>(
    runs: &mut (impl Runs + ?Sized),
    source: &P,
    places: &mut [Place],
    progress: &Progress,
) -> Result<(), SaveError<P::Error>> {
    let page_size: PageSize = source.page_size();
    // Neighbouring pages on their way to the file, and where they belong.
    let (mut run, mut run_at) = (Vec::new(), 0);
    let mut sent = Ok(());
    let mut count = 0;
    source
        .pages(&|_, _| true, &mut |BlockIndex(block), page, content| {
            count += 1;
            if let (Page::Data(data), Some(place)) = (content, places.get_mut(block)) {
                place.bitmap.set(page.0);
                let at = place.header.pages + (page.0 << page_size.bits());
                let goes_on = run_at + run.len() as u64 == at && run.len() < RUN;
                if !goes_on {
                    if !run.is_empty() {
                        sent = runs.put(&mut run, run_at);
                    }
                    progress.add_sent(std::mem::take(&mut count));
                    run_at = at;
                }
                run.extend_from_slice(data);
            }
            if sent.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })
        .map_err(SaveError::Page)?;
    if sent.is_ok() && !run.is_empty() {
        sent = runs.put(&mut run, run_at);
    }
    sent.map_err(SaveError::Send)?;
    progress.add_sent(count);
    Ok(())
}
