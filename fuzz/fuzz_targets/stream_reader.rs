//! Any operations on a reader, against the bytes themselves: what it gives is what is there, an error
//! takes nothing, and the first one stays.

#![no_main]

#[path = "common/pieces.rs"]
mod pieces;

use std::io::BufRead;

use libfuzzer_sys::fuzz_target;
use vmferry::stream::{ErrorKind, OnWouldBlock, Reader, ReaderConfig, StreamError};

use self::pieces::Pieces;

/// Does what `operation` says and tells the bytes that it gave and how many it took.
fn get(
    reader: &mut Reader<Pieces<'_>>,
    operation: u8,
    n: usize,
) -> Result<(Vec<u8>, usize), StreamError> {
    let mut out = vec![0; n];
    let taken = |bytes: Vec<u8>| {
        let taken = bytes.len();
        (bytes, taken)
    };
    Ok(match operation % 13 {
        0 => taken(vec![reader.get_u8()?]),
        1 => taken(reader.get_be16()?.to_be_bytes().to_vec()),
        2 => taken(reader.get_be32()?.to_be_bytes().to_vec()),
        3 => taken(reader.get_be64()?.to_be_bytes().to_vec()),
        4 => taken(reader.get_array::<24>()?.to_vec()),
        5 => taken(reader.get_ref(n)?.to_vec()),
        6 => taken(reader.get_ref_or(n, &mut Vec::new())?.to_vec()),
        7 => {
            reader.get_into(&mut out)?;
            taken(out)
        }
        8 => (reader.peek_at(n / 2, n - n / 2)?.to_vec(), 0),
        9 => (reader.peek_up_to(n)?.to_vec(), 0),
        10 => {
            let there = n.min(reader.buffered().len());
            reader.consume(n);
            (Vec::new(), there)
        }
        11 => {
            let len = reader.get_up_to(&mut out)?;
            out.truncate(len);
            taken(out)
        }
        _ => {
            let mut text = [0; 255];
            let text = reader.get_counted(&mut text)?;
            (text.to_vec(), 1 + text.len())
        }
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Some(([piece, pause, count], rest)) = bytes.split_first_chunk() else {
        return;
    };
    let script_len = (3 * usize::from(*count)).min(rest.len());
    let (script, stream) = rest.split_at(script_len);
    let config = ReaderConfig {
        window: 4 << 10,
        direct_min: 1 << 10,
        on_would_block: OnWouldBlock::Return,
        ..ReaderConfig::default()
    };
    let pieces = Pieces::new(stream, usize::from(*piece) * 37, (*pause).into());
    let mut reader = Reader::with_config(pieces, &config);
    let mut at = 0;
    for step in script.chunks_exact(3) {
        let n = usize::from(u16::from_be_bytes([step[1], step[2]])) % 9000;
        let failed = reader.error().map(StreamError::kind);
        match get(&mut reader, step[0], n) {
            Ok((got, taken)) => {
                let skipped = match step[0] % 13 {
                    8 => n / 2,
                    12 => 1,
                    _ => 0,
                };
                let there = &stream[at + skipped..];
                assert_eq!(got, there[..got.len()]);
                at += taken;
            }
            Err(error) if error.is_sticky() => {
                assert!(failed.is_none_or(|first| first == error.kind()));
                assert_eq!(reader.error().map(StreamError::kind), Some(error.kind()));
                if let ErrorKind::UnexpectedEof { wanted, .. } = error.kind() {
                    assert!(stream.len() - at < wanted, "there was enough");
                }
            }
            Err(error) => assert!(matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::TooLong { .. }
            )),
        }
        assert_eq!(reader.position(), at as u64);
        assert!(reader.fetched() >= reader.position());
    }
});
