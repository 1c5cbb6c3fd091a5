//! Traps of the reading side.

use std::io::BufRead;

use vmferry::channel::Bytes;
use vmferry::stream::{ErrorKind, Reader};

use crate::support::{Script, Step};

const DIGITS: &[u8] = b"0123456789";

fn reader(steps: impl IntoIterator<Item = Step>) -> Reader<Script> {
    Reader::new(Script::new(steps))
}

fn ends_early(wanted: usize, got: usize) -> ErrorKind {
    ErrorKind::UnexpectedEof { wanted, got }
}

#[test]
fn a_peek_behind_what_is_read_ahead_reads() {
    let mut reader = reader([Step::Data(DIGITS)]);
    assert_eq!(reader.peek_at(5, 2).unwrap(), b"56");
    assert_eq!(reader.peek_u8(9).unwrap(), b'9');
    assert_eq!(reader.position(), 0);
}

#[test]
fn a_peek_over_a_gap_reads_as_often_as_it_takes() {
    let mut reader = reader([Step::Data(b"01"), Step::Data(b"23"), Step::Data(b"45")]);
    assert_eq!(reader.peek_u8(0).unwrap(), b'0');
    assert_eq!(reader.peek_at(4, 1).unwrap(), b"4");
    assert_eq!(reader.channel().calls, 3);
}

#[test]
fn a_peek_beyond_a_window_is_refused_and_does_no_harm() {
    let mut reader = Reader::new(Bytes::new(DIGITS));
    for (offset, n) in [(usize::MAX, 1), (1, usize::MAX), (256 << 10, 1)] {
        let error = reader.peek_at(offset, n).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::TooLong { .. }), "{error}");
    }
    assert!(reader.peek_u8(usize::MAX).is_err());
    assert_eq!(reader.get_u8().unwrap(), b'0');
}

#[test]
fn nothing_is_there_wherever_it_is_looked_for() {
    let mut reader = reader([Step::Data(DIGITS)]);
    for offset in [0, 5, 11, usize::MAX] {
        assert_eq!(reader.peek_at(offset, 0).unwrap(), b"");
    }
    assert!(reader.check().is_ok());
}

#[test]
fn a_skip_beyond_the_end_is_an_error_and_takes_nothing() {
    let mut reader = reader([Step::Data(DIGITS)]);
    assert_eq!(reader.peek_u8(0).unwrap(), b'0');
    let error = reader.skip(11).unwrap_err();
    assert_eq!(error.kind(), ends_early(11, 10));
    assert_eq!(reader.position(), 0);
}

#[test]
fn a_skip_beyond_what_is_read_ahead_reads() {
    let mut reader = reader([Step::Data(DIGITS), Step::Data(DIGITS)]);
    assert_eq!(reader.peek_u8(0).unwrap(), b'0');
    reader.skip(13).unwrap();
    assert_eq!(reader.get_u8().unwrap(), b'3');
}

#[test]
fn consuming_more_than_is_read_ahead_takes_what_is_there() {
    let mut reader = reader([Step::Data(DIGITS)]);
    assert_eq!(reader.fill_buf().unwrap(), DIGITS);
    reader.consume(11);
    assert_eq!(reader.position(), 10);
    assert!(reader.at_end().unwrap());
}

#[test]
fn what_was_taken_and_what_was_fetched_are_told_apart() {
    let mut reader = reader([Step::Data(DIGITS)]);
    reader.skip(2).unwrap();
    assert_eq!(reader.position(), 2);
    assert_eq!(reader.fetched(), 10);
}

#[test]
fn a_short_read_gives_the_bytes_that_are_there_and_no_others() {
    let mut short = reader([Step::Data(DIGITS)]);
    short.get_be16().unwrap();
    let mut out = [0; 20];
    assert_eq!(short.get_up_to(&mut out).unwrap(), 8);
    assert_eq!(&out[..8], b"23456789");

    let mut exact = reader([Step::Data(DIGITS)]);
    exact.get_be16().unwrap();
    let error = exact.get_into(&mut out).unwrap_err();
    assert_eq!(error.kind(), ends_early(20, 8));
    assert_eq!(error.at(), 2);
    let (_, rest) = exact.into_parts();
    assert_eq!(rest, b"23456789", "nothing of it is lost");
}

#[test]
fn what_came_before_an_error_can_still_be_had() {
    let mut small = reader([Step::Data(DIGITS), Step::Fails(libc::ECONNRESET)]);
    assert_eq!(small.get_be16().unwrap(), 0x3031);
    assert!(
        small
            .get_be64()
            .is_ok_and(|number| number == 0x3233_3435_3637_3839)
    );
    assert!(small.unread().is_empty());
    let mut large = reader([Step::Data(DIGITS), Step::Fails(libc::ECONNRESET)]);
    let mut out = [0; 5000];
    assert!(large.get_into(&mut out).is_err());
    assert_eq!(large.unread(), DIGITS, "and none of them is taken");
    assert_eq!(&out[..10], DIGITS);
    assert!(large.buffered().is_empty(), "the stream gives nothing more");
}

#[test]
fn a_channel_that_is_not_ready_in_the_middle_changes_no_bytes() {
    let steps = [Step::Data(DIGITS), Step::NotReady, Step::Data(b"abcdefgh")];
    let mut reader = reader(steps);
    reader.get_be16().unwrap();
    let mut out = [0; 12];
    let error = reader.get_into(&mut out).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert!(reader.check().is_ok(), "it does not stick");
    reader.get_into(&mut out).unwrap();
    assert_eq!(&out, b"23456789abcd");
}

