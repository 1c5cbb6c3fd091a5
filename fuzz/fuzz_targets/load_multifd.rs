//! Multifd channels that hold anything at all, beside a main channel of a small machine: an error, or a machine
//! that is the same when its channels are read at once, and when it is sent again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vmferry::load::{Channels, Image, Options, VmDescRule, load_channels, load_live};
use vmferry::save::{self, MultifdOptions};
use vmferry::wire::multifd::Method;
use vmferry::wire::{Sink, SliceSource};

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

fuzz_target!(|bytes: &[u8]| {
    let Some((split, bytes)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    // One channel, or two.
    let split = usize::from(u16::from_be_bytes(*split));
    let (one, other) = bytes.split_at(split.min(bytes.len()));
    let main = main_channel();
    let sources = || {
        let mut channels = Channels::new(SliceSource::new(&main));
        let parts = [one, other].into_iter().filter(|part| !part.is_empty());
        channels.multifd.extend(parts.map(SliceSource::new));
        channels
    };
    let options = Options {
        vmdesc: VmDescRule::Optional,
        ..Options::default()
    };
    let mut image = Image::default();
    let Ok(summary) = load_channels(&mut sources(), &mut image, &options) else {
        return;
    };
    // Threads are slow to start: not for every input.
    if bytes.len() % 8 == 0 {
        let mut live = Image::default();
        let counted = load_live(&mut sources(), &mut live, &options, &|| {});
        let counted = counted.expect("it was loaded before");
        assert_eq!(counted.pages, summary.pages);
    }
    let (mut main, mut others) = (Vec::new(), vec![Vec::new(); 2]);
    let with = MultifdOptions::new(Method::Zlib);
    let state = (&image.state, &image);
    save::multifd(&mut main, &mut others, state, &with, &|| {}, &mut |_| {})
        .expect("memory takes all");
    let mut again = Channels::new(SliceSource::new(&main));
    again
        .multifd
        .extend(others.iter().map(|bytes| SliceSource::new(bytes)));
    let mut same = Image::default();
    load_channels(&mut again, &mut same, &options).expect("what was written is right");
    assert!(same == image);
});
