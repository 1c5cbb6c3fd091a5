//! Waiting for descriptors, with a deadline.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Whether `fd` can be read (or has ended) before the deadline.
///
/// # Errors
/// The system refuses to wait.
pub(crate) fn readable(fd: impl AsFd, deadline: Instant) -> io::Result<bool> {
    let [came] = any_readable([fd.as_fd()], deadline)?;
    Ok(came)
}

/// Which of the descriptors can be read; none at the deadline.
///
/// # Errors
/// The system refuses to wait.
pub(crate) fn any_readable<const N: usize>(
    fds: [std::os::fd::BorrowedFd<'_>; N],
    deadline: Instant,
) -> io::Result<[bool; N]> {
    let mut polled = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = (left + Duration::from_micros(999)).try_into().ok();
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) => return Ok(polled.map(|fd| !fd.revents().is_empty())),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
