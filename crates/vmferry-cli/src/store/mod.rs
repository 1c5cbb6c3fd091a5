//! The user's store: where it is, and what is opened in it.

mod latest;

pub(crate) use latest::{resolve, warn_if_another_is_latest};

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use vmferry_store::{Checkpoint, CheckpointRef, ReadOptions, Store};

use crate::user_folder::user_folder;

/// The folder of the store: the one that was asked for, or that of the user.
///
/// # Errors
/// It was not given, and there is no home to look for it in.
pub(crate) fn path(asked: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = asked {
        return Ok(path.to_owned());
    }
    match user_folder("XDG_DATA_HOME", ".local/share") {
        Some(folder) => Ok(folder),
        None => bail!("where is the store? give --store DIR, or set VMFERRY_STORE"),
    }
}

/// Opens the store, which must exist.
pub(crate) fn open(asked: Option<&Path>) -> Result<Store> {
    let path = path(asked)?;
    match path.try_exists() {
        Ok(true) => {}
        Ok(false) => bail!(
            "there is no store in {}: 'vmferry save' makes one, and --store names another",
            path.display()
        ),
        Err(error) => {
            return Err(error).with_context(|| {
                format!(
                    "cannot reach the store in {}: --store, or VMFERRY_STORE, names another",
                    path.display()
                )
            });
        }
    }
    Store::open(&path).with_context(|| format!("cannot open the store in {}", path.display()))
}

/// Opens the store, or makes it.
pub(crate) fn open_or_create(asked: Option<&Path>) -> Result<Store> {
    let path = path(asked)?;
    // A store is made where it was asked for, but a mistyped path must not leave folders.
    if let (None, Some(parent)) = (asked, path.parent()) {
        std::fs::create_dir_all(parent).with_context(|| {
            format!(
                "cannot make the folder {} for the store: --store, or VMFERRY_STORE, names another",
                parent.display()
            )
        })?;
    }
    Ok(Store::open_or_create(path)?)
}

/// Opens a checkpoint that a person named.
pub(crate) fn open_checkpoint(store: &Store, reference: &CheckpointRef) -> Result<Checkpoint> {
    let name = resolve(store, reference)?;
    let opened = store.checkpoint(&name, ReadOptions::default());
    opened.with_context(|| format!("cannot open the checkpoint {name}"))
}
