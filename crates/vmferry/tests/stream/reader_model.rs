//! The reader against a plain vector of bytes, over channels that do as they like.

use std::io::{BufRead, Read};

use proptest::prelude::*;
use vmferry::channel::{Bytes, RamSliceMut};
use vmferry::stream::{ErrorKind, OnWouldBlock, Reader, ReaderConfig, StreamError};

use crate::support::{Mood, Moody, moods};

#[derive(Debug, Clone, Copy)]
enum Get {
    U8,
    Be16,
    Be32,
    Be64,
    Array,
    Ref(usize),
    RefOr(usize),
    Into(usize),
    Ram(usize),
    UpTo(usize),
    Counted,
    Peek(usize, usize),
    PeekU8(usize),
    PeekUpTo(usize),
    Skip(usize),
    CopyTo(usize),
    Read(usize),
    Consume(usize),
    AtEnd,
}

fn gets() -> impl Strategy<Value = Vec<Get>> {
    let get = prop_oneof![
        Just(Get::U8),
        Just(Get::Be16),
        Just(Get::Be32),
        Just(Get::Be64),
        Just(Get::Array),
        (0_usize..9000).prop_map(Get::Ref),
        (0_usize..12_000).prop_map(Get::RefOr),
        (0_usize..20_000).prop_map(Get::Into),
        (0_usize..20_000).prop_map(Get::Ram),
        (0_usize..20_000).prop_map(Get::UpTo),
        Just(Get::Counted),
        (0_usize..9000, 0_usize..100).prop_map(|(offset, n)| Get::Peek(offset, n)),
        (0_usize..9000).prop_map(Get::PeekU8),
        (0_usize..9000).prop_map(Get::PeekUpTo),
        (0_usize..12_000).prop_map(Get::Skip),
        (0_usize..12_000).prop_map(Get::CopyTo),
        (0_usize..12_000).prop_map(Get::Read),
        (0_usize..12_000).prop_map(Get::Consume),
        Just(Get::AtEnd),
    ];
    proptest::collection::vec(get, 1..60)
}

type In<'a> = Reader<Moody<Bytes<'a>>>;

/// What an operation gives, and how many bytes it takes.
fn run(reader: &mut In<'_>, get: Get) -> Result<(Vec<u8>, usize), StreamError> {
    let all = |got: Vec<u8>| {
        let taken = got.len();
        (got, taken)
    };
    let mut spill = Vec::new();
    Ok(match get {
        Get::U8 => all(reader.get_u8()?.to_be_bytes().into()),
        Get::Be16 => all(reader.get_be16()?.to_be_bytes().into()),
        Get::Be32 => all(reader.get_be32()?.to_be_bytes().into()),
        Get::Be64 => all(reader.get_be64()?.to_be_bytes().into()),
        Get::Array => all(reader.get_array::<7>()?.into()),
        Get::Ref(n) => all(reader.get_ref(n)?.into()),
        Get::RefOr(n) => all(reader.get_ref_or(n, &mut spill)?.into()),
        Get::Into(n) => {
            let mut out = vec![0; n];
            reader.get_into(&mut out)?;
            all(out)
        }
        Get::Ram(n) => {
            let mut out = vec![0; n];
            reader.get_ram(RamSliceMut::from_slice(&mut out))?;
            all(out)
        }
        Get::UpTo(n) => {
            let mut out = vec![0; n];
            let got = reader.get_up_to(&mut out)?;
            out.truncate(got);
            all(out)
        }
        Get::Counted => {
            let mut buf = [0; 255];
            let got = reader.get_counted(&mut buf)?.to_vec();
            let taken = 1 + got.len();
            (got, taken)
        }
        Get::Peek(offset, n) => (reader.peek_at(offset, n)?.into(), 0),
        Get::PeekU8(offset) => (vec![reader.peek_u8(offset)?], 0),
        Get::PeekUpTo(n) => (reader.peek_up_to(n)?.into(), 0),
        Get::Skip(n) => {
            reader.skip(n as u64)?;
            (Vec::new(), n)
        }
        Get::CopyTo(n) => {
            let mut out = Vec::new();
            reader.copy_to(n as u64, &mut out)?;
            all(out)
        }
        Get::Read(n) => {
            let mut out = vec![0; n];
            let got = match reader.read(&mut out) {
                Ok(got) => got,
                Err(error) => return Err(error.downcast().unwrap()),
            };
            out.truncate(got);
            all(out)
        }
        Get::Consume(n) => {
            let got = match reader.fill_buf() {
                Ok(got) => got[..n.min(got.len())].to_vec(),
                Err(error) => return Err(error.downcast().unwrap()),
            };
            reader.consume(got.len());
            all(got)
        }
        Get::AtEnd => {
            let at_end = reader.at_end()?;
            (vec![u8::from(at_end)], 0)
        }
    })
}

