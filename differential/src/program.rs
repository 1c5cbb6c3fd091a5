//! Programs are data: a channel that behaves in a certain way, and what is done with the stream over it.
//!
//! As text, a program is one line of JSON for the channel and one for each operation; a line that begins with `#` is a
//! comment.

use std::fmt;
use std::str::FromStr;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// A channel, and what is done with the stream over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The channel.
    pub channel: Channel,
    /// What is done, in this order; the stream is closed at the end.
    pub ops: Vec<Op>,
}

/// How the channel behaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// What is read from it; `None`: it is written.
    pub source: Option<Source>,
    /// What happens at which byte, in the order of the bytes.
    pub faults: Vec<Fault>,
    /// What closing it answers; `None`: it cannot be closed.
    pub close: Option<i32>,
    /// What shutting it down answers; `None`: it cannot be shut down.
    pub shut_down: Option<i32>,
    /// Whether it can be set to wait or not.
    pub blocking: bool,
    /// Whether it has a way back.
    pub return_path: bool,
}

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Bytes until the end.
    pub len: u32,
    /// What they are.
    pub seed: u8,
    /// The most that one read gives; 0: as much as there is room for.
    pub piece: u32,
}

/// What happens when the channel is asked for, or given, the byte at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The byte.
    pub at: u32,
    /// What happens.
    pub what: What,
}

/// What can happen at a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// The call ends before this byte.
    Cut,
    /// It is not ready, so many times.
    Again(u8),
    /// It is interrupted, so many times.
    Interrupted(u8),
    /// It fails with this error number, once.
    FailsOnce(i32),
    /// It fails with this error number from now on.
    Fails(i32),
    /// It says that this is the end, once.
    End,
    /// It claims to have moved one byte more than it was asked to.
    Claims,
}

/// What is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Put {
    /// `qemu_put_byte`
    Byte(i32),
    /// `qemu_put_be16`
    Be16(u32),
    /// `qemu_put_be32`
    Be32(u32),
    /// `qemu_put_be64`
    Be64(u64),
    /// `qemu_put_buffer`, of so many bytes from that place.
    Buffer(u32, u32),
    /// `qemu_put_compression_data`, of so many bytes from that place, with a level.
    Compressed(u32, u32, i32),
}

/// What is done with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Puts into the stream.
    Put(Put),
    /// Puts into another stream, which has no channel.
    Stage(Put),
    /// `qemu_put_qemu_file`, from that other stream.
    Transfer,
    /// `qemu_put_buffer_async`: so many bytes of the guest's memory from that place, which may be given back.
    Async(u32, u32, bool),
    /// A flush, `qemu_put_buffer_async`, other bytes in that memory, a flush.
    Late(u32, u32),
    /// `qemu_fflush`
    Flush,
    /// `qemu_ftell`
    Tell,
    /// `qemu_file_set_error`
    SetError(i32),
    /// `qemu_file_rate_limit`
    IsLimited,
    /// `qemu_file_get_rate_limit`
    Limit,
    /// `qemu_file_set_rate_limit`
    SetLimit(i64),
    /// `qemu_file_reset_rate_limit`
    ResetLimit,
    /// `qemu_update_position`
    Update(u32),
    /// `qemu_file_set_hooks`
    SetHooks(Option<Hooks>),
    /// `ram_control_before_iterate`
    Before(u64),
    /// `ram_control_after_iterate`
    After(u64),
    /// `ram_control_load_hook`
    Load(u64),
    /// `ram_control_save_page`: block, offset, length, and whether the bytes that were sent are asked for.
    SavePage(u32, u32, u32, bool),
    /// `qemu_file_shutdown`
    Shutdown,
    /// `qemu_file_get_return_path`
    ReturnPath,
    /// `qemu_file_set_blocking`
    SetBlocking(bool),
    /// `qemu_file_is_writable`
    IsWritable,
    /// `qemu_get_byte`
    Byte,
    /// `qemu_get_be16`
    Be16,
    /// `qemu_get_be32`
    Be32,
    /// `qemu_get_be64`
    Be64,
    /// `qemu_get_buffer`
    Buffer(u32),
    /// `qemu_get_buffer_in_place`
    InPlace(u32),
    /// `qemu_peek_byte`
    PeekByte(i32),
    /// `qemu_peek_buffer`: size, offset.
    Peek(u32, u32),
    /// `qemu_file_skip`
    Skip(i32),
    /// `qemu_get_counted_string`
    Counted,
}

/// What a hook does when it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Bytes that it puts into the stream, or takes out of it.
    pub bytes: u8,
    /// What it answers.
    pub answer: i32,
}

/// The hooks of a stream; those that are `None` are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// `before_ram_iterate`
    pub before: Option<Hook>,
    /// `after_ram_iterate`
    pub after: Option<Hook>,
    /// `hook_ram_load`
    pub load: Option<Hook>,
    /// `save_page`, and the bytes that it says it has sent.
    pub save_page: Option<(Hook, u32)>,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", json(&self.channel)?)?;
        for op in &self.ops {
            writeln!(f, "{}", json(op)?)?;
        }
        Ok(())
    }
}

fn json(value: &impl Serialize) -> Result<String, fmt::Error> {
    serde_json::to_string(value).map_err(|_| fmt::Error)
}

impl FromStr for Program {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut lines = (1..).zip(text.lines()).filter(|(_, line)| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#')
        });
        let (number, line) = lines
            .next()
            .context("a program has at least one line, the channel")?;
        let channel = serde_json::from_str(line)
            .with_context(|| format!("line {number} is no channel: {line}"))?;
        let ops = lines.map(|(number, line)| {
            serde_json::from_str(line)
                .with_context(|| format!("line {number} is no operation: {line}"))
        });
        Ok(Self {
            channel,
            ops: ops.collect::<anyhow::Result<_>>()?,
        })
    }
}
