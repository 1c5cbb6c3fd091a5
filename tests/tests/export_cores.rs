//! What is exported, gdb and QEMU itself see as we do: registers, memory, addresses.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vmferry_tests::{Backend, CoreFile, Guest, Program, Release, Spec, Vmferry, gdb};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HIGH: u64 = 4 * GIB;

/// A guest that works with all registers, stopped, and its stream.
fn stopped(spec: &Spec) -> Result<(Guest, PathBuf)> {
    let guest = spec.start()?;
    guest.wait_for_passes(1)?;
    guest.stop()?;
    let stream = guest.folder().join("stream");
    guest.migrate_to_file(&stream)?;
    Ok((guest, stream))
}

fn export(vmferry: &Vmferry, what: &Path, format: &str, out: &Path) -> Result<Value> {
    let path = |path: &Path| path.display().to_string();
    let words = ["export", &path(what), "--format", format, "-o", &path(out)];
    vmferry.json(words)
}

fn dump(guest: &Guest) -> Result<CoreFile> {
    let path = guest.folder().join("dump");
    let protocol = format!("file:{}", path.display());
    let arguments = json!({"paging": false, "protocol": protocol});
    guest.execute("dump-guest-memory", arguments)?;
    CoreFile::open(&path)
}

#[test]
fn gdb_reads_the_registers_and_the_memory_that_qemu_shows() -> Result<()> {
    let vmferry = Vmferry::new()?;
    for release in Release::ALL {
        for machine in ["pc", "q35"] {
            let (guest, stream) = stopped(&Spec::pattern(release, machine))?;
            let core = guest.folder().join("core");
            let report = export(&vmferry, &stream, "elf", &core)?;
            ensure!(report["cpus"] == 2, "{report}");
            ensure!(report["assumptions"] == json!([]), "{report}");

            let shown = gdb::of_qemu(&guest.registers()?)?;
            let read = gdb::registers(&core, 2)?;
            ensure!(
                read == shown,
                "{release} {machine}: {read:x?} and {shown:x?}"
            );
            for address in [0, 0x10_0000, 16 * MIB, 32 * MIB - 4096, HIGH - 4096] {
                let read = gdb::memory(&core, address, 4096)?;
                let there = guest.memory(address, 4096)?;
                ensure!(read == there, "{release} {machine}: {address:#x} differs");
            }
        }
    }
    Ok(())
}

#[test]
fn a_core_file_has_the_notes_and_the_memory_of_qemus_own_dump() -> Result<()> {
    let vmferry = Vmferry::new()?;
    for release in Release::ALL {
        for machine in ["pc", "q35"] {
            let spec = Spec::pattern(release, machine).arg("-device").arg("VGA");
            let (guest, stream) = stopped(&spec)?;
            let theirs = dump(&guest)?;
            let core = guest.folder().join("core");
            export(&vmferry, &stream, "elf", &core)?;
            let ours = CoreFile::open(&core)?;
            ensure!(ours.machine == theirs.machine);
            ensure!(
                ours.notes == theirs.notes,
                "{release} {machine}: {:x?} and {:x?}",
                ours.notes,
                theirs.notes
            );

            // Theirs has a hole where the window of the VGA card is, and the card's memory, which is
            // found by the card's registers.
            let mut elsewhere = Vec::new();
            for segment in &theirs.segments {
                match ours.memory(segment.address, segment.len)? {
                    None => elsewhere.push(segment.len),
                    Some(bytes) => {
                        let there = theirs.memory(segment.address, segment.len)?;
                        ensure!(
                            Some(bytes) == there,
                            "{release} {machine}: {segment:x?} differs"
                        );
                    }
                }
            }
            ensure!(
                elsewhere == [16 * MIB],
                "{release} {machine}: {:x?}",
                theirs.segments
            );
        }
    }
    Ok(())
}