/// What it is to give of `rest`, and how many bytes it is to take; `None`: the stream ends early.
fn expected(get: Get, rest: &[u8], got: usize) -> Option<(Vec<u8>, usize)> {
    let all = |bytes: &[u8]| (bytes.to_vec(), bytes.len());
    let up_to = |n: usize| &rest[..n.min(rest.len())];
    match get {
        Get::U8 => rest.get(..1).map(all),
        Get::Be16 => rest.get(..2).map(all),
        Get::Be32 => rest.get(..4).map(all),
        Get::Be64 => rest.get(..8).map(all),
        Get::Array => rest.get(..7).map(all),
        Get::Ref(n) | Get::RefOr(n) | Get::Into(n) | Get::Ram(n) | Get::CopyTo(n) => {
            rest.get(..n).map(all)
        }
        Get::UpTo(n) => Some(all(up_to(n))),
        Get::Counted => {
            let len = usize::from(*rest.first()?);
            let text = rest.get(1..1 + len)?;
            Some((text.to_vec(), 1 + len))
        }
        Get::Peek(offset, n) => rest
            .get(offset..offset + n)
            .map(|bytes| (bytes.to_vec(), 0)),
        Get::PeekU8(offset) => rest.get(offset).map(|byte| (vec![*byte], 0)),
        Get::PeekUpTo(n) => Some((up_to(n).to_vec(), 0)),
        Get::Skip(n) => rest.get(..n).map(|_| (Vec::new(), n)),
        // As many as the channel likes to give: at least one, if there is one.
        Get::Read(n) | Get::Consume(n) => {
            let least = usize::from(n > 0 && !rest.is_empty());
            Some(all(up_to(got.clamp(least, n))))
        }
        Get::AtEnd => Some((vec![u8::from(rest.is_empty())], 0)),
    }
}

const WINDOW: usize = 8192;

/// Longer than what may be looked at or referred to at once.
fn is_too_long(get: Get) -> bool {
    match get {
        Get::Ref(n) | Get::PeekUpTo(n) => n > WINDOW,
        Get::Peek(offset, n) => offset + n > WINDOW,
        Get::PeekU8(offset) => offset >= WINDOW,
        _ => false,
    }
}

fn config(on_would_block: OnWouldBlock) -> ReaderConfig {
    ReaderConfig {
        window: WINDOW,
        direct_min: 4096,
        on_would_block,
        ..ReaderConfig::default()
    }
}

