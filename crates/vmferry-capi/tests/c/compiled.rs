//! Programs in C, with the library that was built along with these tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// How a program gets the library.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Linked {
    Statically,
    Dynamically,
}

/// What the original's programs are compiled with.
const FLAGS: &[&str] = &[
    "-std=gnu11",
    "-O1",
    "-fno-strict-aliasing",
    "-fwrapv",
    "-fno-common",
    "-Werror",
    "-Wall",
    "-Wno-sign-compare",
    "-Wno-unused-result",
    "-Wno-unused-variable",
    "-Wno-unused-but-set-variable",
];

/// What a program needs that has a Rust library in it.
const NATIVE: &[&str] = &["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl"];

pub(crate) fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder with our own header.
pub(crate) fn our_header() -> PathBuf {
    package().join("include")
}

/// The folder with the original's headers.
pub(crate) fn original_headers() -> PathBuf {
    package().join("seed/include")
}

/// The folder with the libraries: that of this test, which cargo builds them next to.
pub(crate) fn libraries() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().to_owned()
}

fn compiler() -> Command {
    let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    compiler.args(FLAGS);
    compiler
}

fn succeeded(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; './x setup' installs what is missing")
    });
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{text}",
        output.status
    );
    output
}

/// Compiles `source` without linking it; the headers are looked for in `headers`, the first one first.
pub(crate) fn compile_only(source: &Path, headers: &[PathBuf]) {
    let mut compiler = compiler();
    for folder in headers {
        compiler.arg("-I").arg(folder);
    }
    succeeded(compiler.args(["-fsyntax-only"]).arg(source));
}

/// Compiles the original's `sources` unchanged, with its own headers behind ours if `ours` says so, and
/// links them with our library.
pub(crate) fn original_program(
    folder: &Path,
    sources: &[&str],
    linked: Linked,
    ours: bool,
) -> PathBuf {
    let program = folder.join(format!("{}-{linked:?}-{ours}", sources[0]));
    let mut compiler = compiler();
    if ours {
        compiler.arg("-I").arg(our_header());
    }
    compiler.arg("-I").arg(original_headers());
    for source in sources {
        compiler.arg(package().join("seed").join(source));
    }
    match linked {
        Linked::Statically => compiler.arg(libraries().join("libvmferry_capi.a")),
        Linked::Dynamically => compiler.arg(libraries().join("libvmferry_capi.so")),
    };
    compiler.arg("-o").arg(&program).arg("-lz").args(NATIVE);
    succeeded(&mut compiler);
    program
}

/// Runs `program` to its end, and tells what it has printed.
pub(crate) fn run(program: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).env("LD_LIBRARY_PATH", libraries());
    let output = succeeded(&mut command);
    // Probes print bytes of streams, too.
    String::from_utf8_lossy(&output.stdout).into_owned()
}
