//! What the C original gets wrong, or what is easy to get wrong after it: each of its traps with the
//! behaviour that this stream has instead.

use std::io;

use vmferry::channel::{Bytes, Memory, Segment, WriteChannel};
use vmferry::stream::{
    Compressor, Decompressor, DiscardPrivate, ErrorKind, HookedPage, RamHooks, RateLimiter, Reader,
    Release, Result, SavePage, Staging, StreamError, Writer, WriterConfig,
};

use crate::support::{Mood, Moody, PAGE, Script, Step, contents, guest, pattern};

const EPIPE: i32 = 32;
const ECONNRESET: i32 = 104;

fn reader(steps: impl IntoIterator<Item = Step>) -> Reader<Script> {
    Reader::new(Script::new(steps))
}

fn moody(moods: impl IntoIterator<Item = Mood>) -> Moody<Memory> {
    Moody::new(Memory::default(), moods)
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

/// Takes everything, and remembers the pieces of each call.
#[derive(Debug, Default)]
struct Calls {
    pieces: Vec<usize>,
    bytes: Vec<u8>,
}

impl WriteChannel for Calls {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        let before = self.bytes.len();
        self.pieces.push(segments.len());
        for segment in segments {
            segment.append_to(&mut self.bytes);
        }
        Ok(self.bytes.len() - before)
    }
}

// ---- 1: the first error sticks ----

#[test]
fn the_first_error_sticks_and_nothing_is_taken_or_sent_behind_it() {
    let mut writer = Writer::new(moody([Mood::Fails(EPIPE)]));
    writer.put_be64(1);
    assert_eq!(kind(writer.flush()), ErrorKind::Io(EPIPE));
    writer.put_be64(2);
    writer.fail_with(StreamError::new(ErrorKind::User(7), 0));
    assert_eq!(writer.error().unwrap().errno(), EPIPE);
    assert_eq!(kind(writer.flush()), ErrorKind::Io(EPIPE));
    let error = writer.finish().unwrap_err();
    assert_eq!(error.error.kind(), ErrorKind::Io(EPIPE));
    assert_eq!((error.unsent, error.channel.calls), (8, 1));
}

#[test]
fn a_reader_gives_nothing_behind_its_first_error_whatever_the_channel_would_give() {
    let steps = [Step::Data(b"A"), Step::Fails(ECONNRESET), Step::Data(b"B")];
    let mut reader = reader(steps);
    assert_eq!(reader.get_u8().unwrap(), b'A');
    for _ in 0..2 {
        assert_eq!(kind(reader.get_u8()), ErrorKind::Io(ECONNRESET));
    }
    assert_eq!(reader.channel().calls, 2);
}

#[test]
fn a_loader_that_checks_once_at_the_end_sees_zeros_behind_an_error() {
    let mut reader = reader([Step::Data(&[1, 0, 2])]);
    let mut lenient = reader.lenient();
    assert_eq!((lenient.get_u8(), lenient.get_be16()), (1, 2));
    assert_eq!((lenient.get_be64(), lenient.get_u8()), (0, 0));
    let expected = ErrorKind::UnexpectedEof { wanted: 8, got: 0 };
    assert_eq!(lenient.check().unwrap_err().kind(), expected);
}

// ---- 2: the end of the stream ----

#[test]
fn reading_exactly_to_the_end_is_clean_and_one_byte_more_is_not() {
    let mut reader = reader([Step::Data(b"0123")]);
    assert_eq!(reader.get_be32().unwrap(), 0x3031_3233);
    assert!(reader.error().is_none());
    let expected = ErrorKind::UnexpectedEof { wanted: 1, got: 0 };
    assert_eq!(kind(reader.get_u8()), expected);
    assert_eq!(reader.error().unwrap().at(), 4);
}

#[test]
fn an_end_that_was_seen_is_not_asked_for_again() {
    let mut reader = reader([Step::Data(b"0")]);
    assert_eq!(reader.get_up_to(&mut [0; 4]).unwrap(), 1);
    let calls = reader.channel().calls;
    assert_eq!(reader.get_up_to(&mut [0; 4]).unwrap(), 0);
    assert!(reader.at_end().unwrap());
    assert_eq!(reader.channel().calls, calls);
}

// ---- 3 and 4: short reads, and channels that are not ready ----