proptest! {
    #[test]
    fn what_is_got_is_what_came_and_a_channel_that_is_not_ready_loses_nothing(
        stream in proptest::collection::vec(any::<u8>(), 0..60_000),
        gets in gets(),
        moods in moods(),
    ) {
        let channel = Moody::new(Bytes::new(&stream), moods);
        let mut reader = Reader::with_config(channel, &config(OnWouldBlock::Return));
        let mut at = 0;
        for get in gets {
            let (mut skipped, start) = (get, at);
            let got = loop {
                match run(&mut reader, skipped) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        let moved = usize::try_from(reader.position()).unwrap() - start;
                        // Only what is longer than a window may be taken in pieces.
                        match get {
                            Get::Skip(n) if n > WINDOW => skipped = Get::Skip(n - moved),
                            Get::CopyTo(n) if n > WINDOW => skipped = Get::CopyTo(n - moved),
                            _ => prop_assert_eq!(moved, 0),
                        }
                    }
                    other => break other,
                }
            };
            at = usize::try_from(reader.position()).unwrap();
            if is_too_long(get) {
                if let Err(error) = &got {
                    prop_assert_eq!(at, start);
                    let is_too_long = matches!(error.kind(), ErrorKind::TooLong { .. });
                    prop_assert!(is_too_long, "{error}");
                    continue;
                }
            }
            let rest = &stream[start..];
            let len = got.as_ref().map_or(0, |(got, _)| got.len());
            match (got, expected(get, rest, len)) {
                (Ok((got, taken)), Some((bytes, moved))) => {
                    match get {
                        Get::CopyTo(_) => prop_assert!(bytes.ends_with(&got)),
                        Get::Skip(_) => prop_assert!(taken <= moved),
                        _ => prop_assert_eq!((got, taken), (bytes, moved)),
                    }
                    prop_assert_eq!(at, start + moved);
                }
                (Err(error), None) => {
                    let is_end = matches!(error.kind(), ErrorKind::UnexpectedEof { .. });
                    prop_assert!(is_end, "{error}");
                    // Sticky: not even what was there is given any more.
                    prop_assert!(reader.get_u8().is_err());
                    prop_assert!(reader.peek_up_to(1).is_err());
                    prop_assert_eq!(reader.buffered(), b"");
                    // And nothing of it is lost.
                    let (channel, left) = reader.into_parts();
                    let left = [&left, channel.inner.rest()].concat();
                    prop_assert_eq!(&left[..], &stream[at..]);
                    return Ok(());
                }
                (got, bytes) => prop_assert!(false, "{get:?}: {got:?} instead of {bytes:?}"),
            }
            prop_assert!(reader.fetched() >= at as u64);
        }
    }

    #[test]
    fn a_reader_that_waits_is_never_told_that_the_channel_is_not_ready(
        stream in proptest::collection::vec(any::<u8>(), 40_000..60_000),
        moods in moods(),
        sizes in proptest::collection::vec(0_usize..5000, 1..8),
    ) {
        let not_ready = moods.iter().filter(|mood| matches!(mood, Mood::NotReady)).count();
        let channel = Moody::new(Bytes::new(&stream), moods);
        let mut reader = Reader::with_config(channel, &config(OnWouldBlock::Wait));
        let mut at = 0;
        for n in sizes {
            let mut out = vec![0; n];
            reader.get_into(&mut out).unwrap();
            prop_assert_eq!(&out[..], &stream[at..at + n]);
            at += n;
        }
        prop_assert!(reader.channel().waits <= not_ready);
    }

    #[test]
    fn the_lenient_view_gives_what_is_there_and_then_zeros(
        stream in proptest::collection::vec(1_u8.., 0..40),
        moods in moods(),
    ) {
        let channel = Moody::new(Bytes::new(&stream), moods);
        let mut reader = Reader::with_config(channel, &config(OnWouldBlock::Return));
        let mut lenient = reader.lenient();
        let mut whole = stream.chunks_exact(4);
        for _ in 0..12 {
            let value = whole.next().map_or(0, |four| u32::from_be_bytes(four.try_into().unwrap()));
            prop_assert_eq!(lenient.get_be32(), value);
        }
        prop_assert!(lenient.check().is_err(), "a truncated load ends with an error");
    }

    #[test]
    fn a_stream_that_fails_at_any_call_gives_the_right_bytes_or_its_error(
        stream in proptest::collection::vec(any::<u8>(), 20_000..30_000),
        good in proptest::collection::vec((1_usize..3000).prop_map(Mood::UpTo), 0..12),
        gets in gets(),
    ) {
        let moods = good.into_iter().chain([Mood::Fails(104)]);
        let channel = Moody::new(Bytes::new(&stream), moods);
        let mut reader = Reader::with_config(channel, &config(OnWouldBlock::Return));
        for get in gets {
            let start = usize::try_from(reader.position()).unwrap();
            match run(&mut reader, get) {
                Ok((got, _)) => {
                    let (bytes, moved) = expected(get, &stream[start..], got.len()).unwrap();
                    prop_assert_eq!(&got, &bytes);
                    prop_assert_eq!(reader.position(), (start + moved) as u64);
                }
                Err(error) if !error.is_sticky() => {}
                Err(error) => {
                    let calls = reader.channel().calls;
                    prop_assert!(run(&mut reader, Get::U8).is_err());
                    prop_assert_eq!(reader.channel().calls, calls, "it is not read again");
                    let is_end = matches!(error.kind(), ErrorKind::UnexpectedEof { .. });
                    prop_assert!(is_end || error.kind() == ErrorKind::Io(104), "{error}");
                    return Ok(());
                }
            }
        }
    }
}
