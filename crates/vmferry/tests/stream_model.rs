//! Reader and writer against a plain vector of bytes, over channels that do as they like.

use std::collections::VecDeque;
use std::io;

use proptest::prelude::*;
use vmferry::channel::{Bytes, Memory, ReadChannel, Segment, SegmentMut, WriteChannel};
use vmferry::stream::{ErrorKind, Reader, ReaderConfig, Writer, WriterConfig};

/// What a channel does when it is called.
#[derive(Debug, Clone, Copy)]
enum Mood {
    /// Takes or gives at most this many bytes.
    UpTo(usize),
    NotReady,
}

fn moods() -> impl Strategy<Value = Vec<Mood>> {
    let mood = prop_oneof![
        3 => (1_usize..10_000).prop_map(Mood::UpTo),
        1 => Just(Mood::NotReady),
    ];
    proptest::collection::vec(mood, 0..40)
}

/// Takes or gives bytes as its moods say, and without limit once they are used up.
#[derive(Debug)]
struct Moody<T> {
    inner: T,
    moods: VecDeque<Mood>,
}

impl<T> Moody<T> {
    fn limit(&mut self) -> io::Result<usize> {
        match self.moods.pop_front() {
            Some(Mood::NotReady) => Err(io::ErrorKind::WouldBlock.into()),
            Some(Mood::UpTo(limit)) => Ok(limit),
            None => Ok(usize::MAX),
        }
    }
}

impl WriteChannel for Moody<Memory> {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        let limit = self.limit()?;
        let before = self.inner.0.len();
        self.inner.write_segments(segments)?;
        self.inner.0.truncate(before.saturating_add(limit));
        Ok(self.inner.0.len() - before)
    }
}

impl ReadChannel for Moody<Bytes<'_>> {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        let limit = self.limit()?.min(self.inner.0.len());
        let (now, later) = self.inner.0.split_at(limit);
        let mut now = Bytes(now);
        let read = now.read_segments(segments)?;
        self.inner.0 = &self.inner.0[read..];
        assert!(later.len() <= self.inner.0.len());
        Ok(read)
    }
}

#[derive(Debug, Clone)]
enum Put {
    U8(u8),
    Be16(u16),
    Be32(u32),
    Be64(u64),
    Bytes(Vec<u8>),
    Borrowed(Vec<u8>),
    Counted(Vec<u8>),
    Flush,
}

fn puts() -> impl Strategy<Value = Vec<Put>> {
    let bytes = |max| proptest::collection::vec(any::<u8>(), 0..max);
    let put = prop_oneof![
        any::<u8>().prop_map(Put::U8),
        any::<u16>().prop_map(Put::Be16),
        any::<u32>().prop_map(Put::Be32),
        any::<u64>().prop_map(Put::Be64),
        bytes(9000).prop_map(Put::Bytes),
        bytes(5000).prop_map(Put::Borrowed),
        bytes(256).prop_map(Put::Counted),
        Just(Put::Flush),
    ];
    proptest::collection::vec(put, 0..80)
}

