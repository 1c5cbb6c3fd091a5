//! Builds the guests' own programs with the machine's C compiler.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const GUEST_FLAGS: &[&str] = &[
    "-std=gnu11",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-m64",
    "-ffreestanding",
    "-nostdlib",
    "-static",
    "-fno-pic",
    "-fno-pie",
    "-no-pie",
    "-mno-red-zone",
    "-mgeneral-regs-only", // an interrupt must not touch the patterns in SSE registers
    "-fno-stack-protector",
    "-fcf-protection=none",
    "-fno-asynchronous-unwind-tables",
    "-Wl,--build-id=none",
    "-Wl,-z,noexecstack",
    "-Wl,--no-warn-rwx-segments",
];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names the folder"));
    pattern_guest(&out);
    firmware(&out, "writes", &[]);
    firmware(&out, "halts", &["-DHALTS"]);
    linux_worker(&out);
}

/// A flat image of 64 KiB, as `-bios` takes it.
fn firmware(out: &Path, name: &str, flags: &[&str]) {
    let source = "guest/firmware/firmware.S";
    println!("cargo::rerun-if-changed={source}");
    let object = out.join(format!("{name}.elf"));
    let mut cc = Command::new("cc");
    cc.args([
        "-m32",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,-Ttext=0",
    ]);
    cc.args(flags).arg(source).arg("-o").arg(&object);
    run(&mut cc);
    let mut objcopy = Command::new("objcopy");
    objcopy.args(["-O", "binary", "-j", ".text"]).arg(object);
    run(objcopy.arg(out.join(format!("{name}.bin"))));
}

fn linux_worker(out: &Path) {
    println!("cargo::rerun-if-changed=guest/linux");
    let mut cc = Command::new("cc");
    cc.args([
        "-std=gnu11",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-static",
        "-s",
    ]);
    cc.arg("guest/linux/worker.c").arg("-o");
    run(cc.arg(out.join("worker")));
}

fn pattern_guest(out: &Path) {
    let source = Path::new("guest/pattern");
    println!("cargo::rerun-if-changed={}", source.display());
    let long = out.join("pattern64.elf");
    let mut cc = Command::new("cc");
    cc.args(GUEST_FLAGS)
        .arg("-Wl,-T")
        .arg(source.join("link.ld"));
    cc.args(sources(source)).arg("-o").arg(&long);
    run(&mut cc);
    // QEMU's multiboot loader takes no 64-bit file, whatever is in it.
    let mut objcopy = Command::new("objcopy");
    objcopy.args(["-O", "elf32-i386"]).arg(long);
    run(objcopy.arg(out.join("pattern.elf")));
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the guest's sources are there");
    let mut sources: Vec<_> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    sources.retain(|path| path.extension().is_some_and(|e| e == "c" || e == "S"));
    sources.sort();
    sources
}

fn run(command: &mut Command) {
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{command:?}: {status}"),
        Err(error) => panic!("cannot run {command:?} ({error}): ./x setup installs what it takes"),
    }
}