#[test]
fn a_number_is_whole_or_not_there() {
    let mut reader = reader([
        Step::Data(&[0x11, 0x22]),
        Step::NotReady,
        Step::NotReady,
        Step::Data(&[0x33, 0x44, 0x55, 0x66]),
    ]);
    for _ in 0..2 {
        let error = reader.get_be32().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert_eq!(reader.position(), 0);
    }
    assert_eq!(reader.get_be32().unwrap(), 0x1122_3344);
    let error = reader.get_be32().unwrap_err();
    assert_eq!(error.kind(), ends_early(4, 2));
}

#[test]
fn the_lenient_view_waits_where_a_zero_would_not_tell() {
    let steps = [Step::Data(&[0x11, 0x22]), Step::NotReady];
    let mut reader = reader(steps.into_iter().chain([Step::Data(&[0x33, 0x44])]));
    assert_eq!(reader.lenient().get_be32(), 0x1122_3344);
    assert_eq!(reader.lenient().get_be32(), 0);
    assert_eq!(reader.check().unwrap_err().kind(), ends_early(4, 0));
}

#[test]
fn an_array_longer_than_the_window_comes_whole() {
    const LONG: usize = 300 << 10;
    let bytes = vec![7; LONG + 1];
    let mut reader = Reader::new(Bytes::new(&bytes));
    assert!(
        reader
            .get_array::<LONG>()
            .unwrap()
            .iter()
            .all(|byte| *byte == 7)
    );
    assert_eq!(reader.lenient().get_array::<LONG>()[0], 0);
    assert!(reader.check().is_err());
}

#[test]
fn nothing_is_read_behind_the_first_error() {
    const RESET: i32 = 104;
    let mut reader = reader([Step::Data(b"A"), Step::Fails(RESET), Step::Data(b"BC")]);
    assert_eq!(reader.get_u8().unwrap(), b'A');
    for _ in 0..3 {
        let error = reader.get_u8().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io(RESET));
        assert_eq!(error.at(), 1);
    }
    assert_eq!(reader.channel().calls, 2);
    assert_eq!(
        reader.lenient().get_be64(),
        0,
        "zeros, and the error is still there"
    );
    assert_eq!(reader.check().unwrap_err().errno(), RESET);
}

#[test]
fn the_first_error_is_the_one_that_stays() {
    let mut reader = reader([Step::Fails(5)]);
    reader.fail_with(vmferry::stream::StreamError::new(ErrorKind::User(7), 0));
    assert_eq!(reader.get_u8().unwrap_err().kind(), ErrorKind::User(7));
    assert_eq!(reader.channel().calls, 0);
}

#[test]
fn reading_exactly_to_the_end_is_clean() {
    let mut reader = reader([Step::Data(DIGITS)]);
    let mut out = [0; 10];
    reader.get_into(&mut out).unwrap();
    assert!(reader.at_end().unwrap(), "even when somebody has looked");
    assert!(reader.check().is_ok());
    assert_eq!(reader.get_u8().unwrap_err().kind(), ends_early(1, 0));
    assert!(reader.check().is_err());
}

#[test]
fn at_the_end_the_channel_is_not_asked_again() {
    let mut reader = reader([Step::Data(&[5, b'a', b'b', b'c'])]);
    let mut text = [0; 255];
    assert!(reader.get_counted(&mut text).is_err());
    let calls = reader.channel().calls;
    assert!(reader.get_into(&mut [0; 8]).is_err());
    assert_eq!(reader.channel().calls, calls);
}

#[test]
fn a_counted_string_is_whole_or_not_there() {
    let mut reader = reader([Step::Data(&[5, b'a', b'b', b'c'])]);
    let mut text = [b'-'; 255];
    let error = reader.get_counted(&mut text).unwrap_err();
    assert_eq!(error.kind(), ends_early(6, 4));
    assert_eq!(text, [b'-'; 255], "no part of it, and nothing else");
    assert_eq!(reader.into_parts().1, b"\x05abc");
}

#[test]
fn an_empty_counted_string_is_a_string() {
    let mut reader = reader([Step::Data(&[0, 2, 0, b'x'])]);
    let mut text = [0; 255];
    assert_eq!(reader.get_counted(&mut text).unwrap(), b"");
    assert_eq!(
        reader.get_counted(&mut text).unwrap(),
        b"\0x",
        "zeros are bytes"
    );
    assert!(reader.check().is_ok());
}

#[test]
fn a_reference_to_nothing_is_a_reference_to_nothing() {
    let mut reader = reader([]);
    assert_eq!(reader.get_ref(0).unwrap(), b"");
    assert!(reader.check().is_ok());
    assert_eq!(reader.channel().calls, 0);
}

#[test]
fn all_of_a_window_can_be_had_by_reference() {
    let bytes = vec![3; 256 << 10];
    let mut reader = Reader::new(Bytes::new(&bytes));
    assert_eq!(reader.get_ref(256 << 10).unwrap(), bytes);
    assert!(reader.check().is_ok());
}

#[test]
fn a_channel_that_claims_to_have_given_too_much_is_an_error() {
    /// Gives more than there was room for, or so it says.
    struct Liar;
    impl vmferry::channel::ReadChannel for Liar {
        fn read_segments(
            &mut self,
            segments: &mut [vmferry::channel::SegmentMut<'_>],
        ) -> std::io::Result<usize> {
            Ok(segments.iter().map(|segment| segment.len()).sum::<usize>() + 1)
        }
    }
    assert!(matches!(
        Reader::new(Liar).get_u8().unwrap_err().kind(),
        ErrorKind::Io(_)
    ));
    assert!(Reader::new(Liar).get_into(&mut [0; 1 << 20]).is_err());
}
