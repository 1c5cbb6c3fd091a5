//! A save that cannot be says why, and what to do.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use vmferry_tests::{Backend, Disk, Release, Spec, Vmferry};

#[test]
fn the_socket_of_a_monitor_for_people_is_recognised() -> Result<()> {
    for release in Release::ALL {
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("hmp");
        let monitor = format!("unix:{},server=on,wait=off", socket.display());
        let guest = Spec::pattern(release, "q35");
        let guest = guest.arg("-monitor").arg(monitor).start()?;
        let vmferry = Vmferry::new()?;
        let qmp = format!("unix:{}", socket.display());
        for command in [["save", "guest", "--qmp"], ["restore", "guest", "--qmp"]] {
            if command[0] == "restore" {
                vmferry.save(&guest, "guest", "snapshot")?;
            }
            let ended = vmferry.run([&command[..], &[&qmp]].concat())?;
            let said = ended.refused()?;
            ensure!(
                said.contains("(HMP") && said.contains("'-qmp unix:"),
                "{said}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_job_that_keeps_a_disk_is_named_with_the_mode_that_works_next_to_it() -> Result<()> {
    for release in Release::ALL {
        let folder = tempfile::tempdir()?;
        let file = |name: &str| -> Result<String> {
            let path = folder.path().join(name);
            std::fs::File::create(&path)?.set_len(64 << 20)?;
            Ok(path.display().to_string())
        };
        let node = format!(
            "driver=raw,node-name=own,file.driver=file,file.filename={}",
            file("own")?
        );
        let spec = Spec::pattern(release, "q35").arg("-blockdev").arg(node);
        let guest = spec
            .arg("-device")
            .arg("virtio-blk-pci,drive=own")
            .start()?;
        guest.wait_for_passes(1)?;
        let target = json!({"driver": "raw", "node-name": "target",
            "file": {"driver": "file", "filename": file("target")?}});
        guest.execute("blockdev-add", target)?;
        // So slow that it does not end here.
        let job = json!({"job-id": "nightly", "device": "own", "target": "target", "sync": "full",
            "speed": 1024});
        guest.execute("blockdev-backup", job)?;
        let vmferry = Vmferry::new()?;
        for mode in ["stop", "live"] {
            let ended = vmferry.begin_save(&guest, "guest", mode)?.end()?;
            let said = ended.refused()?;
            ensure!(
                said.contains("job 'nightly' (backup)") && said.contains("--mode snapshot"),
                "{release} {mode}: {said}"
            );
            guest.wait_for_state("running")?;
        }
        vmferry.save(&guest, "guest", "snapshot")?;
    }
    Ok(())
}

/// What stands between a monitor and those who speak to it.
struct Proxy {
    /// Somebody has connected.
    connected: Receiver<UnixStream>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    fn listen(socket: &Path) -> Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let (sender, connected) = channel();
        let accepting = std::thread::spawn(move || {
            if let Ok((client, _)) = listener.accept() {
                // The test that waited for it may have failed.
                let _ = sender.send(client);
            }
        });
        Ok(Self {
            connected,
            accepting,
        })
    }

    /// The one who has connected.
    fn client(self) -> Result<UnixStream> {
        let client = self.connected.recv()?;
        self.accepting.join().ok().context("the proxy died")?;
        Ok(client)
    }
}

/// Passes everything on in both directions until one of them ends, or `last` was said by the client; that is not
/// passed on any more.
fn relay(client: &UnixStream, qemu: &UnixStream, last: Option<&str>) -> Result<()> {
    let (mut from, mut to) = (qemu.try_clone()?, client.try_clone()?);
    let back = std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let (mut client_reads, mut qemu_writes) = (client, qemu);
    let mut piece = [0; 4096];
    while let Ok(len @ 1..) = client_reads.read(&mut piece) {
        let said = String::from_utf8_lossy(&piece[..len]);
        if last.is_some_and(|last| said.contains(last)) {
            break;
        }
        qemu_writes.write_all(&piece[..len])?;
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = qemu.shutdown(Shutdown::Both);
    back.join().ok().context("the proxy died")
}

#[test]
fn a_greeting_that_comes_late_is_waited_for_and_a_proxy_without_descriptors_is_named() -> Result<()>
{
    let guest = Spec::pattern(Release::V10_0, "q35").start()?;
    guest.wait_for_passes(1)?;
    let vmferry = Vmferry::new()?;
    let socket = guest.folder().join("proxy");
    let proxy = Proxy::listen(&socket)?;
    let qmp = format!("unix:{}", socket.display());
    let run = vmferry.start(["save", "guest", "--qmp", &qmp])?;
    let client = proxy.client()?;
    // Only then is QEMU reached.
    run.until_said("still waiting for the greeting")?;
    relay(&client, &UnixStream::connect(guest.qmp_path())?, None)?;
    let ended = run.end()?;
    let said = ended.refused()?;
    ensure!(said.contains("no descriptor came through"), "{said}");
    guest.wait_for_passes(2)?;
    Ok(())
}

#[test]
fn a_guest_of_which_nothing_is_known_is_not_said_to_stand_still() -> Result<()> {
    for release in Release::ALL {
        for last in ["query-migrate-capabilities", "getfd"] {
            let guest = Spec::pattern(release, "q35").start()?;
            guest.wait_for_passes(1)?;
            let vmferry = Vmferry::new()?;
            let socket = guest.folder().join("proxy");
            let proxy = Proxy::listen(&socket)?;
            let qmp = format!("unix:{}", socket.display());
            let run = vmferry.start(["save", "guest", "--qmp", &qmp])?;
            let client = proxy.client()?;
            relay(&client, &UnixStream::connect(guest.qmp_path())?, Some(last))?;
            let ended = run.end()?;
            let said = ended.refused()?;
            ensure!(!said.contains("the guest is not running"), "{said}");
            ensure!(said.contains("closed the monitor connection"), "{said}");
            guest.wait_for_passes(2)?;
        }
    }
    Ok(())
}

#[test]
fn a_full_disk_is_named_with_the_file_that_was_written() -> Result<()> {
    let guest = Spec::pattern(Release::V10_0, "q35").memory(64, Backend::Anonymous);
    let guest = guest.start()?;
    guest.wait_for_passes(1)?;
    let vmferry = Vmferry::new()?;
    vmferry.save(&guest, "guest", "snapshot")?;
    let disk = Disk::new(12)?;
    let out = disk.path().join("out").display().to_string();
    for words in [
        "export guest --format raw",
        "export guest --format elf",
        "export guest --format blocks",
        "convert guest --to stream",
        "convert guest --to mapped-ram",
    ] {
        let words = words.split(' ').chain(["-o", &out]);
        let ended = vmferry.run(words.clone())?;
        let said = ended.refused()?;
        ensure!(
            said.contains(&out) && said.contains("No space left"),
            "{:?}: {said}",
            words.collect::<Vec<_>>()
        );
    }
    Ok(())
}
