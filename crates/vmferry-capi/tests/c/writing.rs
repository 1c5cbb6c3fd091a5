//! What is written: all that was put, once, in its order, and nothing behind an error.

use std::ffi::c_int;
use std::io::Read;

use vmferry_capi::*;

use crate::support::Opened;

const PAGE: usize = 4096;

#[test]
fn numbers_and_bytes_are_sent_in_their_order() {
    let page = [7; PAGE];
    let mut file = Opened::writer();
    unsafe {
        qemu_put_byte(file.f, 0x1ff);
        qemu_put_be16(file.f, 0xffff_0203);
        qemu_put_be32(file.f, 0x0405_0607);
        qemu_put_be64(file.f, 0xf8f9_fafb_fcfd_feff);
        qemu_put_buffer_async(file.f, page.as_ptr(), PAGE, false);
        file.put(b"end");
        assert_eq!(qemu_ftell_fast(file.f), 15 + 4096 + 3);
        assert!(file.channel().writes.is_empty(), "nothing is sent yet");
        assert_eq!(qemu_ftell(file.f), 15 + 4096 + 3);
    }
    let writes = [vec![15, PAGE, 3]];
    assert_eq!(file.channel().writes, writes);
    let head = b"\xff\x02\x03\x04\x05\x06\x07\xf8\xf9\xfa\xfb\xfc\xfd\xfe\xff";
    assert_eq!(file.channel().taken, [&head[..], &page, b"end"].concat());
    let (answer, channel) = file.close();
    assert_eq!((answer, channel.closed), (5, 1), "what closing answers");
}

#[test]
fn a_write_is_gone_on_with_until_the_channel_has_taken_everything() {
    let mut file = Opened::writer();
    file.channel()
        .answers
        .extend([3, -libc::EAGAIN as isize, 1]);
    file.put(b"0123456789");
    let (answer, channel) = file.close();
    assert_eq!(answer, 5);
    assert_eq!(channel.taken, b"0123456789");
    assert_eq!(channel.positions, [0, 3, 3, 4]);
}

#[test]
fn nothing_is_sent_behind_an_error_and_closing_tells_the_first() {
    let mut file = Opened::writer();
    file.channel().answers.push_back(-libc::EPIPE as isize);
    file.put(b"lost");
    unsafe { qemu_fflush(file.f) };
    assert_eq!(file.error(), -libc::EPIPE);
    unsafe { qemu_file_set_error(file.f, -libc::EINVAL) };
    file.put(b"dropped");
    assert_eq!(unsafe { qemu_ftell_fast(file.f) }, 4);
    assert_eq!(unsafe { qemu_file_rate_limit(file.f) }, 1);
    let (answer, channel) = file.close();
    assert_eq!(answer, -libc::EPIPE);
    assert!(channel.taken.is_empty());
    assert_eq!((channel.writes.len(), channel.closed), (1, 1));
}

#[test]
fn an_error_of_the_user_stops_what_waits_and_what_is_no_error_stops_nothing() {
    for (ret, sent) in [(-libc::EINVAL, false), (0, true), (7, true)] {
        let file = Opened::writer();
        file.put(b"waits");
        unsafe { qemu_file_set_error(file.f, ret) };
        assert_eq!(file.error(), if sent { 0 } else { ret });
        let (answer, channel) = file.close();
        assert_eq!(answer, if sent { 5 } else { ret });
        assert_eq!(!channel.taken.is_empty(), sent);
    }
    let file = Opened::writer();
    unsafe { qemu_file_set_error(file.f, c_int::MIN) };
    assert_eq!(file.error(), -c_int::MAX);
    file.close();
}

#[test]
fn pages_side_by_side_are_one_piece_and_what_is_large_is_not_copied() {
    let ram = vec![1; 16 * PAGE];
    let mut file = Opened::writer();
    for page in ram.chunks(PAGE) {
        unsafe { qemu_put_buffer_async(file.f, page.as_ptr(), PAGE, false) };
    }
    unsafe { qemu_fflush(file.f) };
    assert_eq!(file.channel().writes, [vec![16 * PAGE]]);
    file.put(b"head");
    file.put(&ram);
    assert_eq!(
        file.channel().writes[1],
        [4, 16 * PAGE],
        "from where it is, at once"
    );
    let (_, channel) = file.close();
    assert_eq!(channel.taken.len(), 4 + 32 * PAGE);
}

