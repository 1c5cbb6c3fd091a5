//! A file or folder that appears whole, or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::{NamedTempFile, TempDir};

/// Something that is being made beside the place where it will be. Dropped before [`Output::publish`], it
/// is gone.
///
/// Nobody but its owner may read it: it is a machine's memory. It is not synced: an export can be repeated.
#[derive(Debug)]
pub struct Output {
    made: Made,
    path: PathBuf,
    replace: bool,
}

#[derive(Debug)]
enum Made {
    File(NamedTempFile),
    Folder(TempDir),
}

/// What an [`Output`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// One file.
    File,
    /// A folder.
    Folder,
}

impl Output {
    /// Whether it can be begun, as far as can be seen before there is anything to write.
    ///
    /// # Errors
    /// There is something already, and it is not to be replaced; or there is no folder for it.
    pub fn check(path: &Path, what: What, replace: bool) -> Result<()> {
        place(path, what, replace).map(drop)
    }

    /// Begins it. What ends the process while it is written must be caught: else what is written so far stays,
    /// under another name.
    ///
    /// # Errors
    /// As for [`check`](Self::check), or there is no room beside it.
    pub fn begin(path: &Path, what: What, replace: bool) -> Result<Self> {
        let (folder, name) = place(path, what, replace)?;
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix(&prefix).suffix(".partial");
        let made = match what {
            What::File => builder.tempfile_in(folder).map(Made::File),
            What::Folder => builder.tempdir_in(folder).map(Made::Folder),
        };
        Ok(Self {
            made: made.with_context(|| format!("cannot write into {}", folder.display()))?,
            path: path.to_owned(),
            replace,
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

    /// Lets it appear.
    ///
    /// # Errors
    /// Something has appeared there meanwhile, or it cannot be renamed.
    pub fn publish(self) -> Result<()> {
        let path = self.path;
        let context = || format!("cannot write {}", path.display());
        match self.made {
            Made::File(file) => {
                let persisted = if self.replace {
                    file.persist(&path)
                } else {
                    file.persist_noclobber(&path)
                };
                persisted
                    .map(drop)
                    .map_err(|error| error.error)
                    .with_context(context)
            }
            Made::Folder(folder) => {
                // A folder that is there is moved away, and removed when the new one is in its place.
                let old = if self.replace && path.exists() {
                    let parent = folder.path().parent().unwrap_or_else(|| Path::new("."));
                    let old = tempfile::Builder::new()
                        .suffix(".replaced")
                        .tempdir_in(parent)?;
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

/// The folder in which it will be, and its name there.
fn place(path: &Path, what: What, replace: bool) -> Result<(&Path, &OsStr)> {
    if let Ok(there) = path.symlink_metadata() {
        if !replace {
            bail!("{} exists already: --force replaces it", path.display());
        }
        if there.is_dir() != (what == What::Folder) {
            let (there, expected) = match what {
                What::File => ("a folder", "a file"),
                What::Folder => ("no folder", "a folder"),
            };
            bail!(
                "{} is {there}, and {expected} is to be written",
                path.display()
            );
        }
    }
    let name = path.file_name();
    let name = name.with_context(|| format!("{} is no name for a file", path.display()))?;
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        bail!("there is no folder {}", folder.display());
    }
    Ok((folder, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

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
        let output = Output::begin(&path, What::File, false).unwrap();
        output.file("").unwrap().write_all(b"one").unwrap();
        assert!(!path.exists());
        output.publish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");

        assert!(Output::begin(&path, What::File, false).is_err());
        assert!(Output::begin(&path, What::Folder, true).is_err());
        let output = Output::begin(&path, What::File, true).unwrap();
        output.file("").unwrap().write_all(b"two").unwrap();
        drop(output);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(names(folder.path()), ["out"]);
        Output::begin(&path, What::File, true)
            .unwrap()
            .publish()
            .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        assert_eq!(names(folder.path()), ["out"]);
    }

    #[test]
    fn what_appeared_meanwhile_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for what in [What::File, What::Folder] {
            let path = folder.path().join("out");
            let output = Output::begin(&path, what, false).unwrap();
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
            let output = Output::begin(&path, What::Folder, replace).unwrap();
            output.file(name).unwrap().write_all(b"x").unwrap();
            output.publish().unwrap();
            assert_eq!(names(&path), [name]);
            assert_eq!(names(folder.path()), ["out"]);
        }
        assert!(Output::begin(&path, What::Folder, false).is_err());
        assert!(Output::begin(&path, What::File, true).is_err());
        drop(Output::begin(&path, What::Folder, true).unwrap());
        assert_eq!(names(folder.path()), ["out"]);
    }
}
