//! Compressed records: any bytes give a block or an error, in bounded memory, and any block comes back.

#![no_main]

#[path = "common/pieces.rs"]
mod pieces;

use libfuzzer_sys::fuzz_target;
use vmferry::channel::{Bytes, Memory};
use vmferry::stream::{Compressor, Decompressor, ErrorKind, Reader, ReaderConfig, Writer};

use self::pieces::Pieces;

fn decode(stream: &[u8], piece: usize, room: usize) {
    let config = ReaderConfig {
        window: 4 << 10,
        ..ReaderConfig::default()
    };
    let mut reader = Reader::with_config(Pieces::new(stream, piece, 0), &config);
    let mut decompressor = Decompressor::new();
    let mut out = vec![0; room];
    loop {
        let before = reader.position();
        match reader.get_compressed(&mut decompressor, &mut out) {
            Ok(len) => assert!(len <= room && reader.position() >= before + 4),
            Err(error) => {
                let kind = error.kind();
                let known = matches!(
                    kind,
                    ErrorKind::Compression | ErrorKind::UnexpectedEof { .. }
                );
                assert!(known, "{error}");
                break;
            }
        }
    }
}

fn there_and_back(block: &[u8], level: u32) {
    let mut writer = Writer::new(Memory(Vec::new()));
    let mut compressor = Compressor::new(level);
    for _ in 0..2 {
        writer
            .put_compressed(&mut compressor, block)
            .expect("it is small");
    }
    let stream = writer.finish().expect("memory takes everything");
    let mut reader = Reader::new(Bytes::new(&stream.0));
    let mut out = vec![0; block.len()];
    for _ in 0..2 {
        let len = reader.get_compressed(&mut Decompressor::new(), &mut out);
        assert_eq!(len.expect("it was written"), block.len());
        assert_eq!(out, block);
    }
    reader.expect_end().expect("nothing else was written");
}

fuzz_target!(|bytes: &[u8]| {
    let Some(([piece, room, level], rest)) = bytes.split_first_chunk() else {
        return;
    };
    decode(rest, 1 + 61 * usize::from(*piece), 64 * usize::from(*room));
    there_and_back(rest, u32::from(level % 10));
});
