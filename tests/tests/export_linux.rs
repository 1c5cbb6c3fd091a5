//! A Linux guest tells its `vmcoreinfo` device where debuggers find its kernel, and they find it in a core file of
//! ours.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use vmferry_tests::{CoreFile, Release, Spec, Vmferry, makedumpfile};

#[test]
fn debuggers_find_the_guests_kernel_by_the_note_that_qemus_own_dump_has_too() -> Result<()> {
    let vmferry = Vmferry::new()?;
    for (release, machine) in [(Release::V7_2, "pc"), (Release::V10_0, "q35")] {
        let spec = Spec::linux(release, machine);
        let guest = spec.arg("-device").arg("vmcoreinfo").start()?;
        guest.wait_until_filled()?;
        guest.stop()?;
        let [stream, core, dump] = ["stream", "core", "dump"].map(|name| guest.folder().join(name));
        guest.migrate_to_file(&stream)?;
        let paths = [&stream, &core].map(|path| path.display().to_string());
        let report = vmferry.json(["export", &paths[0], "--format", "elf", "-o", &paths[1]])?;
        ensure!(report["assumptions"] == json!([]), "{report}");
        let protocol = format!("file:{}", dump.display());
        let arguments = json!({"paging": false, "protocol": protocol});
        guest.execute("dump-guest-memory", arguments)?;

        let (ours, theirs) = (CoreFile::open(&core)?, CoreFile::open(&dump)?);
        ensure!(ours.notes == theirs.notes, "{release} {machine}");
        let note = ours.notes.iter().find(|note| note.name == "VMCOREINFO");
        let note = note.context("the guest gave no note")?;
        let text = String::from_utf8_lossy(&note.content);
        ensure!(text.starts_with("OSRELEASE=6."), "{text}");

        // With the note alone, without the kernel's symbols. It opens no core file of these QEMUs' own.
        let log = makedumpfile::kernel_log(&core)?;
        let version = text.lines().next().and_then(|line| line.split_once('='));
        let (_, version) = version.context("the note names no version")?;
        for said in [&format!("Linux version {version} "), "fill=64 check=1"] {
            ensure!(
                log.contains(said),
                "{release} {machine}: no '{said}' in {log}"
            );
        }
    }
    Ok(())
}
