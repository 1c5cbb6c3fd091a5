//! Reading a migration stream: one pass over it, shown to a [`Visitor`].
//!
//! The pass needs no seeking, keeps no page, and holds only the device sections back until their
//! description has come: they carry no length, and the description (vmdesc) stands behind the last
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

mod assumption;
mod channels;
mod connections;
mod devices;
mod element;
mod ending;
mod full;
mod image;
mod inflate;
mod mapped_ram;
mod marks;
mod multifd;
mod others;
mod pass;
mod postcopy;
mod ram;
mod resync;
mod tail;
mod telling;
mod visitor;

pub use crate::wire::mapped_ram::{Bitmap, BitmapWords};
pub use assumption::{Assumption, AssumptionKind};
pub use channels::{Channels, load_channels};
pub use element::{Element, ElementKind, Nesting, PageCounts};
pub use image::Image;
pub use multifd::load_live;
pub use visitor::{ChannelName, Encoding, MappedPages, Origin, Visitor};

use crate::error::Error;
use crate::wire::{Source, limits};

/// Whether a stream must end with the description of its devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VmDescRule {
    /// It must: without it, a stream that was cut off before it would pass for a whole one.
    #[default]
    Required,
    /// It need not: machine types up to 2.2, or `suppress-vmdesc=on`.
    Optional,
}

/// What a pass does with something that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// It ends with an error where QEMU 10.0 does. It also does where QEMU would go on, but with something
    /// else than what was saved: where the description contradicts the devices. What comes after the end of the
    /// stream is [noted](AssumptionKind::Trailing): QEMU does not look at it either. It takes what only older QEMUs write: pages that are compressed one by one.
    #[default]
    Strict,
    /// It takes all that can be taken, and [tells](Visitor::assumption) what it assumed. Only what was
    /// found before the first block of RAM, a length above its limit, and COLO end it.
    Rescue,
}

/// What a pass does with iterable sections other than `ram`: block devices' dirty bitmaps, devices that are
/// passed through, … They are not kept with a machine, so who sends it again sends it without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OtherSections {
    /// It ends with an error that names the section.
    #[default]
    Refuse,
    /// It passes over those that it knows, and shows [dirty bitmaps](Visitor::dirty_bitmap). In rescue mode,
    /// it does so in any case, and also with those that it does not know.
    PassOver,
}

/// What a pass insists on.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What is done with something that is wrong.
    pub mode: Mode,
    /// What is done with iterable sections other than `ram`.
    pub other_sections: OtherSections,
    /// Whether the description must be there.
    pub vmdesc: VmDescRule,
    /// Where the stream begins in its file, in bytes (`file:PATH,offset=N`): the offsets in a
    /// mapped-ram file are those of the file.
    pub file_offset: u64,
    /// How the host that wrote a mapped-ram file lays out a bitmap.
    pub bitmap_words: BitmapWords,
}

/// What a pass has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Bytes of the stream, without what comes after its end.
    pub bytes: u64,
    /// Page records in all; a page that came twice counts twice.
    pub pages: u64,
    /// Page records that said zero.
    pub zero_pages: u64,
    /// Page records that gave differences (XBZRLE).
    pub xbzrle_pages: u64,
    /// Page records that were compressed, each page by itself.
    pub compressed_pages: u64,
    /// Pages that came through multifd channels.
    pub multifd_pages: u64,
    /// Device sections, early ones included.
    pub devices: u64,
    /// The number of the `ram` section, where there was one.
    pub ram_section_id: Option<u32>,
    /// Whether the `ram` section was ended. That of a background snapshot is not.
    pub ram_ended: bool,
    /// Whether the guest moved before its pages: they come behind its devices, of which the ends are a
    /// guess, because no description follows.
    pub switched_to_postcopy: bool,
    /// The names of the iterable sections other than `ram`: the first [`limits::ITERABLES`] of them.
    pub other_sections: Vec<String>,
    /// What was assumed or passed over: the first [`limits::ASSUMPTIONS`] of it.
    pub assumptions: Vec<Assumption>,
    /// How many more assumptions there were.
    pub more_assumptions: u64,
}

impl Summary {
    fn add_assumption(&mut self, assumption: Assumption) {
        if self.assumptions.len() < limits::ASSUMPTIONS {
            self.assumptions.push(assumption);
        } else {
            self.more_assumptions += 1;
        }
    }
}

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

/// Reads a whole stream, from its header to its end, and shows it to `visitor`.
///
/// # Errors
/// The stream is not what QEMU writes, holds something that this library does not read, ends early,
/// or could not be read; or the visitor refused something. What has been shown until then is not a
/// state that anything can be started from.
#[doc(alias = "qemu_loadvm_state")]
pub fn load<S: Source, V: Visitor>(
    source: &mut S,
    visitor: &mut V,
    options: &Options,
) -> Result<Summary, LoadError<V::Error>> {
    pass::Pass::new(visitor, &mut multifd::NoneBeside, options).run(source, None)
}

#[cfg(test)]
mod tests;
