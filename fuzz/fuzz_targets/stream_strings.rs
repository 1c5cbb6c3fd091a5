//! Counted strings: those of any bytes, written again, are those bytes.

#![no_main]

#[path = "common/pieces.rs"]
mod pieces;

use libfuzzer_sys::fuzz_target;
use vmferry::channel::Memory;
use vmferry::stream::{ErrorKind, OnWouldBlock, Reader, ReaderConfig, Writer};

use self::pieces::Pieces;

fuzz_target!(|bytes: &[u8]| {
    let Some(([piece, pause], stream)) = bytes.split_first_chunk() else {
        return;
    };
    let config = ReaderConfig {
        window: 4 << 10,
        on_would_block: OnWouldBlock::Return,
        ..ReaderConfig::default()
    };
    let pieces = Pieces::new(stream, (*piece).into(), (*pause).into());
    let mut reader = Reader::with_config(pieces, &config);
    let mut writer = Writer::new(Memory(Vec::new()));
    loop {
        let mut text = [0; 255];
        match reader.get_counted(&mut text) {
            Ok(text) => writer.put_counted(text).expect("it came as one"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                let ended = matches!(error.kind(), ErrorKind::UnexpectedEof { .. });
                assert!(ended, "{error}");
                break;
            }
        }
    }
    let taken = usize::try_from(reader.position()).expect("it fits");
    let written = writer.finish().expect("memory takes everything");
    assert_eq!(written.0, stream[..taken]);
    // What is left is no whole string.
    assert!(
        stream[taken..]
            .first()
            .is_none_or(|len| stream.len() - taken <= usize::from(*len))
    );
});