proptest! {
    #[test]
    fn what_is_put_is_what_arrives_however_the_channel_takes_it(puts in puts(), moods in moods()) {
        let mut model = Vec::new();
        let channel = Moody { inner: Memory::default(), moods: moods.into() };
        let config = WriterConfig { buffer: 4096, max_segments: 5, max_queued: 9000 };
        let mut writer = Writer::with_config(channel, &config);
        for put in &puts {
            match put {
                Put::U8(value) => { writer.put_u8(*value); model.push(*value); }
                Put::Be16(value) => { writer.put_be16(*value); model.extend(value.to_be_bytes()); }
                Put::Be32(value) => { writer.put_be32(*value); model.extend(value.to_be_bytes()); }
                Put::Be64(value) => { writer.put_be64(*value); model.extend(value.to_be_bytes()); }
                Put::Bytes(bytes) => { writer.put_bytes(bytes); model.extend(bytes); }
                Put::Borrowed(bytes) => { writer.put_borrowed(bytes); model.extend(bytes); }
                Put::Counted(bytes) => {
                    writer.put_counted(bytes).unwrap();
                    model.push(u8::try_from(bytes.len()).unwrap());
                    model.extend(bytes);
                }
                Put::Flush => match writer.flush() {
                    Ok(()) => prop_assert_eq!(writer.pending(), 0),
                    Err(error) => prop_assert_eq!(error.kind(), ErrorKind::WouldBlock),
                },
            }
            prop_assert_eq!(writer.queued_position(), model.len() as u64);
            let taken = writer.queued_position() - writer.pending() as u64;
            prop_assert_eq!(writer.flushed_position(), taken);
            prop_assert_eq!(&writer.channel().inner.0[..], &model[..usize::try_from(taken).unwrap()]);
        }
        while writer.flush().is_err() {}
        let channel = writer.finish().unwrap();
        prop_assert_eq!(channel.inner.0, model);
    }

    #[test]
    fn what_is_got_is_what_came_and_a_channel_that_is_not_ready_loses_nothing(
        stream in proptest::collection::vec(any::<u8>(), 0..30_000),
        gets in proptest::collection::vec(0_usize..6000, 1..60),
        moods in moods(),
    ) {
        let channel = Moody { inner: Bytes(&stream), moods: moods.into() };
        let config = ReaderConfig { window: 8192, direct_min: 4096 };
        let mut reader = Reader::with_config(channel, &config);
        let mut at = 0;
        for (turn, n) in gets.into_iter().enumerate() {
            let whole = stream.get(at..at + n);
            let got = loop {
                let got = match turn % 3 {
                    0 => reader.get_ref(n).map(<[u8]>::to_vec),
                    1 => match reader.peek_up_to(n).map(<[u8]>::to_vec) {
                        Ok(peeked) if peeked.len() == n => {
                            reader.skip(n as u64).map(|()| peeked)
                        }
                        Ok(peeked) => {
                            prop_assert_eq!(&peeked[..], &stream[at..]);
                            reader.get_ref(n).map(<[u8]>::to_vec)
                        }
                        Err(error) => Err(error),
                    },
                    _ => reader.get_array::<8>().map(|array| array.to_vec()),
                };
                match got {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    other => break other,
                }
            };
            let whole = if turn % 3 == 2 { stream.get(at..at + 8) } else { whole };
            match (got, whole) {
                (Ok(got), Some(whole)) => {
                    prop_assert_eq!(&got[..], whole);
                    at += whole.len();
                    prop_assert_eq!(reader.position(), at as u64);
                }
                (Err(error), None) => {
                    let got = stream.len() - at;
                    prop_assert!(
                        matches!(error.kind(), ErrorKind::UnexpectedEof { got: here, .. } if here == got),
                        "{error}"
                    );
                    break;
                }
                (got, whole) => prop_assert!(false, "{got:?} instead of {whole:?}"),
            }
        }
    }

    #[test]
    fn large_reads_go_straight_to_their_place(
        stream in proptest::collection::vec(any::<u8>(), 0..60_000),
        gets in proptest::collection::vec(0_usize..20_000, 1..10),
        splits in proptest::collection::vec(1_usize..10_000, 0..40),
    ) {
        let moods = splits.into_iter().map(Mood::UpTo).collect();
        let channel = Moody { inner: Bytes(&stream), moods };
        let config = ReaderConfig { window: 8192, direct_min: 4096 };
        let mut reader = Reader::with_config(channel, &config);
        let mut at = 0;
        for n in gets {
            let mut out = vec![0; n];
            match (reader.get_into(&mut out), stream.get(at..at + n)) {
                (Ok(()), Some(whole)) => prop_assert_eq!(&out[..], whole),
                (Err(error), None) => {
                    let is_end = matches!(error.kind(), ErrorKind::UnexpectedEof { .. });
                    prop_assert!(is_end, "{}", error);
                    break;
                }
                (got, whole) => prop_assert!(false, "{got:?} instead of {whole:?}"),
            }
            at += n;
            prop_assert_eq!(reader.position(), at as u64);
        }
    }
}

#[test]
fn reading_exactly_to_the_end_is_clean_and_one_byte_more_is_not() {
    let mut reader = Reader::new(Bytes(b"\x01\x02"));
    assert_eq!(reader.get_be16().unwrap(), 0x0102);
    assert!(reader.error().is_none());
    assert_eq!(reader.peek_up_to(1).unwrap(), b"");
    assert!(reader.error().is_none());
    let error = reader.get_u8().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof { wanted: 1, got: 0 });
    assert_eq!(error.at(), 2);
}

#[test]
fn nothing_is_sent_after_the_first_error_and_the_first_error_stays() {
    struct Broken(u32);
    impl WriteChannel for Broken {
        fn write_segments(&mut self, _: &[Segment<'_>]) -> io::Result<usize> {
            self.0 += 1;
            Err(io::Error::from_raw_os_error(32))
        }
    }
    let mut writer = Writer::new(Broken(0));
    writer.put_be64(1);
    assert_eq!(writer.flush().unwrap_err().kind(), ErrorKind::Io(32));
    writer.put_bytes(&[0; 100_000]);
    assert_eq!(writer.flush().unwrap_err().kind(), ErrorKind::Io(32));
    assert_eq!(writer.channel().0, 1);
}
