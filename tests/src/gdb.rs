//! gdb, which reads core files.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What gdb calls the registers that `info registers` of QEMU shows, too.
pub const REGISTERS: [&str; 26] = [
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15", "rip", "eflags", "es", "cs", "ss", "ds", "fs", "gs", "fs_base", "gs_base",
];

/// Registers by gdb's names.
pub type Registers = BTreeMap<String, u64>;

/// Has gdb open a core file and carry out `commands`, and gives what it prints.
///
/// # Errors
/// It is not there, or does not like the file.
pub fn run(core: &Path, commands: &[String]) -> Result<String> {
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-nh", "-batch", "-ex", "set width 0", "-ex"]);
    gdb.arg(format!("core-file {}", core.display()));
    for command in commands {
        gdb.args(["-ex", command]);
    }
    let output = gdb
        .env("DEBUGINFOD_URLS", "")
        .output()
        .context("no gdb ('./x test' installs it, as 'apt-get install gdb' does)")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && complaints.trim().is_empty(),
        "gdb {}: {}: {complaints}",
        core.display(),
        output.status
    );
    Ok(said)
}

/// The registers of all processors of a core file.
///
/// # Errors
/// gdb does not find so many.
pub fn registers(core: &Path, cpus: u32) -> Result<Vec<Registers>> {
    let mut commands = Vec::new();
    for cpu in 1..=cpus {
        commands.push(format!("thread {cpu}"));
        for name in REGISTERS {
            commands.push(format!("printf \"@{cpu} {name} %lx\\n\", ${name}"));
        }
    }
    let mut all = vec![Registers::new(); cpus as usize];
    for line in run(core, &commands)?.lines() {
        let Some(line) = line.strip_prefix('@') else {
            continue;
        };
        let words: Vec<_> = line.split(' ').collect();
        let [cpu, name, value] = words.as_slice() else {
            continue;
        };
        let registers = all.get_mut(cpu.parse::<usize>()? - 1);
        let registers = registers.context("a processor of no such number")?;
        registers.insert((*name).to_owned(), u64::from_str_radix(value, 16)?);
    }
    Ok(all)
}

/// Memory, as gdb reads it from a core file.
///
/// # Errors
/// There is none.
pub fn memory(core: &Path, address: u64, len: u64) -> Result<Vec<u8>> {
    let scratch = tempfile::NamedTempFile::new()?;
    let path = scratch.path();
    let command = format!(
        "dump binary memory {} {address:#x} {:#x}",
        path.display(),
        address + len
    );
    run(core, &[command])?;
    Ok(std::fs::read(path)?)
}

/// What QEMU's `info registers -a` shows, under gdb's names.
///
/// # Errors
/// It does not look as expected.
pub fn of_qemu(shown: &str) -> Result<Vec<Registers>> {
    let mut all = Vec::new();
    for part in shown.split("CPU#").skip(1) {
        let mut registers = Registers::new();
        // "R8 =00" and "RIP=00", two or three in a line.
        let words = part.replace(" =", "=");
        for word in words.split_whitespace() {
            let Some((name, value)) = word.split_once('=') else {
                continue;
            };
            let name = match name.to_lowercase().as_str() {
                "rfl" | "efl" => "eflags".to_owned(),
                other => match other.strip_prefix('e') {
                    // Processors out of long mode are shown with half of each register.
                    Some(rest) if REGISTERS.contains(&format!("r{rest}").as_str()) => {
                        format!("r{rest}")
                    }
                    _ => other.to_owned(),
                },
            };
            if let (true, Ok(value)) = (
                REGISTERS.contains(&name.as_str()),
                u64::from_str_radix(value, 16),
            ) {
                registers.insert(name, value);
            }
        }
        for name in ["fs", "gs"] {
            let line = words.lines().find_map(|line| {
                let line = line.strip_prefix(&name.to_uppercase())?;
                line.strip_prefix('=')?.split_whitespace().nth(1)
            });
            let base = line.with_context(|| format!("no base of {name} in {part}"))?;
            registers.insert(format!("{name}_base"), u64::from_str_radix(base, 16)?);
        }
        if part.contains("EAX=") {
            // Processors out of long mode have no more.
            for number in 8..16 {
                registers.insert(format!("r{number}"), 0);
            }
        }
        ensure!(
            registers.len() == REGISTERS.len(),
            "{} registers in {part}",
            registers.len()
        );
        all.push(registers);
    }
    Ok(all)
}
