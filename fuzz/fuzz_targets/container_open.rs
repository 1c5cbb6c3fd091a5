//! A file that holds anything at all, compressed or not: an error, or bytes that are the same when they are read
//! again.

#![no_main]

use std::fs::File;
use std::io::{Seek, Write};

use libfuzzer_sys::fuzz_target;
use vmferry::channel::SegmentMut;
use vmferry::container::{Beside, Compression, open};

/// More than this is not read of one.
const SOME: usize = 1 << 20;

/// As many bytes as there are, or an error behind them.
fn content(file: &File) -> Option<(Vec<u8>, bool)> {
    let mut opened = open(file.try_clone().ok()?, 0).ok()?;
    let mut bytes = Vec::new();
    let mut piece = vec![0; 4096];
    while bytes.len() < SOME {
        match opened
            .stream
            .read_segments(&mut [SegmentMut::new(&mut piece)])
        {
            Ok(0) => return Some((bytes, true)),
            Ok(len) => bytes.extend(&piece[..len]),
            Err(_) => return Some((bytes, false)),
        }
    }
    Some((bytes, true))
}

thread_local! {
    static FILE: File = {
        let path = std::env::temp_dir().join(format!("vmferry-fuzz-{}", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        std::fs::remove_file(&path).expect("it was just made");
        file.expect("a temporary file")
    };
}

fuzz_target!(|bytes: &[u8]| {
    // A program of its own, slow to start, for bytes that are not ours to judge.
    if Compression::of(bytes) == Some(Compression::Lzop) {
        return;
    }
    FILE.with(|mut file| {
        file.set_len(0).expect("room");
        file.rewind().expect("a file");
        file.write_all(bytes).expect("room");
        file.rewind().expect("a file");
        let first = content(file);
        file.rewind().expect("a file");
        assert!(content(file) == first);
        // As a channel beside another: it has a name, or begins wrongly.
        file.rewind().expect("a file");
        if let Ok(file) = file.try_clone() {
            let _ = Beside::open(file);
        }
    });
});
