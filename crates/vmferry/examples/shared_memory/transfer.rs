//! Both sides of a transfer of guest memory, and the hooks that take its pages past the stream.
//!
//! ```text
//!             be64              what
//! stream:     size | MEM_SIZE   the memory's size
//!             HOOK              be32 0: a memfd follows          (before the first pass)
//!             offset | PAGE     a page that does not fit into the memfd, and its bytes
//!             HOOK              be32 n, n × be64 offset: they are in the memfd now (after each pass)
//!             EOS               the end; the other side answers with what came which way
//! ```

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use vmferry::channel::{Duplex, RamMapping, ReadChannel, Socket, WriteChannel};
use vmferry::stream::{
    ErrorKind, HookedPage, LoadEvent, RamHooks, RamPhase, Reader, ReaderConfig, Release, Result,
    SavePage, StreamError, Writer,
};

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;

/// The most that a side accepts of memory, and of pages in one message.
const LIMIT: u64 = 4 << 30;

// QEMU's flags, in the low bits of an offset.
const MEM_SIZE: u64 = 0x04;
const PAGE_FLAG: u64 = 0x08;
const EOS: u64 = 0x10;
const HOOK: u64 = 0x80;

/// How many pages came which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pages {
    /// Through the memfd.
    pub(crate) through_memory: u64,
    /// Through the stream.
    pub(crate) through_stream: u64,
}

// ---- the sending side ----

/// Puts pages into a memfd, and tells the other side which ones.
struct IntoMemory<'ram> {
    ram: &'ram RamMapping,
    shared: RamMapping,
    memfd: OwnedFd,
    moved: Vec<u64>,
}

impl<'ram> IntoMemory<'ram> {
    /// The memfd has room for the first `room` bytes of the memory.
    fn new(ram: &'ram RamMapping, room: usize) -> std::io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memfd = File::from(memfd_create("pages", flags)?);
        memfd.set_len(room as u64)?;
        // What is mapped must not go away: touching it would end the process.
        fcntl_add_seals(&memfd, SealFlags::SHRINK)?;
        Ok(Self {
            ram,
            shared: RamMapping::shared(&memfd, 0, room)?,
            memfd: memfd.into(),
            moved: Vec::new(),
        })
    }
}

impl<'w, C: WriteChannel> RamHooks<Writer<'w, C>> for IntoMemory<'_> {
    fn before_iterate(&mut self, stream: &mut Writer<'w, C>, phase: RamPhase) -> Result<()> {
        if phase == RamPhase::Setup {
            stream.put_be64(HOOK);
            stream.put_be32(0);
            stream.put_descriptor(self.memfd.as_fd())?;
        }
        Ok(())
    }

    fn save_page(&mut self, _: &mut Writer<'w, C>, page: HookedPage) -> Result<SavePage> {
        let start = usize::try_from(page.offset).unwrap_or(usize::MAX);
        let range = start..start.saturating_add(page.len);
        let mut shared = self.shared.as_ram_mut();
        let (Some(from), Some(mut to)) = (
            self.ram.as_ram().subslice(range.clone()),
            shared.subslice_mut(range),
        ) else {
            return Ok(SavePage::NotSupported);
        };
        let mut bytes = vec![0; page.len];
        from.copy_to(&mut bytes);
        to.copy_from(&bytes);
        self.moved.push(page.offset);
        Ok(SavePage::Sent {
            bytes: page.len as u64,
        })
    }

    fn after_iterate(&mut self, stream: &mut Writer<'w, C>, _: RamPhase) -> Result<()> {
        if !self.moved.is_empty() {
            stream.put_be64(HOOK);
            stream.put_be32(u32::try_from(self.moved.len()).unwrap_or(u32::MAX));
            for offset in self.moved.drain(..) {
                stream.put_be64(offset);
            }
        }
        Ok(())
    }
}

/// Sends `ram`: the first `room` bytes through a memfd, the rest through the stream. Gives the bytes
/// that the stream itself carried, and what the other side says of the pages.
///
/// # Errors
/// The transfer fails on either side.
pub(crate) fn send(socket: UnixStream, ram: &RamMapping, room: usize) -> Result<(u64, Pages)> {
    let (reader, writer) = Socket::from(socket).split();
    let mut stream = Writer::new(writer);
    let mut hooks = IntoMemory::new(ram, room).map_err(hook_failed)?;
    stream.put_be64(ram.len() as u64 | MEM_SIZE);
    stream.before_iterate(&mut hooks, RamPhase::Setup)?;
    stream.after_iterate(&mut hooks, RamPhase::Setup)?;
    stream.before_iterate(&mut hooks, RamPhase::Round)?;
    for start in (0..ram.len()).step_by(PAGE) {
        let page = HookedPage {
            block: 0,
            offset: start as u64,
            len: PAGE,
        };
        if stream.save_page(&mut hooks, page)? == SavePage::NotSupported {
            stream.put_be64(page.offset | PAGE_FLAG);
            if let Some(bytes) = ram.as_ram().subslice(start..start + PAGE) {
                stream.put_ram(bytes, Release::Keep);
            }
        }
    }
    stream.after_iterate(&mut hooks, RamPhase::Round)?;
    stream.put_be64(EOS);
    stream.flush()?;
    let mut answer = Reader::new(reader);
    let pages = Pages {
        through_memory: answer.get_be64()?,
        through_stream: answer.get_be64()?,
    };
    Ok((stream.queued_position(), pages))
}

