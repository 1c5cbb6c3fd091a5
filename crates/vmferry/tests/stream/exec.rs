//! A child process, and how it went.

use vmferry::channel::{Duplex, Exec, ReadChannel, WriteChannel};
use vmferry::stream::{ErrorKind, Reader, Writer};

#[test]
fn a_child_that_fails_behind_its_last_byte_fails_the_stream_there() {
    let mut reader = Reader::new(Exec::reader(Exec::shell("printf abc; exit 3")).unwrap());
    assert_eq!(reader.get_ref(3).unwrap(), b"abc");
    let error = reader.at_end().unwrap_err();
    assert_eq!(error.at(), 3);
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.contains("exit status: 3"), "{why}");
}

#[test]
fn a_child_that_fails_while_it_is_written_fails_the_close() {
    let mut writer = Writer::new(Exec::writer(Exec::shell("cat >/dev/null; exit 4")).unwrap());
    writer.put_bytes(&[7; 100_000]);
    let error = writer.close().unwrap_err();
    assert_eq!(error.at(), 100_000, "all of it was taken");
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.contains("exit status: 4"), "{why}");
}

#[test]
fn a_child_that_does_not_read_fails_the_stream() {
    let mut writer = Writer::new(Exec::writer(Exec::shell("exec <&-")).unwrap());
    while writer.check().is_ok() {
        writer.put_bytes(&[7; 100_000]);
    }
    assert_eq!(writer.close().unwrap_err().kind(), ErrorKind::Io(32));
}

#[test]
fn a_child_that_is_killed_fails_the_stream() {
    let mut reader = Reader::new(Exec::reader(Exec::shell("printf x; kill -9 $$")).unwrap());
    assert_eq!(reader.get_u8().unwrap(), b'x');
    assert!(reader.get_u8().is_err());
}

#[test]
fn a_child_that_went_well_ends_the_stream() {
    let mut reader = Reader::new(Exec::reader(Exec::shell("printf abc")).unwrap());
    assert_eq!(reader.get_array().unwrap(), *b"abc");
    reader.expect_end().unwrap();
    let mut writer = Writer::new(Exec::writer(Exec::shell("cat >/dev/null")).unwrap());
    writer.put_bytes(b"abc");
    writer.close().unwrap();
}

#[test]
fn of_two_halves_the_last_one_tells_how_the_child_went() {
    let child = || Exec::spawn(Exec::shell("cat; exit 5")).unwrap().split();

    let (rx, tx) = child();
    let mut writer = Writer::new(tx);
    writer.put_bytes(b"abc");
    // There is somebody else who will hear of it.
    writer.close().unwrap();
    let mut reader = Reader::new(rx);
    assert_eq!(reader.get_ref(3).unwrap(), b"abc");
    assert!(reader.at_end().is_err());

    let (rx, mut tx) = child();
    drop(rx);
    assert!(tx.close().is_err());
}

#[test]
fn a_filter_that_failed_is_no_end_of_its_output_though_it_is_still_written_to() {
    let (rx, tx) = Exec::filter(Exec::shell("printf abc; exit 3"))
        .unwrap()
        .split();
    let mut reader = Reader::new(rx);
    assert_eq!(reader.get_ref(3).unwrap(), b"abc");
    let error = format!("{:?}", reader.at_end().unwrap_err());
    assert!(error.contains("exit status: 3"), "{error}");
    drop(tx);

    let (rx, tx) = Exec::filter(Exec::shell("cat")).unwrap().split();
    let mut writer = Writer::new(tx);
    writer.put_bytes(b"abc");
    writer.flush().unwrap();
    // Nobody waits for a child that has no reason to end.
    drop(rx);
    writer.close().unwrap_or_default();
}

#[test]
fn a_command_that_is_not_there_is_an_error_at_once() {
    let command = || std::process::Command::new("/nonexistent/command");
    assert!(Exec::spawn(command()).is_err());
    assert!(Exec::reader(command()).is_err());
    assert!(Exec::writer(command()).is_err());
    // A shell is there, and tells in the end that the command is not.
    let mut reader = Exec::reader(Exec::shell("exec /nonexistent/command 2>&-")).unwrap();
    assert!(reader.read_segments(&mut []).is_ok());
    assert!(Reader::new(reader).at_end().is_err());
}
