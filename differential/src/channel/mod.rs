//! The channel that both implementations are called with: it does what the program says, byte by byte, so that what
//! happens does not depend on how large the calls are.
//!
//! A rule may spare a stream a fault ([`Spared`]): the channel then does what a caller of the original had to make sure
//! of, which is to take everything, and to wait.

mod callbacks;

pub(crate) use callbacks::{hook_ops, ops};

use std::ffi::c_int;
use std::ptr;

use libc::ssize_t;

use crate::api::Api;
use crate::ffi::QemuFile;
use crate::memory;
use crate::program::{Channel, Fault, Hook, Hooks, What};

/// Faults that do not reach a stream.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spared {
    /// Writes that end early.
    pub(crate) cuts: bool,
    /// A channel that is not ready.
    pub(crate) again: bool,
    /// Interruptions.
    pub(crate) interrupted: bool,
    /// Claims of a read, which the original would believe.
    pub(crate) claims: bool,
    /// Everything: what is written now goes nowhere.
    pub(crate) writes: bool,
}

/// How often each of them has been spared.
pub(crate) type Count = [u32; 5];

/// Something that the stream asked of its channel or its hooks, other than to move bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Closed,
    Shutdown(bool, bool),
    Blocking(bool),
    ReturnPath,
    Before(u64),
    After(u64),
    Loaded(u64),
    Page(u64, u64, usize, bool),
    /// What a hook took out of the stream.
    Took(u8),
}

/// A channel and its hooks; a stream's opaque pointer.
#[derive(Debug)]
pub(crate) struct World {
    /// Whose streams its hooks are called with.
    api: Option<&'static Api>,
    /// What was written.
    pub(crate) written: Vec<u8>,
    source: Vec<u8>,
    piece: usize,
    /// What was read.
    pub(crate) read: usize,
    faults: Vec<Fault>,
    next: usize,
    /// How often the next fault was met.
    met: u8,
    pub(crate) spared: Spared,
    pub(crate) spared_count: Count,
    /// The first error of a write, as the stream was told it.
    pub(crate) write_failed: Option<i32>,
    /// It has claimed to have written more than it was given.
    pub(crate) has_claimed: bool,
    /// Where the last call said that the stream stands, less where it does.
    pub(crate) misplaced: Option<i64>,
    pub(crate) events: Vec<Event>,
    hooks: Option<Hooks>,
    close: Option<i32>,
    shut_down: Option<i32>,
    /// What is given as the way back.
    back: *mut QemuFile,
}

impl World {
    /// For the streams of a table of functions.
    pub(crate) fn new(api: &'static Api, channel: &Channel, back: *mut QemuFile) -> Self {
        Self {
            api: Some(api),
            back,
            ..Self::without_streams(channel)
        }
    }

    /// For a stream that calls its hooks by itself.
    pub(crate) fn without_streams(channel: &Channel) -> Self {
        let source = channel.source;
        Self {
            api: None,
            written: Vec::new(),
            source: source.map_or_else(Vec::new, |source| memory::source(source.seed, source.len)),
            piece: source.map_or(0, |source| source.piece as usize),
            read: 0,
            faults: channel.faults.clone(),
            next: 0,
            met: 0,
            spared: Spared::default(),
            spared_count: [0; 5],
            write_failed: None,
            has_claimed: false,
            misplaced: None,
            events: Vec::new(),
            hooks: None,
            close: channel.close,
            shut_down: channel.shut_down,
            back: ptr::null_mut(),
        }
    }

    pub(crate) fn set_hooks(&mut self, hooks: Option<Hooks>) {
        self.hooks = hooks;
    }