#[test]
fn what_is_missing_is_told_and_what_is_there_is_not_shifted() {
    let mut reader = reader([Step::Data(b"0123456789")]);
    assert_eq!(reader.get_be16().unwrap(), 0x3031);
    let mut out = [0; 20];
    assert_eq!(reader.get_up_to(&mut out).unwrap(), 8);
    assert_eq!(&out[..8], b"23456789");
}

#[test]
fn a_channel_that_is_not_ready_in_the_middle_changes_no_byte() {
    let steps = [
        Step::Data(b"0123456789"),
        Step::NotReady,
        Step::Data(b"abcdefgh"),
    ];
    let mut reader = reader(steps);
    assert_eq!(reader.get_be16().unwrap(), 0x3031);
    let mut out = [0; 12];
    assert_eq!(kind(reader.get_into(&mut out)), ErrorKind::WouldBlock);
    assert_eq!(reader.position(), 2);
    reader.get_into(&mut out).unwrap();
    assert_eq!(&out, b"23456789abcd");
}

#[test]
fn a_number_that_is_not_all_there_yet_is_not_taken() {
    let steps = [
        Step::Data(&[0x11, 0x22]),
        Step::NotReady,
        Step::Data(&[0x33, 0x44, 0x55]),
    ];
    let mut reader = reader(steps);
    assert_eq!(kind(reader.get_be32()), ErrorKind::WouldBlock);
    assert!(reader.error().is_none());
    assert_eq!(reader.get_be32().unwrap(), 0x1122_3344);
    assert_eq!(reader.get_u8().unwrap(), 0x55);
}

#[test]
fn a_counted_string_that_is_cut_off_is_an_error_and_not_a_shifted_string() {
    let mut reader = reader([Step::Data(b"\x05abc")]);
    let mut buffer = [0; 255];
    let expected = ErrorKind::UnexpectedEof { wanted: 6, got: 4 };
    assert_eq!(kind(reader.get_counted(&mut buffer)), expected);
}

#[test]
fn an_empty_counted_string_is_no_error() {
    let mut writer = Writer::new(Memory::default());
    writer.put_counted(b"").unwrap();
    let sent = writer.finish().unwrap();
    let mut buffer = [0; 255];
    let mut reader = Reader::new(Bytes::new(&sent.0));
    assert_eq!(reader.get_counted(&mut buffer).unwrap(), b"");
    assert!(reader.at_end().unwrap());
}

#[test]
fn a_counted_string_of_256_bytes_is_refused_and_nothing_of_it_is_sent() {
    let mut writer = Writer::new(Memory::default());
    let error = writer.put_counted(&[b'x'; 256]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLong { len: 256, max: 255 });
    assert_eq!(writer.finish().unwrap().0, b"");
}

#[test]
fn a_partial_write_is_continued_where_it_ended() {
    let mut writer = Writer::new(moody([Mood::UpTo(3), Mood::NotReady]));
    writer.put_be64(0x0102_0304_0506_0708);
    assert_eq!(kind(writer.flush()), ErrorKind::WouldBlock);
    assert_eq!((writer.flushed_position(), writer.pending()), (3, 5));
    writer.put_u8(9);
    writer.flush().unwrap();
    assert_eq!(writer.channel().inner.0, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

// ---- 5: giving memory back ----

fn releasing<C: WriteChannel>(channel: C) -> Writer<'static, C, DiscardPrivate> {
    Writer::with_releaser(channel, &WriterConfig::default(), DiscardPrivate)
}

#[test]
fn memory_is_not_given_back_when_it_could_not_be_sent() {
    let ram = guest(2);
    let config = WriterConfig::default();
    let mut writer = Writer::with_releaser(moody([Mood::Fails(EPIPE)]), &config, DiscardPrivate);
    writer.put_ram(ram.as_ram(), Release::AfterSend);
    assert_eq!(kind(writer.flush()), ErrorKind::Io(EPIPE));
    assert_eq!(writer.release_report().released, 0);
    drop(writer);
    assert_eq!(contents(ram.as_ram()), pattern(2 * PAGE));
}

#[test]
fn only_whole_pages_are_given_back() {
    let ram = guest(4);
    let config = WriterConfig::default();
    for (from, to, whole) in [
        (0, 100, 0..0),
        (100, 2 * PAGE, 1..2),
        (PAGE - 1, 3 * PAGE + 1, 1..3),
    ] {
        let ram_again = guest(4);
        let mut writer = Writer::with_releaser(Memory::default(), &config, DiscardPrivate);
        let part = ram_again.as_ram().subslice(from..to).unwrap();
        writer.put_ram(part, Release::AfterSend);
        writer.flush().unwrap();
        assert_eq!(writer.release_report().failures, 0);
        drop(writer);
        let (before, after) = (contents(ram.as_ram()), contents(ram_again.as_ram()));
        for page in 0..4 {
            let bytes = page * PAGE..(page + 1) * PAGE;
            let given_back = after[bytes.clone()].iter().all(|byte| *byte == 0);
            assert_eq!(
                given_back,
                whole.contains(&page),
                "page {page} of {from}..{to}"
            );
            assert!(given_back || after[bytes.clone()] == before[bytes]);
        }
    }
}

#[test]
fn pages_with_their_headers_between_them_are_given_back_in_one_piece() {
    let ram = guest(16);
    let mut writer = releasing_for(&ram);
    for page in 0..16 {
        writer.put_be64(8);
        let page = ram
            .as_ram()
            .subslice(page * PAGE..(page + 1) * PAGE)
            .unwrap();
        writer.put_ram(page, Release::AfterSend);
    }
    writer.flush().unwrap();
    assert_eq!(writer.release_report().released, 16 * PAGE as u64);
    assert_eq!(writer.release_report().failures, 0);
}

fn releasing_for(_: &vmferry::channel::RamMapping) -> Writer<'_, Memory, DiscardPrivate> {
    releasing(Memory::default())
}

