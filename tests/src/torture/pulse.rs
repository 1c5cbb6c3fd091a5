//! Whether a guest ticks, and for how long it did not.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::Guest;
use crate::linux::Report;

/// A guest that says nothing for so long stands still. It ticks ten times a second.
pub(super) const STILL: Duration = Duration::from_secs(1);

/// So many ticks in a row are steady.
const STEADY: usize = 8;

/// The ticks of a guest since some moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Pulse {
    beats: Vec<Instant>,
    /// What it found wrong in its memory.
    pub(super) bad: Option<String>,
}

impl Pulse {
    /// What the guest has said after `position` of its console.
    pub(super) fn of(guest: &Guest, position: usize) -> Self {
        let mut pulse = Self::default();
        for line in guest.console().lines_from(position) {
            match Report::parse(&line.text) {
                Report::Heartbeat(_) => pulse.beats.push(line.at),
                Report::Bad(what) => pulse.bad = Some(what),
                _ => {}
            }
        }
        pulse
    }

    /// Whether it has ticked steadily since `from`, and does.
    pub(super) fn is_steady(&self, from: Instant) -> bool {
        let since = self.beats.iter().filter(|beat| **beat >= from);
        let last: Vec<_> = since.rev().take(STEADY).collect();
        last.len() == STEADY
            && last
                .windows(2)
                .all(|pair| matches!(pair, [later, earlier] if **later - **earlier < STILL))
            && last.first().is_some_and(|beat| beat.elapsed() < STILL)
    }

    /// How long after `event` it stood still for the last time, or when it ticked for the first time if
    /// it never stood still; nothing if it still does.
    pub(super) fn ticks_after(&self, event: Instant) -> Option<Duration> {
        let last = self.beats.last()?;
        if last.elapsed() > STILL {
            return None;
        }
        let mut ends = self.gaps().filter(|(_, end)| *end >= event);
        let first = ends
            .next()
            .map(|(_, end)| end)
            .or_else(|| self.beats.iter().copied().find(|beat| *beat >= event))?;
        let gaps = self
            .gaps()
            .filter(|(gap, end)| *gap > STILL && *end >= event);
        Some(gaps.last().map_or(first, |(_, end)| end) - event)
    }

    /// How long after `event` it ticked for the first time.
    pub(super) fn first_after(&self, event: Instant) -> Option<Duration> {
        let first = self.beats.iter().find(|beat| **beat >= event)?;
        Some(*first - event)
    }

    /// The longest time without a tick after `from`; a silence counts from there on, and up to now if it goes on.
    pub(super) fn longest_silence(&self, from: Instant) -> Duration {
        let open = self.beats.last().map(|last| last.max(&from).elapsed());
        let ended = self.beats.windows(2).filter_map(|pair| match pair {
            [first, second] => second.checked_duration_since(*first.max(&from)),
            _ => None,
        });
        ended.chain(open).max().unwrap_or_default()
    }

    fn gaps(&self) -> impl Iterator<Item = (Duration, Instant)> {
        self.beats.windows(2).filter_map(|pair| match pair {
            [first, second] => Some((*second - *first, *second)),
            _ => None,
        })
    }
}

/// The threads that run a guest's processors.
#[derive(Debug, Clone)]
pub(super) struct Processors {
    stats: Vec<String>,
}

/// What each of them has used so far, in ticks of the kernel's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Used(Vec<u64>);

impl Processors {
    pub(super) fn of(guest: &Guest) -> Result<Self> {
        let list = guest.execute("query-cpus-fast", Value::Null)?;
        let stat = |cpu: &Value| {
            let thread = cpu["thread-id"].as_u64()?;
            Some(format!("/proc/{}/task/{thread}/stat", guest.pid()))
        };
        let stats = list
            .as_array()
            .into_iter()
            .flatten()
            .map(stat)
            .collect::<Option<Vec<_>>>();
        Ok(Self {
            stats: stats.context("query-cpus-fast names no threads")?,
        })
    }

    pub(super) fn used(&self) -> Used {
        let used = |path: &String| {
            let text = fs::read_to_string(path).unwrap_or_default();
            // User and system time are the 14th and 15th, and the second is a name in brackets.
            let rest = text.rsplit(") ").next().unwrap_or_default();
            let times = rest.split(' ').skip(11).take(2);
            times.filter_map(|time| time.parse::<u64>().ok()).sum()
        };
        Used(self.stats.iter().map(used).collect())
    }
}

impl Used {
    /// Whether each of them has got on since `earlier`.
    pub(super) fn is_more_than(&self, earlier: &Self) -> bool {
        self.0
            .iter()
            .zip(&earlier.0)
            .all(|(now, earlier)| now > earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pulse whose last beat is now.
    fn pulse(gaps: &[u64]) -> (Pulse, Vec<Instant>) {
        let total: u64 = gaps.iter().sum();
        let mut at = Instant::now() - Duration::from_millis(total);
        let mut beats = vec![at];
        for gap in gaps {
            at += Duration::from_millis(*gap);
            beats.push(at);
        }
        let beats_too = beats.clone();
        (Pulse { beats, bad: None }, beats_too)
    }

    #[test]
    fn a_guest_ticks_again_after_its_last_long_silence() {
        let (pulse, beats) = pulse(&[100, 100, 3000, 100, 2000, 100, 100]);
        let event = beats[2] + Duration::from_millis(50);
        assert_eq!(pulse.ticks_after(event), Some(beats[5] - event));
        // What was silence before the event does not count.
        assert_eq!(pulse.longest_silence(event), Duration::from_millis(2950));
        let within = beats[2] + Duration::from_millis(1000);
        assert_eq!(pulse.longest_silence(within), Duration::from_millis(2000));
        assert_eq!(pulse.ticks_after(beats[5]), Some(Duration::ZERO));
        assert!(pulse.longest_silence(beats[6]) < Duration::from_millis(1000));
    }

    #[test]
    fn a_guest_that_said_something_long_ago_stands_still() {
        let long_ago = Instant::now() - Duration::from_secs(4);
        let pulse = Pulse {
            beats: vec![long_ago],
            bad: None,
        };
        assert_eq!(pulse.ticks_after(long_ago), None);
        assert!(pulse.longest_silence(long_ago) >= Duration::from_secs(4));
        assert!(!pulse.is_steady(long_ago));
    }

    #[test]
    fn a_few_ticks_are_not_steady_yet() {
        let (pulse, beats) = pulse(&[100; 10]);
        assert!(pulse.is_steady(beats[0]));
        assert!(!pulse.is_steady(beats[5]));
    }
}
