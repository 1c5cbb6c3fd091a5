//! A file or folder that appears whole, or not at all.
//!
//! It is made under another name in the same folder, and takes its own name when it is done.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use tempfile::{NamedTempFile, TempDir};

/// Something that is being made beside the place where it will be. Dropped before [`Output::publish`], it is gone.
///
/// It is not synced: most of it can be made again.
#[derive(Debug)]
pub struct Output {
    made: Made,
    path: PathBuf,
    existing: Existing,
}

#[derive(Debug)]
enum Made {
    File(NamedTempFile),
    Folder(TempDir),
}

/// What an [`Output`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A machine's memory, which nobody but the file's owner may read.
    Memory,
    /// The same as a folder of files.
    Folder,
    /// A file about a machine, which others may read as far as the user's umask allows.
    Account,
}

/// What is done with something that is there already.
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

impl Output {
    /// Whether it can be begun, as far as can be seen before there is anything to write.
    ///
    /// # Errors
    /// There is something already, and it is not to be replaced, or is of another kind; or there is no folder for it.
    pub fn check(path: &Path, what: What, existing: Existing) -> Result<()> {
        place(path, what, existing).map(drop)
    }

    /// Begins it. What ends the process while it is written must be caught: else what is written so far stays,
    /// under another name.
    ///
    /// # Errors
    /// As for [`check`](Self::check), or there is no room beside it.
    pub fn begin(path: &Path, what: What, existing: Existing) -> Result<Self> {
        let path = place(path, what, existing)?;
        let mut prefix = OsString::from(".");
        prefix.push(name_of(&path)?);
        prefix.push(".");
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix(&prefix).suffix(".partial");
        let folder = folder_of(&path);
        let made = match what {
            What::Memory => builder.tempfile_in(folder).map(Made::File),
            What::Account => builder
                .permissions(Permissions::from_mode(0o666))
                .tempfile_in(folder)
                .map(Made::File),
            What::Folder => builder.tempdir_in(folder).map(Made::Folder),
        };
        Ok(Self {
            made: made.with_context(|| format!("cannot write into {}", folder.display()))?,
            path,
            existing,
        })
    }

    /// The file, or a new one of this name in the folder.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn file(&self, name: &str) -> Result<File> {
        match &self.made {
            Made::File(file) => file.as_file().try_clone().context("too many open files"),
            Made::Folder(folder) => {
                let path = folder.path().join(name);
                File::create_new(&path).with_context(|| format!("cannot make {}", path.display()))
            }
        }
    }

    /// Writes all of a file, and lets it appear.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish), or there is no room.
    pub fn publish_with(self, content: &[u8]) -> Result<()> {
        let written = self.file("")?.write_all(content);
        written.with_context(|| format!("cannot write {}", self.path.display()))?;
        self.publish()
    }

    /// Lets a file appear when it is on disk.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish), or the disk refuses it.
    pub fn publish_synced(self) -> Result<()> {
        let path = self.path.clone();
        let failed = || format!("cannot write {}", path.display());
        self.file("")?.sync_all().with_context(failed)?;
        self.publish()?;
        let folder = File::open(folder_of(&path)).with_context(failed)?;
        folder.sync_all().with_context(failed)
    }

    /// Lets it appear.
    ///
    /// # Errors
    /// Something has appeared there meanwhile, or it cannot be renamed.
    pub fn publish(self) -> Result<()> {
        let path = self.path;
        let context = || format!("cannot write {}", path.display());
        match self.made {
            Made::File(file) => {
                let persisted = if self.existing == Existing::Replace {
                    file.persist(&path)
                } else {
                    file.persist_noclobber(&path)
                };
                match persisted {
                    Ok(_) => Ok(()),
                    Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {
                        Err(taken(&path))
                    }
                    Err(error) => Err(error.error).with_context(context),
                }
            }
            Made::Folder(folder) => {
                // A folder that is there is moved away, and removed when the new one is in its place.
                let old = if self.existing == Existing::Replace && path.exists() {
                    let old = tempfile::Builder::new()
                        .suffix(".replaced")
                        .tempdir_in(folder_of(&path))
                        .with_context(context)?;
                    fs::rename(&path, old.path().join("old")).with_context(context)?;
                    Some(old)
                } else {
                    // 'rename' would take the place of an empty folder.
                    fs::DirBuilder::new()
                        .mode(0o700)
                        .create(&path)
                        .with_context(context)?;
                    None
                };
                let renamed = fs::rename(folder.path(), &path);
                if let Err(error) = renamed {
                    if let Some(old) = &old {
                        let _ = fs::rename(old.path().join("old"), &path);
                    }
                    return Err(error).with_context(context);
                }
                let _ = folder.keep();
                Ok(())
            }
        }
    }
}

/// That it could not be written, for errors that do not name the file; `-` is standard output.
pub fn cannot_write(path: &Path) -> String {
    match path == Path::new("-") {
        true => "cannot write to standard output".into(),
        false => format!("cannot write {}", path.display()),
    }
}

