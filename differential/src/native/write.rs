//! What is done with a writer.

use vmferry::channel::RamSlice;
use vmferry::stream::{Compressor, ErrorKind, HookedPage, Release, SavePage, StreamError};

use super::hooks::{Scripted, phase, scripted_page};
use super::{Half, Native, Out, end};
use crate::memory::{self, Guest};
use crate::program::{Op, Put};

impl Native<'_> {
    pub(super) fn write(&mut self, op: Op, out: &mut Vec<u8>) -> i64 {
        let shared = self.shared.clone();
        let Half::Writer(writer) = &mut self.half else {
            return 0;
        };
        // What the stream says of it is seen in its error.
        match op {
            Op::Put(put) => return put_into(writer, &mut self.compressor, put),
            Op::Transfer => {
                let moved = writer.put_staged(&mut self.staging);
                return moved.map_or(0, |len| len as i64);
            }
            Op::Async(at, len, may_free) => {
                let release = match may_free {
                    true => Release::AfterSend,
                    false => Release::Keep,
                };
                if may_free {
                    self.guest.may_be_released();
                }
                writer.put_ram(ram(self.guest, at, len), release);
            }
            Op::Late(at, len) => {
                let _ = writer.flush();
                writer.put_ram(ram(self.guest, at, len), Release::Keep);
                self.guest.change(at, len);
                let _ = writer.flush();
            }
            Op::Flush => drop(writer.flush()),
            Op::Tell => {
                let _ = writer.flush();
                return writer.flushed_position() as i64;
            }
            Op::SetError(number) if number < 0 => {
                let kind = ErrorKind::User(-number);
                writer.fail_with(StreamError::new(kind, writer.queued_position()));
            }
            Op::IsLimited => return writer.is_held_back(&self.limiter).into(),
            Op::Limit => return self.limiter.get().unwrap_or(0) as i64,
            Op::SetLimit(limit) => {
                self.limiter
                    .set(u64::try_from(limit).ok().filter(|limit| *limit > 0));
            }
            Op::ResetLimit => self.limiter.start_window(writer.transferred()),
            Op::Update(bytes) => writer.account_external(bytes.into()),
            Op::Before(flags) | Op::After(flags) => {
                let Some(phase) = phase(flags) else { return 0 };
                let mut hooks = Scripted {
                    shared,
                    asks: false,
                };
                let _ = match op {
                    Op::Before(_) => writer.before_iterate(&mut hooks, phase),
                    _ => writer.after_iterate(&mut hooks, phase),
                };
            }
            Op::SavePage(block, offset, len, asks) => {
                let page = HookedPage {
                    block: block.into(),
                    offset: offset.into(),
                    len: len as usize,
                };
                let mut hooks = Scripted {
                    shared: shared.clone(),
                    asks,
                };
                let (answer, sent) = match writer.save_page(&mut hooks, page) {
                    Ok(SavePage::NotSupported) => (-1000, 0),
                    Ok(SavePage::Delayed) => (-2000, 0),
                    Ok(SavePage::Sent { bytes }) => (scripted_page(&shared).0, bytes),
                    Err(error) => (-i64::from(error.errno()), 0),
                };
                out.extend(sent.to_be_bytes());
                return answer;
            }
            Op::Shutdown => {
                return end(&shared, writer.abort_handle().abort());
            }
            _ => {}
        }
        0
    }
}

fn put_into(writer: &mut Out, compressors: &mut [Option<Compressor>; 10], put: Put) -> i64 {
    match put {
        Put::Byte(value) => writer.put_u8(low(value)),
        Put::Be16(value) => writer.put_be16((value & 0xffff) as u16),
        Put::Be32(value) => writer.put_be32(value),
        Put::Be64(value) => writer.put_be64(value),
        Put::Buffer(from, len) => writer.put_bytes(memory::pool(from, len)),
        Put::Compressed(from, len, level) => {
            let compressor = compressor(compressors, level);
            let put = writer.put_compressed(compressor, memory::pool(from, len));
            return put.map_or(-1, |len| len as i64);
        }
    }
    0
}

pub(super) fn compressor(of: &mut [Option<Compressor>; 10], level: i32) -> &mut Compressor {
    // As zlib's own choice.
    let level = u32::try_from(level).unwrap_or(6).min(9);
    of[level as usize].get_or_insert_with(|| Compressor::new(level))
}

pub(super) fn low(value: i32) -> u8 {
    u8::try_from(value & 0xff).unwrap_or(0)
}

fn ram(guest: &Guest, at: u32, len: u32) -> RamSlice<'static> {
    let (start, len) = guest.at(at, len);
    // SAFETY: the guest's memory is mapped for longer than the stream lives.
    unsafe { RamSlice::from_raw(start, len) }
}
