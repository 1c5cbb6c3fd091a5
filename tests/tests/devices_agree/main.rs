//! What `vmferry inspect --device` says of a stopped guest is what QEMU itself says of it; and `verify` and
//! `diff` know it from itself.

mod told;

use std::cell::RefCell;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use told::{Told, bytes, hex, number, said, u64_of};
use vmferry_tests::{Guest, Release, Spec, Vmferry};

/// The general registers in the order of the processor's own numbers, and the segments.
const GENERAL: [&str; 16] = [
    "RAX=", "RCX=", "RDX=", "RBX=", "RSP=", "RBP=", "RSI=", "RDI=", "R8 =", "R9 =", "R10=", "R11=",
    "R12=", "R13=", "R14=", "R15=",
];
const SEGMENTS: [&str; 6] = ["ES =", "CS =", "SS =", "DS =", "FS =", "GS ="];

fn processor(told: &Told<'_>, instance: usize, text: &str) -> Result<()> {
    let cpu = told.device(&format!("cpu:{instance}"))?;
    let one = |name: &str, path: &str| -> Result<()> {
        told.agree(path, number(&cpu, path)?, hex(said(text, name)?)?);
        Ok(())
    };
    for (at, name) in GENERAL.iter().enumerate() {
        one(name, &format!("env.regs[{at}]"))?;
    }
    one("RIP=", "env.eip")?;
    one("RFL=", "env.eflags")?;
    one("EFER=", "env.efer")?;
    one("FCW=", "env.fpuc")?;
    one("FSW=", "env.fpus_vmstate")?;
    one("MXCSR=", "env.mxcsr")?;
    for register in [0, 2, 3, 4] {
        one(&format!("CR{register}="), &format!("env.cr[{register}]"))?;
    }
    for register in [0, 1, 2, 3, 6, 7] {
        one(&format!("DR{register}="), &format!("env.dr[{register}]"))?;
    }
    let segments = (0..).map(|at| format!("env.segs[{at}]")).zip(SEGMENTS);
    let others = [
        ("env.ldt".to_owned(), "LDT="),
        ("env.tr".to_owned(), "TR ="),
    ];
    for (path, name) in segments.chain(others) {
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .context(name)?;
        let words: Vec<_> = line[name.len()..].split_whitespace().collect();
        let parts = ["selector", "base", "limit", "flags"];
        for (part, word) in parts.iter().zip(words) {
            let path = format!("{path}.{part}");
            let ours = number(&cpu, &path)?;
            // QEMU does not print the lowest byte, which in a descriptor belongs to the base.
            let ours = if *part == "flags" { ours & !0xff } else { ours };
            told.agree(&path, ours, hex(word)?);
        }
    }
    for (path, name) in [("env.gdt", "GDT="), ("env.idt", "IDT=")] {
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .context(name)?;
        let words: Vec<_> = line[name.len()..].split_whitespace().collect();
        for (part, word) in ["base", "limit"].iter().zip(words) {
            let path = format!("{path}.{part}");
            told.agree(&path, number(&cpu, &path)?, hex(word)?);
        }
    }
    for register in 0..16 {
        let name = format!("XMM{register:02}=");
        let at = text.find(&name).context(name.clone())? + name.len();
        let mut words = text[at..].split_whitespace();
        let mut pair = || hex(words.next().unwrap_or_default());
        let (high, low) = (pair()?, pair()?);
        for (half, said) in [(1, high), (0, low)] {
            let path = format!("env.xmm_regs[0][{register}]._q_ZMMReg[{half}]");
            told.agree(&path, number(&cpu, &path)?, said);
        }
    }
    let common = told.device(&format!("cpu_common:{instance}"))?;
    told.agree(
        "halted",
        number(&common, "halted")?,
        hex(said(text, "HLT=")?)?,
    );
    Ok(())
}

fn interrupt_controllers(told: &Told<'_>, guest: &Guest) -> Result<()> {
    let text = guest.qmp().human("info pic")?;
    for instance in [0, 1] {
        let device = told.device(&format!("i8259:{instance}"))?;
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("pic{instance}:")));
        let line = line.with_context(|| text.clone())?;
        for (path, name) in [
            ("irr", "irr="),
            ("imr", "imr="),
            ("isr", "isr="),
            ("irq_base", "irq_base="),
            ("read_reg_select", "rr_sel="),
            ("elcr", "elcr="),
            ("special_fully_nested_mode", "fnm="),
        ] {
            let what = format!("i8259:{instance} {path}");
            told.agree(&what, number(&device, path)?, hex(said(line, name)?)?);
        }
    }
    let device = told.device("ioapic")?;
    for pin in 0..24 {
        let path = format!("ioredtbl[{pin}]");
        let entry = hex(said(&text, &format!("pin {pin} "))?)?;
        told.agree(&path, number(&device, &path)?, entry);
    }
    Ok(())
}

