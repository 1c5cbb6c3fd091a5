//! What a pass is asked to do.

use super::BitmapWords;
use crate::error::Error;
use crate::stream::ErrorKind;

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
    /// stream is [noted](super::AssumptionKind::Trailing): QEMU does not look at it either. It takes what only older QEMUs write: pages that are compressed one by one.
    #[default]
    Strict,
    /// It takes all that can be taken, and [reports](super::Visitor::assumption) what it assumed. Only what was
    /// found before the first block of RAM, a length above its limit, and COLO end it.
    Rescue,
}

impl Mode {
    /// Whether a pass goes on after this error. It does not where the channel was closed or the read was aborted
    /// from our own side.
    pub(super) fn rescues(self, error: &Error) -> bool {
        let ended_by_us = match error {
            Error::Closed => true,
            Error::Stream(error) => error.kind() == ErrorKind::Aborted,
            Error::Format(_) | Error::Damaged(_) => false,
        };
        self == Self::Rescue && !ended_by_us
    }
}

/// What a pass does with iterable sections other than `ram`: block devices' dirty bitmaps, devices that are
/// passed through, … They are not kept with a machine, so a machine that is sent again is sent without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OtherSections {
    /// It ends with an error that names the section.
    #[default]
    Refuse,
    /// It passes over those that it knows, and shows [dirty bitmaps](super::Visitor::dirty_bitmap). In rescue mode,
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
