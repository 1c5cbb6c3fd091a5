//! What streams come wrapped in: disk images with snapshots inside, and libvirt's save images.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::{Capture, Firmware, PLAIN, When, take};
use crate::debian::run;
use crate::pattern::Report;
use crate::{Libvirt, LibvirtRelease, PATIENCE, Program, Qemu, Release, Spec};

/// A file of `testdata/containers`.
#[derive(Debug, Clone, Copy)]
pub struct Wrapped {
    /// Its name there.
    pub file: &'static str,
    how: How,
}

#[derive(Debug, Clone, Copy)]
enum How {
    /// Two snapshots of a machine, in an image with these options.
    Qcow2(Release, &'static str, &'static str),
    /// A domain on QEMU 10.0, saved by `virsh save`.
    Libvirt(LibvirtRelease, &'static str),
}

/// All of them.
pub const WRAPPED: &[Wrapped] = &[
    qcow2(
        "7.2-pc-compat-0.10.qcow2.zst",
        Release::V7_2,
        "pc",
        "compat=0.10,cluster_size=4K",
    ),
    qcow2(
        "10.0-pc.qcow2.zst",
        Release::V10_0,
        "pc",
        "cluster_size=64K",
    ),
    qcow2(
        "10.0-q35-extended-l2.qcow2.zst",
        Release::V10_0,
        "q35",
        "extended_l2=on,cluster_size=16K",
    ),
    libvirt("libvirt-9.0-raw.save", LibvirtRelease::Installed, "raw"),
    libvirt("libvirt-9.0-gzip.save", LibvirtRelease::Installed, "gzip"),
    libvirt("libvirt-9.0-bzip2.save", LibvirtRelease::Installed, "bzip2"),
    libvirt("libvirt-9.0-xz.save", LibvirtRelease::Installed, "xz"),
    libvirt("libvirt-9.0-lzop.save", LibvirtRelease::Installed, "lzop"),
    libvirt("libvirt-11.3-zstd.save", LibvirtRelease::V11_3, "zstd"),
    libvirt(
        "libvirt-11.3-sparse.save.zst",
        LibvirtRelease::V11_3,
        "sparse",
    ),
];

const fn qcow2(
    file: &'static str,
    release: Release,
    machine: &'static str,
    options: &'static str,
) -> Wrapped {
    Wrapped {
        file,
        how: How::Qcow2(release, machine, options),
    }
}

const fn libvirt(file: &'static str, of: LibvirtRelease, format: &'static str) -> Wrapped {
    Wrapped {
        file,
        how: How::Libvirt(of, format),
    }
}

impl Wrapped {
    /// Makes it anew, and gives its length.
    ///
    /// # Errors
    /// A program refuses something, or does not come to an end.
    pub fn take(&self, folder: &Path) -> Result<u64> {
        let taken = match self.how {
            How::Qcow2(release, machine, options) => {
                self.snapshots(folder, release, machine, options)
            }
            How::Libvirt(of, format) => self.save(folder, of, format),
        };
        taken.with_context(|| self.file.to_owned())
    }

    fn keep(&self, file: &Path, folder: &Path) -> Result<u64> {
        let to = folder.join(self.file);
        if self.file.ends_with(".zst") {
            return take::compress(file, &to);
        }
        Ok(fs::copy(file, to)?)
    }

    fn snapshots(
        &self,
        folder: &Path,
        release: Release,
        machine: &'static str,
        options: &str,
    ) -> Result<u64> {
        let scratch = TempDir::with_prefix(format!("vmferry-lab-{}-", std::process::id()))?;
        let disk = scratch.path().join("disk.qcow2");
        let mut create = Command::new(Qemu::get(release)?.img());
        create.args(["create", "-q", "-f", "qcow2", "-o", options]);
        run(create.arg(&disk).arg("1M"))?;
        let capture = Capture {
            machine,
            arguments: &[
                "-blockdev qcow2,node-name=n0,file.driver=file,file.filename=FOLDER/disk.qcow2",
                "-device virtio-blk-pci,drive=n0",
            ],
            when: When::Unborn,
            ..PLAIN
        };
        let guest = take::source(&capture, release, scratch.path())?;
        let save = |name: &str| {
            let said = guest.qmp().human(&format!("savevm {name}"))?;
            ensure!(said.trim().is_empty(), "savevm: {said}");
            Ok(())
        };
        save("one")?;
        guest.execute("cont", Value::Null)?;
        guest.stop()?;
        save("two")?;
        guest.quit()?;
        self.keep(&disk, folder)
    }

    fn save(&self, folder: &Path, of: LibvirtRelease, format: &str) -> Result<u64> {
        let libvirt = Libvirt::start(of, format)?;
        let listener = libvirt.listen()?;
        let image = Firmware::Writes.image()?.context("no firmware")?;
        let spec = Spec {
            memory_mib: 1,
            cpus: 1,
            program: Program::Firmware,
            ..Spec::pattern(Release::V10_0, "pc")
        };
        let boots = format!(
            "<uuid>00000000-1111-2222-3333-444444444444</uuid>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <loader readonly='yes' type='rom'>{}</loader>
  </os>",
            image.display(),
        );
        let described = libvirt.describe("small", &spec, &boots, &listener)?;
        libvirt.virsh(["create", &described.display().to_string()])?;
        let console = libvirt.hear(&listener)?;
        let deadline = Instant::now() + PATIENCE;
        console.wait_from(0, "a filled memory", deadline, |line| {
            (Report::parse(&line.text) == Report::Filled).then_some(())
        })?;
        let saved = libvirt.path().join("small.save");
        libvirt.virsh(["save", "small", &saved.display().to_string()])?;
        libvirt.share(&saved)?;
        self.keep(&saved, folder)
    }
}
