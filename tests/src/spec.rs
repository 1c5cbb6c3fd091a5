//! What a guest is made of, and the command line that says so to QEMU.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use anyhow::Result;

use crate::console::Listener;
use crate::linux::{self, Linux};
use crate::pattern::{self, Pattern};
use crate::{Qemu, Release, Target};

/// Who runs the guest's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// QEMU's translator; everywhere.
    Tcg,
    /// The kernel; where there is a `/dev/kvm` that we may open.
    Kvm,
}

impl Accel {
    /// Whether this machine has it.
    pub fn is_here(self) -> bool {
        match self {
            Self::Tcg => true,
            Self::Kvm => {
                let mut options = std::fs::File::options();
                options.read(true).write(true).open("/dev/kvm").is_ok()
            }
        }
    }
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
        })
    }
}

/// What is behind the guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Private anonymous memory, QEMU's default.
    Anonymous,
    /// A shared memfd.
    SharedMemfd,
    /// Huge pages of 2 MiB; see [`Hugepages`](crate::Hugepages).
    Huge2M,
}

/// What the guest runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// Only its firmware.
    Firmware,
    /// The [pattern guest](Pattern).
    Pattern(Pattern),
    /// [Linux], with its console on a serial port.
    Linux(Linux),
}

/// A guest that can be started, as often as one likes.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Which QEMU.
    pub release: Release,
    /// What it emulates.
    pub target: Target,
    /// The machine type: `pc`, `q35`, `pc-q35-7.2`, …
    pub machine: String,
    /// Who runs its code.
    pub accel: Accel,
    /// Its memory in MiB.
    pub memory_mib: u32,
    /// What is behind its memory.
    pub backend: Backend,
    /// Its processors.
    pub cpus: u32,
    /// What it runs.
    pub program: Program,
    /// What follows `-incoming`: it waits for a stream instead of starting.
    pub incoming: Option<String>,
    /// Whether it starts with `-S`.
    pub paused: bool,
    /// More arguments.
    pub extra: Vec<String>,
}

impl Spec {
    /// A pattern guest of 32 MiB on two processors.
    pub fn pattern(release: Release, machine: &str) -> Self {
        Self {
            release,
            target: Target::X86_64,
            machine: machine.to_owned(),
            accel: Accel::Tcg,
            memory_mib: 32,
            backend: Backend::Anonymous,
            cpus: 2,
            program: Program::Pattern(Pattern::default()),
            incoming: None,
            paused: false,
            extra: Vec::new(),
        }
    }

    /// A pattern guest of 512 MiB, whose memory takes a while.
    pub fn large(release: Release) -> Self {
        Self::pattern(release, "q35")
            .memory(512, Backend::Anonymous)
            .tell(|pattern| {
                (
                    pattern.checked_mib,
                    pattern.zero_percent,
                    pattern.text_percent,
                ) = (400, 0, 50);
                pattern.rewrite_percent = 10;
            })
    }

    /// A Linux guest of 512 MiB on two processors.
    pub fn linux(release: Release, machine: &str) -> Self {
        Self {
            memory_mib: 512,
            program: Program::Linux(Linux::default()),
            ..Self::pattern(release, machine)
        }
    }

    /// Runs it with this.
    #[must_use]
    pub fn accel(mut self, accel: Accel) -> Self {
        self.accel = accel;
        self
    }

    /// Gives it that much memory.
    #[must_use]
    pub fn memory(mut self, mib: u32, backend: Backend) -> Self {
        (self.memory_mib, self.backend) = (mib, backend);
        self
    }

    /// Changes what its pattern guest does.
    #[must_use]
    pub fn tell(mut self, change: impl FnOnce(&mut Pattern)) -> Self {
        if let Program::Pattern(pattern) = &mut self.program {
            change(pattern);
        }
        self
    }

    /// The same guest, waiting for a stream from `uri`.
    #[must_use]
    pub fn incoming(mut self, uri: &str) -> Self {
        self.incoming = Some(uri.to_owned());
        self
    }

    /// The same guest, with `-S`.
    #[must_use]
    pub fn paused(mut self) -> Self {
        self.paused = true;
        self
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.extra.push(arg.into());
        self
    }

    /// The command line: its first word is the program.
    pub(crate) fn command_line(
        &self,
        console: &Listener,
        monitor: &Listener,
        qmp: &Path,
    ) -> Result<Vec<OsString>> {
        let qemu = Qemu::of(self.release, self.target)?;
        let mut line: Vec<OsString> =
            vec![qemu.system().into(), "-L".into(), qemu.firmware().into()];
        let mut add = |words: &[&str]| line.extend(words.iter().map(OsString::from));
        let mib = self.memory_mib;
        let backend = match self.backend {
            Backend::Anonymous => None,
            Backend::SharedMemfd => {
                Some(format!("memory-backend-memfd,id=mem,size={mib}M,share=on"))
            }
            Backend::Huge2M => Some(format!(
                "memory-backend-memfd,id=mem,size={mib}M,hugetlb=on,hugetlbsize=2M"
            )),
        };
        let mut machine = format!("{},accel={}", self.machine, self.accel);
        if let Some(backend) = &backend {
            add(&["-object", backend]);
            machine += ",memory-backend=mem";
        }
        add(&["-machine", &machine, "-m", &format!("{mib}M")]);
        add(&["-smp", &self.cpus.to_string()]);
        add(&[
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ]);
        add(&["-chardev", &monitor.chardev("monitor")]);
        add(&["-mon", "chardev=monitor,mode=control"]);
        let qmp = format!("socket,id=qmp,path={},server=on,wait=off", qmp.display());
        add(&["-chardev", &qmp, "-mon", "chardev=qmp,mode=control"]);
        add(&["-chardev", &console.chardev("console")]);
        if let Program::Pattern(pattern) = &self.program {
            add(&["-device", "isa-debugcon,iobase=0xe9,chardev=console"]);
            let kernel = pattern::kernel()?.display().to_string();
            add(&["-kernel", &kernel, "-append", &pattern.arguments(self.cpus)]);
            if pattern.disk {
                let disk = pattern::disk()?;
                let drive = format!(
                    "file={},if=none,id=disk,format=raw,readonly=on",
                    disk.display()
                );
                add(&["-drive", &drive, "-device", "virtio-blk-pci,drive=disk"]);
            }
        }
        if let Program::Linux(linux) = &self.program {
            let files = linux::files()?;
            add(&["-device", "isa-serial,chardev=console"]);
            add(&["-kernel", &files.kernel.display().to_string()]);
            add(&["-initrd", &files.initramfs.display().to_string()]);
            add(&["-append", &linux.arguments()]);
        }
        if let Some(uri) = &self.incoming {
            add(&["-incoming", uri]);
        }
        if self.paused {
            add(&["-S"]);
        }
        line.extend(self.extra.iter().map(OsString::from));
        Ok(line)
    }
}
