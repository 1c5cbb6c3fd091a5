//! A file that appears whole or not at all.
//!
//! It is written under another name in the same folder, and takes its own name when it is on disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use tempfile::NamedTempFile;

/// What is done with a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and that is an error.
    Keep,
    /// The new one takes its place.
    Replace,
}

impl Existing {
    /// As `--force` says.
    pub fn forced(force: bool) -> Self {
        if force { Self::Replace } else { Self::Keep }
    }
}

/// A file that is being written.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    existing: Existing,
    file: NamedTempFile,
}

impl Output {
    /// Begins a file that is to be at `path`. What ends the process while it is written must be caught: else
    /// what is written so far stays, under its other name.
    ///
    /// # Errors
    /// As for [`check`], or the folder cannot be written to.
    pub fn create(path: &Path, existing: Existing) -> Result<Self> {
        let path = check(path, existing)?;
        let folder = folder_of(&path);
        let name = path.file_name().context("the name of a file is expected")?;
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(name);
        let file = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(".partial")
            // What the user's umask leaves of it.
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .with_context(|| format!("cannot write into {}", folder.display()))?;
        Ok(Self {
            path,
            existing,
            file,
        })
    }

    /// Where it will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What to write to.
    pub fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Writes all of it, and is done.
    ///
    /// # Errors
    /// It cannot be written, or another file has come to be there.
    pub fn finish_with(mut self, content: &[u8]) -> Result<()> {
        let written = self.file().write_all(content);
        written.with_context(|| format!("cannot write {}", self.path.display()))?;
        self.finish()
    }

    /// It is written: puts it in its place.
    ///
    /// # Errors
    /// It cannot be brought to disk, or another file has come to be there.
    pub fn finish(self) -> Result<()> {
        let path = self.path;
        let failed = || format!("cannot write {}", path.display());
        self.file.as_file().sync_all().with_context(failed)?;
        // Where it fails, the file goes away with the error.
        let placed = match self.existing {
            Existing::Keep => self.file.persist_noclobber(&path),
            Existing::Replace => self.file.persist(&path),
        };
        match placed {
            Ok(_) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(taken(&path));
            }
            Err(error) => return Err(error.error).with_context(failed),
        }
        let folder = File::open(folder_of(&path)).with_context(failed)?;
        folder.sync_all().with_context(failed)
    }
}

/// Whether a file can be made at `path`, as far as can be told before: gives where it would be.
///
/// # Errors
/// There is a file already, and it is to stay; or something that is no file.
pub fn check(path: &Path, existing: Existing) -> Result<PathBuf> {
    match fs::metadata(path) {
        Ok(there) if !there.is_file() => {
            bail!("{} is there, and is no ordinary file", path.display())
        }
        Ok(_) if existing == Existing::Keep => Err(taken(path)),
        // Where a link leads to, not the link, is what is replaced.
        Ok(_) => Ok(fs::canonicalize(path)?),
        Err(_) if !folder_of(path).is_dir() => {
            bail!("there is no folder {}", folder_of(path).display())
        }
        Err(_) => Ok(path.to_owned()),
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn taken(path: &Path) -> anyhow::Error {
    anyhow!("{} is there already: --force replaces it", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut output = Output::create(&path, Existing::Keep).unwrap();
        output.file().write_all(b"some").unwrap();
        assert!(!path.exists());
        output.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"some");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn of_a_file_that_is_given_up_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = Output::create(&folder.path().join("a"), Existing::Keep).unwrap();
        output.file().write_all(b"some").unwrap();
        drop(output);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn what_is_there_stays_unless_it_is_to_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "old").unwrap();
        let error = Output::create(&path, Existing::Keep).unwrap_err();
        assert!(error.to_string().contains("--force"), "{error}");
        // One that comes while we write stays, too.
        let late = folder.path().join("b");
        let output = Output::create(&late, Existing::Keep).unwrap();
        fs::write(&late, "old").unwrap();
        let error = output.finish_with(b"new").unwrap_err();
        assert!(error.to_string().contains("--force"), "{error}");
        assert_eq!(fs::read(&late).unwrap(), b"old");

        let link = folder.path().join("link");
        std::os::unix::fs::symlink("a", &link).unwrap();
        let output = Output::create(&link, Existing::Replace).unwrap();
        output.finish_with(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(link.is_symlink());
        assert_eq!(names(folder.path()), ["a", "b", "link"]);
    }

    #[test]
    fn what_is_no_file_is_never_replaced() {
        for path in ["/dev/null", "/tmp", "/"] {
            let error = Output::create(Path::new(path), Existing::Replace).unwrap_err();
            assert!(error.to_string().contains("no ordinary file"), "{error}");
        }
        let error = Output::create(Path::new("/none/a"), Existing::Keep).unwrap_err();
        assert_eq!(error.to_string(), "there is no folder /none");
    }
}