fn local_interrupt_controllers(told: &Told<'_>, guest: &Guest) -> Result<()> {
    for instance in [0, 1] {
        let text = guest.qmp().human(&format!("info lapic {instance}"))?;
        let device = told.device(&format!("apic:{instance}"))?;
        // The table in the order of its registers.
        let table = ["LVTT", "LVTTHMR", "LVTPC", "LVT0", "LVT1", "LVTERR"];
        let table = (0..).map(|at| format!("lvt[{at}]")).zip(table);
        let others = [
            ("spurious_vec", "SPIV"),
            ("icr[0]", "ICR"),
            ("esr", "ESR"),
            ("divide_conf", "DCR="),
            ("tpr", "TPR"),
        ];
        let others = others.map(|(path, name)| (path.to_owned(), name));
        for (path, name) in table.chain(others) {
            let mut words = text.split_whitespace();
            let value = match name.strip_suffix('=') {
                Some(_) => said(&text, name)?,
                None => words
                    .find(|word| *word == name)
                    .and_then(|_| words.next())
                    .with_context(|| format!("no {name} in {text}"))?,
            };
            let what = format!("apic:{instance} {path}");
            told.agree(&what, number(&device, &path)?, hex(value)?);
        }
        let initial: u64 = said(&text, "initial_count =")?.parse()?;
        told.agree("initial_count", number(&device, "initial_count")?, initial);
    }
    Ok(())
}

/// The clock of the guest stands still with it (`-rtc clock=vm`).
fn clock(told: &Told<'_>, guest: &Guest) -> Result<()> {
    let arguments = json!({"path": "/machine", "property": "rtc-time"});
    let time = guest.execute("qom-get", arguments)?;
    let cmos = bytes(&told.device("mc146818rtc")?, "cmos_data")?;
    let at = |register: usize| -> Result<u64> {
        let value = u64::from(*cmos.get(register).context("a short CMOS")?);
        // Decimal digits, unless register B says otherwise.
        Ok(match cmos[0x0b] & 4 {
            0 => (value >> 4) * 10 + (value & 15),
            _ => value,
        })
    };
    let century = at(0x32)? * 100;
    for (register, name, add, offset) in [
        (0, "tm_sec", 0, 0),
        (2, "tm_min", 0, 0),
        (4, "tm_hour", 0, 0),
        (7, "tm_mday", 0, 0),
        (8, "tm_mon", 0, 1),
        (9, "tm_year", century, 1900),
    ] {
        let said = time[name].as_u64().with_context(|| time.to_string())?;
        told.agree(name, at(register)? + add, said + offset);
    }
    Ok(())
}

/// The timer's status, as the guest would read it; that ends the comparison, for it changes the timer.
fn interval_timer(told: &Told<'_>, guest: &Guest) -> Result<()> {
    let device = told.device("i8254")?;
    for channel in [0_u64, 2] {
        let read_back = 0xe0 | 2 << channel;
        guest.qmp().human(&format!("o /b 0x43 {read_back:#x}"))?;
        let text = guest.qmp().human(&format!("i /b {:#x}", 0x40 + channel))?;
        let status = text.rsplit('=').next().unwrap_or_default();
        let status = hex(status.trim())?;
        let part = |name: &str| number(&device, &format!("channels[{channel}].{name}"));
        let expected = part("rw_mode")? << 4 | part("mode")? << 1 | part("bcd")?;
        // The highest bits are those of its output and of a count that was not taken yet.
        told.agree(&format!("channel {channel}"), expected, status & 0x3f);
    }
    Ok(())
}

/// Whether a field holds a device's configuration registers: 256 or 4096 bytes of them.
fn is_config(path: &str) -> bool {
    let name = path.rsplit('.').next();
    matches!(name, Some("config[0]" | "config[1]"))
}

