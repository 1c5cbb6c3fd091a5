//! The client against a scripted monitor at the other end of a socket pair.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use super::*;

const GREETING: &str = "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 2, \"minor\": 0, \
    \"major\": 10}, \"package\": \"\"}, \"capabilities\": []}}\r\n";

/// A monitor that runs `script` once it has greeted and the client is ready.
fn monitor(script: impl FnOnce(&mut Peer) + Send + 'static) -> (Client, JoinHandle<()>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let peer = thread::spawn(move || {
        let mut peer = Peer::new(theirs);
        peer.say(GREETING);
        let id = peer.hear("qmp_capabilities");
        peer.say(&format!("{{\"return\": {{}}, \"id\": \"{id}\"}}\r\n"));
        script(&mut peer);
    });
    let client = Client::greet(ours.into(), COMMAND_TIMEOUT).unwrap();
    (client, peer)
}

struct Peer {
    reader: BufReader<UnixStream>,
}

impl Peer {
    fn new(stream: UnixStream) -> Self {
        Self {
            reader: BufReader::new(stream),
        }
    }

    fn say(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// Waits for a command and gives its id.
    fn hear(&mut self, command: &str) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        let message: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(message["execute"], command);
        message["id"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_reply_is_matched_by_its_id_among_events_in_pieces() {
    let (client, peer) = monitor(|peer| {
        let id = peer.hear("query-status");
        peer.say("{\"event\": \"STOP\", \"timestamp\": {\"seconds\": 1, \"microseconds\": 2}}\n");
        peer.say("{\"return\": \"for somebody else\", \"id\": \"other\"}\n{\"return\": {\"sta");
        peer.say(&format!(
            "tus\": \"paused\"}}, \"id\": \"{id}\"}}\n{{\"event\": \"NEW\"}}\n"
        ));
    });
    let events = client.subscribe();
    let status = client.execute("query-status", Value::Null).unwrap();
    assert_eq!(status["status"], "paused");
    let deadline = Instant::now() + COMMAND_TIMEOUT;
    let next = |_: &Event| Some(());
    events.wait_for("an event", deadline, next).unwrap();
    let name = events
        .wait_for("an event", deadline, |event| Some(event.name.clone()))
        .unwrap();
    assert_eq!(name, "NEW");
    peer.join().unwrap();
}

#[test]
fn a_refusal_carries_the_words_of_qemu() {
    let (client, peer) = monitor(|peer| {
        let id = peer.hear("migrate");
        let error = "{\"class\": \"GenericError\", \"desc\": \"There's a migration process\"}";
        peer.say(&format!("{{\"error\": {error}, \"id\": \"{id}\"}}\n"));
    });
    let error = client
        .execute("migrate", json!({"uri": "fd:x"}))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "QEMU refused 'migrate': There's a migration process"
    );
    peer.join().unwrap();
}

#[test]
fn a_monitor_that_does_not_greet_has_another_client() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let error = Client::greet(ours.into(), Duration::from_millis(1)).unwrap_err();
    assert!(matches!(error, Error::NoGreeting { .. }), "{error}");
}

#[test]
fn a_socket_that_nobody_listens_at_and_one_whose_queue_is_full_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qmp");
    let error = Client::connect(&path, COMMAND_TIMEOUT).unwrap_err();
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );

    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _first = UnixStream::connect(&path).unwrap();
    let patience = Duration::from_millis(1);
    let errors = [(); 3].map(|()| Client::connect(&path, patience).unwrap_err());
    assert!(
        errors
            .iter()
            .all(|error| matches!(error, Error::NoGreeting { .. }))
    );
}

#[test]
fn the_end_of_the_connection_ends_a_waiting_command_and_the_events() {
    let (client, peer) = monitor(|peer| {
        peer.hear("query-status");
    });
    let events = client.subscribe();
    let error = client.execute("query-status", Value::Null).unwrap_err();
    assert!(matches!(error, Error::Closed), "{error}");
    assert!(events.receiver().recv().is_err());
    let error = client.execute("query-status", Value::Null).unwrap_err();
    assert!(matches!(error, Error::Closed), "{error}");
    peer.join().unwrap();
}

#[test]
fn a_command_without_an_answer_ends_at_its_deadline_and_a_late_answer_does_no_harm() {
    let (client, peer) = monitor(|peer| {
        let late = peer.hear("late");
        let next = peer.hear("next");
        peer.say(&format!("{{\"return\": 1, \"id\": \"{late}\"}}\n"));
        peer.say(&format!("{{\"return\": 2, \"id\": \"{next}\"}}\n"));
    });
    let patience = Duration::from_millis(1);
    let error = client
        .execute_with("late", Value::Null, &[], patience)
        .unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert_eq!(client.execute("next", Value::Null).unwrap(), 2);
    peer.join().unwrap();
}

#[test]
fn garbage_and_a_line_without_end_close_the_connection_instead_of_filling_memory() {
    let (client, peer) = monitor(|peer| {
        peer.hear("query-status");
        peer.say("no json at all\n");
    });
    assert!(client.execute("query-status", Value::Null).is_err());
    peer.join().unwrap();

    let (client, peer) = monitor(|peer| {
        peer.hear("query-status");
        let piece = [b' '; 1 << 16];
        // The client stops reading at its limit, and goes.
        while peer.reader.get_mut().write_all(&piece).is_ok() {}
    });
    assert!(client.execute("query-status", Value::Null).is_err());
    drop(client);
    peer.join().unwrap();
}

#[test]
fn a_connection_is_taken_over_in_the_middle_of_a_message() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut peer = Peer::new(theirs);
    peer.say("y\": 1}, \"id\": \"vmferry-1-7\"}\n{\"return\": {}, \"id\": \"vmferry-1-8\"}\n");
    let answering = thread::spawn(move || {
        let mut reset = [0; 2];
        peer.reader.read_exact(&mut reset).unwrap();
        assert_eq!(reset, [0xff, b'\n']);
        peer.say("{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\n");
        let id = peer.hear("query-status");
        peer.say(&format!("{{\"return\": {{}}, \"id\": \"{id}\"}}\n"));
    });
    let client = Client::adopt(ours.into()).unwrap();
    client.execute("query-status", Value::Null).unwrap();
    answering.join().unwrap();
}

#[test]
fn a_descriptor_goes_along_with_its_command() {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
    let (client, peer) = monitor(|peer| {
        let mut text = [0; 1024];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut iov = [std::io::IoSliceMut::new(&mut text)];
        let socket = peer.reader.get_ref();
        let received =
            rustix::net::recvmsg(socket, &mut iov, &mut ancillary, RecvFlags::empty()).unwrap();
        let fds = ancillary.drain().map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.count(),
            _ => 0,
        });
        assert_eq!(fds.sum::<usize>(), 1);
        let message: Value = serde_json::from_slice(&text[..received.bytes]).unwrap();
        assert_eq!(message["arguments"]["fdname"], "main");
        peer.say(&format!(
            "{{\"return\": {{}}, \"id\": {}}}\n",
            message["id"]
        ));
    });
    client.getfd("main", std::io::stderr().as_fd()).unwrap();
    assert_eq!(
        client
            .peer_pid()
            .unwrap()
            .as_raw_nonzero()
            .get()
            .unsigned_abs(),
        std::process::id()
    );
    peer.join().unwrap();
}
