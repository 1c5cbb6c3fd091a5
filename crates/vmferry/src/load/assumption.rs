//! What was assumed where a stream does not say, or says what cannot be.

use std::fmt;

use super::ChannelName;

/// Something that a pass assumed or passed over.
///
/// In [`Mode::Strict`](super::Mode) these are the things that QEMU passes over, too; in
/// [`Mode::Rescue`](super::Mode) also what it would refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assumption {
    /// The channel that it is about.
    pub channel: ChannelName,
    /// Offset in that channel, in bytes.
    pub at: u64,
    /// The section in which it is (its idstr), where there is one.
    pub section: Option<Box<str>>,
    /// What it is.
    pub kind: AssumptionKind,
}

/// What can be assumed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AssumptionKind {
    /// Nothing more can be read from here on, so what came before is all there is.
    Cut {
        /// What is wrong.
        reason: String,
    },
    /// Bytes were passed over, up to something that can be read.
    Skipped {
        /// How many.
        bytes: u64,
        /// What is wrong with them.
        reason: String,
    },
    /// A section that QEMU reads is passed over here, because nothing is made of it.
    NotRead {
        /// How many bytes.
        bytes: u64,
        /// Which section.
        what: String,
    },
    /// A footer is missing or that of another section, and what follows is read all the same.
    Footer {
        /// What is wrong.
        reason: String,
    },
    /// Something else than expected was read as if it were right.
    Accepted {
        /// What is wrong.
        reason: String,
    },
    /// A page was filled with a byte, as QEMU did up to 8.1; later ones refuse it.
    Filled {
        /// The byte.
        byte: u8,
    },
    /// A page that belongs nowhere was dropped.
    PageDropped {
        /// Why.
        reason: String,
    },
    /// The ends of device sections were guessed from their footers.
    Guessed {
        /// Why.
        reason: String,
    },
    /// The bitmap of a mapped-ram block was never written: what is in the place of its pages was taken
    /// for them.
    BitmapNotWritten {
        /// The block.
        block: Box<str>,
    },
    /// RAM went another way (RDMA): its pages are not in this stream.
    RamElsewhere,
    /// Something means nothing here, and was ignored, as QEMU ignores it.
    Ignored {
        /// What.
        what: String,
    },
    /// What comes after the end of the stream was not looked at: a volume is larger than the stream in it, or held
    /// an older one.
    Trailing {
        /// How many.
        bytes: u64,
    },
}

impl AssumptionKind {
    /// Whether the stream is not what QEMU would have sent: not so where QEMU passes over the same, or reads what is
    /// passed over here.
    pub fn is_damage(&self) -> bool {
        !matches!(
            self,
            Self::RamElsewhere
                | Self::Ignored { .. }
                | Self::NotRead { .. }
                | Self::Trailing { .. }
        )
    }
}

impl fmt::Display for AssumptionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut { reason } => write!(f, "nothing more can be read: {reason}"),
            Self::Skipped { bytes, reason } => write!(f, "{bytes} bytes were skipped: {reason}"),
            Self::NotRead { bytes, what } => write!(f, "{what} is not read: {bytes} bytes"),
            Self::Footer { reason } => write!(f, "read on without the right footer: {reason}"),
            Self::Accepted { reason } => write!(f, "taken as it is: {reason}"),
            Self::Filled { byte } => write!(f, "a zero page was filled with {byte:#04x}"),
            Self::PageDropped { reason } => write!(f, "a page was dropped: {reason}"),
            Self::Guessed { reason } => {
                write!(f, "the ends of device sections are a guess: {reason}")
            }
            Self::BitmapNotWritten { block } => write!(
                f,
                "the bitmap of RAM block '{block}' was never written: all that stands there was taken"
            ),
            Self::RamElsewhere => {
                f.write_str("RAM went another way (RDMA): its pages are not in this stream")
            }
            Self::Ignored { what } => write!(f, "{what} was ignored"),
            Self::Trailing { bytes: 1 } => {
                f.write_str("1 byte after the end of the stream was not looked at")
            }
            Self::Trailing { bytes } => write!(
                f,
                "{bytes} bytes after the end of the stream were not looked at"
            ),
        }
    }
}

impl fmt::Display for Assumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.to_string();
        f.write_str(&kind)?;
        // A reason often says where, and more exactly.
        if !kind.contains("at offset ") {
            write!(f, ", at offset {:#x}", self.at)?;
        }
        match self.channel {
            ChannelName::Main => {}
            ChannelName::Multifd(id) => write!(f, " of multifd channel {id}")?,
            ChannelName::Preempt => f.write_str(" of the channel of requested pages")?,
        }
        match &self.section {
            Some(section) if !kind.contains(" in section '") => {
                write!(f, " in section '{section}'")
            }
            _ => Ok(()),
        }
    }
}