/// Before the firmware has run, QEMU writes notes of 32 bits; ours are of 64 bits always.
#[test]
fn qemus_own_note_is_the_same_before_the_processors_have_left_16_bits() -> Result<()> {
    let vmferry = Vmferry::new()?;
    for release in Release::ALL {
        let mut spec = Spec::pattern(release, "q35").paused();
        spec.program = Program::Firmware;
        let guest = spec.start()?;
        let stream = guest.folder().join("stream");
        guest.migrate_to_file(&stream)?;
        let theirs = dump(&guest)?;
        let core = guest.folder().join("core");
        export(&vmferry, &stream, "elf", &core)?;
        let ours = CoreFile::open(&core)?;
        let own = |core: &CoreFile| {
            let notes = core.notes.iter().filter(|note| note.name == "QEMU");
            notes.cloned().collect::<Vec<_>>()
        };
        ensure!(own(&ours) == own(&theirs) && own(&ours).len() == 2);
        let shown = gdb::of_qemu(&guest.registers()?)?;
        ensure!(gdb::registers(&core, 2)? == shown);
    }
    Ok(())
}

#[test]
fn a_raw_image_is_what_pmemsave_writes() -> Result<()> {
    let vmferry = Vmferry::new()?;
    for (release, machine) in [(Release::V7_2, "q35"), (Release::V10_0, "pc")] {
        let (guest, stream) = stopped(&Spec::pattern(release, machine))?;
        let raw = guest.folder().join("raw");
        export(&vmferry, &stream, "raw", &raw)?;
        // The firmware has given the first MiB back to the RAM, and there is no VGA card.
        let saved = guest.memory(0, 32 * MIB)?;
        ensure!(fs::read(&raw)? == saved, "{release} {machine}");

        // The same as LiME has it, behind its header.
        let lime = guest.folder().join("lime");
        export(&vmferry, &stream, "lime", &lime)?;
        ensure!(fs::read(&lime)?[32..] == saved, "{release} {machine}");
    }
    Ok(())
}

/// A guest with memory that says where it is, on both sides of the split, at its end and at the borders
/// of its nodes; and what QEMU itself says of it.
fn memory_lies_where_qemu_has_it(mut spec: Spec, marks: &[u64], words: &[&str]) -> Result<Value> {
    let vmferry = Vmferry::new()?;
    let folder = tempfile::tempdir()?;
    for mark in marks {
        let path = folder.path().join(format!("{mark:x}"));
        let words = (0..512_u64).flat_map(|word| (mark + word * 8).to_le_bytes());
        fs::write(&path, words.collect::<Vec<_>>())?;
        let loader = format!("loader,file={},addr={mark:#x},force-raw=on", path.display());
        spec = spec.arg("-device").arg(loader);
    }
    let guest = spec.start()?;
    let stream = guest.folder().join("stream");
    guest.migrate_to_file(&stream)?;
    let raw = guest.folder().join("raw");
    let paths = [&stream, &raw].map(|path| path.display().to_string());
    let all = ["export", &paths[0], "--format", "raw", "-o", &paths[1]];
    let report = vmferry.json([&all, words].concat())?;
    let file = File::open(&raw)?;
    let told = format!("{}, {}", spec.release, spec.machine);
    for mark in marks {
        let (from, len) = (mark - 8192, 3 * 4096);
        let mut ours = vec![0; 3 * 4096];
        file.read_exact_at(&mut ours, from)?;
        ensure!(
            ours == guest.memory(from, len)?,
            "{told}: {mark:#x} differs"
        );
        ensure!(
            ours[8192..8200] == mark.to_le_bytes(),
            "{told}: {mark:#x} is not marked"
        );
    }
    // Six GiB of which a few pages are not zero.
    ensure!(
        file.metadata()?.blocks() * 512 < 8 * MIB,
        "{told}: it is not sparse"
    );
    Ok(report)
}

fn firmware(release: Release, machine: &str, mib: u32) -> Spec {
    let mut spec = Spec::pattern(release, machine)
        .memory(mib, Backend::Anonymous)
        .paused();
    spec.program = Program::Firmware;
    spec
}

