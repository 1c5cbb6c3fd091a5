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
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use vmferry_store::{Checkpoint, CheckpointRef, Store, StoreError};

use crate::args::Global;
use crate::command::{open_checkpoint, open_store, store_path};
use crate::option_list;
use crate::saved::Part;
use crate::ui;

/// What a person named.
pub(crate) enum Found {
    /// A file, open; what to call it; and what of it is meant.
    File(File, String, Part),
    /// A checkpoint.
    Checkpoint(Box<Checkpoint>),
}

/// Opens `-` for standard input, a file with `holds` in it, or a checkpoint `VM[@ID]`.
pub(crate) fn find(global: &Global, what: &str, holds: &str) -> Result<Found> {
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
            Ok(reference) if is_in_store(global, reference) => ui::note(format_args!(
                "'{what}' is the VM of that name in the store; './{what}' is the {kind} here"
            )),
            _ if kind == "folder" => bail!(
                "'{what}' is a folder here, and no VM of the store{}: a file with {holds}, or VM[@ID], is \
                 expected",
                at_store(global)
            ),
            _ => return open(what.to_owned(), Part::default(), holds),
        }
    }
    let reference = reference
        .with_context(|| format!("'{what}' is neither a file nor the name of a checkpoint"))?;
    let checkpoint = open_checkpoint(&open_store(global)?, &reference)?;
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
fn is_in_store(global: &Global, reference: &CheckpointRef) -> bool {
    let store = store_path(global).ok().filter(|path| path.exists());
    let Some(Ok(store)) = store.map(Store::open) else {
        return false;
    };
    !matches!(
        store.resolve(reference),
        Err(StoreError::NoSuchVm { .. } | StoreError::Io { .. })
    )
}

fn at_store(global: &Global) -> String {
    let path = store_path(global).ok();
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

#[cfg(test)]
mod tests {
    use vmferry::container::Wanted;

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
