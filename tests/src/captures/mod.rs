//! The golden streams of `testdata/streams`, and what they come wrapped in (`testdata/containers`): how each is made, by
//! real QEMUs and libvirts, and making them.
//!
//! A capture is some files: `RELEASE-NAME.PART.zst`. What the part is depends on the [`Way`]:
//!
//! | part | what it holds |
//! |---|---|
//! | `stream` | a stream that one pass reads |
//! | `mapped` | a mapped-ram file from its very beginning |
//! | `main`, `0`, `1`, … | the main channel, and multifd's channels by their ids |
//! | `main`, `back`, `preempt` | postcopy's main channel, what the destination answered, the channel of urgent pages |
//! | `main2`, `back2` | the same after a network that failed |
//! | `qcow2` | a disk image with snapshots inside |
//!
//! `./x testdata` makes those that are missing; the others keep their bytes, because tests and documents quote
//! them.

mod table;
mod take;
mod wrapped;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{Release, Target, cache, pattern};

pub use table::CAPTURES;
pub use wrapped::{WRAPPED, Wrapped};

/// What goes behind `-bios`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// 64 KiB that stop the processor.
    Halts,
    /// 64 KiB that fill the memory with pages of every kind, and go on to change some.
    Writes,
    /// QEMU's own, until it finds nothing to start.
    SeaBios,
    /// That of another target, which has not run.
    Other,
}

/// When the guest is migrated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// With `-S`: it has never run.
    Unborn,
    /// After it has run.
    Stopped,
    /// While it runs, in several rounds, where there can be any.
    Running,
}

/// Where to, and what is kept of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `exec:cat > FILE`
    Stream,
    /// `file:FILE,offset=…`
    Mapped(u64),
    /// To a destination on several channels.
    Multifd,
    /// To a destination that runs before it has its memory.
    Postcopy,
    /// The same, of which nothing but the main channel is kept.
    PostcopyAlone,
    /// The same, with a network that fails on the way.
    PostcopyRecovered,
    /// `savevm`, twice, into its disk.
    Savevm,
}

/// How a golden stream is made.
#[derive(Debug, Clone, Copy)]
pub struct Capture {
    /// Its name behind the release.
    pub name: &'static str,
    /// By which QEMUs.
    pub releases: &'static [Release],
    /// What they emulate.
    pub target: Target,
    /// The machine type, with its properties.
    pub machine: &'static str,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Processors.
    pub cpus: u32,
    /// What the guest runs.
    pub firmware: Firmware,
    /// More of QEMU's command line. `FOLDER` in it is a folder for the guest's files.
    pub arguments: &'static [&'static str],
    /// Monitor commands before anything else, with their arguments.
    pub before: &'static [(&'static str, &'static str)],
    /// Capabilities, on both sides.
    pub capabilities: &'static [&'static str],
    /// Parameters, on both sides, as JSON.
    pub parameters: &'static str,
    /// When it is migrated.
    pub when: When,
    /// Where to.
    pub way: Way,
    /// What it shows that others do not.
    pub why: &'static str,
}

/// A machine of 1 MiB that has never run, as a plain stream of both versions.
const PLAIN: Capture = Capture {
    name: "",
    releases: &Release::ALL,
    target: Target::X86_64,
    machine: "q35",
    memory_mib: 1,
    cpus: 1,
    firmware: Firmware::Halts,
    arguments: &[],
    before: &[],
    capabilities: &[],
    parameters: "{}",
    when: When::Unborn,
    way: Way::Stream,
    why: "",
};

impl Capture {
    /// The parts that it consists of.
    pub fn parts(&self) -> Vec<String> {
        let parts: &[&str] = match self.way {
            Way::Stream | Way::PostcopyAlone => &["stream"],
            Way::Mapped(_) => &["mapped"],
            Way::Multifd => &["main", "0", "1"],
            Way::Postcopy if self.capabilities.contains(&"postcopy-preempt") => {
                &["main", "back", "preempt"]
            }
            Way::Postcopy => &["main", "back"],
            Way::PostcopyRecovered => &["main", "back", "main2", "back2"],
            Way::Savevm => &["qcow2"],
        };
        parts.iter().map(|part| (*part).to_owned()).collect()
    }

