//! What a socket's two halves have to do with each other.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use vmferry::channel::{Blocking, Duplex, Socket};
use vmferry::stream::{ErrorKind, Reader, Writer};

use crate::support::pattern;

#[test]
fn one_half_that_does_not_wait_leaves_the_other_as_it_is() {
    let (one, mut other) = UnixStream::pair().unwrap();
    let (mut reader, writer) = Socket::from(one).split();
    reader.set_blocking(Blocking::Never);
    let mut reader = Reader::new(reader);
    assert_eq!(reader.get_u8().unwrap_err().kind(), ErrorKind::WouldBlock);
    // More than the socket holds: the half that writes waits for the thread that reads.
    let bytes = pattern(3_000_000);
    let drain = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        other.read_to_end(&mut bytes).map(|_| bytes).unwrap()
    });
    let mut writer = Writer::new(writer);
    writer.put_bytes(&bytes);
    writer.finish().unwrap();
    drop(reader);
    assert!(drain.join().unwrap() == bytes);
}

#[test]
fn a_half_that_is_closed_ends_its_direction_and_leaves_the_other() {
    let (one, mut other) = UnixStream::pair().unwrap();
    let (reader, writer) = Socket::from(one).split();
    let mut writer = Writer::new(writer);
    writer.put_bytes(b"asked");
    writer.close().unwrap();
    let mut asked = String::new();
    other.read_to_string(&mut asked).unwrap();
    assert_eq!(asked, "asked");
    other.write_all(b"told").unwrap();
    let mut reader = Reader::new(reader);
    assert_eq!(&reader.get_array::<4>().unwrap(), b"told");
}
