//! An ELF core file, taken apart, whoever wrote it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// A core file of 64 bits, little-endian.
#[derive(Debug)]
pub struct CoreFile {
    file: File,
    /// The processor, as ELF numbers it.
    pub machine: u16,
    /// Bytes at addresses, in the order of the file's headers.
    pub segments: Vec<Segment>,
    /// In the order of the file.
    pub notes: Vec<Note>,
}

/// Bytes at a guest-physical address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where they begin.
    pub address: u64,
    /// How many.
    pub len: u64,
    /// Where in the file.
    pub at: u64,
}

/// A note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Whose it is.
    pub name: String,
    /// What of theirs.
    pub kind: u32,
    /// What it says.
    pub content: Vec<u8>,
}

impl CoreFile {
    /// Opens it.
    ///
    /// # Errors
    /// It is none.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path)?;
        let head = read(&file, 0, 64)?;
        ensure!(
            head.starts_with(b"\x7fELF\x02\x01"),
            "{} is no ELF file of 64 bits",
            path.display()
        );
        ensure!(le(&head, 16, 2)? == 4, "{} is no core file", path.display());
        let (at, count) = (le(&head, 32, 8)?, le(&head, 56, 2)?);
        let (mut segments, mut notes) = (Vec::new(), Vec::new());
        for number in 0..count {
            let header = read(&file, at + number * 56, 56)?;
            let field = |at| le(&header, at, 8);
            let (at, address, len) = (field(8)?, field(24)?, field(32)?);
            match le(&header, 0, 4)? {
                1 => segments.push(Segment { address, len, at }),
                4 => notes = Note::all(&read(&file, at, len)?)?,
                _ => {}
            }
        }
        Ok(Self {
            file,
            machine: u16::try_from(le(&head, 18, 2)?)?,
            segments,
            notes,
        })
    }

    /// Memory; `None` where the file has none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn memory(&self, address: u64, len: u64) -> Result<Option<Vec<u8>>> {
        let segment = self
            .segments
            .iter()
            .find(|s| s.address <= address && address + len <= s.address + s.len);
        let Some(segment) = segment else {
            return Ok(None);
        };
        read(&self.file, segment.at + (address - segment.address), len).map(Some)
    }
}

impl Note {
    fn all(bytes: &[u8]) -> Result<Vec<Self>> {
        let mut notes = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let word = |offset: usize| le(bytes, at + offset, 4);
            let (name, content) = (usize::try_from(word(0)?)?, usize::try_from(word(4)?)?);
            let kind = u32::try_from(word(8)?)?;
            let name_at = at + 12;
            let content_at = name_at + name.next_multiple_of(4);
            let part = |at: usize, len: usize| bytes.get(at..at + len).context("a note is cut off");
            let name = part(name_at, name)?;
            notes.push(Self {
                name: String::from_utf8_lossy(name)
                    .trim_end_matches('\0')
                    .to_owned(),
                kind,
                content: part(content_at, content)?.to_vec(),
            });
            at = content_at + content.next_multiple_of(4);
        }
        Ok(notes)
    }
}

fn read(file: &File, at: u64, len: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len)?];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

fn le(bytes: &[u8], at: usize, len: usize) -> Result<u64> {
    let bytes = bytes.get(at..at + len).context("it is cut off")?;
    Ok(bytes
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}
