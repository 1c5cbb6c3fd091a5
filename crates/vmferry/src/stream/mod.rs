//! The buffered byte stream: a [`Reader`] and a [`Writer`] over any [channel](crate::channel).
//!
//! Both keep their first error, and are of no use behind it: a reader gives nothing more, a writer
//! takes everything and sends nothing. Numbers are big-endian, and come whole or not at all.
//!
//! A [`Writer`] copies small things into its buffer and refers to large ones where they are; what
//! was put goes out in one vectored write. A [`Reader`] has a window of what has been read ahead,
//! and hands out references into it; large reads go straight to where they belong.
//!
//! ```
//! use vmferry::channel::{Bytes, Memory};
//! use vmferry::stream::{Reader, Writer};
//!
//! let page = [7; 4096];
//! let mut writer = Writer::new(Memory::default());
//! writer.put_be64(0x1000 | 8);
//! writer.put_counted(b"pc.ram")?;
//! writer.put_borrowed(&page);
//! let sent = writer.finish()?;
//!
//! let mut reader = Reader::new(Bytes::new(&sent.0));
//! assert_eq!(reader.get_be64()?, 0x1008);
//! let mut name = [0; 255];
//! assert_eq!(reader.get_counted(&mut name)?, b"pc.ram");
//! assert_eq!(reader.get_ref(4096)?, page);
//! assert!(reader.at_end()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | beside them | is |
//! |---|---|
//! | [`Staging`] | a stream that is built in memory, to be put into another |
//! | [`Compressor`], [`Decompressor`] | zlib records, with a state that is used again |
//! | [`RateLimiter`] | how much may be sent, shared by all streams of a transfer |
//! | [`RamHooks`] | a transport that moves pages by itself |
//! | [`Releaser`] | what becomes of guest memory once it has been sent |
//! | [`AbortHandle`] | the end, from another thread |

mod abort;
mod compress;
mod error;
mod hooks;
mod rate;
mod reader;
mod release;
mod staging;
mod writer;

#[cfg(feature = "vm-memory")]
mod vm_memory;

pub use abort::AbortHandle;
pub use compress::{Compressor, Decompressor, MAX_COMPRESSED_BLOCK};
pub use error::{ErrorKind, Result, StreamError};
pub use hooks::{HookedPage, LoadEvent, NoHooks, RamHooks, RamPhase, SavePage};
pub use rate::RateLimiter;
pub use reader::{Lenient, Reader, ReaderConfig};
pub use release::{
    DiscardPrivate, NoRelease, PunchHole, Release, ReleaseReport, Releaser, SentPages,
};
pub use staging::Staging;
pub use writer::{FinishError, Reserved, Writer, WriterConfig, ZeroCopyReport};

/// What a stream does where its channel is not ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[doc(alias = "qemu_file_set_blocking")]
pub enum OnWouldBlock {
    /// It says so, and loses nothing: the same call may succeed later.
    #[default]
    Return,
    /// It waits for the channel.
    Wait,
}
