//! Opening, ending and closing, and calls that come where they should not.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use vmferry_capi::*;

use crate::support::{Opened, Step, read};

#[test]
fn no_file_at_all_does_nothing() {
    let f = ptr::null_mut();
    unsafe {
        assert!(qemu_fopen_ops(ptr::null_mut(), ptr::null()).is_null());
        qemu_put_be64(f, 1);
        qemu_fflush(f);
        assert_eq!(qemu_get_be64(f), 0);
        assert_eq!(qemu_file_get_error(f), 0);
        assert_eq!(qemu_file_rate_limit(f), 1);
        assert_eq!(qemu_put_compression_data(f, ptr::null(), 0, 1), -1);
        assert_eq!(qemu_put_qemu_file(f, f), 0);
        assert_eq!(qemu_fclose(f), -libc::EBADF);
    }
}

#[test]
fn a_mode_is_rb_or_wb() {
    for (mode, invalid) in [
        (c"rb", false),
        (c"wb", false),
        (c"r", true),
        (c"wbx", true),
        (c"", true),
    ] {
        assert_eq!(
            unsafe { qemu_file_mode_is_not_valid(mode.as_ptr()) },
            invalid
        );
    }
    assert!(unsafe { qemu_file_mode_is_not_valid(ptr::null()) });
}

#[test]
fn a_file_is_written_if_it_can_be() {
    for (file, writable) in [
        (Opened::writer(), true),
        (Opened::reader([]), false),
        (Opened::staged(), false),
    ] {
        assert_eq!(unsafe { qemu_file_is_writable(file.f) }, writable);
        file.close();
    }
}

/// What a callback of the file does with it, which is none of its business.
fn meddle(f: *mut QEMUFile) {
    unsafe {
        qemu_put_byte(f, 0xee);
        assert_eq!(qemu_get_byte(f), 0);
        assert_eq!(qemu_ftell_fast(f), 0);
        assert_eq!(qemu_put_qemu_file(f, f), 0);
        assert_eq!(qemu_fclose(f), -libc::EBUSY);
        assert_eq!(qemu_file_get_error(f), -libc::EBUSY);
    }
}

#[test]
fn a_callback_that_uses_its_own_file_is_refused_and_the_file_fails() {
    let mut file = Opened::writer();
    file.channel().within = Some(meddle);
    file.put(b"once");
    unsafe { qemu_fflush(file.f) };
    assert_eq!(file.error(), -libc::EBUSY);
    let (answer, channel) = file.close();
    assert_eq!(answer, -libc::EBUSY);
    assert_eq!(channel.taken, b"once");

    let mut file = Opened::reader([Step::Gives(b"0123")]);
    file.channel().within = Some(meddle);
    assert_eq!(file.get(2), b"");
    assert_eq!(file.error(), -libc::EBUSY);
    file.close();
}

#[test]
fn a_callback_may_say_what_the_error_of_its_file_is() {
    let mut file = Opened::writer();
    file.channel().within = Some(|f| unsafe {
        assert_eq!(qemu_file_get_error(f), 0);
        qemu_file_set_error(f, -libc::EREMOTEIO);
        assert_eq!(qemu_file_get_error(f), -libc::EREMOTEIO);
    });
    file.channel().answers.push_back(-libc::EPIPE as isize);
    file.put(b"x");
    assert_eq!(file.close().0, -libc::EREMOTEIO);
}

unsafe extern "C" fn shut_down(_: *mut c_void, rd: bool, wr: bool) -> c_int {
    assert!(rd && wr);
    -libc::ENOTCONN
}

unsafe extern "C" fn return_path(opaque: *mut c_void) -> *mut QEMUFile {
    opaque.cast()
}

unsafe extern "C" fn set_blocking(opaque: *mut c_void, enabled: bool) -> c_int {
    unsafe { opaque.cast::<bool>().write(enabled) };
    0
}

