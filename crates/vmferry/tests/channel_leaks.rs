//! No channel leaves a descriptor behind. One test alone, because it counts all of its process.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use vmferry::channel::{Duplex, Exec, Fd, File, Socket};
use vmferry::stream::{Reader, ReaderConfig, Writer};

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn all_channels() {
    let (one, other) = UnixStream::pair().unwrap();
    let (reader, writer) = Socket::from(one).split();
    let (other_reader, other_writer) = Socket::from(other).split();
    let mut writer = Writer::new(writer);
    let abort = writer.abort_handle();
    writer.put_u8(1);
    // Descriptors that came and that nobody took.
    writer.put_descriptor(std::io::stdout().as_fd()).unwrap();
    writer.put_u8(2);
    writer.flush().unwrap();
    let config = ReaderConfig {
        descriptors: 4,
        ..ReaderConfig::default()
    };
    let mut other_reader = Reader::with_config(other_reader, &config);
    assert_eq!(other_reader.get_u8().unwrap(), 1);
    assert_eq!(other_reader.peek(2).unwrap().len(), 2);
    abort.abort().unwrap();
    drop((reader, writer, other_reader, other_writer, abort));

    let (output, input) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let mut writer = Writer::new(Fd::new(input));
    writer.put_u8(1);
    writer.close().unwrap();
    assert_eq!(Reader::new(Fd::new(output)).get_u8().unwrap(), 1);

    let (reader, writer) = Exec::spawn(Exec::shell("cat")).unwrap().split();
    let mut writer = Writer::new(writer);
    writer.put_u8(1);
    writer.close().unwrap();
    let mut reader = Reader::new(reader);
    assert_eq!(reader.get_u8().unwrap(), 1);
    assert!(reader.at_end().unwrap());
    // One that is not read to its end.
    drop(Exec::reader(Exec::shell("echo")).unwrap());
    assert!(Exec::reader(std::process::Command::new("/no/such/command")).is_err());

    let file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = Writer::new(File::create(file.path()).unwrap());
    writer.put_u8(1);
    writer.close().unwrap();
    drop(Reader::new(File::open(file.path()).unwrap()));
}

#[test]
fn no_channel_leaves_a_descriptor_behind() {
    // Whatever the process opens once and keeps.
    all_channels();
    let before = descriptors();
    for _ in 0..10 {
        all_channels();
    }
    assert_eq!(descriptors(), before);
}
