//! Random bytes.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// The system's random source cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the system's random source")]
pub struct RandomError(#[from] io::Error);

/// `N` bytes from the system's random source.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())
            .map_err(|errno| RandomError(errno.into()))?;
    }
    Ok(bytes)
}
