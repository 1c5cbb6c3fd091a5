//! A save from a monitor that accepts everything and does nothing, as a stalled proxy might.

use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};

/// Answers one client until it goes.
fn serve(socket: &Path) -> std::thread::JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(socket).expect("a socket");
    std::thread::spawn(move || {
        let (client, _) = listener.accept().expect("a client");
        answer(client).unwrap_or_default()
    })
}

/// Gives the commands that were sent.
fn answer(mut client: UnixStream) -> std::io::Result<Vec<String>> {
    let version = json!({"qemu": {"major": 10, "minor": 0, "micro": 2}, "package": ""});
    let greeting = json!({"QMP": {"version": version, "capabilities": []}});
    writeln!(client, "{greeting}")?;
    let mut commands = Vec::new();
    let mut received = Received::default();
    while let Some(line) = received.line(&client)? {
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        let command = message["execute"].as_str().unwrap_or_default().to_owned();
        let result = match &*command {
            "query-status" => json!({"status": "running", "running": true}),
            "query-migrate-capabilities" => {
                json!([{"capability": "background-snapshot", "state": false}])
            }
            "query-migrate-parameters" => json!({"max-bandwidth": 1}),
            _ => json!({}),
        };
        commands.push(command);
        // A client that has gone does not take the last answer.
        let _ = writeln!(client, "{}", json!({"return": result, "id": message["id"]}));
    }
    Ok(commands)
}

/// What a client has sent. Its descriptors stay open, as in a QEMU that does nothing with them.
#[derive(Default)]
struct Received {
    text: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Received {
    fn line(&mut self, client: &UnixStream) -> std::io::Result<Option<String>> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line = self.text.drain(..=end).collect();
                return Ok(Some(String::from_utf8(line).unwrap_or_default()));
            }
            let mut piece = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut iov = [IoSliceMut::new(&mut piece)];
            let received = recvmsg(client, &mut iov, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    self.descriptors.extend(descriptors);
                }
            }
            if received.bytes == 0 {
                return Ok(None);
            }
            self.text.extend_from_slice(&piece[..received.bytes]);
        }
    }
}

fn save(folder: &Path, socket: &Path, mode: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vmferry"))
        .arg("--store")
        .arg(folder.join("store"))
        .args(["save", "guest", "--stall-timeout", "0.2", "--mode", mode])
        .arg("--qmp")
        .arg(socket)
        .env("VMFERRY_RUNTIME_DIR", folder.join("runtime"))
        .output()
        .expect("the program")
}

#[test]
fn a_save_gives_up_when_no_stream_begins_and_puts_settings_back() {
    for mode in ["snapshot", "stop", "live"] {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qmp");
        let monitor = serve(&socket);
        let output = save(folder.path(), &socket, mode);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{mode}: {said}");
        assert!(said.contains("QEMU has sent nothing"), "{mode}: {said}");
        let commands = monitor.join().unwrap();
        let begun = commands.iter().position(|command| command == "migrate");
        let after = &commands[begun.unwrap()..];
        assert!(
            after
                .iter()
                .any(|command| command == "query-migrate-parameters"),
            "{mode}: {commands:?}"
        );
        let notes = std::fs::read_dir(folder.path().join("runtime")).unwrap();
        assert_eq!(notes.count(), 0, "{mode}");
    }
}
