//! QEMU's migration format as pure codecs: no I/O, no clock, no `unsafe`.
//!
//! Everything is big-endian. A decoder reads from a [`Source`] and can neither look at bytes that
//! it did not ask for nor reserve memory for a length that came from outside: every such length
//! meets one of the [`limits`] first. What is wrong is a [`FormatError`], from which the
//! error of every source can be made. An encoder appends to a [`Sink`].
//!
//! ```text
//! header  [configuration]  element*  00  [06 vmdesc]
//! element = 01 START  | 02 PART | 03 END   of an iterable section (ram, …)   + footer
//!         | 04 FULL   one device, whole                                      + footer
//!         | 08 COMMAND
//! ```
//!
//! | module | codes |
//! |---|---|
//! | [`header`] | the eight bytes that every stream begins with |
//! | [`configuration`] | machine type and what both sides must share |
//! | [`section`] | element types, section headers and footers |
//! | [`command`] | commands from source to destination |
//! | [`return_path`] | messages from destination to source |
//! | [`ram`] | the records inside a `ram` section |
//! | [`mapped_ram`] | RAM at fixed places of a file |
//! | [`multifd`] | packets of pages, in channels beside the main one |
//! | [`dirty_bitmap`] | which parts of a disk were written since a backup |
//! | [`other_sections`] | how long what we do not read is |
//! | [`globalstate`] | the run state that travels with the devices |
//! | [`virtio`] | a virtio device, which its description leaves opaque |
//! | [`vmdesc`] | the trailing JSON: finding it, and what it says of each device |
//! | [`vmstate`] | a device's state, with the names of its fields |
//! | [`xbzrle`] | a page as its differences from the page as it was |

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

pub mod command;
pub mod configuration;
pub mod dirty_bitmap;
mod error;
pub mod globalstate;
pub mod header;
pub mod limits;
pub mod mapped_ram;
pub mod multifd;
pub mod other_sections;
pub mod ram;
pub mod return_path;
pub mod section;
mod source;
pub mod virtio;
pub mod vmdesc;
pub mod vmstate;
pub mod xbzrle;

pub use error::{FormatError, FormatErrorKind};
pub use source::{Sink, SliceSource, Source};
