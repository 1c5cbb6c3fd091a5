//! Hooks that really move pages, between two processes: the example's.

#[path = "../../examples/shared_memory/transfer.rs"]
mod transfer;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use vmferry::channel::RamMapping;
use vmferry::stream::ErrorKind;

use self::transfer::{PAGE, Pages};
use crate::support::pattern;

const RECEIVER: &str = "VMFERRY_TEST_RECEIVER";
const PAGES: usize = 600;
const IN_MEMORY: usize = 500;

#[test]
fn pages_that_a_hook_moves_are_not_in_the_stream_and_the_others_are() {
    let bytes = pattern(PAGES * PAGE);
    if std::env::var_os(RECEIVER).is_some() {
        // The other process.
        let socket = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
        let (ram, _) = transfer::receive(UnixStream::from(socket)).unwrap();
        let mut got = vec![0; ram.len()];
        ram.as_ram().copy_to(&mut got);
        assert!(got == bytes);
        return;
    }
    let mut ram = RamMapping::private(bytes.len()).unwrap();
    ram.as_ram_mut().copy_from(&bytes);
    let (here, there) = UnixStream::pair().unwrap();
    let test = "hooks::pages_that_a_hook_moves_are_not_in_the_stream_and_the_others_are";
    let receiver = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact"])
        .env(RECEIVER, "1")
        .stdin(Stdio::from(OwnedFd::from(there)))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (stream, pages) = transfer::send(here, &ram, IN_MEMORY * PAGE).unwrap();
    let ended = receiver.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(
        ended.status.success() && said.contains("1 passed"),
        "{said}"
    );
    let expected = Pages {
        through_memory: IN_MEMORY as u64,
        through_stream: (PAGES - IN_MEMORY) as u64,
    };
    assert_eq!(pages, expected);
    let data = (PAGES - IN_MEMORY) * PAGE;
    let control = stream - data as u64;
    // A number for each page, and some for the rest.
    assert!(control < 10 * PAGES as u64, "{control}");
}

#[test]
fn a_receiver_without_the_hook_that_the_sender_requires_says_so() {
    use vmferry::channel::Bytes;
    use vmferry::stream::{LoadEvent, NoHooks, Reader};
    let mut stream = Reader::new(Bytes::new(&[0; 8]));
    let error = stream.load_hook(&mut NoHooks, LoadEvent::Hook).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HookMissing);
    assert_eq!(stream.get_u8().unwrap_err().kind(), ErrorKind::HookMissing);
}