    /// The fault that comes next.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.faults.get(self.next).copied()
    }

    /// From now on it fails with this error number.
    pub(crate) fn end(&mut self, number: c_int) {
        let fault = Fault {
            at: 0,
            what: What::Fails(number),
        };
        self.faults.insert(self.next, fault);
    }

    /// How many bytes can still be read until something other than data comes; and whether that is an end.
    pub(crate) fn reach(&self) -> (usize, bool) {
        let stops = |fault: &&Fault| match fault.what {
            What::Cut => false,
            What::Again(_) => !self.spared.again,
            What::Interrupted(_) => !self.spared.interrupted,
            _ => true,
        };
        let len = self.source.len();
        let stop = self.faults[self.next..]
            .iter()
            .find(stops)
            .filter(|fault| fault.at as usize <= len);
        let is_end = stop.is_none_or(|fault| fault.what == What::End);
        let stop = stop.map_or(len, |fault| fault.at as usize);
        (stop.saturating_sub(self.read), is_end)
    }

    /// Whether a write of all up to this byte fails.
    pub(crate) fn fails_before(&self, end: usize) -> bool {
        let fails = |fault: &Fault| match fault.what {
            What::FailsOnce(_) | What::Fails(_) | What::Claims => (fault.at as usize) < end,
            What::Interrupted(_) => !self.spared.interrupted && (fault.at as usize) < end,
            _ => false,
        };
        self.faults[self.next..].iter().any(fails)
    }

    fn pass(&mut self) {
        self.next += 1;
        self.met = 0;
    }

    /// Meets the next fault once more, and tells whether it has come that often already.
    fn meet(&mut self, times: u8) -> bool {
        self.met += 1;
        let is_over = self.met > times;
        if is_over {
            self.pass();
        }
        is_over
    }

    /// Takes `total` bytes, which `append` appends, or as many of them as the program lets it; answers as the
    /// original's channels do.
    pub(crate) fn write(&mut self, total: usize, append: impl FnOnce(&mut Vec<u8>)) -> ssize_t {
        if self.spared.writes {
            self.spared_count[4] += 1;
            return signed(total);
        }
        let start = self.written.len();
        let mut end = start + total;
        let mut answer = signed(total);
        while let Some(Fault { at, what }) = self.fault() {
            let at = (at as usize).max(start);
            if at >= start + total {
                break;
            }
            let before = signed(at - start);
            match what {
                What::Cut if self.spared.cuts => self.spare(0),
                What::Again(_) if self.spared.again => self.spare(1),
                What::Interrupted(_) if self.spared.interrupted => self.spare(2),
                // There is no end to writing.
                What::End => self.pass(),
                What::Cut => {
                    self.pass();
                    // A write that takes nothing is an error of its own.
                    if before > 0 {
                        (end, answer) = (at, before);
                        break;
                    }
                }
                What::Again(times) | What::Interrupted(times) => {
                    let number = match what {
                        What::Again(_) => libc::EAGAIN,
                        _ => libc::EINTR,
                    };
                    // Who is spared an end in the middle goes on to what ends the call.
                    let before = if self.spared.cuts { 0 } else { before };
                    if before > 0 || !self.meet(times) {
                        (end, answer) = (
                            at,
                            if before > 0 {
                                before
                            } else {
                                -number as ssize_t
                            },
                        );
                        break;
                    }
                }
                What::FailsOnce(number) | What::Fails(number) => {
                    if matches!(what, What::FailsOnce(_)) {
                        self.pass();
                    }
                    (end, answer) = (at, -number as ssize_t);
                    break;
                }
                What::Claims => {
                    self.pass();
                    answer += 1;
                    break;
                }
            }
        }
        append(&mut self.written);
        self.written.truncate(end);
        self.has_claimed |= answer > signed(total);
        if answer < 0 && answer != -libc::EAGAIN as ssize_t {
            let number = c_int::try_from(answer).unwrap_or(0);
            self.write_failed.get_or_insert(number);
        }
        answer
    }

    fn spare(&mut self, which: usize) {
        self.spared_count[which] += 1;
        self.pass();
    }

    /// Gives what comes next where there is room for that many bytes; or what the original's channels answer otherwise.
    pub(crate) fn give(&mut self, room: usize) -> Result<&[u8], ssize_t> {
        loop {
            let ahead = self.fault().filter(|fault| fault.at as usize <= self.read);
            match ahead.map(|fault| fault.what) {
                None => break,
                Some(What::Cut) => self.pass(),
                Some(What::Again(_)) if self.spared.again => self.spare(1),
                Some(What::Interrupted(_)) if self.spared.interrupted => self.spare(2),
                Some(What::Again(times)) => {
                    if !self.meet(times) {
                        return Err(-libc::EAGAIN as ssize_t);
                    }
                }
                Some(What::Interrupted(times)) => {
                    if !self.meet(times) {
                        return Err(-libc::EINTR as ssize_t);
                    }
                }
                Some(What::FailsOnce(number)) => {
                    self.pass();
                    return Err(-number as ssize_t);
                }
                Some(What::Fails(number)) => return Err(-number as ssize_t),
                Some(What::End) => {
                    self.pass();
                    return Ok(&[]);
                }
                Some(What::Claims) if self.spared.claims => {
                    self.spare(3);
                    return Err(-libc::EIO as ssize_t);
                }
                Some(What::Claims) => {
                    self.pass();
                    return Err(signed(room + 1));
                }
            }
        }
        let mut end = self.source.len().min(self.read + room);
        if let Some(whole) = self.read.checked_div(self.piece) {
            end = end.min((whole + 1) * self.piece);
        }
        if let Some(fault) = self.fault() {
            end = end.min(fault.at as usize);
        }
        let start = std::mem::replace(&mut self.read, end);
        Ok(&self.source[start..end])
    }

    /// It is closed, and answers that.
    pub(crate) fn closes(&mut self) -> c_int {
        self.events.push(Event::Closed);
        self.close_answer()
    }

    pub(crate) fn can_close(&self) -> bool {
        self.close.is_some()
    }

    pub(crate) fn close_answer(&self) -> c_int {
        self.close.unwrap_or(0)
    }

    /// The hooks that are set.
    pub(crate) fn hooks(&self) -> Option<Hooks> {
        self.hooks
    }

    /// What shutting it down answers; `None`: it cannot be shut down.
    pub(crate) fn shut_down(&self) -> Option<c_int> {
        self.shut_down
    }

    fn hook(&self, which: impl Fn(&Hooks) -> Option<Hook>) -> Hook {
        let hook = self.hooks.as_ref().and_then(which);
        hook.unwrap_or(Hook {
            bytes: 0,
            answer: 0,
        })
    }
}

fn signed(len: usize) -> ssize_t {
    ssize_t::try_from(len).unwrap_or(ssize_t::MAX)
}
