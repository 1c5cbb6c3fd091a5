//! Being interrupted.

use std::fmt;

use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals as Caught;

/// A signal asked us to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub struct Interrupted(pub i32);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            SIGINT => f.write_str("interrupted"),
            SIGTERM => f.write_str("terminated"),
            SIGHUP => f.write_str("the terminal was closed"),
            other => write!(f, "ended by signal {other}"),
        }
    }
}

/// Signals that ask us to end, from the moment of catching them on; before, they simply end us.
#[derive(Debug)]
pub struct Signals {
    receiver: Receiver<Interrupted>,
}

impl Signals {
    /// Catches them.
    ///
    /// # Errors
    /// The system does not let us.
    pub fn catch() -> std::io::Result<Self> {
        let mut caught = Caught::new([SIGINT, SIGTERM, SIGHUP])?;
        let (sender, receiver) = bounded(4);
        // Lives as long as the process: there is no end to signals.
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for signal in caught.forever() {
                    // Whoever does not look after four will not look after the fifth.
                    let _ = sender.try_send(Interrupted(signal));
                }
            })?;
        Ok(Self { receiver })
    }

    /// Where they come, for waiting on several things at once.
    pub fn receiver(&self) -> &Receiver<Interrupted> {
        &self.receiver
    }
}
