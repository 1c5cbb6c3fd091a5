//! The destination's end of a lazy restore, made by hand.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use vmferry::channel::{Duplex, Socket, SocketWriter};
use vmferry::load::{Element, ElementKind, Options, Origin, Visitor, VmDescRule, load};
use vmferry::postcopy::{HostPages, PostcopyError, Unobserved};
use vmferry::postcopy::{serve, serve_with_preempt};
use vmferry::progress::Progress;
use vmferry::ram::{BlockIndex, Page, PageIndex, PageSize, PageSource, RamBlocks};
use vmferry::stream::{Reader, Writer};
use vmferry::wire::Source;
use vmferry::wire::ram::{BlockRef, Record, RecordKind};
use vmferry::wire::return_path::Message;
use vmferry::wire::section::ElementType;

use super::source::{At, Moody};

/// Nothing here takes a hundredth of this: it is how long a test waits before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Lets everybody end, however a test ends.
pub(crate) struct AtTheEnd<'a> {
    source: &'a Moody,
    abort: &'a dyn Fn(),
}

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.source.go_on();
        if thread::panicking() {
            (self.abort)();
        }
    }
}

/// A page that arrived; `None` for zeros.
pub(crate) type Arrived = (At, Option<Vec<u8>>);

/// Tells each page that arrives, to the end of the RAM section.
pub(crate) struct Arrivals(Sender<Option<Arrived>>);

impl Visitor for Arrivals {
    type Error = Infallible;

    fn page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
        _: Origin,
    ) -> Result<(), Infallible> {
        let data = match content {
            Page::Zero => None,
            Page::Data(data) => Some(data.to_vec()),
        };
        let _ = self.0.send(Some(((block, page), data)));
        Ok(())
    }

    fn element(&mut self, element: &Element<'_>) -> Result<(), Infallible> {
        let is_end = |element| element == ElementType::End;
        if matches!(element.kind, ElementKind::Section { element, .. } if is_end(element)) {
            let _ = self.0.send(None);
        }
        Ok(())
    }

    fn differences(
        &mut self,
        _: BlockIndex,
        _: PageIndex,
        _: &[u8],
        _: Origin,
    ) -> Result<(), Infallible> {
        panic!("a lazy source sends whole pages");
    }
}

/// The destination's end of a lazy restore.
pub(crate) struct Destination<'a> {
    source: &'a Moody,
    asks: Writer<'static, SocketWriter>,
    arrivals: Receiver<Option<Arrived>>,
    host_pages: &'a HostPages,
    pub(crate) arrived: HashMap<At, Option<Vec<u8>>>,
}

impl Destination<'_> {
    pub(crate) fn say(&mut self, message: &Message) {
        message.encode(&mut self.asks);
        self.asks.flush().expect("the source listens");
    }

    pub(crate) fn ask_for(&mut self, (block, page): At) {
        let name = &self.source.blocks().get(block).expect("a block").idstr;
        self.say(&Message::ReqPages {
            block: Some(name.clone()),
            start: page.0 << self.source.page_size().bits(),
            length: u32::try_from(self.host_pages.of(block)).expect("no host page is so large"),
        });
    }

    /// Takes the next page that arrives; `false` at the end of the RAM section.
    pub(crate) fn receive(&mut self) -> bool {
        match self.arrivals.recv_timeout(PATIENCE) {
            Ok(Some((at, data))) => {
                let before = self.arrived.insert(at, data);
                assert_eq!(before, None, "{at:?} came twice");
                true
            }
            Ok(None) | Err(RecvTimeoutError::Disconnected) => false,
            Err(RecvTimeoutError::Timeout) => panic!("nothing more arrives, and no end"),
        }
    }

    /// Waits until a page arrives.
    pub(crate) fn wait_for(&mut self, page: At) {
        while !self.arrived.contains_key(&page) {
            assert!(self.receive(), "{page:?} does not arrive");
        }
    }

    /// Takes all that still arrives, up to the end of the RAM section.
    pub(crate) fn receive_the_rest(&mut self) {
        while self.receive() {}
    }
}

