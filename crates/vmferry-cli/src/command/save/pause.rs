//! For how long the guest stood still.

use std::time::Duration;

use crate::qmp::Event;

/// Adds up the time between STOP and RESUME events, by QEMU's clock.
#[derive(Debug, Default)]
pub(super) struct Pause {
    stopped_us: Option<i64>,
    total_us: i64,
    seen: bool,
}

impl Pause {
    /// Looks at an event.
    pub(super) fn see(&mut self, event: &Event) {
        match (event.name.as_str(), event.timestamp_us) {
            ("STOP", Some(at)) => self.stopped_us = Some(at),
            ("RESUME", Some(at)) => {
                if let Some(stopped) = self.stopped_us.take() {
                    self.total_us += (at - stopped).max(0);
                    self.seen = true;
                }
            }
            _ => {}
        }
    }

    /// The sum; `None` if the guest has not stood still and gone on.
    pub(super) fn total(&self) -> Option<Duration> {
        self.seen
            .then(|| Duration::from_micros(self.total_us.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn only_the_time_between_stop_and_resume_counts() {
        let mut pause = Pause::default();
        let mut see = |name: &str, at| {
            pause.see(&Event {
                name: name.into(),
                data: Value::Null,
                timestamp_us: Some(at),
            });
        };
        see("RESUME", 5);
        see("STOP", 10);
        see("MIGRATION", 12);
        see("RESUME", 17);
        see("STOP", 20);
        see("RESUME", 21);
        see("STOP", 30);
        assert_eq!(pause.total(), Some(Duration::from_micros(8)));
        assert_eq!(Pause::default().total(), None);
    }
}
