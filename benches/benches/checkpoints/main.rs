//! Checkpoints of real guests beside what QEMU does by itself: saving, restoring, restoring lazily.
//!
//! `cargo bench -p vmferry-benches --bench checkpoints -- [lazy] [save [snapshot] [stop] [live]] [restore] [--quick]`
//!
//! What each figure means is told in the output, which is what `benches/record/` keeps.

mod lazy;
mod restore;
mod save;
mod way;

use anyhow::{Result, bail};
use vmferry_tests::{Backend, Program, Qemu, Release, Spec};
use way::Mode;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Scale {
    /// The guest's memory in MiB.
    memory_mib: u32,
    /// How much of it the guest fills, in MiB.
    fill_mib: u32,
    /// How often each peer has its turn.
    rounds: usize,
}

impl Scale {
    const FULL: Self = Self {
        memory_mib: 1024,
        fill_mib: 512,
        rounds: 5,
    };
    const QUICK: Self = Self {
        memory_mib: 512,
        fill_mib: 64,
        rounds: 2,
    };

    /// The benchmark guest: Linux, its memory half noise, half text that compresses about 3 to 1.
    fn guest(self, release: Release, backend: Backend) -> Spec {
        let mut spec = Spec::linux(release, "q35").memory(self.memory_mib, backend);
        if let Program::Linux(linux) = &mut spec.program {
            linux.fill_mib = self.fill_mib;
            // Its checks would be work of their own.
            linux.check = false;
        }
        spec
    }
}

fn main() -> Result<()> {
    let mut scale = Scale::FULL;
    let mut parts = Vec::new();
    let mut modes = Vec::new();
    for word in std::env::args().skip(1) {
        match word.as_str() {
            // What `cargo bench` adds.
            "--bench" => {}
            "--quick" => scale = Scale::QUICK,
            "lazy" | "save" | "restore" => parts.push(word),
            "snapshot" => modes.push(Mode::Snapshot),
            "stop" => modes.push(Mode::Stop),
            "live" => modes.push(Mode::Live),
            _ => bail!(
                "'{word}' is not a part of this benchmark: lazy, save (snapshot, stop, live), restore, --quick"
            ),
        }
    }
    println!("{}", vmferry_benches::describe());
    for release in Release::ALL {
        println!("QEMU {release}: {}", Qemu::get(release)?.system().display());
    }
    println!(
        "guest: Linux under TCG, 2 CPUs, {} MiB, {} MiB of them filled, half noise, half text; {} rounds in \
         turns, median (least to most)",
        scale.memory_mib, scale.fill_mib, scale.rounds
    );
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    if wanted("lazy") {
        lazy::run(scale)?;
    }
    if wanted("restore") {
        restore::run(scale)?;
    }
    if wanted("save") {
        if modes.is_empty() {
            modes.extend(Mode::ALL);
        }
        save::run(scale, &modes)?;
    }
    Ok(())
}
