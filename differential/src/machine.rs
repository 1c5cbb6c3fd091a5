//! One implementation at work: its streams, its channel, its guest's memory.

use std::ffi::c_void;
use std::{ptr, slice};

use crate::api::Api;
use crate::channel::{self, World};
use crate::ffi::{Inside, QemuFile, QemuFileHooks, QemuFileOps};
use crate::memory::{self, Guest};
use crate::program::{Channel, Op, Put};
use crate::subject::{Outcome, Subject};

/// A stream of one implementation, over a channel.
///
/// The world and the functions are held by pointers, because the stream has them, too, and uses them whenever it is
/// called.
#[derive(Debug)]
pub(crate) struct Machine<'g> {
    api: &'static Api,
    guest: &'g mut Guest,
    file: *mut QemuFile,
    world: *mut World,
    ops: *mut QemuFileOps,
    hooks: Vec<*mut QemuFileHooks>,
    staging: Vec<*mut QemuFile>,
    /// Bytes in the last of those.
    staged: usize,
    records: usize,
    back: *mut QemuFile,
}

/// No channel at all.
static NO_OPS: QemuFileOps = QemuFileOps {
    get_buffer: None,
    close: None,
    set_blocking: None,
    writev_buffer: None,
    get_return_path: None,
    shut_down: None,
};

impl<'g> Machine<'g> {
    pub(crate) fn new(api: &'static Api, channel: &Channel, guest: &'g mut Guest) -> Self {
        let open = api.qemu_fopen_ops;
        // SAFETY: functions of no channel ask for nothing, and live for ever.
        let back = unsafe { open(ptr::null_mut(), &raw const NO_OPS) };
        let world = Box::into_raw(Box::new(World::new(api, channel, back)));
        let ops = Box::into_raw(Box::new(channel::ops(channel)));
        // SAFETY: both live until `drop`, after the stream was closed.
        let file = unsafe { open(world.cast::<c_void>(), ops) };
        guest.restore();
        Self {
            api,
            guest,
            file,
            world,
            ops,
            hooks: Vec::new(),
            staging: Vec::new(),
            staged: 0,
            records: 0,
            back,
        }
    }

    /// Looks inside the stream, where that can be done.
    pub(crate) fn inside(&self) -> Option<Inside> {
        let mut inside = Inside::default();
        // SAFETY: the stream is open, and the function is of its own implementation.
        unsafe { (self.api.inside?)(self.file, &raw mut inside) };
        Some(inside)
    }

    /// Bytes in the last stream without a channel, and records in it.
    pub(crate) fn staged(&self) -> (usize, usize) {
        (self.staged, self.records)
    }

    /// How many bytes of the guest's memory there are.
    pub(crate) fn guest_len(&self, at: u32, len: u32) -> usize {
        self.guest.at(at, len).1
    }

    /// Another stream without a channel goes on where the last one is full.
    pub(crate) fn stage_anew(&mut self) {
        // SAFETY: functions of no channel ask for nothing, and live for ever.
        let file = unsafe { (self.api.qemu_fopen_ops)(ptr::null_mut(), &raw const NO_OPS) };
        self.staging.push(file);
        (self.staged, self.records) = (0, 0);
    }

    /// Puts bytes that are not of the pool into the last stream without a channel.
    pub(crate) fn stage_bytes(&mut self, bytes: &[u8]) {
        if self.staging.is_empty() {
            self.stage_anew();
        }
        let to = self.staging[self.staging.len() - 1];
        // SAFETY: the stream is open, and copies what it is given.
        unsafe { (self.api.qemu_put_buffer)(to, bytes.as_ptr(), bytes.len()) };
        self.staged += bytes.len();
    }

