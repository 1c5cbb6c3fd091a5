//! The thread that ends a stream, and waits for nothing else.
//!
//! QEMU may sit in a write to the channel with its big lock held. Then its monitor is dead until
//! somebody reads, or closes, the channel. So this never asks the monitor anything first.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use vmferry::channel::free_range;

use super::Ending;

/// How often the space of what QEMU wrote to a file is given back, and how often a thread that drains
/// looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// A stream that is being ended; dropping it ends the thread.
#[derive(Debug)]
pub struct Ender {
    /// Dropping it ends the thread.
    wanted: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ender {
    /// Begins to end the stream that arrives on `channel`.
    ///
    /// # Errors
    /// No thread can be started; the channel is closed then.
    pub fn start(ending: Ending, channel: OwnedFd) -> io::Result<Self> {
        if ending == Ending::Close {
            // At once, and in this thread: it never blocks. A channel that is shut down already is as good.
            let _ = rustix::net::shutdown(&channel, rustix::net::Shutdown::Both);
        }
        let (wanted, until) = bounded(0);
        let thread =
            std::thread::Builder::new()
                .name("ender".into())
                .spawn(move || match ending {
                    Ending::Close => {}
                    Ending::Drain => drop(drain_until(&channel, Some(&until))),
                    Ending::Outlast => free_until(&channel, &until),
                })?;
        Ok(Self {
            wanted: Some(wanted),
            thread: Some(thread),
        })
    }
}

impl Drop for Ender {
    fn drop(&mut self) {
        drop(self.wanted.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has already said so.
            let _ = thread.join();
        }
    }
}

/// Reads everything that arrives, and drops it, until the other end closes.
///
/// # Errors
/// It cannot be read.
pub fn drain(channel: &impl AsFd) -> rustix::io::Result<()> {
    drain_until(channel, None)
}

fn drain_until(channel: &impl AsFd, until: Option<&Receiver<()>>) -> rustix::io::Result<()> {
    let mut piece = vec![0; 1 << 20];
    let look = LOOK.try_into().ok();
    loop {
        // The saver may have made the channel non-blocking, which is a property of both copies.
        let mut polled = [PollFd::new(channel, PollFlags::IN)];
        match poll(&mut polled, look.as_ref()) {
            Ok(0) if until.is_some_and(|until| until.try_recv() == Err(ENDED)) => return Ok(()),
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        match rustix::io::read(channel, &mut *piece) {
            Ok(0) | Err(Errno::CONNRESET) => return Ok(()),
            Ok(_) | Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error),
        }
    }
}

const ENDED: crossbeam_channel::TryRecvError = crossbeam_channel::TryRecvError::Disconnected;

/// Gives back the space of what QEMU has written, again and again.
fn free_until(file: &OwnedFd, until: &Receiver<()>) {
    loop {
        if let Ok(stat) = rustix::fs::fstat(file) {
            let len = u64::try_from(stat.st_size).unwrap_or(0);
            free_range(file, 0..len);
        }
        if until.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_channel_that_does_not_block_is_drained_to_its_end() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let ender = Ender::start(Ending::Drain, ours.into()).unwrap();
        // More than a socket holds, so this returns only because it is read.
        theirs.write_all(&vec![7; 8 << 20]).unwrap();
        drop(theirs);
        drop(ender);
    }

    #[test]
    fn a_thread_that_drains_ends_when_nobody_wants_it_any_more() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(Ender::start(Ending::Drain, ours.into()).unwrap());
        drop(theirs);
    }

    #[test]
    fn what_is_written_to_a_file_that_nobody_reads_takes_no_space() {
        use std::os::unix::fs::MetadataExt;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 8 << 20]).unwrap();
        let ender = Ender::start(Ending::Outlast, file.try_clone().unwrap().into()).unwrap();
        drop(ender);
        let seen = file.metadata().unwrap();
        assert_eq!(seen.len(), 8 << 20);
        assert!(seen.blocks() * 512 < 1 << 20);
    }
}