    /// The name of one part's file.
    pub fn file(&self, release: Release, part: &str) -> String {
        format!("{release}-{}.{part}.zst", self.name)
    }

    /// Whether all files of it are in a folder.
    pub fn is_in(&self, folder: &Path, release: Release) -> bool {
        let mut parts = self.parts().into_iter();
        parts.all(|part| folder.join(self.file(release, &part)).exists())
    }

    /// Its row in `testdata/README.md`.
    pub fn row(&self) -> String {
        let versions: Vec<_> = self.releases.iter().map(Release::to_string).collect();
        format!(
            "| `{}` | {} | `{}` | {} | {} |",
            self.name,
            versions.join(", "),
            self.command_line(),
            self.migration(),
            self.why
        )
    }

    fn command_line(&self) -> String {
        let mut words = match self.target {
            Target::X86_64 => Vec::new(),
            target => vec![format!("qemu-system-{target}")],
        };
        words.extend([
            format!("-machine {}", self.machine),
            format!("-m {}M", self.memory_mib),
        ]);
        if self.cpus > 1 {
            words.push(format!("-smp {}", self.cpus));
        }
        match self.firmware {
            Firmware::Halts => words.push("-bios halts.bin".to_owned()),
            Firmware::Writes => words.push("-bios writes.bin".to_owned()),
            Firmware::SeaBios | Firmware::Other => {}
        }
        words.extend(self.arguments.iter().map(|word| (*word).to_owned()));
        if self.when == When::Unborn {
            words.push("-S".to_owned());
        }
        words.join(" ")
    }

    fn migration(&self) -> String {
        let mut text = match self.way {
            Way::Stream => "`exec:cat > FILE`".to_owned(),
            Way::Mapped(0) => "`file:FILE`".to_owned(),
            Way::Mapped(offset) => format!("`file:FILE,offset={offset:#x}`"),
            Way::Multifd | Way::Postcopy | Way::PostcopyAlone => "`unix:…`".to_owned(),
            Way::PostcopyRecovered => "`unix:…`, cut, and again".to_owned(),
            Way::Savevm => "`savevm`, twice".to_owned(),
        };
        match self.when {
            When::Unborn => {}
            When::Stopped => text += ", stopped",
            When::Running => text += ", running",
        }
        for capability in self.capabilities {
            text += &format!(", `{capability}`");
        }
        if self.parameters != "{}" {
            text += &format!(", `{}`", self.parameters);
        }
        for (command, arguments) in self.before {
            text += &format!("; before: `{command} {arguments}`");
        }
        text
    }

    /// Makes it anew, and gives its files' lengths, compressed.
    ///
    /// # Errors
    /// A QEMU refuses something, or does not come to an end.
    pub fn take(&self, release: Release, folder: &Path) -> Result<u64> {
        take::take(self, release, folder)
    }
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Halts => "halts",
            Self::Writes => "writes",
            Self::SeaBios => "SeaBIOS",
            Self::Other => "other",
        })
    }
}

impl Firmware {
    /// The image for `-bios`, in the cache; none for QEMU's own.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub fn image(self) -> Result<Option<PathBuf>> {
        let image: &[u8] = match self {
            Self::Halts => include_bytes!(concat!(env!("OUT_DIR"), "/halts.bin")),
            Self::Writes => include_bytes!(concat!(env!("OUT_DIR"), "/writes.bin")),
            Self::SeaBios | Self::Other => return Ok(None),
        };
        let name = format!("firmware-{:016x}", pattern::sum(image));
        let file = format!("{self}.bin");
        let entry = cache::entry(&name, |partial| {
            Ok(std::fs::write(partial.join(&file), image)?)
        })?;
        Ok(Some(entry.join(file)))
    }
}
