//! Streams that were damaged on purpose: byte surgery on a plain stream file of QEMU's.
//!
//! It is deliberately not made of the library under test, and knows no more of the format than it
//! takes to find a page and a device in the stream of a stopped guest.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

const PAGE: usize = 4096;

/// A stream file in memory, and where things are in it.
#[derive(Debug, Clone)]
pub struct Stream {
    bytes: Vec<u8>,
    pages: Vec<PageRecord>,
    sections: Vec<DeviceSection>,
}

/// Where a page with contents (not a zero page) stands.
#[derive(Debug, Clone)]
pub struct PageRecord {
    /// The RAM block.
    pub block: String,
    /// Offset in the block.
    pub offset: u64,
    /// Where its contents stand in the stream.
    data: Range<usize>,
}

/// Where a device's section stands.
#[derive(Debug, Clone)]
pub struct DeviceSection {
    /// Its name.
    pub idstr: String,
    /// Its instance.
    pub instance: u32,
    range: Range<usize>,
}

impl Stream {
    /// Reads a stream that was written from a stopped guest without any capability.
    ///
    /// # Errors
    /// It is no such stream.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path)?;
        let mut scan = Scan::new(&bytes);
        scan.elements()
            .with_context(|| format!("at offset {:#x}", scan.at))?;
        let Scan {
            pages, sections, ..
        } = scan;
        Ok(Self {
            bytes,
            pages,
            sections,
        })
    }

    /// Writes what has become of it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        Ok(fs::write(path, &self.bytes)?)
    }

    /// The records with contents, in the order of the stream.
    pub fn pages(&self) -> &[PageRecord] {
        &self.pages
    }

    /// The contents of a record.
    pub fn contents(&self, page: &PageRecord) -> &[u8] {
        &self.bytes[page.data.clone()]
    }

    /// The device sections, in the order of the stream.
    pub fn sections(&self) -> &[DeviceSection] {
        &self.sections
    }

    /// Puts other contents into a record.
    pub fn replace(&mut self, page: &PageRecord, contents: &[u8]) {
        self.bytes[page.data.clone()].copy_from_slice(contents);
    }

    /// Sends a page once more, right after a record of the same block. Later records have moved
    /// then: read the stream anew before the next operation.
    pub fn send_again(&mut self, after: &PageRecord, offset: u64, contents: &[u8]) {
        let mut record = (offset | 0x08 | 0x20).to_be_bytes().to_vec();
        record.extend_from_slice(contents);
        let at = after.data.end;
        self.bytes.splice(at..at, record);
    }

    /// Leaves out every section with this name, and says how many there were. Records after them
    /// have moved then.
    pub fn remove_sections(&mut self, idstr: &str) -> usize {
        let found: Vec<_> = self.sections.iter().filter(|s| s.idstr == idstr).collect();
        for section in found.iter().rev() {
            self.bytes.drain(section.range.clone());
        }
        found.len()
    }
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    pages: Vec<PageRecord>,
    sections: Vec<DeviceSection>,
    block: String,
}

impl<'a> Scan<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            pages: Vec::new(),
            sections: Vec::new(),
            block: String::new(),
        }
    }

    fn elements(&mut self) -> Result<()> {
        ensure!(self.take(8)? == b"QEVM\0\0\0\x03", "no header");
        ensure!(self.u8()? == 7, "no configuration");
        let len = self.u32()?;
        self.take(len.try_into()?)?;
        loop {
            let from = self.at;
            match self.u8()? {
                0 => return Ok(()),
                1 => {
                    let (_, idstr, _) = self.section_header()?;
                    ensure!(idstr == "ram", "an iterable section '{idstr}'");
                    self.records()?;
                    self.footer()?;
                }
                2 | 3 => {
                    self.u32()?;
                    self.records()?;
                    self.footer()?;
                }
                4 => self.device(from)?,
                8 => {
                    self.take(2)?;
                    let len = u16::from_be_bytes(self.take(2)?.try_into()?);
                    self.take(len.into())?;
                }
                other => bail!("an element {other:#x}"),
            }
        }
    }

    fn section_header(&mut self) -> Result<(u32, String, u32)> {
        let id = self.u32()?;
        let idstr = self.name()?;
        let instance = self.u32()?;
        self.u32()?; // version
        Ok((id, idstr, instance))
    }

    fn footer(&mut self) -> Result<()> {
        ensure!(self.u8()? == 0x7e, "no footer");
        self.u32().map(drop)
    }

    fn records(&mut self) -> Result<()> {
        loop {
            let word = u64::from_be_bytes(self.take(8)?.try_into()?);
            let (offset, flags) = (word & !0xfff, word & 0xfff);
            match flags & !0x20 {
                0x10 => return Ok(()),
                0x04 => {
                    let mut left = offset;
                    while left > 0 {
                        self.name()?;
                        let len = u64::from_be_bytes(self.take(8)?.try_into()?);
                        left = left
                            .checked_sub(len)
                            .context("the block list is too long")?;
                    }
                }
                kind @ (0x02 | 0x08) => {
                    if flags & 0x20 == 0 {
                        self.block = self.name()?;
                    }
                    if kind == 0x02 {
                        self.u8()?;
                        continue;
                    }
                    let from = self.at;
                    self.take(PAGE)?;
                    self.pages.push(PageRecord {
                        block: self.block.clone(),
                        offset,
                        data: from..self.at,
                    });
                }
                other => bail!("a record with flags {other:#x}"),
            }
        }
    }

    /// A device's section has no length: it ends at a footer with its number behind which another
    /// section begins, or the end.
    fn device(&mut self, from: usize) -> Result<()> {
        let (id, idstr, instance) = self.section_header()?;
        let mut footer = vec![0x7e];
        footer.extend(id.to_be_bytes());
        loop {
            let rest = &self.bytes[self.at..];
            let found = rest.windows(5).position(|window| window == footer);
            self.at += found.with_context(|| format!("'{idstr}' does not end"))? + 5;
            let next = self.bytes.get(self.at..self.at + 10).unwrap_or_default();
            let plausible = match next {
                [4, 0, 0, _, _, len, name, ..] => *len > 1 && name.is_ascii_graphic(),
                [0, 6, ..] => true,
                _ => false,
            };
            if plausible {
                break;
            }
        }
        self.sections.push(DeviceSection {
            idstr,
            instance,
            range: from..self.at,
        });
        Ok(())
    }

    fn name(&mut self) -> Result<String> {
        let len = self.u8()?;
        Ok(String::from_utf8(self.take(len.into())?.to_vec())?)
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at + len);
        let taken = taken.context("the stream ends too early")?;
        self.at += len;
        Ok(taken)
    }
}
