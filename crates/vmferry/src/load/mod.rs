//! Reading a migration stream: one pass over it, shown to a [`Visitor`].
//!
//! The pass needs no seeking, keeps no page, and holds only the device sections back until their
//! description has come: they carry no length, and the description (vmdesc) comes after the last
//! of them.
//!
//! ```text
//! header, configuration ─► configuration()
//! ram START: block list ─► ram_blocks()
//!   early FULL          ─► device()         before any page; its end is guessed, and checked at the end
//! ram START, PART, END  ─► page(), differences()   in any order, any number of times
//! FULL … to the end     ─► device(), vmdesc()
//! ```
//!
//! In a mapped-ram file each block comes with its pages: `ram_blocks()` again and again, each time with one
//! more.
//!
//! A background snapshot has no `ram` END, and a stream that was written by hand may have no PART:
//! neither is asked for. What is asked for is the end that QEMU writes, so that a stream that was
//! cut off is an error wherever it was cut.
//!
//! Inside, each part has a state of its own, and no part changes that of another one:
//!
//! | part | what |
//! |---|---|
//! | `walk` | goes from element to element; it alone knows all other parts |
//! | `records` | the records of a `ram` section: blocks and pages |
//! | `sections` | device sections, footers, and where sections end |
//! | `description` | finds the description after the devices |
//! | `commands` | checks commands; what a command changes is returned to the walk |
//! | `others` | iterable sections other than `ram` |
//! | `resync` | finds something to go on with after something that is wrong |
//! | `multifd` | pages that come through other channels |
//! | `report` | shows, counts and notes for all of these, and knows none of them |

mod assumption;
mod channels;
mod commands;
mod connections;
mod description;
mod element;
mod image;
mod multifd;
mod options;
mod origin;
mod others;
mod records;
mod report;
mod resync;
mod sections;
mod source;
mod summary;
mod visitor;
mod walk;

pub use crate::wire::mapped_ram::{Bitmap, BitmapWords};
pub use assumption::{Assumption, AssumptionKind};
pub use channels::Channels;
pub use element::{Element, ElementKind, Nesting, PageCounts};
pub use image::Image;
pub use options::{Mode, Options, OtherSections, VmDescRule};
pub use origin::{ChannelName, Encoding, Origin};
pub use summary::Summary;
pub use visitor::{MappedPages, Visitor};

use crate::error::{Error, FormatError};
use crate::stream::AbortHandle;
use crate::wire::Source;
use source::Input;
use walk::Walk;

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub enum LoadError<V> {
    /// The stream is wrong, or could not be read.
    #[error(transparent)]
    Read(#[from] Error),
    /// The visitor wanted no more.
    #[error("what was read could not be taken")]
    Visitor(#[source] V),
}

impl<V> From<FormatError> for LoadError<V> {
    fn from(error: FormatError) -> Self {
        Self::Read(error.into())
    }
}

/// Reads a whole stream, from its header to its end, and shows it to `visitor`.
///
/// # Errors
/// The stream is not what QEMU writes, holds something that this library does not read, ends early,
/// or could not be read; or the visitor refused something. What has been shown until then is not a
/// state that anything can be started from.
#[doc(alias = "qemu_loadvm_state")]
pub fn load<S, V>(
    source: &mut S,
    visitor: &mut V,
    options: &Options,
) -> Result<Summary, LoadError<V::Error>>
where
    S: Source<Error: Into<Error>>,
    V: Visitor,
{
    let mut input = Input(source);
    Walk::new(visitor, &mut multifd::NoSideChannels, options).run(&mut input, None)
}

/// Reads all channels of a machine, each to its end, and shows them to `visitor` as [`load`] does with one.
///
/// # Errors
/// As for [`load`]. An offset in an error about pages of another channel than the main one is an offset in that
/// channel.
pub fn load_channels<S, V>(
    channels: &mut Channels<S>,
    visitor: &mut V,
    options: &Options,
) -> Result<Summary, LoadError<V::Error>>
where
    S: Source<Error: Into<Error>>,
    V: Visitor,
{
    let Channels {
        mut main,
        mut preempt,
        mut multifd,
    } = channels.inputs();
    let mut recorded = multifd::Recorded::open(&mut multifd)?;
    Walk::new(visitor, &mut recorded, options).run(&mut main, preempt.as_mut())
}

/// Reads all channels of a machine while they are sent, and shows them to `visitor`, as [`load_channels`] does with
/// recorded ones. The visitor is called from the threads that read the channels, by one of them at a time; between
/// two meeting points, pages of several channels come in any order.
///
/// `abort` has to end all channels: it is used, once at most, when one of them has failed and the others may be waiting.
/// [`Channels::abort_handle`] gives it; [the default](AbortHandle::default) does for channels that never block.
///
/// # Errors
/// As for [`load_channels`]: the first thing that went wrong on any channel.
pub fn load_live<S, V>(
    channels: &mut Channels<S>,
    visitor: &mut V,
    options: &Options,
    abort: &AbortHandle,
) -> Result<Summary, LoadError<V::Error>>
where
    S: Source<Error: Into<Error>> + Send,
    V: Visitor<Error: Send> + Send,
{
    let Channels {
        mut main,
        mut preempt,
        mut multifd,
    } = channels.inputs();
    multifd::while_live(&mut multifd, visitor, abort, |visitor, threads| {
        Walk::new(visitor, threads, options).run(&mut main, preempt.as_mut())
    })
}

#[cfg(test)]
mod test_bytes;
#[cfg(test)]
mod test_log;
#[cfg(test)]
mod tests;
