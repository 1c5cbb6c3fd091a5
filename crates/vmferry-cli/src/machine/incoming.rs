//! A QEMU that waits for a machine: whether it was started to let the guest run, and whether it can.

use serde_json::{Value, json};

use super::{Process, block_devices, is_writable};
use crate::qmp::{Client, Error, Result};

/// Whether these arguments of a QEMU hold its guest back (`-S`).
pub fn holds_back(arguments: &[String]) -> bool {
    arguments.iter().any(|word| word == "-S" || word == "--S")
}

/// Whether a QEMU that waits for a machine was started with `-S`. No monitor says so; where the process at its
/// other end is not that QEMU (a proxy), or cannot be seen, it is not known.
pub fn was_started_paused(client: &Client) -> Option<bool> {
    let process = Process::look(client.peer_pid().ok()?);
    let words = process.command_line;
    let waits = |word: &String| word == "-incoming" || word == "--incoming";
    words.iter().any(waits).then(|| holds_back(&words))
}

/// Why a QEMU that waits could not let its guest run for want of a disk, in QEMU's words; `None` where it could, or
/// where this QEMU cannot be asked. Disks are as they were afterwards.
///
/// # Errors
/// The monitor does not answer.
pub fn disk_in_the_way(client: &Client) -> Result<Option<String>> {
    let nodes = client.execute("query-named-block-nodes", Value::Null)?;
    let mut nodes = nodes.as_array().into_iter().flatten();
    // Only a QEMU that has the command says this.
    let waits = |node: &Value| node.get("active").and_then(Value::as_bool) == Some(false);
    if !nodes.any(waits) {
        return Ok(None);
    }
    let taken = take_disks(client)?;
    // Those that it could take would stay taken, also if the restore fails.
    let _ = client.execute("blockdev-set-active", json!({"active": false}));
    Ok(taken)
}

/// Lets QEMU take its disks: why it cannot, in its words. `None` also where it does not know the command.
///
/// # Errors
/// The monitor does not answer.
pub fn take_disks(client: &Client) -> Result<Option<String>> {
    match client.execute("blockdev-set-active", json!({"active": true})) {
        Err(error) if error.is_unknown_command() => Ok(None),
        Err(Error::Refused { description, .. }) => Ok(Some(description)),
        result => result.map(|_| None),
    }
}

/// The files of the disks that a guest may write to, for people.
pub fn writable_disks(client: &Client) -> Vec<String> {
    let devices = block_devices(client).unwrap_or_default();
    let writable = devices.into_iter().filter(is_writable);
    let named = writable.map(|disk| disk.file.or(disk.node).unwrap_or(disk.device));
    named.map(|name| format!("'{name}'")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_held_back_by_an_option_of_its_own() {
        let holds = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            holds_back(&words)
        };
        assert!(holds(&["qemu", "-S"]));
        assert!(holds(&["qemu", "--S", "-m", "64"]));
        assert!(!holds(&["qemu", "-s", "-smp", "2", "-SD"]));
    }
}
