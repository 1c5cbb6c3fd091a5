//! Events, as a subscriber gets them.

use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{Error, Event, Result};

/// Events in the order in which they came.
#[derive(Debug)]
pub struct Events {
    pub(super) receiver: Receiver<Event>,
}

impl Events {
    /// The queue itself, for waiting on several things at once. It ends when the connection does.
    pub fn receiver(&self) -> &Receiver<Event> {
        &self.receiver
    }

    /// The next event that `wanted` takes, passing over others, until `deadline`.
    ///
    /// # Errors
    /// None came in time (`what` says what was waited for), or the connection is closed.
    pub fn wait_for<T>(
        &self,
        what: &str,
        deadline: Instant,
        mut wanted: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T> {
        let began = Instant::now();
        loop {
            match self.receiver.recv_deadline(deadline) {
                Ok(event) => {
                    if let Some(found) = wanted(&event) {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Error::Closed),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Error::Timeout {
                        command: what.to_owned(),
                        waited: began.elapsed(),
                    });
                }
            }
        }
    }
}
