//! What of a file is meant, and how QEMU's way of naming it is read.

use std::fs::File;
use std::io::Seek;

use anyhow::{Context, Result, bail};
use vmferry::channel::seekable_len;
use vmferry::container::{self, Wanted};
use vmferry::load::Mode;

use super::Stream;
use crate::option_list;

/// What of a file is meant.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// What of what is in it.
    pub(super) wanted: Wanted,
    /// The files with the machine's other channels.
    pub(super) channels: Vec<String>,
}

impl Part {
    /// All that is left of a file that somebody may have read from before: standard input.
    ///
    /// # Errors
    /// The file cannot be asked.
    pub(super) fn from_here(mut file: &File) -> Result<Self> {
        let mut part = Self::default();
        if seekable_len(file)?.is_some() {
            part.wanted.offset = file.stream_position()?;
        }
        Ok(part)
    }

    /// Opens it; the file is called `what`.
    ///
    /// # Errors
    /// It cannot be read, or is not what it should be.
    pub(super) fn open(&self, file: File, what: String, mode: Mode) -> Result<Stream> {
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
        Ok(Stream {
            opened,
            name: what,
            bytes,
        })
    }
}

/// What follows `file:`: the path, and what of the file is meant.
pub(super) fn as_qemu(named: &str) -> Result<(String, Part)> {
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
