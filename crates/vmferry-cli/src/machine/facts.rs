//! What the monitor says of the machine.

use serde_json::{Value, json};
use vmferry_store::manifest::{Endianness, Machine};

use super::Process;
use crate::qmp::{Client, Error, Result};

/// The machine's run state: `running`, `paused`, `inmigrate`, …
///
/// # Errors
/// The monitor does not answer.
pub fn run_state(client: &Client) -> Result<String> {
    let status = client.execute("query-status", Value::Null)?;
    Ok(text(&status, "status").unwrap_or_default())
}

/// The canonical machine type: `pc-q35-10.0`, never an alias.
///
/// # Errors
/// The monitor does not answer.
pub fn machine_type(client: &Client) -> Result<Option<String>> {
    let path = json!({"path": "/machine", "property": "type"});
    let class = optional(client.execute("qom-get", path))?;
    let class = class.as_ref().and_then(Value::as_str);
    Ok(class.map(|class| class.strip_suffix("-machine").unwrap_or(class).to_owned()))
}

/// Everything that a manifest records of the machine and its process, its run state apart.
///
/// # Errors
/// The monitor does not answer.
pub fn learn(client: &Client) -> Result<Machine> {
    let ask = |command| optional(client.execute(command, Value::Null));
    let name = ask("query-name")?.and_then(|name| text(&name, "name"));
    let uuid = ask("query-uuid")?.and_then(|uuid| text(&uuid, "UUID"));
    let architecture = ask("query-target")?.and_then(|target| text(&target, "arch"));
    // A socket that is not local does not tell its peer.
    let process = client.peer_pid().map(Process::look).unwrap_or_default();
    let path = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    Ok(Machine {
        name,
        uuid: uuid.filter(|uuid| uuid.chars().any(|digit| digit != '0' && digit != '-')),
        qemu_version: client.version().map(ToString::to_string),
        machine_type: machine_type(client)?,
        endianness: architecture.as_deref().and_then(endianness),
        architecture,
        run_state: None,
        exe: process.exe.map(path),
        command_line: process.command_line,
        cwd: process.cwd.map(path),
    })
}

/// The byte order of an architecture, as QEMU names it.
pub fn endianness(architecture: &str) -> Option<Endianness> {
    match architecture {
        "x86_64" | "i386" | "aarch64" | "arm" | "riscv64" | "riscv32" | "loongarch64" => {
            Some(Endianness::Little)
        }
        "s390x" => Some(Endianness::Big),
        // Others can be either.
        _ => None,
    }
}

/// A command that QEMU may not have.
fn optional(result: Result<Value>) -> Result<Option<Value>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn text(value: &Value, member: &str) -> Option<String> {
    Some(value.get(member)?.as_str()?.to_owned())
}
