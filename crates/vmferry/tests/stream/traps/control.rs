//! Traps of what goes on around the bytes: limits, hooks, the end from another thread, the way back.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use vmferry::channel::{
    Blocking, Capabilities, Duplex, Memory, ReadChannel, SegmentMut, Shutdown, Socket,
};
use vmferry::stream::{
    ErrorKind, HookedPage, NoHooks, RamHooks, RateLimiter, Reader, Result, SavePage, StreamError,
    Writer,
};

#[test]
fn the_budget_of_a_window_may_be_used_up_but_not_exceeded() {
    let limiter = RateLimiter::per_window(8);
    let mut writer = Writer::new(Memory::default());
    writer.put_be64(0);
    assert!(!writer.is_held_back(&limiter), "it counts when it is put");
    writer.put_u8(0);
    assert!(writer.is_held_back(&limiter));
    limiter.start_window(writer.transferred());
    assert!(
        !writer.is_held_back(&limiter),
        "the caller starts the window"
    );
    limiter.set(None);
    writer.put_bytes(&[0; 1000]);
    assert!(!writer.is_held_back(&limiter), "no budget is no limit");
}

#[test]
fn a_page_that_a_hook_does_not_take_or_takes_later_is_no_error() {
    /// Answers as it is told.
    struct Told(SavePage);
    impl<S> RamHooks<S> for Told {
        fn save_page(&mut self, _: &mut S, _: HookedPage) -> Result<SavePage> {
            Ok(self.0)
        }
    }
    let page = HookedPage {
        block: 0,
        offset: 0,
        len: 4096,
    };
    let limiter = RateLimiter::per_window(4095);
    let mut writer = Writer::new(Memory::default());
    for answer in [SavePage::NotSupported, SavePage::Delayed] {
        assert_eq!(writer.save_page(&mut Told(answer), page).unwrap(), answer);
    }
    writer.save_page(&mut NoHooks, page).unwrap();
    assert!(writer.check().is_ok());
    assert!(!writer.is_held_back(&limiter));
    let sent = SavePage::Sent { bytes: 4096 };
    writer.save_page(&mut Told(sent), page).unwrap();
    assert!(
        writer.is_held_back(&limiter),
        "what a hook moves is limited, too"
    );
}

/// Ends, as a socket does that is shut down, and in the meantime gives nothing.
struct Ends(Receiver<()>, Arc<EndsIt>);

struct EndsIt(SyncSender<()>);

impl Shutdown for EndsIt {
    fn shutdown(&self) -> io::Result<()> {
        self.0.try_send(()).map_err(io::Error::other)
    }
}

impl ReadChannel for Ends {
    fn read_segments(&mut self, _: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        self.0.recv().map_err(io::Error::other)?;
        Ok(0)
    }

    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        Some(Arc::clone(&self.1) as _)
    }
}

#[test]
fn the_end_of_a_transport_that_was_shut_down_is_no_end_of_the_stream() {
    let (end, ended) = sync_channel(1);
    let mut reader = Reader::new(Ends(ended, Arc::new(EndsIt(end))));
    let abort = reader.abort_handle();
    std::thread::scope(|scope| {
        let got = scope.spawn(|| reader.at_end());
        abort.abort().unwrap();
        assert_eq!(got.join().unwrap().unwrap_err().kind(), ErrorKind::Aborted);
    });
    assert_eq!(reader.lenient().get_be32(), 0);
    assert_eq!(reader.check().unwrap_err().kind(), ErrorKind::Aborted);
}

#[test]
fn the_reason_for_an_abort_is_there_before_the_transport_ends() {
    /// Looks, when it is told to shut down, whether the streams know why.
    struct Looks(std::sync::Mutex<Option<Writer<'static, Memory>>>);
    impl Shutdown for Looks {
        fn shutdown(&self) -> io::Result<()> {
            let mut writer = self.0.lock().unwrap();
            let error = writer.as_mut().unwrap().flush().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::User(3));
            Ok(())
        }
    }
    /// Its end is looked at by somebody else.
    struct Watched(Arc<Looks>);
    impl ReadChannel for Watched {
        fn read_segments(&mut self, _: &mut [SegmentMut<'_>]) -> io::Result<usize> {
            Ok(0)
        }
        fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
            Some(Arc::clone(&self.0) as _)
        }
    }
    let writer = Writer::new(Memory::default());
    let of_writer = writer.abort_handle();
    let looks = Arc::new(Looks(std::sync::Mutex::new(Some(writer))));
    let mut reader = Reader::new(Watched(looks));
    let both = reader.abort_handle().and(&of_writer);
    let reason = StreamError::new(ErrorKind::User(3), 0);
    // The writer's channel cannot be shut down, which is told.
    let error = both.abort_with(reason).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    assert_eq!(reader.get_u8().unwrap_err().kind(), ErrorKind::User(3));
}

#[test]
fn each_half_of_a_channel_blocks_or_not_by_itself() {
    let (one, other) = Socket::pair().unwrap();
    let (mut rx, tx) = one.split();
    let (_rx, mut other_tx) = other.split();
    rx.set_blocking(Blocking::Never);
    let mut reader = Reader::new(rx);
    assert_eq!(reader.get_u8().unwrap_err().kind(), ErrorKind::WouldBlock);
    // More than a socket holds: the half that is written waits for the other side to read.
    let mut writer = Writer::new(tx);
    let bytes = vec![7; 4 << 20];
    std::thread::scope(|scope| {
        let read = scope.spawn(|| {
            let mut reader = Reader::new(_rx);
            reader.get_into(&mut vec![0; 4 << 20])
        });
        writer.put_bytes(&bytes);
        writer.flush().unwrap();
        read.join().unwrap().unwrap();
    });
    other_tx.set_blocking(Blocking::Never);
    let mut writer = Writer::new(other_tx);
    writer.put_u8(1);
    writer.flush().unwrap();
    assert_eq!(reader.get_u8().unwrap(), 1);
}

#[test]
fn a_half_goes_on_when_the_other_is_gone_and_the_last_one_closes() {
    let (one, other) = Socket::pair().unwrap();
    let (rx, tx) = one.split();
    let (other_rx, other_tx) = other.split();
    drop(rx);
    let mut writer = Writer::new(tx);
    writer.put_u8(1);
    writer.flush().unwrap();
    let mut reader = Reader::new(other_rx);
    assert_eq!(reader.get_u8().unwrap(), 1);
    drop(writer);
    assert!(reader.at_end().unwrap(), "the descriptor is closed");
    drop(other_tx);
}

#[test]
fn what_a_channel_cannot_do_it_says() {
    assert_eq!(Memory::default().capabilities_of_writing(), "positioned");
    let writer = Writer::new(Memory::default());
    let error = writer.abort_handle().abort().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported, "not success");
}

/// What a writing channel can do, in words.
trait InWords {
    fn capabilities_of_writing(&self) -> String;
}

impl<C: vmferry::channel::WriteChannel> InWords for C {
    fn capabilities_of_writing(&self) -> String {
        let Capabilities {
            seek,
            positioned,
            shutdown,
            descriptors,
            zero_copy,
            ..
        } = self.capabilities();
        let words = [
            (seek, "seek"),
            (positioned, "positioned"),
            (shutdown, "shutdown"),
            (descriptors, "descriptors"),
            (zero_copy, "zero-copy"),
        ];
        let can = words.iter().filter(|(can, _)| *can).map(|(_, word)| *word);
        can.collect::<Vec<_>>().join(", ")
    }
}
