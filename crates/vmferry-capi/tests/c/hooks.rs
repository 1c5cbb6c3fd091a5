//! Hooks of C: they may use their file while they run.

use std::ffi::{c_int, c_void};
use std::ptr;

use vmferry_capi::*;

use crate::support::{Opened, Step};

/// A control message before what the stream carries, and one after it.
const BEFORE: u32 = 0x0b0b_0b0b;
const AFTER: u32 = 0x0a0a_0a0a;

/// Puts a message with the flags, sends it, and is refused what a hook may not do.
unsafe extern "C" fn before(f: *mut QEMUFile, _: *mut c_void, flags: u64, _: *mut c_void) -> c_int {
    unsafe {
        assert_eq!(qemu_fclose(f), -libc::EBUSY, "the file is in use");
        qemu_put_be32(f, BEFORE);
        qemu_put_be64(f, flags);
        qemu_fflush(f);
        qemu_file_get_error(f)
    }
}

unsafe extern "C" fn after(f: *mut QEMUFile, _: *mut c_void, flags: u64, _: *mut c_void) -> c_int {
    unsafe { qemu_put_be32(f, AFTER) };
    if flags == RAM_CONTROL_FINISH {
        -libc::EREMOTEIO
    } else {
        0
    }
}

/// Takes the message out of the stream again.
unsafe extern "C" fn load(f: *mut QEMUFile, _: *mut c_void, _: u64, data: *mut c_void) -> c_int {
    unsafe {
        data.cast::<u64>().write(qemu_get_be64(f));
        qemu_file_get_error(f)
    }
}

/// Answers as the offset says, and has sent so many bytes as the block's number says.
unsafe extern "C" fn save_page(
    f: *mut QEMUFile,
    _: *mut c_void,
    block: u64,
    offset: u64,
    size: usize,
    bytes_sent: *mut u64,
) -> usize {
    assert_eq!(size, 4096);
    unsafe {
        qemu_put_byte(f, 0xcc);
        if !bytes_sent.is_null() {
            bytes_sent.write(block);
        }
    }
    usize::try_from(offset).unwrap()
}

static HOOKS: QEMUFileHooks = QEMUFileHooks {
    before_ram_iterate: Some(before),
    after_ram_iterate: Some(after),
    hook_ram_load: Some(load),
    save_page: Some(save_page),
};

#[test]
fn a_hook_puts_its_messages_where_it_is_called_and_its_error_is_the_files() {
    let mut file = Opened::writer();
    unsafe {
        qemu_file_set_hooks(file.f, &raw const HOOKS);
        ram_control_before_iterate(file.f, RAM_CONTROL_ROUND);
        assert_eq!(file.channel().taken.len(), 12, "it has sent it");
        qemu_put_be32(file.f, 1);
        ram_control_after_iterate(file.f, RAM_CONTROL_ROUND);
        ram_control_before_iterate(file.f, 0x1_0000_0007);
        assert_eq!(file.error(), 0);
        ram_control_after_iterate(file.f, RAM_CONTROL_FINISH);
        assert_eq!(file.error(), -libc::EREMOTEIO);
        ram_control_before_iterate(file.f, RAM_CONTROL_ROUND);
    }
    let (answer, channel) = file.close();
    assert_eq!(answer, -libc::EREMOTEIO);
    let words: Vec<_> = [BEFORE, 0, 1, 1, AFTER, BEFORE, 1, 7]
        .iter()
        .flat_map(|word| word.to_be_bytes())
        .collect();
    assert_eq!(
        channel.taken, words,
        "flags are as they were given, and nothing came behind the error"
    );
}

#[test]
fn a_page_that_is_not_the_hooks_or_comes_later_is_no_error() {
    let file = Opened::writer();
    let save = |block: u64, answer: c_int, sent: *mut u64| unsafe {
        let offset = i64::from(answer) as u64;
        ram_control_save_page(file.f, block, offset, 4096, sent) as isize
    };
    let mut sent = 0;
    assert_eq!(save(1, 0, &raw mut sent), -1000, "there is no hook");
    unsafe { qemu_file_set_hooks(file.f, &raw const HOOKS) };
    for answer in [RAM_SAVE_CONTROL_NOT_SUPP, RAM_SAVE_CONTROL_DELAYED] {
        assert_eq!(save(100, answer, &raw mut sent), answer as isize);
        assert_eq!(file.error(), 0);
    }
    assert_eq!(save(100, 1, &raw mut sent), 1);
    assert_eq!(save(100, 1, ptr::null_mut()), 1);
    unsafe {
        qemu_file_set_rate_limit(file.f, 103);
        assert_eq!(
            qemu_file_rate_limit(file.f),
            1,
            "100 by the hook, 4 by the file"
        );
        qemu_file_set_rate_limit(file.f, 104);
        assert_eq!(qemu_file_rate_limit(file.f), 0);
    }
    assert_eq!(save(100, -libc::EIO, &raw mut sent), -libc::EIO as isize);
    assert_eq!(file.error(), -libc::EIO);
    assert_eq!(
        save(100, 1, &raw mut sent),
        -libc::EIO as isize,
        "it is not asked any more"
    );
    file.close();
}

#[test]
fn a_loading_hook_takes_out_of_the_stream_what_is_its_own() {
    let message = [&u64::to_be_bytes(42)[..], b"x"].concat();
    let message: &'static [u8] = message.leak();
    let file = Opened::reader([Step::Gives(message)]);
    let mut got = 0_u64;
    unsafe {
        qemu_file_set_hooks(file.f, &raw const HOOKS);
        ram_control_load_hook(file.f, RAM_CONTROL_HOOK, (&raw mut got).cast());
        assert_eq!(got, 42);
        assert_eq!(qemu_get_byte(file.f), c_int::from(b'x'));
        assert_eq!(file.error(), 0);
        ram_control_load_hook(file.f, RAM_CONTROL_BLOCK_REG, (&raw mut got).cast());
        assert_eq!(file.error(), -libc::EIO, "the hook has read behind the end");
    }
    file.close();
}

#[test]
fn only_a_hook_that_the_sender_requires_must_be_there() {
    let file = Opened::reader([]);
    unsafe {
        ram_control_load_hook(file.f, RAM_CONTROL_BLOCK_REG, ptr::null_mut());
        assert_eq!(file.error(), 0);
        ram_control_load_hook(file.f, RAM_CONTROL_HOOK, ptr::null_mut());
        assert_eq!(file.error(), -libc::EINVAL);
    }
    file.close();
}

#[test]
fn hooks_are_for_the_direction_that_they_are_for() {
    for file in [Opened::reader([]), Opened::staged()] {
        unsafe {
            ram_control_before_iterate(file.f, RAM_CONTROL_ROUND);
            assert_eq!(file.error(), 0, "there is no hook");
            qemu_file_set_hooks(file.f, &raw const HOOKS);
            ram_control_before_iterate(file.f, RAM_CONTROL_ROUND);
            assert_eq!(file.error(), -libc::EBADF);
        }
        file.close();
    }
}