/// Reads the channel of requested pages: records alone, to the one that ends it, or to its end.
pub(crate) fn read_requested(
    channel: UnixStream,
    blocks: &RamBlocks,
    page_size: PageSize,
    arrivals: &Sender<Option<Arrived>>,
) -> Result<(), vmferry::error::Error> {
    let mut reader = Reader::new(Socket::from(channel).split().0);
    let mut block = None;
    loop {
        let word = reader.be64("a record")?;
        let record = Record::from_word(word, page_size).expect("a record that there is");
        if record.kind == RecordKind::Eos {
            return Ok(());
        }
        if record.block == BlockRef::Named {
            block = blocks.find(reader.name("a block")?);
        }
        let at = (
            block.expect("a block that there is"),
            PageIndex(record.offset >> page_size.bits()),
        );
        let data = match record.kind {
            RecordKind::Zero => {
                reader.u8("the fill byte")?;
                None
            }
            RecordKind::Page => Some(reader.take(page_size.bytes(), "a page")?.to_vec()),
            other => panic!("{other:?} on the channel of requested pages"),
        };
        let _ = arrivals.send(Some((at, data)));
    }
}

/// The channels of a lazy restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channels {
    One,
    WithPreempt,
}

/// What came of a lazy restore.
pub(crate) struct Outcome {
    pub(crate) served: thread::Result<Result<(), PostcopyError<Infallible>>>,
    /// How the main channel's stream ended.
    pub(crate) loaded: Result<(), String>,
    pub(crate) sent: u64,
    pub(crate) on_demand: u64,
}

/// Restores the machine of `source` with a destination that does what `play` says.
pub(crate) fn restore(
    source: &Moody,
    channels: Channels,
    host_pages: &HostPages,
    play: impl FnOnce(&mut Destination<'_>),
) -> Outcome {
    let pair = || UnixStream::pair().expect("a pair of sockets");
    let (ours, theirs) = pair();
    let (urgent_ours, urgent_theirs) = pair();
    let ends = [&ours, &theirs, &urgent_ours, &urgent_theirs].map(|end| end.try_clone().unwrap());
    let abort = || {
        for end in &ends {
            let _ = end.shutdown(Shutdown::Both);
        }
    };
    let progress = Progress::default();
    let (reader, writer) = Socket::from(ours).split();
    let (reader, writer) = (Reader::new(reader), Writer::new(writer));
    let preempt = Writer::new(Socket::from(urgent_ours).split().1);
    let ends_of_ours = reader.abort_handle().and(&preempt.abort_handle());
    thread::scope(|scope| {
        let served = scope.spawn(|| {
            let state = &source.image.state;
            match channels {
                Channels::One => serve(
                    state,
                    source,
                    host_pages,
                    (writer, reader),
                    &ends_of_ours,
                    &progress,
                    &Unobserved,
                ),
                Channels::WithPreempt => serve_with_preempt(
                    state,
                    source,
                    host_pages,
                    (writer, reader, preempt),
                    &ends_of_ours,
                    &progress,
                    &Unobserved,
                ),
            }
        });
        let (reader, asks) = Socket::from(theirs).split();
        let (sender, arrivals) = mpsc::channel();
        if channels == Channels::WithPreempt {
            let sender = sender.clone();
            scope.spawn(move || {
                let (blocks, page_size) = (source.blocks(), source.page_size());
                read_requested(urgent_theirs, blocks, page_size, &sender)
            });
        }
        let loaded = scope.spawn(move || {
            let options = Options {
                vmdesc: VmDescRule::Optional,
                ..Options::default()
            };
            let mut arrivals = Arrivals(sender);
            let loaded = load(&mut Reader::new(reader), &mut arrivals, &options);
            loaded.map(drop).map_err(|error| error.to_string())
        });
        let mut destination = Destination {
            source,
            asks: Writer::new(asks),
            arrivals,
            host_pages,
            arrived: HashMap::new(),
        };
        {
            let _at_the_end = AtTheEnd {
                source,
                abort: &abort,
            };
            destination.say(&Message::Pong(3));
            play(&mut destination);
        }
        let served = served.join();
        // Also where the source has failed without having been able to say so.
        abort();
        Outcome {
            served,
            loaded: loaded.join().expect("it does not panic"),
            sent: progress.sent(),
            on_demand: progress.on_demand(),
        }
    })
}
