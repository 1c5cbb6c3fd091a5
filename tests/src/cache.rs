//! What the lab has fetched or built, kept between runs in one folder.
//!
//! An entry appears whole or not at all: it is made under another name, by one process at a time,
//! and renamed. So two test runs may ask for the same QEMU at once, and a run that was killed in the
//! middle leaves nothing that looks finished.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::FlockOperation;

/// The folder: `$VMFERRY_LAB_CACHE`, else `vmferry-lab` in the user's cache folder.
///
/// # Errors
/// There is neither such a setting nor a home, or the folder cannot be made.
pub fn folder() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let folder = if let Some(folder) = set("VMFERRY_LAB_CACHE") {
        PathBuf::from(folder)
    } else if let Some(caches) = set("XDG_CACHE_HOME") {
        Path::new(&caches).join("vmferry-lab")
    } else if let Some(home) = set("HOME") {
        Path::new(&home).join(".cache/vmferry-lab")
    } else {
        bail!("no place for the lab's cache: set VMFERRY_LAB_CACHE or HOME");
    };
    fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the lab's cache folder {}", folder.display()))?;
    // Recorded in command lines, which must hold from any working directory.
    folder
        .canonicalize()
        .with_context(|| format!("cannot look into {}", folder.display()))
}

/// The entry `name`, which `make` puts into the empty folder that it is given, unless it is there.
///
/// # Errors
/// Those of `make`, or the cache cannot be written.
pub fn entry(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = folder()?;
    let finished = cache.join(name);
    if finished.is_dir() {
        return Ok(finished);
    }
    let _lock = Lock::wait(&cache, name)?;
    if finished.is_dir() {
        return Ok(finished);
    }
    let partial = cache.join(format!(".{name}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial)?; // of a run that was killed
    }
    fs::create_dir(&partial)?;
    if let Err(error) = make(&partial) {
        let _ = fs::remove_dir_all(&partial);
        return Err(error);
    }
    fs::rename(&partial, &finished)?;
    Ok(finished)
}

/// Keeps other processes (and other users of the same file in this one) out while it lives. The
/// system lets go of it even if we are killed.
#[derive(Debug)]
pub struct Lock {
    _file: fs::File,
}

impl Lock {
    /// Waits until nobody else holds the lock `name` in `folder`.
    ///
    /// # Errors
    /// The lock's file cannot be made.
    pub fn wait(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(format!(".{name}.lock"));
        let file = fs::File::options()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)
            .with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(Self { _file: file })
    }
}
