//! The saver's side of the lifeline.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::BorrowedFd;
use std::process::Child;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::lifeline::{Heard, Lifeline, Message, spawn};
use super::note::{Note, NoteFile};
use super::{COMMAND, Plan};
use crate::machine::ProcessId;

/// How long a guardian may take to be ready.
const READY: Duration = Duration::from_secs(10);

/// How long a guardian may take to end that has nothing left to do. One that hangs does no harm: it finds
/// out that it is done as soon as it goes on.
const END: Duration = Duration::from_secs(1);

/// How often a saver gives a sign of life.
pub const BEAT: Duration = Duration::from_millis(200);

/// A guardian that was started and is ready, and hears from us until we are done.
#[derive(Debug)]
pub struct Saver {
    lifeline: Arc<Lifeline>,
    guardian: Child,
    guardian_id: Option<ProcessId>,
    /// Missing where no note can be written.
    note: Option<Arc<NoteFile>>,
    /// Dropping it ends the beat.
    beating: Option<Sender<()>>,
    beat: Option<JoinHandle<()>>,
}

impl Saver {
    /// Starts a guardian, hands it the channel and the monitor connection, waits until it is
    /// ready, and notes the plan on disk. Nothing must have been changed before.
    ///
    /// From then on the guardian gets signs of life for as long as this process goes on at all; that the store
    /// goes on is for the caller to see.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(
        plan: &Plan,
        channel: BorrowedFd<'_>,
        monitor: BorrowedFd<'_>,
    ) -> io::Result<Self> {
        let (guardian, mut lifeline) = spawn(&[COMMAND.as_ref()])?;
        lifeline.send(&Message::Plan(Box::new(plan.clone())), &[channel, monitor])?;
        match lifeline.hear(Some(Instant::now() + READY))? {
            Heard::Message(Message::Ready, _) => {}
            other => {
                let text = format!("the guardian did not get ready: {other:?}");
                return Err(io::Error::other(text));
            }
        }
        let guardian_id = ProcessId::of(Pid::from_child(&guardian));
        let note = note_of(guardian_id, plan).write();
        if let Err(error) = &note {
            crate::ui::warn(format_args!(
                "what this save changes cannot be noted, so 'vmferry recover' will not know of it: {error}"
            ));
        }
        let note = note.ok().map(Arc::new);
        let lifeline = Arc::new(lifeline);
        let (beating, until) = bounded(0);
        let beats = Arc::clone(&lifeline);
        let beat = every_beat("beat", until.clone(), move || beats.beat())?;
        if let Some(note) = note.clone() {
            // Not by the same thread: the folder may lie on a disk that hangs, and the saver would be taken for dead.
            // Nobody waits for this one, for the same reason.
            every_beat("touch", until, move || note.touch())?;
        }
        Ok(Self {
            lifeline,
            guardian,
            guardian_id,
            note,
            beating: Some(beating),
            beat: Some(beat),
        })
    }

    /// Notes what is about to be changed, for the guardian and on disk. Nothing of it must have been done before.
    ///
    /// # Errors
    /// The guardian is gone: the save must not go on.
    pub fn will_change(&self, plan: &Plan) -> io::Result<()> {
        if let Some(note) = &self.note {
            note.replace(&note_of(self.guardian_id, plan))?;
        }
        self.lifeline
            .send(&Message::Plan(Box::new(plan.clone())), &[])
    }

    /// Everything has been put back: the guardian ends.
    pub fn done(mut self) {
        self.stop_beating();
        // A guardian that is gone need not know.
        let _ = self.lifeline.send(&Message::Done, &[]);
        // A note that outlives this finds nothing to put right.
        if let Some(note) = &self.note {
            note.remove();
        }
        // One that was stopped finds the message when it goes on.
        let _ = self.wait_for_guardian();
    }

    /// Something could not be put back: it is left to the guardian, which goes on trying when this process
    /// has ended, or has been silent for too long. From now on the monitor must not be used.
    pub fn leave_to_guardian(mut self) {
        self.stop_beating();
        // The lifeline stays open until this process is gone, and with it its hold on the monitor.
        let _ = ManuallyDrop::new(Arc::clone(&self.lifeline));
    }

    fn stop_beating(&mut self) {
        drop(self.beating.take());
        if let Some(beat) = self.beat.take() {
            let _ = beat.join();
        }
    }

    fn wait_for_guardian(&mut self) -> io::Result<()> {
        let guardian = pidfd_open(Pid::from_child(&self.guardian), PidfdFlags::empty())?;
        let mut polled = [PollFd::new(&guardian, PollFlags::IN)];
        if poll(&mut polled, END.try_into().ok().as_ref())? > 0 {
            self.guardian.wait()?;
        }
        Ok(())
    }
}

/// A thread that does something at each beat, until the other end of `until` is dropped.
fn every_beat(
    name: &str,
    until: Receiver<()>,
    something: impl Fn() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            while until.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                something();
            }
        })
}

fn note_of(guardian: Option<ProcessId>, plan: &Plan) -> Note {
    Note {
        saver: ProcessId::ours(),
        guardian,
        plan: plan.clone(),
    }
}
