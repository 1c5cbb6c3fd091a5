//! The buffered byte stream: a [`Reader`] and a [`Writer`] over any [channel](crate::channel).
//!
//! Both keep their first error, and are of no use behind it: a reader gives nothing more, a writer
//! takes everything and sends nothing. Numbers are big-endian, and come whole or not at all.
//!
//! A [`Writer`] copies small things into its buffer and refers to large ones where they are; what
//! was put goes out in one vectored write. A [`Reader`] has a window of what has been read ahead,
//! and hands out references into it; large reads go straight to where they belong.

mod abort;
mod error;
mod reader;
mod writer;

pub use abort::AbortHandle;
pub use error::{ErrorKind, Result, StreamError};
pub use reader::{Reader, ReaderConfig};
pub use writer::{FinishError, Writer, WriterConfig};
