//! A machine that comes through several channels.

use super::source::Input;

/// The channels that one machine's state comes through.
///
/// A page is in one of them; but which content of it is the last one, only all of them together tell. So
/// they are read in one pass.
#[derive(Debug)]
pub struct Channels<S> {
    /// The main channel: the stream with the header, the sections, and mostly everything else.
    pub main: S,
    /// The channel of requested pages (capability `postcopy-preempt`): bare records of pages, which are
    /// newer than those that the main channel had before the guest moved. It is read behind the main
    /// channel's end, so both must have been recorded.
    pub preempt: Option<S>,
    /// The multifd channels, in any order: packets of pages.
    pub multifd: Vec<S>,
}

impl<S> Channels<S> {
    /// A main channel alone.
    pub fn new(main: S) -> Self {
        Self {
            main,
            preempt: None,
            multifd: Vec::new(),
        }
    }

    /// The same channels, with the errors that a pass ends with.
    pub(super) fn inputs(&mut self) -> Channels<Input<&mut S>> {
        Channels {
            main: Input(&mut self.main),
            preempt: self.preempt.as_mut().map(Input),
            multifd: self.multifd.iter_mut().map(Input).collect(),
        }
    }
}
