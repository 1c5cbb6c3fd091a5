//! The lab's promise: no process outlives the test that started it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use vmferry_tests::{PATIENCE, Process, Release, Spec, leftovers};

#[test]
fn a_guest_ends_when_its_test_program_is_killed() -> Result<()> {
    let mut test = Command::new(env!("CARGO_BIN_EXE_sleeper"));
    let mut test = test.stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(test.stdout.take().context("a pipe")?).read_line(&mut line)?;
    let qemu = Pid::from_raw(line.trim().parse()?).context("a process id")?;
    let pidfd = pidfd_open(qemu, PidfdFlags::empty())?;

    test.kill()?;
    test.wait()?;
    let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
    let patience = rustix::fs::Timespec::try_from(PATIENCE)?;
    assert_eq!(poll(&mut ended, Some(&patience))?, 1, "QEMU goes on");
    Ok(())
}

#[test]
fn a_guest_and_what_it_has_started_end_with_its_handle() -> Result<()> {
    let guest = Spec::pattern(Release::V10_0, "pc").start()?;
    let folder = guest.folder().to_owned();
    // The shell that QEMU starts for this does not care whether QEMU is there.
    std::fs::write(folder.join("marker"), "")?;
    let command = format!(
        "exec:exec tail -f {} <&- >&-",
        folder.join("marker").display()
    );
    guest.execute("migrate", serde_json::json!({"uri": command}))?;
    assert!(!leftovers(&folder).is_empty());
    drop(guest);
    assert_eq!(leftovers(&folder), []);
    assert!(!folder.exists());
    Ok(())
}

#[test]
fn a_process_that_is_killed_takes_its_children_along() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file");
    std::fs::write(&file, "")?;
    let script = format!("tail -f {0} & exec tail -f {0}", file.display());
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    let process = Process::spawn(&command, Stdio::null(), Stdio::null())?;
    let id = Pid::from_raw(i32::try_from(process.id())?).context("an id")?;
    kill_process(id, Signal::TERM)?;
    drop(process);
    assert_eq!(leftovers(folder.path()), []);
    Ok(())
}
