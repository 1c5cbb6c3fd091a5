//! The stream that is read: 3 GB, as a real QEMU wrote it.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use anyhow::Result;
use tempfile::TempDir;
use vmferry_tests::{Backend, Program, Release, Spec};

use super::Wanted;

/// A stream in the page cache.
pub(super) struct State {
    pub(super) stream: PathBuf,
    /// Where it lies, unless it was there before.
    _folder: Option<TempDir>,
}

impl State {
    pub(super) fn get(wanted: &Wanted) -> Result<Self> {
        let (stream, folder) = match &wanted.stream {
            Some(stream) => (stream.clone(), None),
            None => {
                let folder = TempDir::with_prefix("vmferry-bench-")?;
                let (memory, fill) = if wanted.quick {
                    (512, 128)
                } else {
                    (4096, 3000)
                };
                let stream = folder.path().join("stream");
                write(Release::V10_0, memory, fill, &stream)?;
                (stream, Some(folder))
            }
        };
        // Into the page cache.
        let bytes = io::copy(&mut File::open(&stream)?, &mut io::sink())?;
        println!(
            "\nthe stream: {bytes} bytes, in the page cache: {}",
            stream.display()
        );
        Ok(Self {
            stream,
            _folder: folder,
        })
    }
}

/// Writes that of a Linux guest, half of whose filled memory is noise, half text.
pub(super) fn write(
    release: Release,
    memory: u32,
    fill: u32,
    stream: &std::path::Path,
) -> Result<()> {
    let mut spec = Spec::linux(release, "q35").memory(memory, Backend::Anonymous);
    if let Program::Linux(linux) = &mut spec.program {
        linux.fill_mib = fill;
        linux.check = false;
    }
    let guest = spec.start()?;
    guest.wait_until_filled()?;
    guest.stop()?;
    guest.migrate_to_file(stream)?;
    println!(
        "\na guest of QEMU {release}, Linux, {memory} MiB, {fill} MiB of them filled, half noise, half text"
    );
    Ok(())
}