/// The configuration registers of each device of bus 0.
fn pci(told: &Told<'_>, guest: &Guest) -> Result<()> {
    let stream = told.stream.to_str().context("a path")?;
    let listed = told.vmferry.json(["inspect", stream, "--devices"])?;
    let listed = listed["devices"].as_array().cloned().unwrap_or_default();
    let buses = guest.execute("query-pci", Value::Null)?;
    let devices = buses[0]["devices"].as_array().context("devices")?;
    let mut compared = 0;
    for device in devices {
        let place = format!(
            "0000:00:{:02x}.{}/",
            u64_of(device, "slot")?,
            device["function"]
        );
        let is_it = |one: &&Value| one["idstr"].as_str().is_some_and(|n| n.starts_with(&place));
        let Some(section) = listed.iter().find(is_it) else {
            continue;
        };
        let idstr = section["idstr"].as_str().context("a name")?;
        let values = told.device(idstr)?;
        let config = match values.keys().find(|path| is_config(path)) {
            Some(path) => bytes(&values, path)?,
            // A device of virtio begins with its version, and then its configuration.
            None => bytes(&values, "virtio")?.split_off(4),
        };
        let word = |at: usize| -> Result<u64> {
            let word = config.get(at..at + 4).context("short")?;
            Ok(word
                .iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
        };
        let check = |what: &str, ours, said| told.agree(&format!("{idstr} {what}"), ours, said);
        let id = &device["id"];
        check("vendor", word(0)? & 0xffff, u64_of(id, "vendor")?);
        check("device", word(0)? >> 16, u64_of(id, "device")?);
        check("subsystem", word(0x2c)? >> 16, u64_of(id, "subsystem")?);
        check(
            "class",
            word(8)? >> 16,
            u64_of(&device["class_info"], "class")?,
        );
        check("pin", word(0x3c)? >> 8 & 0xff, u64_of(device, "irq_pin")?);
        if let Some(irq) = device["irq"].as_u64() {
            check("irq", word(0x3c)? & 0xff, irq);
        }
        for region in device["regions"].as_array().context("regions")? {
            // One that is switched off has no address.
            let (Some(bar @ 0..6), Some(address)) =
                (region["bar"].as_u64(), region["address"].as_u64())
            else {
                continue;
            };
            let at = 0x10 + 4 * usize::try_from(bar)?;
            let mut told = word(at)? & if region["type"] == "io" { !3 } else { !15 };
            if region["mem_type_64"] == true {
                told |= word(at + 4)? << 32;
            }
            check(&format!("region {bar}"), told, address);
        }
        compared += 1;
    }
    ensure!(compared >= 4, "only {compared} devices were compared");
    Ok(())
}

/// What was saved is sound. A guest that did not run since is the same, whatever it was saved as; and one that did
/// is not.
fn verify_and_diff(vmferry: &Vmferry, spec: &Spec, stream: &Path) -> Result<()> {
    let restored = spec.restore(stream)?;
    let stream = stream.to_str().context("a path")?;
    vmferry.save(&restored, "again", "stop")?;
    for what in [stream, "again"] {
        let verified = vmferry.json(["verify", what])?;
        ensure!(verified["sound"] == true, "{verified}");
    }
    let told = |status| -> Result<Value> {
        let ended = vmferry.run(["--json", "diff", "--pages", stream, "again"])?;
        ensure!(ended.status.code() != Some(2), "{}", ended.stderr);
        let told: Value = serde_json::from_str(&ended.stdout)?;
        ensure!(ended.status.code() == status || status.is_none(), "{told}");
        Ok(told)
    };
    let same = told(None)?;
    let memory = &same["memory"];
    ensure!(memory["same_pages"].as_u64() > Some(8000), "{memory}");
    for count in ["changed_pages", "newly_used_pages", "newly_zero_pages"] {
        ensure!(memory[count] == 0, "{memory}");
    }
    for device in same["devices"]["changed"].as_array().context("devices")? {
        let fields = device["fields"].as_array().context("fields")?;
        let register = |field: &Value| {
            field["path"]
                .as_str()
                .is_some_and(|p| p.starts_with("env.regs"))
        };
        ensure!(!fields.iter().any(register), "{device}");
    }
    restored.cont()?;
    restored.wait_for_passes(1)?;
    vmferry.save(&restored, "again", "stop")?;
    let other = told(Some(1))?;
    ensure!(
        other["memory"]["changed_pages"].as_u64() > Some(0),
        "{}",
        other["memory"]
    );
    let changed = other["devices"]["changed"].as_array().context("devices")?;
    let is_cpu = |device: &Value| device["idstr"] == "cpu";
    ensure!(changed.iter().any(is_cpu), "{}", other["devices"]);
    Ok(())
}

fn agrees(release: Release, machine: &str) -> Result<()> {
    let vmferry = Vmferry::new()?;
    let spec = Spec::pattern(release, machine)
        .arg("-rtc")
        .arg("clock=vm")
        .arg("-device")
        .arg("e1000");
    let guest = spec.start()?;
    guest.wait_for_passes(2)?;
    guest.stop()?;
    let registers = guest.registers()?;
    let stream = guest.folder().join("stream");
    guest.migrate_to_file(&stream)?;
    let told = Told {
        vmferry: &vmferry,
        stream: &stream,
        wrong: RefCell::default(),
    };
    let mut processors = registers.split("CPU#").skip(1);
    for instance in [0, 1] {
        let Some(text) = processors.next() else {
            bail!("no processor {instance} in {registers}");
        };
        processor(&told, instance, text).with_context(|| text.to_owned())?;
    }
    interrupt_controllers(&told, &guest)?;
    local_interrupt_controllers(&told, &guest)?;
    clock(&told, &guest)?;
    pci(&told, &guest)?;
    let whole = vmferry.json(["inspect", stream.to_str().context("a path")?])?;
    ensure!(
        whole["run_state"] == "paused" && whole["whole"] == true,
        "{whole}"
    );
    interval_timer(&told, &guest)?;
    let wrong = told.wrong.take();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    verify_and_diff(&vmferry, &spec, &stream)
}

#[test]
fn inspect_says_of_a_q35_machine_of_10_0_what_qemu_says() -> Result<()> {
    agrees(Release::V10_0, "q35")
}

#[test]
fn inspect_says_of_a_pc_machine_of_10_0_what_qemu_says() -> Result<()> {
    agrees(Release::V10_0, "pc")
}

#[test]
fn inspect_says_of_a_q35_machine_of_7_2_what_qemu_says() -> Result<()> {
    agrees(Release::V7_2, "q35")
}

#[test]
fn inspect_says_of_a_pc_machine_of_7_2_what_qemu_says() -> Result<()> {
    agrees(Release::V7_2, "pc")
}