#[test]
fn a_page_that_was_to_be_kept_is_kept_whatever_was_sent_before_it() {
    let ram = guest(3);
    let page = |index: usize| {
        ram.as_ram()
            .subslice(index * PAGE..(index + 1) * PAGE)
            .unwrap()
    };
    let mut writer = releasing_for(&ram);
    writer.put_ram(page(0), Release::AfterSend);
    writer.flush().unwrap();
    // The slot that was marked is used again.
    writer.put_ram(page(2), Release::Keep);
    writer.flush().unwrap();
    assert_eq!(writer.release_report().released, PAGE as u64);
    drop(writer);
    assert_eq!(contents(page(2)), pattern(3 * PAGE)[2 * PAGE..]);
}

// ---- 6: compression ----

#[test]
fn a_compressed_block_is_whole_wherever_in_the_buffer_it_comes_to_lie() {
    let block = pattern(PAGE);
    let buffer = WriterConfig::default().buffer;
    for before in [0, 1, buffer - 8, buffer - 3, buffer - 1, buffer] {
        let mut writer = Writer::new(Memory::default());
        writer.put_bytes(&vec![7; before]);
        let len = writer
            .put_compressed(&mut Compressor::new(1), &block)
            .unwrap();
        assert_eq!(writer.queued_position(), (before + len) as u64);
        let sent = writer.finish().unwrap().0;
        assert_eq!(sent.len(), before + len);
        let record = &sent[before..];
        assert_eq!(record[..4], u32::try_from(len - 4).unwrap().to_be_bytes());
        assert_eq!(record[4..6], [0x78, 0x01], "a zlib header");
        let mut out = vec![0; PAGE];
        let restored = Decompressor::new().decompress(&record[4..], &mut out);
        assert_eq!((restored, out), (Some(PAGE), block.clone()));
    }
}

#[test]
fn a_compressed_block_is_whole_when_every_slot_for_pieces_is_taken() {
    let ram = guest(128);
    let block = pattern(PAGE);
    for pieces in 60..66 {
        let mut writer = Writer::new(Memory::default());
        for piece in 0..pieces {
            let at = 2 * piece % 128 * PAGE;
            let page = ram.as_ram().subslice(at..at + PAGE).unwrap();
            writer.put_ram(page, Release::Keep);
        }
        let len = writer
            .put_compressed(&mut Compressor::new(1), &block)
            .unwrap();
        let sent = writer.finish().unwrap().0;
        let record = &sent[pieces * PAGE..];
        assert_eq!(record.len(), len);
        assert_eq!(record[4..6], [0x78, 0x01]);
    }
}