#[test]
fn memory_above_4_gib_lies_where_qemu_has_it() -> Result<()> {
    for release in Release::ALL {
        for (machine, below) in [("pc", 3 * GIB), ("q35", 2 * GIB)] {
            // 6 GiB: the last page below the split, the first above, the last of all.
            let end = HIGH + 6 * GIB - below;
            let marks = [2 * MIB, below - 4096, HIGH + 8192, end - 4096];
            let spec = firmware(release, machine, 6144);
            let report = memory_lies_where_qemu_has_it(spec, &marks, &[])?;
            ensure!(report["assumptions"] == json!([]), "{report}");
            ensure!(report["bytes"] == end, "{report}");
        }
    }
    Ok(())
}

#[test]
fn a_split_that_no_rule_knows_is_read_from_the_clock() -> Result<()> {
    for release in Release::ALL {
        let spec = firmware(release, "q35,max-ram-below-4g=1G", 2048);
        let marks = [GIB - 4096, HIGH + 8192, HIGH + GIB - 4096];
        let report = memory_lies_where_qemu_has_it(spec, &marks, &[])?;
        let assumption = report["assumptions"][0].as_str().context("none")?;
        ensure!(
            assumption.starts_with("1 GiB of RAM lie below 4 GiB"),
            "{assumption}"
        );
    }
    Ok(())
}

#[test]
fn numa_nodes_lie_where_qemu_has_them() -> Result<()> {
    for release in Release::ALL {
        // The stream lists the larger one first.
        let spec = with(
            firmware(release, "q35", 4096),
            &[
                ["-object", "memory-backend-ram,id=mem0,size=1G"],
                ["-object", "memory-backend-ram,id=mem1,size=3G"],
                ["-numa", "node,memdev=mem0"],
                ["-numa", "node,memdev=mem1"],
            ],
        );
        let marks = [
            GIB - 4096,
            GIB + 8192,
            2 * GIB - 4096,
            HIGH + 8192,
            HIGH + 2 * GIB - 4096,
        ];
        let report = memory_lies_where_qemu_has_it(spec, &marks, &[])?;
        let assumption = report["assumptions"][0].as_str().context("none")?;
        ensure!(
            assumption.contains("'mem0' (1 GiB), 'mem1' (3 GiB)"),
            "{assumption}"
        );

        // Names that are in no order, and what a person says of them.
        let spec = with(
            firmware(release, "pc", 96),
            &[
                ["-object", "memory-backend-ram,id=b,size=32M"],
                ["-object", "memory-backend-ram,id=a,size=64M"],
                ["-numa", "node,memdev=b"],
                ["-numa", "node,memdev=a"],
            ],
        );
        let marks = [32 * MIB - 4096, 32 * MIB + 8192, 96 * MIB - 4096];
        memory_lies_where_qemu_has_it(spec, &marks, &["--ram", "b,a"])?;
    }
    Ok(())
}

#[test]
fn a_dimm_is_left_out_unless_somebody_says_where_it_lies() -> Result<()> {
    for (release, machine, dimm) in [
        (Release::V7_2, "pc", HIGH + GIB),
        (Release::V10_0, "q35", HIGH + 2 * GIB),
    ] {
        let mut spec = firmware(release, machine, 4096);
        spec.backend = Backend::SharedMemfd;
        let spec = with(
            spec,
            &[
                ["-m", "4G,slots=2,maxmem=16G"],
                ["-object", "memory-backend-ram,id=dimm0,size=1G"],
                ["-device", "pc-dimm,memdev=dimm0"],
            ],
        );
        let marks = [2 * MIB, dimm - 4096];
        let report = memory_lies_where_qemu_has_it(spec.clone(), &marks, &[])?;
        ensure!(report["bytes"] == dimm, "{report}");
        let assumption = report["assumptions"][0].as_str().context("none")?;
        ensure!(
            assumption.starts_with("RAM block 'dimm0' (1 GiB) is left out"),
            "{assumption}"
        );

        let marks = [2 * MIB, dimm + 8192, dimm + GIB - 4096];
        let place = format!("dimm0@{dimm:#x}");
        let report = memory_lies_where_qemu_has_it(spec, &marks, &["--place", &place])?;
        ensure!(report["assumptions"] == json!([]), "{report}");
    }
    Ok(())
}

fn with(spec: Spec, words: &[[&str; 2]]) -> Spec {
    words.iter().flatten().copied().fold(spec, Spec::arg)
}
