//! What a person named: a file, standard input, or a checkpoint.
//!
//! A file is named by its path, or as QEMU names it: `file:PATH,offset=N`. In the same way, `file:PATH,snapshot=NAME`
//! names one of several snapshots in a qcow2 image, and `file:PATH,channel=FILE,channel=FILE` the other recorded
//! channels of a machine that came through several (multifd, postcopy-preempt). A comma in one of these is written
//! as `,,`.
//!
//! A word that is no path names a VM of the store, if it has one of that name, whatever files there are: it means the
//! same in every folder, and to every command.

mod part;

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use vmferry::container::Opened;
use vmferry::load::Mode;
use vmferry_store::{Checkpoint, CheckpointRef, Store, StoreError};

use crate::store;
use crate::ui;
use part::Part;

/// What a person named, opened.
pub(crate) enum Target {
    /// A stream, in a file or a pipe.
    Stream(Box<Stream>),
    /// A checkpoint.
    Checkpoint(Box<Checkpoint>),
}

/// A stream that can be read once, from its beginning to its end.
pub(crate) struct Stream {
    /// It, and what it is wrapped in.
    pub(crate) opened: Opened,
    /// What the person called it.
    pub(crate) name: String,
    /// Bytes of its file, or of its files, where that is known.
    pub(crate) bytes: Option<u64>,
}

impl Target {
    /// How many bytes there are to be read, where that is known.
    pub(crate) fn bytes(&self) -> Option<u64> {
        match self {
            Self::Stream(stream) => stream.bytes,
            Self::Checkpoint(_) => None,
        }
    }
}

/// Opens `-` for standard input, a file with `holds` in it, or a checkpoint `VM[@ID]`.
///
/// # Errors
/// There is no such thing, or it is not one of these.
pub(crate) fn open(store: Option<&Path>, what: &str, holds: &str, mode: Mode) -> Result<Target> {
    let stream = |file: File, name: String, part: &Part| {
        let stream = part.open(file, name, mode)?;
        Ok(Target::Stream(Box::new(stream)))
    };
    let file = |path: String, part: &Part| {
        let file = open_file(&path, holds)?;
        stream(file, path, part)
    };
    if what == "-" {
        let input = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        let part = Part::from_here(&input)?;
        return stream(input, what.to_owned(), &part);
    }
    if let Some(named) = what.strip_prefix("file:") {
        let (path, part) = part::as_qemu(named)?;
        return file(path, &part);
    }
    if what.contains('/') {
        return file(what.to_owned(), &Part::default());
    }
    let reference = what.parse::<CheckpointRef>();
    let kind = match Path::new(what).symlink_metadata() {
        Ok(there) if there.is_dir() => Some("folder"),
        Ok(_) => Some("file"),
        Err(_) => None,
    };
    if let Some(kind) = kind {
        match &reference {
            Ok(reference) if is_in_store(store, reference) => ui::note(format_args!(
                "'{what}' is the VM of that name in the store; './{what}' is the {kind} here"
            )),
            _ if kind == "folder" => bail!(
                "'{what}' is a folder here, and no VM of the store{}: a file with {holds}, or VM[@ID], is \
                 expected",
                at_store(store)
            ),
            _ => return file(what.to_owned(), &Part::default()),
        }
    }
    let reference = reference
        .with_context(|| format!("'{what}' is neither a file nor the name of a checkpoint"))?;
    let checkpoint = store::open_checkpoint(&store::open(store)?, &reference)?;
    Ok(Target::Checkpoint(Box::new(checkpoint)))
}

fn open_file(path: &str, holds: &str) -> Result<File> {
    let file = File::open(path).with_context(|| format!("cannot open {path}"))?;
    if file.metadata()?.is_dir() {
        if Path::new(path).join("vmferry-store.json").exists() {
            bail!("{path} is a store: --store {path} names it, and VM[@ID] a checkpoint in it");
        }
        bail!("{path} is a directory; a file with {holds}, or VM[@ID], is expected");
    }
    Ok(file)
}

/// Whether there is a checkpoint of this VM. A store that cannot be opened has none, as far as can be seen.
fn is_in_store(store: Option<&Path>, reference: &CheckpointRef) -> bool {
    let store = store::path(store).ok().filter(|path| path.exists());
    let Some(Ok(store)) = store.map(Store::open) else {
        return false;
    };
    !matches!(
        store.resolve(reference),
        Err(StoreError::NoSuchVm { .. } | StoreError::Io { .. })
    )
}

fn at_store(store: Option<&Path>) -> String {
    let path = store::path(store).ok();
    path.map(|path| format!(" in {}", path.display()))
        .unwrap_or_default()
}

/// What to do where pages are missing, because other channels have them.
pub(crate) const SEVERAL_CHANNELS: &str = "was this one of several channels (multifd, postcopy-preempt)? \
    file:PATH,channel=FILE,channel=FILE reads them together";