#[test]
fn a_callback_gets_no_more_pieces_than_it_has_room_for() {
    let ram = vec![1; 400];
    let mut file = Opened::writer();
    for at in 0..200 {
        unsafe {
            qemu_put_byte(file.f, 1);
            qemu_put_buffer_async(file.f, ram.as_ptr().add(2 * at), 1, false);
        }
        if at % 3 == 0 {
            file.put(&[0; 1000]);
        }
    }
    unsafe { qemu_put_buffer(file.f, vec![1; 40_000].as_ptr(), 40_000) };
    assert!(file.channel().writes.len() > 5);
    assert_eq!(file.close().0, 5);
}

/// Memory by itself, which the system may take back.
struct Mapped(*mut u8);

impl Mapped {
    const PAGES: usize = 4;

    fn new() -> Self {
        let (protection, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        let len = Self::PAGES * PAGE;
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, kind, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED);
        unsafe { at.write_bytes(0xaa, len) };
        Self(at.cast())
    }

    fn at(&self, offset: usize) -> *mut u8 {
        unsafe { self.0.add(offset) }
    }

    /// Which pages are still there.
    fn there(&self) -> Vec<bool> {
        (0..Self::PAGES)
            .map(|page| unsafe { self.at(page * PAGE).read() } == 0xaa)
            .collect()
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        unsafe { libc::munmap(self.0.cast(), Self::PAGES * PAGE) };
    }
}

/// Not under Miri, which has no system to take memory back.
#[cfg(not(miri))]
#[test]
fn memory_that_may_be_freed_goes_when_all_of_a_page_was_sent() {
    let ram = Mapped::new();
    let mut file = Opened::writer();
    let f = file.f;
    let put = |offset: usize, len: usize, may_free: bool| unsafe {
        qemu_put_buffer_async(f, ram.at(offset), len, may_free);
    };
    put(0, PAGE, true);
    put(PAGE, 100, true);
    unsafe { qemu_put_byte(file.f, 1) };
    put(PAGE + 100, PAGE - 100, true);
    put(2 * PAGE, PAGE, false);
    put(3 * PAGE, 100, true);
    assert_eq!(ram.there(), [true; 4], "nothing is sent yet");
    unsafe { qemu_fflush(file.f) };
    assert_eq!(ram.there(), [false, false, true, true]);
    // The rest of a page that was sent before: C may have used the first part for something else since.
    put(3 * PAGE + 100, PAGE - 100, true);
    unsafe { qemu_fflush(file.f) };
    assert_eq!(ram.there(), [false, false, true, true]);
    file.channel().answers.push_back(-libc::EPIPE as isize);
    put(2 * PAGE, PAGE, true);
    unsafe { qemu_fflush(file.f) };
    assert_eq!(ram.there(), [false, false, true, true], "it was not sent");
    file.close();
}

#[test]
fn a_file_without_callbacks_grows_and_moves_as_a_whole() {
    let (to, from) = (Opened::writer(), Opened::staged());
    let page = vec![3; 50_000];
    unsafe {
        qemu_put_byte(from.f, 1);
        from.put(&page);
        qemu_put_buffer_async(from.f, page.as_ptr(), 2, true);
        qemu_put_be32(from.f, 2);
        assert_eq!(qemu_ftell_fast(from.f), 50_007);
        assert_eq!(qemu_put_qemu_file(to.f, from.f), 50_007);
        assert_eq!(qemu_put_qemu_file(to.f, from.f), 0, "it is empty now");
        qemu_put_be16(from.f, 7);
        let other = Opened::staged();
        assert_eq!(qemu_put_qemu_file(other.f, from.f), 2);
        assert_eq!(qemu_put_qemu_file(to.f, other.f), 2);
        other.close();
    }
    assert_eq!(from.close().0, 0);
    let (_, channel) = to.close();
    let all = [&[1][..], &page, &[3, 3, 0, 0, 0, 2, 0, 7]].concat();
    assert_eq!(channel.taken, all);
}