#[test]
fn what_the_channel_alone_knows_is_asked_of_its_callbacks() {
    let mut place = false;
    let opaque = (&raw mut place).cast::<c_void>();
    let ops = QEMUFileOps {
        get_buffer: Some(read),
        get_return_path: Some(return_path),
        set_blocking: Some(set_blocking),
        shut_down: Some(shut_down),
        ..QEMUFileOps::default()
    };
    unsafe {
        let f = qemu_fopen_ops(opaque, &raw const ops);
        assert_eq!(qemu_file_get_return_path(f), opaque.cast());
        assert_eq!(
            qemu_file_get_return_path(f),
            opaque.cast(),
            "as often as one likes"
        );
        qemu_file_set_blocking(f, true);
        assert!(opaque.cast::<bool>().read());
        assert_eq!(qemu_file_shutdown(f), -libc::ENOTCONN);
        assert_eq!(qemu_get_byte(f), 0);
        assert_eq!(
            qemu_file_get_error(f),
            -libc::ECANCELED,
            "it has ended all the same"
        );
        assert_eq!(qemu_fclose(f), -libc::ECANCELED);
    }
    let file = Opened::staged();
    unsafe {
        assert!(qemu_file_get_return_path(file.f).is_null());
        qemu_file_set_blocking(file.f, true);
        assert_eq!(qemu_file_shutdown(file.f), -libc::ENOSYS);
    }
    file.close();
}

/// A channel whose reads block until it is shut down.
struct Blocking {
    reads: Sender<()>,
    ends: Mutex<Sender<()>>,
    ended: Receiver<()>,
}

unsafe extern "C" fn read_blocking(opaque: *mut c_void, _: *mut u8, _: i64, _: usize) -> isize {
    let blocking = opaque.cast::<Blocking>();
    unsafe {
        (*blocking).reads.send(()).unwrap();
        (*blocking).ended.recv().unwrap();
    }
    0
}

unsafe extern "C" fn end_reading(opaque: *mut c_void, _: bool, _: bool) -> c_int {
    let ends = unsafe { &raw const (*opaque.cast::<Blocking>()).ends };
    unsafe { &*ends }.lock().unwrap().send(()).unwrap();
    0
}

/// An address that may go to another thread.
struct Shared(*mut QEMUFile);

unsafe impl Send for Shared {}

#[test]
fn another_thread_ends_a_read_that_blocks_and_its_end_is_no_end_of_the_stream() {
    let (reads, has_begun) = channel();
    let (ends, ended) = channel();
    let ends = Mutex::new(ends);
    let blocking = Box::into_raw(Box::new(Blocking { reads, ends, ended }));
    let ops = QEMUFileOps {
        get_buffer: Some(read_blocking),
        shut_down: Some(end_reading),
        ..QEMUFileOps::default()
    };
    let f = unsafe { qemu_fopen_ops(blocking.cast(), &raw const ops) };
    let shared = Shared(f);
    let other = std::thread::spawn(move || {
        let Shared(f) = { shared };
        has_begun.recv().unwrap();
        unsafe {
            qemu_file_set_rate_limit(f, 7);
            assert_eq!(qemu_file_get_rate_limit(f), 7);
            qemu_file_shutdown(f)
        }
    });
    unsafe {
        assert_eq!(qemu_get_byte(f), 0);
        assert_eq!(other.join().unwrap(), 0);
        assert_eq!(qemu_file_get_error(f), -libc::ECANCELED);
        assert_eq!(qemu_fclose(f), -libc::ECANCELED);
        drop(Box::from_raw(blocking));
    }
}

unsafe extern "C" fn never_ready(opaque: *mut c_void, _: *mut u8, _: i64, _: usize) -> isize {
    // Nobody may listen any more.
    let _ = unsafe { &*opaque.cast::<Sender<()>>() }.send(());
    -libc::EAGAIN as isize
}

#[test]
fn another_thread_ends_the_wait_for_a_channel_that_is_never_ready() {
    let (asked, has_begun) = channel::<()>();
    let asked = Box::into_raw(Box::new(asked));
    let ops = QEMUFileOps {
        get_buffer: Some(never_ready),
        ..QEMUFileOps::default()
    };
    let f = unsafe { qemu_fopen_ops(asked.cast(), &raw const ops) };
    let shared = Shared(f);
    let other = std::thread::spawn(move || {
        let Shared(f) = { shared };
        has_begun.recv().unwrap();
        unsafe { qemu_file_shutdown(f) }
    });
    unsafe {
        assert_eq!(qemu_get_be64(f), 0);
        assert_eq!(
            other.join().unwrap(),
            -libc::ENOSYS,
            "it cannot be shut down"
        );
        assert_eq!(qemu_fclose(f), -libc::ECANCELED);
        drop(Box::from_raw(asked));
    }
}