#[test]
fn a_failed_stream_compresses_nothing_and_says_so() {
    let mut writer = Writer::new(Memory::default());
    writer.fail_with(StreamError::new(ErrorKind::User(5), 0));
    let error = writer.put_compressed(&mut Compressor::new(1), &[0; 100]);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::User(5));
    assert_eq!(writer.into_channel().0, b"");
}

#[test]
fn compressed_bytes_count_for_the_rate_limit() {
    let mut writer = Writer::new(Memory::default());
    let limiter = RateLimiter::per_window(8);
    limiter.start_window(writer.transferred());
    writer
        .put_compressed(&mut Compressor::new(1), &pattern(PAGE))
        .unwrap();
    assert!(limiter.exceeded(writer.transferred()));
}

// ---- 7: what is queued ----

#[test]
fn pages_side_by_side_are_one_piece_but_never_more_bytes_than_are_allowed_to_wait() {
    let ram = guest(512);
    let config = WriterConfig {
        max_queued: 64 * PAGE,
        ..WriterConfig::default()
    };
    let mut writer = Writer::with_config(Calls::default(), &config);
    for page in 0..512 {
        let page = ram
            .as_ram()
            .subslice(page * PAGE..(page + 1) * PAGE)
            .unwrap();
        writer.put_ram(page, Release::Keep);
        assert!(writer.pending() <= config.max_queued);
    }
    let calls = writer.finish().unwrap();
    assert_eq!(calls.pieces, [1; 8]);
    assert_eq!(calls.bytes, pattern(512 * PAGE));
}

#[test]
fn memory_of_different_owners_is_not_one_piece_even_where_it_touches() {
    let ram = guest(2);
    let bytes = contents(ram.as_ram());
    // One vector, lent twice: the two halves touch, but nobody said that they belong together.
    let (first, second) = bytes.split_at(PAGE);
    let mut writer = Writer::new(Calls::default());
    writer.put_borrowed(first);
    writer.put_borrowed(second);
    let calls = writer.finish().unwrap();
    assert_eq!(calls.pieces, [2]);
    assert_eq!(calls.bytes, bytes);
}

#[test]
fn nothing_takes_no_slot() {
    let ram = guest(1);
    let mut writer = Writer::new(Calls::default());
    for _ in 0..1000 {
        writer.put_ram(ram.as_ram().subslice(7..7).unwrap(), Release::Keep);
        writer.put_borrowed(&[]);
        writer.put_shared([].into());
    }
    writer.put_u8(1);
    assert_eq!(writer.finish().unwrap().pieces, [1]);
}

#[test]
fn a_full_array_of_pieces_wastes_nothing_of_the_buffer() {
    let ram = guest(130);
    let mut writer = Writer::new(Calls::default());
    for page in 0..63 {
        let at = 2 * page * PAGE;
        writer.put_ram(ram.as_ram().subslice(at..at + PAGE).unwrap(), Release::Keep);
    }
    writer.put_bytes(&[1; 20_000]);
    let before = writer.channel().pieces.len();
    writer.put_bytes(&[2; 12_768]);
    // Both fit into the buffer, so nothing else had to go.
    assert_eq!(writer.channel().pieces.len(), before);
    let calls = writer.finish().unwrap();
    assert_eq!(calls.bytes.len(), 63 * PAGE + 32_768);
}

// ---- 8: streams without a channel ----

#[test]
fn a_stream_in_memory_grows_and_is_moved_whole() {
    let mut staging = Staging::with_capacity(16);
    for i in 0..20_000_u32 {
        staging.put_be32(i);
        staging.put_u8(7);
    }
    let bytes = staging.as_bytes().to_vec();
    assert_eq!(bytes.len(), 100_000);
    let mut writer = Writer::new(Memory::default());
    assert_eq!(writer.put_staged(&mut staging).unwrap(), 100_000);
    assert!(staging.is_empty());
    assert_eq!(writer.finish().unwrap().0, bytes);
}

#[test]
fn what_is_moved_into_a_failed_stream_is_still_there() {
    let mut staging = Staging::with_capacity(16);
    staging.put_be32(1);
    let mut writer = Writer::new(Memory::default());
    writer.fail_with(StreamError::new(ErrorKind::User(1), 0));
    assert_eq!(
        writer.put_staged(&mut staging).unwrap_err().kind(),
        ErrorKind::User(1)
    );
    assert_eq!(staging.len(), 4);
}

// ---- 10: skips and peeks ----

