//! The address of a virtual socket, which neither `std` nor `rustix` knows.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// A stream socket connected to `port` of the machine with context id `cid`.
pub(crate) fn connect(cid: u32, port: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::VSOCK, SocketType::STREAM, flags, None)?;
    // SAFETY: all-zero bytes are a valid `sockaddr_vm`.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = FAMILY;
    address.svm_cid = cid;
    address.svm_port = port;
    // SAFETY: the address and its size are given, and it is of the socket's family.
    let result = unsafe {
        libc::connect(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            ADDRESS_SIZE,
        )
    };
    if result == 0 {
        Ok(socket)
    } else {
        Err(io::Error::last_os_error())
    }
}

const FAMILY: libc::sa_family_t = 40;
const ADDRESS_SIZE: libc::socklen_t = 16;
const _: () = assert!(libc::AF_VSOCK == 40 && size_of::<libc::sockaddr_vm>() == 16);
