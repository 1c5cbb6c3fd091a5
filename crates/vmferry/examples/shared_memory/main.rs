//! Two processes, and a machine's memory that goes from one to the other: its pages through a memfd
//! that both have mapped, as far as that has room, and the stream carries little but control.
//!
//! ```text
//! cargo run --release --example shared_memory
//! ```

mod transfer;

use std::error::Error;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Instant;

use vmferry::channel::RamMapping;

const RAM: usize = 256 << 20;
const ROOM: usize = 240 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        None => send(),
        Some("receive") => receive(),
        Some(_) => Err("usage: shared_memory".into()),
    }
}

/// What the machine has at a place of its memory.
fn byte(place: usize) -> u8 {
    place
        .to_le_bytes()
        .into_iter()
        .fold(0, |sum: u8, byte| sum.wrapping_mul(31).wrapping_add(byte))
}

fn send() -> Result<(), Box<dyn Error>> {
    let mut ram = RamMapping::private(RAM)?;
    let pattern: Vec<u8> = (0..RAM).map(byte).collect();
    ram.as_ram_mut().copy_from(&pattern);
    let (here, there) = UnixStream::pair()?;
    let mut receiver = Command::new(std::env::current_exe()?)
        .arg("receive")
        .stdin(Stdio::from(OwnedFd::from(there)))
        .spawn()?;
    let started = Instant::now();
    let (stream, pages) = transfer::send(here, &ram, ROOM)?;
    println!(
        "{} MiB in {:?}: {} pages through the memfd, {} through the stream, which carried {} KiB",
        RAM >> 20,
        started.elapsed(),
        pages.through_memory,
        pages.through_stream,
        stream >> 10,
    );
    match receiver.wait()?.success() {
        true => Ok(()),
        false => Err("the receiver has failed".into()),
    }
}

fn receive() -> Result<(), Box<dyn Error>> {
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let (ram, _) = transfer::receive(socket)?;
    let mut bytes = vec![0; ram.len()];
    ram.as_ram().copy_to(&mut bytes);
    let wrong = bytes
        .iter()
        .enumerate()
        .position(|(i, got)| *got != byte(i));
    match wrong {
        None => Ok(()),
        Some(at) => Err(format!("byte {at:#x} is wrong").into()),
    }
}
