//! Sends that the kernel makes from our memory in its own time (`MSG_ZEROCOPY`), and its word that
//! it has.
//!
//! The kernel counts the sends of a socket from 0, in 32 bits, and tells in the socket's error queue
//! which ranges of them are done, and whether it copied the bytes after all (which it always does on
//! the loopback interface).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::Segment;
use super::io::{Waiting, send_with_flags};

/// Lets the socket send without copying.
pub(crate) fn enable(fd: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    // Neither `std` nor `rustix` has this option.
    // SAFETY: the option takes a `c_int`, and its address and size are given.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ZEROCOPY,
            (&raw const on).cast(),
            INT_SIZE,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// As [`send`](super::send), but the kernel may read the bytes later. They stay in place because
/// the kernel pins their pages; that they do not change until then is what the caller cares for, and
/// only what arrives depends on it.
pub(crate) fn send(
    fd: BorrowedFd<'_>,
    segments: &[Segment<'_>],
    waiting: Waiting,
) -> io::Result<usize> {
    let wait = match waiting {
        Waiting::AsDescriptor => 0,
        Waiting::Never => libc::MSG_DONTWAIT,
    };
    send_with_flags(fd, segments, libc::MSG_NOSIGNAL | libc::MSG_ZEROCOPY | wait)
}

/// What the kernel has said of a socket's sends.
#[derive(Debug, Default)]
pub(crate) struct Completions {
    /// All sends before this one are done.
    done: u64,
    /// Ranges of later sends that are done, too: they may come out of order.
    early: Vec<(u64, u64)>,
    copied: u64,
}

impl Completions {
    /// All sends before this one are done.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    /// How many sends the kernel copied all the same.
    pub(crate) fn copied(&self) -> u64 {
        self.copied
    }

    /// Takes what the kernel has to say now, without waiting.
    pub(crate) fn drain(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        while let Some(notice) = next_notice(fd)? {
            self.note(&notice);
        }
        Ok(())
    }

    fn note(&mut self, notice: &Notice) {
        // The count has 32 bits; ranges are near what is done, so the rest can be told.
        let ahead = notice.first.wrapping_sub(low(self.done));
        let len = notice.last.wrapping_sub(notice.first);
        let from = self.done + u64::from(ahead);
        let to = from + u64::from(len) + 1;
        if notice.copied {
            self.copied += to - from;
        }
        self.early.push((from, to));
        while let Some(next) = self.early.iter().position(|(from, _)| *from <= self.done) {
            let (_, to) = self.early.swap_remove(next);
            self.done = self.done.max(to);
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the kernel's count has 32 bits"
)]
fn low(count: u64) -> u32 {
    count as u32
}

/// A range of sends that is done.
struct Notice {
    first: u32,
    last: u32,
    copied: bool,
}

/// The next message of the error queue; `None` if there is none.
fn next_notice(fd: BorrowedFd<'_>) -> io::Result<Option<Notice>> {
    let mut control = Control([0; CONTROL_SIZE]);
    // SAFETY: all-zero bytes are a valid `msghdr`: no name, no iovecs.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = CONTROL_SIZE;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    loop {
        // `rustix` reads the error queue but does not tell what is in it.
        // SAFETY: `message` names a control buffer of that length, aligned for its headers, and
        // nothing else to be written.
        let result = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, flags) };
        if result >= 0 {
            break;
        }
        match Errno::from_io_error(&io::Error::last_os_error()) {
            Some(Errno::INTR) => {}
            Some(Errno::AGAIN) => return Ok(None),
            _ => return Err(io::Error::last_os_error()),
        }
    }
    if message.msg_flags & libc::MSG_CTRUNC != 0 {
        return Err(io::Error::other("a notice of a socket was cut short"));
    }
    // SAFETY: the kernel has filled the control buffer and said how far; the macro looks no further.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    if header.is_null() {
        return Err(io::Error::other("a notice of a socket says nothing"));
    }
    // SAFETY: the header is within the control buffer and aligned, as the buffer is.
    let (level, kind, len) = unsafe {
        (
            (*header).cmsg_level,
            (*header).cmsg_type,
            (*header).cmsg_len,
        )
    };
    let is_error = matches!(
        (level, kind),
        (libc::SOL_IP, libc::IP_RECVERR)
            | (libc::SOL_IPV6, libc::IPV6_RECVERR)
            | (SOL_VSOCK, VSOCK_RECVERR)
    );
    // SAFETY: arithmetic on a length alone.
    let least = unsafe { libc::CMSG_LEN(ERROR_SIZE) } as usize;
    if !is_error || len < least {
        return Err(io::Error::other("a socket gave an unknown notice"));
    }
    // SAFETY: the message is at least as long as this struct, which has no invalid values; it is
    // read unaligned.
    let error = unsafe {
        libc::CMSG_DATA(header)
            .cast::<libc::sock_extended_err>()
            .read_unaligned()
    };
    if error.ee_origin != SO_EE_ORIGIN_ZEROCOPY {
        let errno = i32::try_from(error.ee_errno).unwrap_or(libc::EIO);
        return Err(io::Error::from_raw_os_error(errno));
    }
    Ok(Some(Notice {
        first: error.ee_info,
        last: error.ee_data,
        copied: error.ee_code == SO_EE_CODE_ZEROCOPY_COPIED,
    }))
}

/// Room for the control messages of one notice, aligned as their headers want it.
#[repr(C, align(8))]
struct Control([u8; CONTROL_SIZE]);

const CONTROL_SIZE: usize = 128;
const INT_SIZE: libc::socklen_t = 4;
const ERROR_SIZE: libc::c_uint = 16;
const _: () = assert!(size_of::<libc::sock_extended_err>() == 16 && size_of::<libc::c_int>() == 4);

// Of linux/errqueue.h and linux/vm_sockets.h; `libc` has none of them.
const SO_EE_ORIGIN_ZEROCOPY: u8 = 5;
const SO_EE_CODE_ZEROCOPY_COPIED: u8 = 1;
const SOL_VSOCK: libc::c_int = 287;
const VSOCK_RECVERR: libc::c_int = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn note(completions: &mut Completions, first: u32, last: u32) -> u64 {
        completions.note(&Notice {
            first,
            last,
            copied: first % 2 == 1,
        });
        completions.done()
    }

    #[test]
    fn sends_are_done_up_to_the_first_that_is_not() {
        let mut completions = Completions::default();
        assert_eq!(note(&mut completions, 0, 0), 1);
        assert_eq!(note(&mut completions, 3, 4), 1, "1 and 2 are missing");
        assert_eq!(note(&mut completions, 2, 2), 1);
        assert_eq!(note(&mut completions, 1, 1), 5);
        assert_eq!(completions.copied(), 3);
    }

    #[test]
    fn the_count_goes_on_beyond_32_bits() {
        let mut completions = Completions {
            done: u64::from(u32::MAX) - 1,
            ..Completions::default()
        };
        assert_eq!(note(&mut completions, u32::MAX - 1, 1), (1 << 32) + 2);
        assert_eq!(note(&mut completions, 2, 2), (1 << 32) + 3);
    }
}
