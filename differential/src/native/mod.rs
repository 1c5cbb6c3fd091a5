//! `vmferry::stream` behind the operations of the original: what takes the place of each function there, as
//! `docs/stream.md` has it.

mod channel;
mod hooks;
mod read;
mod write;

use std::io;

use vmferry::stream::{
    Compressor, DiscardPrivate, OnWouldBlock, RateLimiter, Reader, ReaderConfig, Staging, Writer,
    WriterConfig,
};

use self::channel::Shared;
use self::hooks::phase;
use self::write::{compressor, low};
use crate::channel::{Event, World};
use crate::memory::{self, Guest};
use crate::program::{Channel, Op, Put};
use crate::subject::{Outcome, Subject};

type Out = Writer<'static, Shared, DiscardPrivate>;
type In = Reader<Shared>;

enum Half {
    Writer(Box<Out>),
    Reader(Box<In>),
    Closed,
}

/// A stream of this library.
pub(crate) struct Native<'g> {
    half: Half,
    shared: Shared,
    guest: &'g mut Guest,
    staging: Staging,
    limiter: RateLimiter,
    compressor: [Option<Compressor>; 10],
}

impl<'g> Native<'g> {
    pub(crate) fn new(channel: &Channel, guest: &'g mut Guest) -> Self {
        guest.restore();
        let shared = Shared::new(World::without_streams(channel));
        let on_would_block = OnWouldBlock::Wait;
        let half = if channel.source.is_some() {
            let config = ReaderConfig {
                window: 32 << 10,
                on_would_block,
                ..ReaderConfig::default()
            };
            Half::Reader(Box::new(Reader::with_config(shared.clone(), &config)))
        } else {
            let config = WriterConfig {
                on_would_block,
                ..WriterConfig::default()
            };
            Half::Writer(Box::new(Writer::with_releaser(
                shared.clone(),
                &config,
                DiscardPrivate,
            )))
        };
        Self {
            half,
            shared,
            guest,
            staging: Staging::default(),
            limiter: RateLimiter::unlimited(),
            compressor: [const { None }; 10],
        }
    }

    fn stage(&mut self, put: Put) -> i64 {
        match put {
            Put::Byte(value) => self.staging.put_u8(low(value)),
            Put::Be16(value) => self.staging.put_be16((value & 0xffff) as u16),
            Put::Be32(value) => self.staging.put_be32(value),
            Put::Be64(value) => self.staging.put_be64(value),
            Put::Buffer(from, len) => self.staging.put_bytes(memory::pool(from, len)),
            Put::Compressed(from, len, level) => {
                let compressor = compressor(&mut self.compressor, level);
                let put = self
                    .staging
                    .put_compressed(compressor, memory::pool(from, len));
                return put.map_or(-1, |len| len as i64);
            }
        }
        0
    }
}

/// What shutting down has answered.
fn end(shared: &Shared, result: io::Result<()>) -> i64 {
    let Some(answer) = shared.world().shut_down() else {
        return -i64::from(libc::ENOSYS);
    };
    shared.world().events.push(Event::Shutdown(true, true));
    result.map_or(answer, |()| 0).into()
}

impl Subject for Native<'_> {
    fn has(&self, op: Op) -> bool {
        let is_writer = matches!(self.half, Half::Writer(_));
        match op {
            // Of the channel, here, or of types.
            Op::ReturnPath | Op::SetBlocking(_) | Op::IsWritable => false,
            Op::Before(flags) | Op::After(flags) => phase(flags).is_some(),
            Op::Load(flags) => [2, 4].contains(&flags),
            Op::IsLimited | Op::Limit | Op::SetLimit(_) | Op::ResetLimit => is_writer,
            // Two types.
            Op::Byte | Op::Be16 | Op::Be32 | Op::Be64 | Op::Buffer(_) | Op::InPlace(_) => {
                !is_writer
            }
            Op::PeekByte(_) | Op::Peek(..) | Op::Counted => !is_writer,
            Op::Skip(_) if is_writer => false,
            Op::Put(_) | Op::Async(..) if !is_writer => false,
            // There is no size that is negative.
            Op::Skip(len) => len >= 0,
            // Anything else is the highest level.
            Op::Put(Put::Compressed(.., level)) | Op::Stage(Put::Compressed(.., level)) => {
                level <= 9
            }
            _ => true,
        }
    }

    fn run(&mut self, op: Op) -> Outcome {
        let mut bytes = Vec::new();
        let answer = match (op, &self.half) {
            (Op::SetHooks(hooks), _) => {
                self.shared.world().set_hooks(hooks);
                0
            }
            (Op::Stage(put), _) => self.stage(put),
            (_, Half::Writer(_)) => self.write(op, &mut bytes),
            _ => self.read(op, &mut bytes),
        };
        Outcome { answer, bytes }
    }

    fn close(&mut self) -> Outcome {
        let answer = match std::mem::replace(&mut self.half, Half::Closed) {
            Half::Writer(writer) => match writer.close() {
                Ok(()) => self.shared.world().close_answer(),
                Err(error) => -error.errno(),
            },
            Half::Reader(reader) => {
                // A reader closes nothing: who has the channel back does that.
                let error = reader.error().map(|error| -error.errno());
                let (channel, _) = reader.into_parts();
                let closed = match channel.world().can_close() {
                    true => channel.world().closes(),
                    false => 0,
                };
                error.unwrap_or(closed)
            }
            Half::Closed => 0,
        };
        Outcome::answer(answer.into())
    }

    fn error(&self) -> i32 {
        let error = match &self.half {
            Half::Writer(writer) => writer.error(),
            Half::Reader(reader) => reader.error(),
            Half::Closed => None,
        };
        error.map_or(0, |error| -error.errno())
    }

    fn position(&self) -> i64 {
        let position = match &self.half {
            Half::Writer(writer) => writer.queued_position(),
            Half::Reader(reader) => reader.position(),
            Half::Closed => 0,
        };
        i64::try_from(position).unwrap_or(i64::MAX)
    }

    fn world(&mut self) -> &mut World {
        self.shared.world()
    }

    fn guest(&mut self) -> &mut Guest {
        self.guest
    }
}