/// Where it will be: where a link leads to, not the link, is what is replaced.
fn place(path: &Path, what: What, existing: Existing) -> Result<PathBuf> {
    let folder = folder_of(path);
    if path.symlink_metadata().is_err() {
        name_of(path)?;
        if !folder.is_dir() {
            bail!("there is no folder {}", folder.display());
        }
        return Ok(path.to_owned());
    }
    let there = fs::metadata(path);
    let there = there.with_context(|| format!("{} leads nowhere", path.display()))?;
    let (fits, expected) = match what {
        What::Folder => (there.is_dir(), "a folder"),
        What::Memory | What::Account => (there.is_file(), "an ordinary file"),
    };
    if !fits {
        bail!("{} is there, and is not {expected}", path.display());
    }
    if existing == Existing::Keep {
        return Err(taken(path));
    }
    Ok(fs::canonicalize(path)?)
}

fn name_of(path: &Path) -> Result<&OsStr> {
    let name = path.file_name();
    name.with_context(|| format!("'{}' is no name for a file", path.display()))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn taken(path: &Path) -> anyhow::Error {
    anyhow!("{} exists already: --force replaces it", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_when_it_is_published_and_leaves_nothing_if_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let output = Output::begin(&path, What::Memory, Existing::Keep).unwrap();
        output.file("").unwrap().write_all(b"one").unwrap();
        assert!(!path.exists());
        output.publish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");

        assert!(Output::begin(&path, What::Memory, Existing::Keep).is_err());
        assert!(Output::begin(&path, What::Folder, Existing::Replace).is_err());
        let output = Output::begin(&path, What::Memory, Existing::Replace).unwrap();
        output.file("").unwrap().write_all(b"two").unwrap();
        drop(output);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(names(folder.path()), ["out"]);
        Output::begin(&path, What::Memory, Existing::Replace)
            .unwrap()
            .publish()
            .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        assert_eq!(names(folder.path()), ["out"]);
    }

    #[test]
    fn what_appeared_meanwhile_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for what in [What::Memory, What::Folder] {
            let path = folder.path().join("out");
            let output = Output::begin(&path, what, Existing::Keep).unwrap();
            fs::write(&path, "theirs").unwrap();
            output.publish().unwrap_err();
            assert_eq!(fs::read(&path).unwrap(), b"theirs");
            assert_eq!(names(folder.path()), ["out"]);
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_folder_appears_whole_and_takes_the_place_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        for (replace, name) in [(false, "a"), (true, "b")] {
            let output = Output::begin(&path, What::Folder, Existing::forced(replace)).unwrap();
            output.file(name).unwrap().write_all(b"x").unwrap();
            output.publish().unwrap();
            assert_eq!(names(&path), [name]);
            assert_eq!(names(folder.path()), ["out"]);
        }
        assert!(Output::begin(&path, What::Folder, Existing::Keep).is_err());
        assert!(Output::begin(&path, What::Memory, Existing::Replace).is_err());
        drop(Output::begin(&path, What::Folder, Existing::Replace).unwrap());
        assert_eq!(names(folder.path()), ["out"]);
    }

    #[test]
    fn where_a_link_leads_to_is_replaced_and_not_the_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("a"), folder.path().join("link"));
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink("a", &link).unwrap();
        for what in [What::Memory, What::Account] {
            let error = Output::begin(&link, what, Existing::Keep).unwrap_err();
            assert!(error.to_string().contains("--force"), "{error}");
            let output = Output::begin(&link, what, Existing::Replace).unwrap();
            output.publish_with(b"new").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new");
            assert!(link.is_symlink());
        }
        fs::remove_file(&path).unwrap();
        Output::begin(&link, What::Memory, Existing::Replace).unwrap_err();
        assert_eq!(names(folder.path()), ["link"]);
    }

    #[test]
    fn only_its_owner_may_read_a_machines_memory() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |what| {
            let path = folder.path().join("out");
            let output = Output::begin(&path, what, Existing::Replace).unwrap();
            output.publish_synced().unwrap();
            fs::metadata(&path).unwrap().permissions().mode() & 0o777
        };
        assert_eq!(mode(What::Memory), 0o600);
        assert_eq!(mode(What::Account) | 0o066, 0o666);
    }

    #[test]
    fn what_is_no_file_is_never_replaced() {
        for path in ["/dev/null", "/tmp", "/"] {
            for what in [What::Memory, What::Account] {
                let error = Output::begin(Path::new(path), what, Existing::Replace).unwrap_err();
                assert!(
                    error.to_string().contains("not an ordinary file"),
                    "{error}"
                );
            }
        }
        let error = |path: &str| {
            let checked = Output::check(Path::new(path), What::Memory, Existing::Keep);
            checked.unwrap_err().to_string()
        };
        assert_eq!(error("/none/a"), "there is no folder /none");
        assert_eq!(error(""), "'' is no name for a file");
    }
}
