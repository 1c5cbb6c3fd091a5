//! What a person named: a file, standard input, or a checkpoint.
//!
//! A file is named by its path, or as QEMU names it: `file:PATH,offset=N`. In the same way, `file:PATH,snapshot=NAME`
//! names one of several snapshots in a qcow2 image, and `file:PATH,channel=FILE,channel=FILE` the other recorded
//! channels of a machine that came through several (multifd, postcopy-preempt). A comma in one of these is written
//! as `,,`.
//!
//! A word that is no path names a VM of the store, if it has one of that name, whatever files there are: it means the
//! same in every folder, and to every command.

use std::fs::File;
use std::io::Seek;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use vmferry::channel::seekable_len;
use vmferry::container::{self, Opened, Wanted};
use vmferry::load::Mode;
use vmferry_store::{Checkpoint, CheckpointRef, Store, StoreError};

use crate::option_list;
use crate::store;
use crate::ui;

/// What a person named.
pub(crate) enum Found {
    /// A file, open; what to call it; and what of it is meant.
    File(File, String, Part),
    /// A checkpoint.
    Checkpoint(Box<Checkpoint>),
}

/// Opens `-` for standard input, a file with `holds` in it, or a checkpoint `VM[@ID]`.
pub(crate) fn find(store: Option<&Path>, what: &str, holds: &str) -> Result<Found> {
    if what == "-" {
        let file = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        let part = Part::from_here(&file)?;
        return Ok(Found::File(file, what.to_owned(), part));
    }
    if let Some(named) = what.strip_prefix("file:") {
        let (path, part) = as_qemu(named)?;
        return open(path, part, holds);
    }
    if what.contains('/') {
        return open(what.to_owned(), Part::default(), holds);
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
            _ => return open(what.to_owned(), Part::default(), holds),
        }
    }
    let reference = reference
        .with_context(|| format!("'{what}' is neither a file nor the name of a checkpoint"))?;
    let checkpoint = store::open_checkpoint(&store::open(store)?, &reference)?;
    Ok(Found::Checkpoint(Box::new(checkpoint)))
}

fn open(path: String, part: Part, holds: &str) -> Result<Found> {
    let file = File::open(&path).with_context(|| format!("cannot open {path}"))?;
    if file.metadata()?.is_dir() {
        if Path::new(&path).join("vmferry-store.json").exists() {
            bail!("{path} is a store: --store {path} names it, and VM[@ID] a checkpoint in it");
        }
        bail!("{path} is a directory; a file with {holds}, or VM[@ID], is expected");
    }
    Ok(Found::File(file, path, part))
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

/// What follows `file:`: the path, and what of the file is meant.
fn as_qemu(named: &str) -> Result<(String, Part)> {
    let mut options = option_list::parts(named).into_iter();
    let path = options.next().unwrap_or_default();
    if path.is_empty() {
        bail!(
            "'file:{named}' names no file: file:PATH[,offset=N][,snapshot=NAME][,channel=FILE]… is expected"
        );
    }
    let mut part = Part::default();
    for option in options.filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("offset", number)) => {
                let offset = match number.strip_prefix("0x") {
                    Some(digits) => u64::from_str_radix(digits, 16),
                    None => number.parse(),
                };
                part.wanted.offset = offset.with_context(|| {
                    format!("'{number}' is no offset: a number of bytes is expected")
                })?;
            }
            Some(("snapshot", name)) => part.wanted.snapshot = Some(name.to_owned()),
            Some(("channel", path)) => part.channels.push(path.to_owned()),
            _ => bail!(
                "'{option}' means nothing here: file:PATH[,offset=N][,snapshot=NAME][,channel=FILE]… is \
                 expected, with each comma in a path or name written as ',,'"
            ),
        }
    }
    Ok((path, part))
}

/// What to do where pages are missing, because other channels have them.
pub(crate) const SEVERAL_CHANNELS: &str = "was this one of several channels (multifd, postcopy-preempt)? \
    file:PATH,channel=FILE,channel=FILE reads them together";

/// What of a file is meant.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// What of what is in it.
    pub(crate) wanted: Wanted,
    /// The files with the machine's other channels.
    pub(crate) channels: Vec<String>,
}

impl Part {
    /// All that is left of a file that somebody may have read from before: standard input.
    ///
    /// # Errors
    /// The file cannot be asked.
    pub(crate) fn from_here(mut file: &File) -> Result<Self> {
        let mut part = Self::default();
        if seekable_len(file)?.is_some() {
            part.wanted.offset = file.stream_position()?;
        }
        Ok(part)
    }

    /// Opens it; the file is called `what`. Tells how many bytes there are to be read, where that is known.
    ///
    /// # Errors
    /// It cannot be read, or is not what it should be.
    pub(crate) fn open(&self, file: File, what: &str, mode: Mode) -> Result<(Opened, Option<u64>)> {
        let mut bytes = seekable_len(&file)?;
        let wanted = Wanted {
            mode,
            ..self.wanted.clone()
        };
        let opened = container::open_wanted(file, &wanted);
        let mut opened = opened.with_context(|| format!("cannot read {what}"))?;
        for path in &self.channels {
            let file = File::open(path).with_context(|| format!("cannot open {path}"))?;
            bytes = bytes
                .zip(seekable_len(&file)?)
                .map(|(all, this)| all + this);
            let added = opened.add_channel(file);
            added.with_context(|| format!("cannot read {path}, a channel of {what}"))?;
        }
        Ok((opened, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(what: &str) -> (String, Part) {
        as_qemu(what).unwrap()
    }

    fn part(offset: u64, snapshot: Option<&str>) -> Part {
        Part {
            wanted: Wanted {
                offset,
                snapshot: snapshot.map(str::to_owned),
                ..Wanted::default()
            },
            channels: Vec::new(),
        }
    }

    #[test]
    fn a_file_is_named_as_qemu_names_it() {
        assert_eq!(named("/a"), ("/a".into(), part(0, None)));
        let all = "a,offset=0x1000,snapshot=s 1";
        assert_eq!(named(all), ("a".into(), part(4096, Some("s 1"))));
        assert_eq!(named("a,offset=12"), ("a".into(), part(12, None)));
        let with = named("a,channel=b,channel=/c/d");
        assert_eq!(with.1.channels, ["b", "/c/d"]);
        for wrong in ["a,offset=x", "a,ofset=1", "a,b", "", ",offset=1"] {
            assert!(as_qemu(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_comma_in_a_path_or_a_name_is_written_twice() {
        let (path, part) = named(
            "/a,,b,snapshot=before, after"
                .replace(", a", ",, a")
                .as_str(),
        );
        assert_eq!(path, "/a,b");
        assert_eq!(part.wanted.snapshot.as_deref(), Some("before, after"));
        assert_eq!(named("a,channel=c,,d").1.channels, ["c,d"]);
        let error = as_qemu("/a,b").unwrap_err().to_string();
        assert!(error.contains("written as ',,'"), "{error}");
    }
}