#[test]
fn a_peek_across_a_gap_reads_what_it_needs() {
    let mut reader = reader([Step::Data(b"012"), Step::Data(b"3456789")]);
    assert_eq!(reader.peek_at(5, 2).unwrap(), b"56");
    assert_eq!(reader.peek_u8(9).unwrap(), b'9');
    assert_eq!(reader.position(), 0);
}

#[test]
fn a_skip_goes_beyond_what_is_there_and_fails_at_the_end() {
    let mut reader = reader([Step::Data(b"0123456789"), Step::Data(b"abcdef")]);
    assert_eq!(reader.peek(10).unwrap(), b"0123456789");
    reader.skip(11).unwrap();
    assert_eq!(reader.get_u8().unwrap(), b'b');
    let expected = ErrorKind::UnexpectedEof { wanted: 5, got: 4 };
    assert_eq!(kind(reader.skip(5)), expected);
}

#[test]
fn a_peek_beyond_the_window_is_refused_and_does_no_harm() {
    let mut reader = reader([Step::Data(b"0123")]);
    let far = reader.peek_at(usize::MAX, 1);
    assert!(matches!(kind(far), ErrorKind::TooLong { .. }));
    assert_eq!(reader.get_u8().unwrap(), b'0');
}

// ---- 12: pages that a hook moves ----

struct Answer(Result<SavePage>);

impl<S> RamHooks<S> for Answer {
    fn save_page(&mut self, _: &mut S, _: HookedPage) -> Result<SavePage> {
        self.0.clone()
    }
}

#[test]
fn a_hook_that_does_not_move_a_page_does_not_break_the_stream() {
    let page = HookedPage {
        block: 0,
        offset: 0,
        len: PAGE,
    };
    let mut writer = Writer::new(Memory::default());
    for (answer, counted) in [
        (SavePage::NotSupported, 0),
        (SavePage::Delayed, 0),
        (SavePage::Sent { bytes: 4096 }, 4096),
    ] {
        let before = writer.transferred();
        assert_eq!(
            writer.save_page(&mut Answer(Ok(answer)), page).unwrap(),
            answer
        );
        assert_eq!(writer.transferred() - before, counted);
        assert!(writer.check().is_ok());
    }
    assert_eq!(writer.queued_position(), 0);
    let error = StreamError::new(ErrorKind::Hook(5), 0);
    assert!(writer.save_page(&mut Answer(Err(error)), page).is_err());
    assert_eq!(writer.error().unwrap().errno(), 5);
}

// ---- 13: errors that are set from outside ----

#[test]
fn nothing_that_waits_is_sent_once_an_error_was_set() {
    let mut writer = Writer::new(Memory::default());
    writer.put_be64(1);
    writer.fail_with(StreamError::new(ErrorKind::User(22), 8));
    let error = writer.finish().unwrap_err();
    assert_eq!(error.error.errno(), 22);
    assert_eq!((error.unsent, error.channel.0.len()), (8, 0));
}

// ---- 14: positions ----

#[test]
fn a_reader_knows_what_was_taken_apart_from_what_was_fetched() {
    let mut reader = reader([Step::Data(b"0123456789")]);
    reader.get_be16().unwrap();
    assert_eq!((reader.position(), reader.fetched()), (2, 10));
}

#[test]
fn asking_a_writer_for_its_position_sends_nothing() {
    let ram = guest(1);
    let mut writer = Writer::new(moody([]));
    writer.put_be32(1);
    writer.put_ram(ram.as_ram(), Release::Keep);
    assert_eq!(writer.queued_position(), 4 + PAGE as u64);
    assert_eq!((writer.flushed_position(), writer.channel().calls), (0, 0));
    writer.account_external(100);
    assert_eq!(writer.queued_position(), 4 + PAGE as u64);
    assert_eq!(writer.transferred(), 104 + PAGE as u64);
}

// ---- 15: the rate limit ----

#[test]
fn a_rate_limit_is_reached_only_when_more_than_it_was_put() {
    let mut writer = Writer::new(Memory::default());
    let limiter = RateLimiter::per_window(8);
    limiter.start_window(0);
    writer.put_be64(1);
    assert!(!limiter.exceeded(writer.transferred()));
    writer.put_u8(1);
    assert!(limiter.exceeded(writer.transferred()));
    limiter.set(None);
    assert!(!limiter.exceeded(writer.transferred()));
}
