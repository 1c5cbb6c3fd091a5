//! What the kernel says of devices.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::ioctl::{Getter, Opcode, ioctl, opcode};

/// `BLKGETSIZE64`, which is defined with the size of a `size_t` and gives a `u64`.
const SIZE: Opcode = opcode::read::<usize>(0x12, 114);

/// The length of a block device, in bytes. Its metadata says 0, and seeking to its end would move the place of every
/// duplicate of the descriptor.
pub(crate) fn block_device_len(fd: BorrowedFd<'_>) -> io::Result<u64> {
    // Neither `std` nor `rustix` has this call.
    // SAFETY: the kernel writes one `u64` for this number, and the getter has room for it.
    let len = unsafe { ioctl(fd, Getter::<SIZE, u64>::new()) };
    Ok(len?)
}
