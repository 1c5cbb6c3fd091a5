//! The channel and its hooks as functions of C.

use std::ffi::{c_int, c_void};
use std::slice;

use libc::{iovec, ssize_t};

use super::{Event, World, signed};
use crate::ffi::{QemuFile, QemuFileHooks, QemuFileOps};
use crate::memory;
use crate::program::{Channel, Hook, Hooks};

/// The functions of a channel like this one.
pub(crate) fn ops(channel: &Channel) -> QemuFileOps {
    let is_source = channel.source.is_some();
    QemuFileOps {
        get_buffer: is_source.then_some(get_buffer),
        close: channel.close.map(|_| close as _),
        set_blocking: channel.blocking.then_some(set_blocking),
        writev_buffer: (!is_source).then_some(writev_buffer),
        get_return_path: channel.return_path.then_some(get_return_path),
        shut_down: channel.shut_down.map(|_| shut_down as _),
    }
}

/// The functions for these hooks.
pub(crate) fn hook_ops(hooks: &Hooks) -> QemuFileHooks {
    QemuFileHooks {
        before_ram_iterate: hooks.before.map(|_| before_iterate as _),
        after_ram_iterate: hooks.after.map(|_| after_iterate as _),
        hook_ram_load: hooks.load.map(|_| load as _),
        save_page: hooks.save_page.map(|_| save_page as _),
    }
}

/// The world behind an opaque pointer.
///
/// # Safety
/// The pointer is that of a world that lives, and nobody else uses it now: the streams call their channel from within
/// their own functions only.
unsafe fn world<'a>(opaque: *mut c_void) -> &'a mut World {
    // SAFETY: as above.
    unsafe { &mut *opaque.cast::<World>() }
}

unsafe extern "C" fn writev_buffer(
    opaque: *mut c_void,
    segments: *mut iovec,
    count: c_int,
    position: i64,
) -> ssize_t {
    // SAFETY: the stream hands over the world that it was opened with, and an array of that many segments.
    let (world, segments) = unsafe {
        let count = usize::try_from(count).unwrap_or(0);
        (world(opaque), slice::from_raw_parts(segments, count))
    };
    world.misplaced = Some(position - signed(world.written.len()) as i64);
    let total = segments.iter().map(|segment| segment.iov_len).sum();
    world.write(total, |written| {
        for segment in segments.iter().filter(|segment| segment.iov_len > 0) {
            // SAFETY: the stream says that it has so many bytes there.
            let bytes = unsafe { slice::from_raw_parts(segment.iov_base.cast(), segment.iov_len) };
            written.extend_from_slice(bytes);
        }
    })
}

unsafe extern "C" fn get_buffer(
    opaque: *mut c_void,
    room: *mut u8,
    position: i64,
    len: usize,
) -> ssize_t {
    // SAFETY: the stream hands over the world that it was opened with, and room for that many bytes.
    let (world, room) = unsafe { (world(opaque), slice::from_raw_parts_mut(room, len)) };
    world.misplaced = Some(position - signed(world.read) as i64);
    match world.give(len) {
        Ok(bytes) => {
            room[..bytes.len()].copy_from_slice(bytes);
            signed(bytes.len())
        }
        Err(answer) => answer,
    }
}

unsafe extern "C" fn close(opaque: *mut c_void) -> c_int {
    // SAFETY: the stream hands over the world that it was opened with.
    unsafe { world(opaque) }.closes()
}

unsafe extern "C" fn shut_down(opaque: *mut c_void, read: bool, write: bool) -> c_int {
    // SAFETY: the stream hands over the world that it was opened with.
    let world = unsafe { world(opaque) };
    world.events.push(Event::Shutdown(read, write));
    world.shut_down.unwrap_or(0)
}

unsafe extern "C" fn set_blocking(opaque: *mut c_void, is_blocking: bool) -> c_int {
    // SAFETY: the stream hands over the world that it was opened with.
    let world = unsafe { world(opaque) };
    world.events.push(Event::Blocking(is_blocking));
    0
}

unsafe extern "C" fn get_return_path(opaque: *mut c_void) -> *mut QemuFile {
    // SAFETY: the stream hands over the world that it was opened with.
    let world = unsafe { world(opaque) };
    world.events.push(Event::ReturnPath);
    world.back
}

unsafe extern "C" fn before_iterate(
    file: *mut QemuFile,
    opaque: *mut c_void,
    flags: u64,
    _: *mut c_void,
) -> c_int {
    // SAFETY: the stream hands over itself and the world that it was opened with.
    unsafe { iterate(file, opaque, Event::Before(flags), |hooks| hooks.before) }
}

unsafe extern "C" fn after_iterate(
    file: *mut QemuFile,
    opaque: *mut c_void,
    flags: u64,
    _: *mut c_void,
) -> c_int {
    // SAFETY: the stream hands over itself and the world that it was opened with.
    unsafe { iterate(file, opaque, Event::After(flags), |hooks| hooks.after) }
}

/// A hook that puts something into the stream.
///
/// # Safety
/// As for the hooks.
unsafe fn iterate(
    file: *mut QemuFile,
    opaque: *mut c_void,
    event: Event,
    which: fn(&Hooks) -> Option<Hook>,
) -> c_int {
    // SAFETY: the caller hands over a world.
    let (hook, api) = unsafe {
        let world = world(opaque);
        world.events.push(event);
        (world.hook(which), world.api)
    };
    let bytes = memory::pool(7, hook.bytes.into());
    if let Some(api) = api {
        // SAFETY: the stream is the one that calls, and takes puts from its hooks. The world is not borrowed meanwhile.
        unsafe { (api.qemu_put_buffer)(file, bytes.as_ptr(), bytes.len()) };
    }
    hook.answer
}

unsafe extern "C" fn load(
    file: *mut QemuFile,
    opaque: *mut c_void,
    flags: u64,
    _: *mut c_void,
) -> c_int {
    // SAFETY: the stream hands over the world that it was opened with.
    let (hook, api) = unsafe {
        let world = world(opaque);
        world.events.push(Event::Loaded(flags));
        (world.hook(|hooks| hooks.load), world.api)
    };
    for _ in 0..hook.bytes {
        // SAFETY: the stream is the one that calls. The world is not borrowed meanwhile.
        let byte = api.map_or(0, |api| unsafe { (api.qemu_get_byte)(file) });
        // SAFETY: as above.
        let world = unsafe { world(opaque) };
        world
            .events
            .push(Event::Took(u8::try_from(byte & 0xff).unwrap_or(0)));
    }
    hook.answer
}

unsafe extern "C" fn save_page(
    _: *mut QemuFile,
    opaque: *mut c_void,
    block: u64,
    offset: u64,
    len: usize,
    sent: *mut u64,
) -> usize {
    // SAFETY: the stream hands over the world that it was opened with.
    let world = unsafe { world(opaque) };
    world
        .events
        .push(Event::Page(block, offset, len, !sent.is_null()));
    let hook = world.hooks.and_then(|hooks| hooks.save_page);
    let (hook, bytes) = hook.unwrap_or((
        Hook {
            bytes: 0,
            answer: 0,
        },
        0,
    ));
    if !sent.is_null() {
        // SAFETY: a number of the caller's, which was asked to be set.
        unsafe { *sent = bytes.into() };
    }
    // Negative answers are large ones here; the original takes the lower half again.
    hook.answer as usize
}
