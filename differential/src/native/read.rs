//! What is done with a reader.

use vmferry::stream::{ErrorKind, LoadEvent, NoHooks, StreamError};

use super::hooks::Scripted;
use super::{Half, In, Native, end};
use crate::program::Op;

impl Native<'_> {
    pub(super) fn read(&mut self, op: Op, out: &mut Vec<u8>) -> i64 {
        let shared = self.shared.clone();
        let Half::Reader(reader) = &mut self.half else {
            return 0;
        };
        match op {
            Op::Byte => return reader.lenient().get_u8().into(),
            Op::Be16 => return reader.lenient().get_be16().into(),
            Op::Be32 => return reader.lenient().get_be32().into(),
            Op::Be64 => return reader.lenient().get_be64() as i64,
            Op::Buffer(len) => {
                out.resize(len as usize, 0);
                let got = get_up_to(reader, out);
                out.truncate(got);
                return got as i64;
            }
            Op::InPlace(len) => {
                let mut spill = Vec::new();
                if let Ok(bytes) = reader.get_ref_or(len as usize, &mut spill) {
                    out.extend_from_slice(bytes);
                }
                return out.len() as i64;
            }
            Op::PeekByte(offset) => {
                let offset = usize::try_from(offset).unwrap_or(usize::MAX);
                return reader.peek_u8(offset).unwrap_or(0).into();
            }
            Op::Peek(len, offset) => {
                if let Ok(bytes) = reader.peek_at(offset as usize, len as usize) {
                    out.extend_from_slice(bytes);
                }
                return out.len() as i64;
            }
            Op::Skip(len) => drop(reader.skip(u64::try_from(len).unwrap_or(0))),
            Op::Counted => {
                let mut text = [0; 255];
                if let Ok(text) = reader.get_counted(&mut text) {
                    out.extend_from_slice(text);
                }
                let len = out.len() as i64;
                // As what ends it in the original.
                out.push(0);
                return len;
            }
            Op::Tell => return reader.position() as i64,
            Op::SetError(number) if number < 0 => {
                let kind = ErrorKind::User(-number);
                reader.fail_with(StreamError::new(kind, reader.position()));
            }
            Op::Load(flags) => {
                let event = match flags {
                    2 => LoadEvent::Hook,
                    _ => LoadEvent::Block("pc.ram"),
                };
                let has_hook = shared
                    .world()
                    .hooks()
                    .is_some_and(|hooks| hooks.load.is_some());
                let _ = match has_hook {
                    true => reader.load_hook(
                        &mut Scripted {
                            shared,
                            asks: false,
                        },
                        event,
                    ),
                    false => reader.load_hook(&mut NoHooks, event),
                };
            }
            Op::Shutdown => {
                return end(&shared, reader.abort_handle().abort());
            }
            _ => {}
        }
        0
    }
}

/// As much as there is, and an error where that is not all, as the original has it.
fn get_up_to(reader: &mut In, out: &mut [u8]) -> usize {
    let wanted = out.len();
    if wanted <= reader.buffered().len() {
        return reader.get_into(out).map_or(0, |()| wanted);
    }
    let got = reader.get_up_to(out).unwrap_or(0);
    if got < wanted {
        let kind = ErrorKind::UnexpectedEof { wanted, got };
        reader.fail_with(StreamError::new(kind, reader.position()));
    }
    got
}
