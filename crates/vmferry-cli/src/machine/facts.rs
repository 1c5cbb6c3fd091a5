//! What the monitor says of the machine.

use serde_json::{Value, json};
use vmferry::ram::RamBlocks;
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

/// The size in bytes of the host pages behind each of `blocks`, as this QEMU has them.
///
/// # Errors
/// The monitor does not answer.
pub fn host_page_sizes(client: &Client, blocks: &RamBlocks, base: u64) -> Result<Vec<u64>> {
    let listing = client.human("info ramblock")?;
    let size = |idstr: &str| {
        listing
            .lines()
            .find_map(|line| page_size_of(line, idstr))
            .unwrap_or(base)
    };
    Ok(blocks.iter().map(|(_, block)| size(&block.idstr)).collect())
}

/// From a line like `  pc.ram    4 KiB  0x0000000000000000 …`.
fn page_size_of(line: &str, idstr: &str) -> Option<u64> {
    let mut words = line.trim_start().strip_prefix(idstr)?.split_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    let unit = match words.next()? {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

fn endianness(architecture: &str) -> Option<Endianness> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_are_read_from_the_listing_of_qemu() {
        let line = "                mem0      2 MiB  0x0000000000000000 0x0000000004000000";
        assert_eq!(page_size_of(line, "mem0"), Some(2 << 20));
        assert_eq!(page_size_of(line, "mem"), None);
        let line = "   /rom@etc/acpi/tables    4 KiB  0x0000000004080000 0x0000000000020000";
        assert_eq!(page_size_of(line, "/rom@etc/acpi/tables"), Some(4096));
        assert_eq!(page_size_of("   Block Name    PSize", "Block"), None);
    }
}
