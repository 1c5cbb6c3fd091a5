//! What is read: as many bytes as there are, the right ones, and then the error.

use std::ffi::{c_char, c_int};
use std::ptr;

use vmferry_capi::*;

use crate::support::{Opened, Step};

const DIGITS: &[u8] = b"0123456789";
const NOT_READY: Step = Step::Answers(-libc::EAGAIN as isize);

fn string(f: *mut QEMUFile) -> (usize, Vec<u8>) {
    let mut buf = [0x7f; 256];
    let len = unsafe { qemu_get_counted_string(f, buf.as_mut_ptr().cast::<c_char>()) };
    let end = buf.iter().position(|byte| *byte == 0).unwrap();
    (len, buf[..end].to_vec())
}

fn peek(f: *mut QEMUFile, size: usize, offset: usize) -> Vec<u8> {
    let mut at = ptr::null_mut();
    let len = unsafe { qemu_peek_buffer(f, &raw mut at, size, offset) };
    if len == 0 {
        assert!(at.is_null(), "the pointer stays as it is");
        return Vec::new();
    }
    unsafe { std::slice::from_raw_parts(at, len) }.to_vec()
}

#[test]
fn numbers_bytes_and_strings_come_in_their_order() {
    let bytes = b"\x01\x02\x03\x04\x05\x06\x07\xf8\xf9\xfa\xfb\xfc\xfd\xfe\xff\x06pc.ram\0end";
    let file = Opened::reader(bytes.chunks(3).map(Step::Gives));
    unsafe {
        assert_eq!(qemu_get_byte(file.f), 1);
        assert_eq!(qemu_get_be16(file.f), 0x0203);
        assert_eq!(qemu_get_be32(file.f), 0x0405_0607);
        assert_eq!(qemu_get_be64(file.f), 0xf8f9_fafb_fcfd_feff);
        assert_eq!(string(file.f), (6, b"pc.ram".to_vec()));
        assert_eq!(string(file.f), (0, Vec::new()));
        assert_eq!(qemu_peek_byte(file.f, 2), c_int::from(b'd'));
        qemu_file_skip(file.f, 1);
        assert_eq!(file.get(2), b"nd");
        assert_eq!(qemu_ftell(file.f), 26);
        assert_eq!(file.error(), 0);
        assert_eq!(qemu_get_byte(file.f), 0);
        assert_eq!(file.error(), -libc::EIO);
    }
    assert_eq!(file.close().0, -libc::EIO);
}

#[test]
fn bytes_before_an_end_or_error_are_the_right_ones_and_counted() {
    for (last, errno) in [
        (Step::Answers(0), libc::EIO),
        (Step::Answers(-libc::ECONNRESET as isize), libc::ECONNRESET),
    ] {
        for (size, large) in [(20, false), (100_000, true)] {
            let mut file = Opened::reader([Step::Gives(DIGITS), Step::Gives(b"abc"), last]);
            assert_eq!(unsafe { qemu_get_be16(file.f) }, 0x3031);
            assert_eq!(file.get(size), b"23456789abc", "large: {large}");
            assert_eq!(file.error(), -errno);
            let reads = file.channel().reads;
            assert!(file.get(size).is_empty(), "nothing comes behind the error");
            assert_eq!(file.channel().reads, reads, "and nothing is read");
            file.close();
        }
    }
}

#[test]
fn what_was_read_ahead_of_a_shutdown_is_given_and_not_only_counted() {
    let file = Opened::reader([Step::Gives(DIGITS)]);
    let mut buf = [0; 20];
    unsafe {
        assert_eq!(qemu_get_byte(file.f), c_int::from(b'0'));
        assert_eq!(qemu_file_shutdown(file.f), -libc::ENOSYS);
        assert_eq!(qemu_get_buffer(file.f, buf.as_mut_ptr(), buf.len()), 9);
        assert_eq!(&buf[..9], b"123456789");
        assert_eq!(qemu_file_get_error(file.f), -libc::ECANCELED);
    }
}

#[test]
fn a_peek_tells_what_is_there_before_the_end() {
    let file = Opened::reader([Step::Gives(b"0123"), Step::Gives(b"456789")]);
    assert_eq!(peek(file.f, 4, 5), b"5678");
    assert_eq!(peek(file.f, 20, 8), b"89");
    assert_eq!(file.error(), -libc::EIO);
    assert_eq!(peek(file.f, 2, 0), b"");
    file.close();
}

