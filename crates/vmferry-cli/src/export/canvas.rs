//! Files whose contents come in any order: each page is written at its place, and zeros are left out.

use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail};
use crossbeam_channel::{Receiver, Sender, bounded};
use vmferry::ram::{BlockIndex, Page, PageIndex, PageSize, PageSource};

use super::{CANNOT_WRITE, Plan};

/// As much is gathered before it is written.
const BUFFER: usize = 1 << 20;

/// As many pieces wait to be written.
const AHEAD: usize = 4;

/// Bytes that belong at one place.
#[derive(Debug, Default)]
struct Piece {
    file: usize,
    at: u64,
    bytes: Vec<u8>,
}

/// The way to the thread that writes, and the buffers that it gives back.
struct Queue {
    full: Sender<Piece>,
    empty: Receiver<Vec<u8>>,
}

/// Files with a plan for each.
#[derive(Debug)]
pub struct Canvas {
    files: Vec<File>,
    page_size: PageSize,
    /// For each block, in the order of their pages.
    places: Vec<Vec<Place>>,
    /// What was gathered.
    piece: Piece,
}

/// A run of pages of one block.
#[derive(Debug, Clone, Copy)]
struct Place {
    first: u64,
    end: u64,
    file: usize,
    at: u64,
}

impl Canvas {
    /// Gives the files their length and their texts.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn new(parts: Vec<(File, Plan)>, blocks: usize, page_size: PageSize) -> Result<Self> {
        let mut places = vec![Vec::new(); blocks];
        let mut files = Vec::new();
        for (number, (file, plan)) in parts.into_iter().enumerate() {
            file.set_len(plan.len).context(CANNOT_WRITE)?;
            for (at, text) in &plan.texts {
                file.write_all_at(text, *at).context(CANNOT_WRITE)?;
            }
            for extent in &plan.extents {
                if let Some(places) = places.get_mut(extent.block.0) {
                    places.push(Place {
                        first: extent.offset >> page_size.bits(),
                        end: (extent.offset + extent.len) >> page_size.bits(),
                        file: number,
                        at: extent.at,
                    });
                }
            }
            files.push(file);
        }
        Ok(Self {
            files,
            page_size,
            places,
            piece: Piece::default(),
        })
    }

    fn place(&self, block: BlockIndex, page: PageIndex) -> Option<(usize, u64)> {
        let places = self.places.get(block.0)?;
        let place = places
            .iter()
            .find(|place| (place.first..place.end).contains(&page.0))?;
        let within = (page.0 - place.first) << self.page_size.bits();
        Some((place.file, place.at + within))
    }

    /// Writes every page of `source` that has a place. Reading goes on while a thread writes.
    ///
    /// # Errors
    /// A page is damaged, or cannot be written.
    pub fn fill<S: PageSource>(mut self, source: &S) -> Result<()> {
        let files = std::mem::take(&mut self.files);
        let (full, pieces) = bounded(AHEAD);
        let (done, empty) = bounded(AHEAD + 2);
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || write(&files, &pieces, &done));
            let walked = self.walk(source, &Queue { full, empty });
            // The queue is closed now, and the writer ends when it is empty.
            let written = match writer.join() {
                Ok(written) => written,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            // Where writing failed, the walk has ended because of that.
            written.and(walked)
        })
    }

    fn walk<S: PageSource>(mut self, source: &S, queue: &Queue) -> Result<()> {
        let places = self.places.clone();
        let wanted = move |block: BlockIndex, page: PageIndex| {
            let places = places.get(block.0).into_iter().flatten();
            places
                .clone()
                .any(|place| (place.first..place.end).contains(&page.0))
        };
        let mut failed = None;
        let walked = source.pages(&wanted, &mut |block, page, content| match self
            .page(block, page, content, queue)
        {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        });
        walked.context("the memory cannot be read")?;
        match failed {
            Some(error) => Err(error),
            None => self.flush(queue),
        }
    }

    fn page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
        queue: &Queue,
    ) -> Result<()> {
        let Page::Data(data) = content else {
            return Ok(());
        };
        let Some((file, at)) = self.place(block, page) else {
            return Ok(());
        };
        let next = self.piece.at + self.piece.bytes.len() as u64;
        let follows = (self.piece.file, next) == (file, at);
        if !follows || self.piece.bytes.len() + data.len() > BUFFER {
            self.flush(queue)?;
            (self.piece.file, self.piece.at) = (file, at);
        }
        self.piece.bytes.extend_from_slice(data);
        Ok(())
    }

    fn flush(&mut self, queue: &Queue) -> Result<()> {
        let bytes = queue.empty.try_recv();
        let bytes = bytes.unwrap_or_else(|_| Vec::with_capacity(BUFFER));
        let next = Piece {
            bytes,
            ..self.piece
        };
        let piece = std::mem::replace(&mut self.piece, next);
        if queue.full.send(piece).is_err() {
            bail!(CANNOT_WRITE);
        }
        Ok(())
    }
}