    fn answer(&mut self, op: Op, out: &mut Vec<u8>) -> i64 {
        let (api, file) = (self.api, self.file);
        // SAFETY: the stream is open; what is referred to lives longer than it, or than the call, as the header of the
        // original demands it.
        unsafe {
            match op {
                Op::Put(put) => return self.put(file, put),
                Op::Stage(put) => {
                    if self.staging.is_empty() {
                        self.stage_anew();
                    }
                    let to = self.staging[self.staging.len() - 1];
                    let answer = self.put(to, put);
                    self.staged += match put {
                        Put::Byte(_) => 1,
                        Put::Be16(_) => 2,
                        Put::Be32(_) => 4,
                        Put::Be64(_) => 8,
                        Put::Buffer(from, len) => memory::pool(from, len).len(),
                        Put::Compressed(..) => {
                            self.records += 1;
                            usize::try_from(answer).unwrap_or(0)
                        }
                    };
                    return answer;
                }
                Op::Transfer => {
                    let transfer = |from: &*mut QemuFile| (api.qemu_put_qemu_file)(file, *from);
                    (self.staged, self.records) = (0, 0);
                    return self.staging.iter().map(transfer).map(i64::from).sum();
                }
                Op::Async(at, len, may_free) => {
                    if may_free {
                        self.guest.may_be_released();
                    }
                    let (start, len) = self.guest.at(at, len);
                    (api.qemu_put_buffer_async)(file, start, len, may_free);
                }
                Op::Late(at, len) => {
                    let (start, size) = self.guest.at(at, len);
                    (api.qemu_fflush)(file);
                    (api.qemu_put_buffer_async)(file, start, size, false);
                    self.guest.change(at, len);
                    (api.qemu_fflush)(file);
                }
                Op::Flush => (api.qemu_fflush)(file),
                Op::Tell => return (api.qemu_ftell)(file),
                Op::SetError(number) => (api.qemu_file_set_error)(file, number),
                Op::IsLimited => return (api.qemu_file_rate_limit)(file).into(),
                Op::Limit => return (api.qemu_file_get_rate_limit)(file),
                Op::SetLimit(limit) => (api.qemu_file_set_rate_limit)(file, limit),
                Op::ResetLimit => (api.qemu_file_reset_rate_limit)(file),
                Op::Update(bytes) => (api.qemu_update_position)(file, bytes as usize),
                Op::SetHooks(hooks) => {
                    self.world().set_hooks(hooks);
                    let ops = hooks.map_or(ptr::null_mut(), |hooks| {
                        Box::into_raw(Box::new(channel::hook_ops(&hooks)))
                    });
                    self.hooks.push(ops);
                    (api.qemu_file_set_hooks)(file, ops);
                }
                Op::Before(flags) => (api.ram_control_before_iterate)(file, flags),
                Op::After(flags) => (api.ram_control_after_iterate)(file, flags),
                Op::Load(flags) => {
                    // The name of a block, for those that are told one.
                    let name = c"pc.ram".as_ptr().cast_mut().cast::<c_void>();
                    (api.ram_control_load_hook)(file, flags, name);
                }
                Op::SavePage(block, offset, len, asks) => {
                    let mut sent = 0;
                    let to = if asks { &raw mut sent } else { ptr::null_mut() };
                    let (block, offset) = (block.into(), offset.into());
                    let save = api.ram_control_save_page;
                    let answer = save(file, block, offset, len as usize, to);
                    out.extend(sent.to_be_bytes());
                    return answer as i64;
                }
                Op::Shutdown => return (api.qemu_file_shutdown)(file).into(),
                Op::ReturnPath => {
                    let back = (api.qemu_file_get_return_path)(file);
                    return i64::from(!back.is_null()) + i64::from(back == self.back);
                }
                Op::SetBlocking(is_blocking) => (api.qemu_file_set_blocking)(file, is_blocking),
                Op::IsWritable => return (api.qemu_file_is_writable)(file).into(),
                Op::Byte => return (api.qemu_get_byte)(file).into(),
                Op::Be16 => return (api.qemu_get_be16)(file).into(),
                Op::Be32 => return (api.qemu_get_be32)(file).into(),
                Op::Be64 => return (api.qemu_get_be64)(file) as i64,
                Op::PeekByte(offset) => return (api.qemu_peek_byte)(file, offset).into(),
                Op::Skip(len) => (api.qemu_file_skip)(file, len),
                Op::Buffer(len) => {
                    out.resize(len as usize, 0);
                    let got = (api.qemu_get_buffer)(file, out.as_mut_ptr(), out.len());
                    out.truncate(got);
                    return got as i64;
                }
                Op::InPlace(len) => {
                    let mut spill = vec![0; len as usize];
                    let mut at = spill.as_mut_ptr();
                    let got = (api.qemu_get_buffer_in_place)(file, &raw mut at, len as usize);
                    if got == 0 {
                        // The original refers to anything then.
                        return 0;
                    }
                    out.extend_from_slice(slice::from_raw_parts(at, got.min(len as usize)));
                    return got as i64;
                }
                Op::Peek(len, offset) => {
                    let mut at = ptr::null_mut();
                    let peek = api.qemu_peek_buffer;
                    let got = peek(file, &raw mut at, len as usize, offset as usize);
                    if !at.is_null() {
                        out.extend_from_slice(slice::from_raw_parts(at, got.min(len as usize)));
                    }
                    return got as i64;
                }
                Op::Counted => {
                    let mut text = [0x55; 256];
                    let got = (api.qemu_get_counted_string)(file, text.as_mut_ptr().cast());
                    // With what ends it.
                    out.extend_from_slice(&text[..(got + 1).min(256)]);
                    return got as i64;
                }
            }
        }
        0
    }

