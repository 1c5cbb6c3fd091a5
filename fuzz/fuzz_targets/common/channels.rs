//! Multifd channels that the fuzzer made up, beside a main channel of a small machine.

use vmferry::load::Channels;
use vmferry::wire::{Sink, SliceSource};

pub struct Recorded<'a> {
    pub main: Vec<u8>,
    /// One channel, or two.
    pub multifd: Vec<&'a [u8]>,
}

impl<'a> Recorded<'a> {
    /// Two bytes say where the second channel begins.
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        let (split, bytes) = bytes.split_first_chunk::<2>()?;
        let split = usize::from(u16::from_be_bytes(*split));
        let (one, other) = bytes.split_at(split.min(bytes.len()));
        let parts = [one, other].into_iter().filter(|part| !part.is_empty());
        Some(Self {
            main: main_channel(),
            multifd: parts.collect(),
        })
    }

    pub fn sources(&self) -> Channels<SliceSource<'_>> {
        let mut channels = Channels::new(SliceSource::new(&self.main));
        let multifd = self.multifd.iter().map(|part| SliceSource::new(part));
        channels.multifd.extend(multifd);
        channels
    }
}

/// A machine with two blocks, in a START, a PART and an END, with a meeting point in each.
fn main_channel() -> Vec<u8> {
    const MARK: [u8; 8] = [0, 0, 0, 0, 0, 0, 2, 0];
    const EOS: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 0x10];
    const FOOTER: &[u8] = b"\x7e\0\0\0\x02";
    let mut main = b"QEVM\0\0\0\x03\x07\0\0\0\x0bpc-q35-10.0".to_vec();
    main.put(b"\x01\0\0\0\x02\x03ram\0\0\0\0\0\0\0\x04\0\0\0\0\0\x02\0\x04");
    main.put(b"\x06pc.ram\0\0\0\0\0\x01\0\0\x03rom\0\0\0\0\0\x01\0\0");
    for element in [&b""[..], b"\x02\0\0\0\x02", b"\x03\0\0\0\x02"] {
        main.put(element);
        main.put(&MARK);
        main.put(&EOS);
        main.put(FOOTER);
    }
    main.put(&[0]);
    main
}
