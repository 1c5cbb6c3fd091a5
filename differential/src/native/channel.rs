//! The program's channel as a channel of this library.

use std::cell::UnsafeCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use vmferry::channel::{ReadChannel, Segment, SegmentMut, Shutdown, WriteChannel};

use crate::channel::World;

/// The world as a channel. The stream calls it only from within its own functions, and so do its hooks.
#[derive(Debug, Clone)]
pub(super) struct Shared(Rc<UnsafeCell<World>>);

impl Shared {
    pub(super) fn new(world: World) -> Self {
        Self(Rc::new(UnsafeCell::new(world)))
    }

    #[allow(
        clippy::mut_from_ref,
        reason = "one caller at a time, as the type says"
    )]
    pub(super) fn world(&self) -> &mut World {
        // SAFETY: everything runs in one thread, and nobody keeps what this gives while the stream is called.
        unsafe { &mut *self.0.get() }
    }
}

fn failed(answer: isize) -> io::Error {
    io::Error::from_raw_os_error(i32::try_from(-answer).unwrap_or(libc::EIO))
}

impl WriteChannel for Shared {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        let total = segments.iter().map(Segment::len).sum();
        loop {
            let answer = self.world().write(total, |written| {
                for segment in segments {
                    segment.append_to(written);
                }
            });
            match usize::try_from(answer) {
                Ok(taken) => return Ok(taken),
                // A channel tries again by itself.
                Err(_) if answer == -libc::EINTR as isize => {}
                Err(_) => return Err(failed(answer)),
            }
        }
    }

    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        shutdown(self.world())
    }

    fn close(&mut self) -> io::Result<()> {
        if !self.world().can_close() {
            return Ok(());
        }
        let answer = self.world().closes();
        if answer < 0 {
            return Err(failed(answer as isize));
        }
        Ok(())
    }
}

impl ReadChannel for Shared {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        let room = segments.iter().map(SegmentMut::len).sum();
        loop {
            match self.world().give(room) {
                Ok(mut bytes) => {
                    let read = bytes.len();
                    for segment in segments {
                        let copied = segment.copy_from(bytes);
                        bytes = &bytes[copied..];
                    }
                    return Ok(read);
                }
                // A channel tries again by itself.
                Err(answer) if answer == -libc::EINTR as isize => {}
                Err(answer) => match usize::try_from(answer) {
                    Ok(claimed) => return Ok(claimed),
                    Err(_) => return Err(failed(answer)),
                },
            }
        }
    }

    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        shutdown(self.world())
    }
}

/// What shuts the channel down.
#[derive(Debug)]
struct Shutting {
    answer: i32,
}

impl Shutdown for Shutting {
    fn shutdown(&self) -> io::Result<()> {
        if self.answer < 0 {
            return Err(failed(self.answer as isize));
        }
        Ok(())
    }
}

fn shutdown(world: &World) -> Option<Arc<dyn Shutdown>> {
    let answer = world.shut_down()?;
    Some(Arc::new(Shutting { answer }))
}