    fn put(&self, file: *mut QemuFile, put: Put) -> i64 {
        let api = self.api;
        // SAFETY: the stream is open, and the pool lives for ever.
        unsafe {
            match put {
                Put::Byte(value) => (api.qemu_put_byte)(file, value),
                Put::Be16(value) => (api.qemu_put_be16)(file, value),
                Put::Be32(value) => (api.qemu_put_be32)(file, value),
                Put::Be64(value) => (api.qemu_put_be64)(file, value),
                Put::Buffer(from, len) => {
                    let bytes = memory::pool(from, len);
                    (api.qemu_put_buffer)(file, bytes.as_ptr(), bytes.len());
                }
                Put::Compressed(from, len, level) => {
                    let bytes = memory::pool(from, len);
                    let compress = api.qemu_put_compression_data;
                    return compress(file, bytes.as_ptr(), bytes.len(), level) as i64;
                }
            }
        }
        0
    }

    /// Puts bytes that are not of the pool.
    pub(crate) fn put_bytes(&self, bytes: &[u8]) {
        // SAFETY: the stream is open, and copies what it is given.
        unsafe { (self.api.qemu_put_buffer)(self.file, bytes.as_ptr(), bytes.len()) };
    }
}

impl Subject for Machine<'_> {
    fn has(&self, _: Op) -> bool {
        true
    }

    fn run(&mut self, op: Op) -> Outcome {
        let mut bytes = Vec::new();
        let answer = self.answer(op, &mut bytes);
        Outcome { answer, bytes }
    }

    fn close(&mut self) -> Outcome {
        let file = std::mem::replace(&mut self.file, ptr::null_mut());
        // SAFETY: the stream is open, and not used afterwards.
        let answer = unsafe { (self.api.qemu_fclose)(file) };
        Outcome {
            answer: answer.into(),
            bytes: Vec::new(),
        }
    }

    fn error(&self) -> i32 {
        // SAFETY: the stream is open.
        unsafe { (self.api.qemu_file_get_error)(self.file) }
    }

    fn position(&self) -> i64 {
        // SAFETY: the stream is open.
        unsafe { (self.api.qemu_ftell_fast)(self.file) }
    }

    fn world(&mut self) -> &mut World {
        // SAFETY: it lives until `drop`, and the streams use it only from within calls of `self`.
        unsafe { &mut *self.world }
    }

    fn guest(&mut self) -> &mut Guest {
        self.guest
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        if !self.file.is_null() {
            self.close();
        }
        // SAFETY: made by `Box::into_raw` in `new` or `answer`, and the streams that use them are closed first.
        unsafe {
            for staging in self.staging.drain(..).chain([self.back]) {
                (self.api.qemu_fclose)(staging);
            }
            for hooks in self.hooks.drain(..).filter(|hooks| !hooks.is_null()) {
                drop(Box::from_raw(hooks));
            }
            drop(Box::from_raw(self.world));
            drop(Box::from_raw(self.ops));
        }
    }
}
