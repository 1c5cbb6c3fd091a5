//! Writing a mapped-ram file, which QEMU 9.0 and later load.

use std::io::{Seek, SeekFrom};
use std::ops::ControlFlow;

use super::{MachineState, SaveError};
use crate::channel::{SeekChannel, WriteChannel};
use crate::error::{Error, FormatError};
use crate::load::Phase;
use crate::ram::{BlockIndex, Page, PageSize, PageSource};
use crate::stream::{Releaser, StreamError, Writer};
use crate::wire::mapped_ram::{ALIGNMENT, Bitmap, Header, LEN};
use crate::wire::{Sink, header};

/// Bytes of neighbouring pages that are written at once, at most.
const RUN: usize = 1 << 20;

/// Writes a machine as a mapped-ram file: each page at its own place, and holes for zeros. `writer` must
/// stand at the beginning of the file, and the file be empty. `progress` is told the number of pages
/// written since it was last called.
///
/// # Errors
/// As for [`precopy`](super::precopy); and for a machine without a configuration (of a type before
/// 2.4), which no such file can be of.
pub fn mapped_ram<C, M, P>(
    writer: &mut Writer<'_, C, M>,
    state: &MachineState,
    source: &P,
    progress: &mut dyn FnMut(u64),
) -> Result<(), SaveError<P::Error>>
where
    C: WriteChannel + SeekChannel,
    M: Releaser,
    P: PageSource,
{
    if state.lacks_shared_memory() {
        return Err(SaveError::SharedMemoryLeftOut);
    }
    let ram = state.ram_writer(source);
    header::encode(writer);
    if !state.encode_mapped_configuration(writer) {
        let what = "a mapped-ram file of a machine without a configuration";
        return Err(SaveError::Send(FormatError::unsupported(0, what).into()));
    }
    ram.start_mapped(writer);
    let mut places = places(writer, source).map_err(SaveError::Send)?;
    ram.end(writer);
    state.encode_devices(Phase::Early, writer);

    pages(writer, source, &mut places, progress)?;
    for place in &places {
        let bitmap = place.bitmap.as_bytes();
        writer
            .write_at(bitmap, place.header.bitmap)
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
    source: &impl PageSource,
) -> Result<Vec<Place>, Error>
where
    C: WriteChannel + SeekChannel,
    M: Releaser,
{
    let page_size = source.page_size();
    let mut places = Vec::new();
    let mut at = writer.queued_position();
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
            .seek(SeekFrom::Start(at))
            .map_err(|error| StreamError::from_io(error, at))?;
    }
    Ok(places)
}

/// Neighbouring pages on their way to the file.
#[derive(Default)]
struct Run {
    bytes: Vec<u8>,
    at: u64,
}

impl Run {
    fn write<C: WriteChannel, M: Releaser>(
        &mut self,
        writer: &mut Writer<'_, C, M>,
    ) -> Result<(), StreamError> {
        if !self.bytes.is_empty() {
            writer.write_at(&self.bytes, self.at)?;
            self.bytes.clear();
        }
        Ok(())
    }
}

fn pages<C: WriteChannel, M: Releaser, P: PageSource>(
    writer: &mut Writer<'_, C, M>,
    source: &P,
    places: &mut [Place],
    progress: &mut dyn FnMut(u64),
) -> Result<(), SaveError<P::Error>> {
    let page_size: PageSize = source.page_size();
    let mut run = Run::default();
    let mut sent = Ok(());
    let mut count = 0;
    source
        .pages(&|_, _| true, &mut |BlockIndex(block), page, content| {
            count += 1;
            if let (Page::Data(data), Some(place)) = (content, places.get_mut(block)) {
                place.bitmap.set(page.0);
                let at = place.header.pages + (page.0 << page_size.bits());
                let goes_on = run.at + run.bytes.len() as u64 == at && run.bytes.len() < RUN;
                if !goes_on {
                    sent = run.write(writer);
                    progress(std::mem::take(&mut count));
                    run.at = at;
                }
                run.bytes.extend_from_slice(data);
            }
            if sent.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })
        .map_err(SaveError::Page)?;
    sent.and_then(|()| run.write(writer))
        .map_err(|error| SaveError::Send(error.into()))?;
    progress(count);
    Ok(())
}