/// Writes pieces as they come, and gives their buffers back.
fn write(files: &[File], pieces: &Receiver<Piece>, done: &Sender<Vec<u8>>) -> Result<()> {
    for mut piece in pieces {
        if let Some(file) = files.get(piece.file) {
            let written = file.write_all_at(&piece.bytes, piece.at);
            written.context(CANNOT_WRITE)?;
        }
        piece.bytes.clear();
        // One that is not wanted back is let go.
        let _ = done.try_send(piece.bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::Extent;
    use crate::export::pour::pour;
    use vmferry::load::{Image, Visitor};
    use vmferry::ram::{RamBlock, RamBlocks};

    fn image() -> Image {
        let mut image = Image::default();
        let block = |idstr: &str| RamBlock {
            idstr: idstr.into(),
            used_length: 3 << 20,
            host_page_size: None,
        };
        let blocks: RamBlocks = [block("a"), block("b")].into_iter().collect();
        image.ram_blocks(&blocks, PageSize::X86).unwrap();
        for block in 0..2_u8 {
            for page in (0..768_u64).filter(|page| page % 5 != 3) {
                let data = [block + 1, page.to_le_bytes()[0], 7].repeat(4096 / 3 + 1);
                image.put(
                    BlockIndex(block.into()),
                    PageIndex(page),
                    Page::Data(&data[..4096]),
                );
            }
        }
        image
    }

    /// Two parts of one block the wrong way round, one of another, and text around them.
    fn plan() -> Plan {
        let extent = |at, block, offset, len| Extent {
            at,
            block: BlockIndex(block),
            offset,
            len,
        };
        Plan {
            texts: vec![(0, b"head".to_vec()), (9000, b"middle".to_vec())],
            extents: vec![
                extent(5, 0, 8192, 8192),
                extent(10_000, 1, 0, 3 << 20),
                extent(4_000_000, 0, 0, 8192),
            ],
            len: 4_010_000,
        }
    }

    #[test]
    fn a_file_and_a_pipe_get_the_same_bytes_and_each_page_at_its_place() {
        let image = image();
        let file = tempfile::tempfile().unwrap();
        let parts = vec![(file.try_clone().unwrap(), plan())];
        let canvas = Canvas::new(parts, 2, PageSize::X86).unwrap();
        canvas.fill(&image).unwrap();
        let mut written = vec![0; 4_010_000];
        file.read_exact_at(&mut written, 0).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 4_010_000);
        assert_eq!(&written[..5], b"head\0");
        assert_eq!(&written[9000..9007], b"middle\0");

        let page = |block: usize, page: u64| {
            let mut out = vec![0; 4096];
            image
                .page(BlockIndex(block), PageIndex(page), &mut out)
                .unwrap();
            out
        };
        assert_eq!(written[5..5 + 4096], page(0, 2));
        assert_eq!(written[5 + 4096..5 + 8192], [0; 4096]);
        assert_eq!(written[10_000 + 767 * 4096..][..4096], page(1, 767));
        assert_eq!(written[4_004_096..][..4096], page(0, 1));
        assert!(written[4_008_192..].iter().all(|byte| *byte == 0));

        let mut poured = Vec::new();
        pour(&plan(), &image, &mut poured).unwrap();
        assert!(poured == written);
    }
}