// ---- the receiving side ----

/// Takes pages out of the memfd that the other side has sent.
struct OutOfMemory<'a> {
    ram: &'a mut RamMapping,
    shared: Option<RamMapping>,
    pages: u64,
}

impl<C: ReadChannel> RamHooks<Reader<C>> for OutOfMemory<'_> {
    fn load(&mut self, stream: &mut Reader<C>, event: LoadEvent<'_>) -> Result<bool> {
        if event != LoadEvent::Hook {
            return Ok(false);
        }
        let count = stream.get_be32()?;
        if count == 0 {
            let memfd = File::from(stream.take_descriptor()?);
            if !fcntl_get_seals(&memfd)
                .map_err(hook_failed)?
                .contains(SealFlags::SHRINK)
            {
                let what = "the memfd may become shorter";
                return Err(StreamError::with_source(
                    ErrorKind::User(0),
                    stream.position(),
                    what,
                ));
            }
            let len = memfd.metadata().map_err(hook_failed)?.len();
            let len = usize::try_from(len.min(LIMIT)).unwrap_or(usize::MAX);
            self.shared = Some(RamMapping::shared(&memfd, 0, len).map_err(hook_failed)?);
            return Ok(true);
        }
        for _ in 0..count {
            let start = usize::try_from(stream.get_be64()?).unwrap_or(usize::MAX);
            let range = start..start.saturating_add(PAGE);
            let from = self.shared.as_ref().map(RamMapping::as_ram);
            let mut ram = self.ram.as_ram_mut();
            let (Some(from), Some(mut to)) = (
                from.and_then(|shared| shared.subslice(range.clone())),
                ram.subslice_mut(range),
            ) else {
                return Err(out_of_range(stream.position()));
            };
            let mut bytes = [0; PAGE];
            from.copy_to(&mut bytes);
            to.copy_from(&bytes);
            self.pages += 1;
        }
        Ok(true)
    }
}

/// Receives what [`send`] sends.
///
/// # Errors
/// The transfer fails on either side.
pub(crate) fn receive(socket: UnixStream) -> Result<(RamMapping, Pages)> {
    let (reader, writer) = Socket::from(socket).split();
    let config = ReaderConfig {
        descriptors: 1,
        ..ReaderConfig::default()
    };
    let mut stream = Reader::with_config(reader, &config);
    let size = stream.get_be64()? & !(PAGE as u64 - 1);
    let size = usize::try_from(size.min(LIMIT)).unwrap_or(usize::MAX);
    let mut ram = RamMapping::private(size).map_err(hook_failed)?;
    let mut hooks = OutOfMemory {
        ram: &mut ram,
        shared: None,
        pages: 0,
    };
    let mut through_stream = 0;
    loop {
        match stream.get_be64()? {
            EOS => break,
            HOOK => stream.load_hook(&mut hooks, LoadEvent::Hook)?,
            record => {
                let start = usize::try_from(record & !PAGE_FLAG).unwrap_or(usize::MAX);
                let mut memory = hooks.ram.as_ram_mut();
                match memory.subslice_mut(start..start.saturating_add(PAGE)) {
                    Some(page) => stream.get_ram(page)?,
                    None => return Err(out_of_range(stream.position())),
                }
                through_stream += 1;
            }
        }
    }
    let pages = Pages {
        through_memory: hooks.pages,
        through_stream,
    };
    let mut answer = Writer::new(writer);
    answer.put_be64(pages.through_memory);
    answer.put_be64(pages.through_stream);
    answer.finish().map_err(|failed| failed.error)?;
    Ok((ram, pages))
}

fn hook_failed(error: impl Into<std::io::Error>) -> StreamError {
    let error = error.into();
    let errno = error.raw_os_error().unwrap_or_default();
    StreamError::with_source(ErrorKind::Hook(errno), 0, error)
}

fn out_of_range(at: u64) -> StreamError {
    StreamError::with_source(ErrorKind::User(0), at, "a page outside of the memory")
}