#[test]
fn a_move_that_cannot_be_loses_nothing_and_does_not_go_unseen() {
    let (to, from, sink) = (Opened::writer(), Opened::staged(), Opened::writer());
    from.put(b"stays");
    sink.put(b"its own");
    unsafe {
        assert_eq!(
            qemu_put_qemu_file(to.f, sink.f),
            0,
            "it has callbacks of its own"
        );
        assert_eq!(to.error(), -libc::EINVAL);
        assert_eq!(qemu_put_qemu_file(to.f, from.f), 0, "this one has failed");
        assert_eq!(qemu_ftell_fast(from.f), 5);
        assert_eq!(qemu_put_qemu_file(from.f, from.f), 0);
        assert_eq!(from.error(), -libc::EINVAL);
        let other = Opened::writer();
        assert_eq!(
            qemu_put_qemu_file(other.f, from.f),
            0,
            "what failed is not whole"
        );
        assert_eq!(other.error(), -libc::EINVAL);
        other.close();
    }
    assert_eq!(sink.close().1.taken, b"its own");
    assert_eq!(to.close().0, -libc::EINVAL);
    from.close();
}

#[test]
fn compressed_records_are_whole_and_can_be_read_again() {
    let text = b"the page of guest memory ".repeat(200);
    for level in [-1, 0, 1, 9] {
        let (file, staged) = (Opened::writer(), Opened::staged());
        let len = unsafe {
            let len = qemu_put_compression_data(file.f, text.as_ptr(), text.len(), level);
            let again = qemu_put_compression_data(staged.f, text.as_ptr(), text.len(), level);
            assert_eq!(len, again);
            assert_eq!(qemu_ftell_fast(file.f), len as i64);
            qemu_put_qemu_file(file.f, staged.f);
            len
        };
        staged.close();
        let taken = file.close().1.taken;
        assert_eq!(taken.len(), 2 * usize::try_from(len).unwrap());
        for record in taken.chunks(taken.len() / 2) {
            let (header, data) = record.split_first_chunk::<4>().unwrap();
            assert_eq!(u32::from_be_bytes(*header) as usize, data.len());
            let mut inflated = Vec::new();
            let mut decoder = flate2::read::ZlibDecoder::new(data);
            decoder.read_to_end(&mut inflated).unwrap();
            assert!(inflated == text, "level {level}");
        }
    }
}

#[test]
fn what_cannot_be_compressed_is_minus_one_and_nothing_of_it_is_put() {
    let file = Opened::writer();
    let large = vec![0; vmferry::stream::MAX_COMPRESSED_BLOCK + 1];
    unsafe {
        let put = |level, size| qemu_put_compression_data(file.f, large.as_ptr(), size, level);
        assert_eq!(put(1, large.len()), -1);
        assert_eq!((file.error(), qemu_ftell_fast(file.f)), (0, 0));
        assert_eq!(put(10, 4096), -1);
        assert_eq!(file.error(), -libc::EINVAL);
        assert_eq!(put(1, 4096), -1, "the file has failed");
    }
    assert!(file.close().1.taken.is_empty());
}

#[test]
fn the_limit_counts_everything_and_may_be_used_up() {
    let page = [1; PAGE];
    let staged = Opened::staged();
    let file = Opened::writer();
    for f in [file.f, staged.f] {
        unsafe {
            assert_eq!(qemu_file_get_rate_limit(f), 0);
            qemu_file_set_rate_limit(f, 4104);
            assert_eq!(qemu_file_get_rate_limit(f), 4104);
            qemu_put_be64(f, 1);
            qemu_put_buffer_async(f, page.as_ptr(), PAGE, false);
            assert_eq!(qemu_file_rate_limit(f), 0, "it may be used up");
            qemu_put_byte(f, 1);
            assert_eq!(qemu_file_rate_limit(f), 1);
            qemu_file_reset_rate_limit(f);
            assert_eq!(qemu_file_rate_limit(f), 0);
            qemu_file_set_rate_limit(f, -1);
            assert_eq!(qemu_file_get_rate_limit(f), 0);
        }
    }
    unsafe {
        qemu_file_set_rate_limit(file.f, 10);
        qemu_update_position(file.f, 11);
        assert_eq!(
            qemu_file_rate_limit(file.f),
            1,
            "what goes another way counts"
        );
        assert_eq!(qemu_ftell_fast(file.f), 4105, "and moves no position");
    }
    file.close();
    staged.close();
}

#[test]
fn a_file_that_is_written_gives_nothing() {
    let file = Opened::writer();
    file.put(b"waits");
    assert_eq!(unsafe { qemu_get_be64(file.f) }, 0);
    assert_eq!(file.error(), -libc::EBADF);
    assert!(file.close().1.taken.is_empty());
}