#[test]
fn a_peek_further_than_can_be_read_ahead_is_an_error_and_no_crash() {
    for (size, offset) in [(32769, 0), (1, 32768), (usize::MAX, 1), (1, usize::MAX)] {
        let file = Opened::reader([Step::Gives(DIGITS)]);
        assert_eq!(peek(file.f, size, offset), b"");
        assert_eq!(file.error(), -libc::EINVAL);
        file.close();
    }
    let file = Opened::reader([Step::Gives(DIGITS)]);
    assert_eq!(
        peek(file.f, 0, usize::MAX),
        b"",
        "nothing is there anywhere"
    );
    assert_eq!(file.error(), 0);
    file.close();
}

#[test]
fn bytes_in_place_are_a_reference_or_fill_what_the_caller_has() {
    static LONG: [u8; 40_000] = [7; 40_000];
    let file = Opened::reader([Step::Gives(DIGITS), Step::Gives(&LONG), Step::Gives(b"end")]);
    let mut own = vec![0; 50_000];
    let mut in_place = |size: usize| {
        let mut at = own.as_mut_ptr();
        let len = unsafe { qemu_get_buffer_in_place(file.f, &raw mut at, size) };
        let referred = at != own.as_mut_ptr();
        let bytes = unsafe { std::slice::from_raw_parts(at, len) };
        (bytes.to_vec(), referred)
    };
    assert_eq!(in_place(10), (DIGITS.to_vec(), true));
    assert_eq!(
        in_place(40_000),
        (LONG.to_vec(), false),
        "more than is read ahead"
    );
    assert_eq!(in_place(0).0, b"");
    assert_eq!(in_place(5), (b"end".to_vec(), false), "all that is there");
    assert_eq!(in_place(1).0, b"");
    assert_eq!(file.error(), -libc::EIO);
    file.close();
}

#[test]
fn a_call_waits_for_a_channel_that_is_not_ready() {
    let steps = [
        NOT_READY,
        Step::Gives(b"\x11\x22"),
        NOT_READY,
        NOT_READY,
        Step::Gives(b"\x33\x44\x02a"),
        NOT_READY,
        Step::Gives(b"bcd"),
    ];
    let file = Opened::reader(steps);
    unsafe {
        assert_eq!(qemu_get_be32(file.f), 0x1122_3344);
        assert_eq!(string(file.f), (2, b"ab".to_vec()));
        assert_eq!(file.get(2), b"cd");
    }
    assert_eq!(file.error(), 0);
    file.close();
}

#[test]
fn a_callback_is_told_where_the_stream_stands_and_gives_no_more_than_it_was_asked_for() {
    let mut file = Opened::reader([Step::Gives(DIGITS), Step::Gives(DIGITS)]);
    file.get(12);
    assert_eq!(file.channel().positions, [0, 10]);
    file.close();
    let file = Opened::reader([Step::Answers(1_000_000)]);
    assert_eq!(unsafe { qemu_get_byte(file.f) }, 0);
    assert_eq!(file.error(), -libc::EIO);
    file.close();
}

#[test]
fn there_is_no_way_back() {
    let file = Opened::reader([Step::Gives(DIGITS)]);
    unsafe {
        qemu_file_skip(file.f, 3);
        assert_eq!(qemu_get_byte(file.f), c_int::from(b'3'));
        qemu_file_skip(file.f, -2);
    }
    assert_eq!(file.error(), -libc::EINVAL);
    file.close();
    let file = Opened::reader([Step::Gives(DIGITS)]);
    assert_eq!(unsafe { qemu_peek_byte(file.f, -1) }, 0);
    assert_eq!(file.error(), -libc::EINVAL);
    file.close();
}

#[test]
fn a_file_that_is_read_takes_nothing() {
    let file = Opened::reader([Step::Gives(DIGITS)]);
    unsafe { qemu_put_byte(file.f, 1) };
    assert_eq!(file.error(), -libc::EBADF);
    assert_eq!(unsafe { qemu_get_byte(file.f) }, 0);
    file.close();
}
