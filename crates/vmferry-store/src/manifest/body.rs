//! The members of a manifest's body.
//!
//! Members that may be missing have defaults, and enums end in a variant for values that this
//! version does not know, so that a manifest by a later vmferry can still be listed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vmferry::ram::{PageSize, RamBlock, RamBlocks};

use crate::digest::Digest;
use crate::error::StoreError;
use crate::limits::{MAX_BLOCKS, MAX_IDSTR_BYTES, MAX_OBJECT_BYTES, MAX_PACKS, MAX_PAGES};
use crate::name::{CheckpointId, CheckpointName, VmName};

/// Everything about one checkpoint but its pages and its device state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// The VM.
    pub vm: VmName,
    /// The checkpoint's id.
    pub id: CheckpointId,
    /// The instant that the checkpoint shows.
    pub created: jiff::Timestamp,
    /// The checkpoint that this one was saved on top of.
    #[serde(default)]
    pub parent: Option<CheckpointName>,
    /// Its RAM.
    pub ram: RamRecord,
    /// Its device state.
    pub state: ObjectRef,
    /// Every pack in which a page may be; the page map refers to them by position.
    pub packs: Vec<PackRecord>,
    /// The machine that was saved.
    #[serde(default)]
    pub machine: Machine,
    /// The disks that it had. They are not in the checkpoint.
    #[serde(default)]
    pub block_devices: Vec<BlockDevice>,
    /// How it was saved.
    #[serde(default)]
    pub save: SaveRecord,
    /// What was counted while it was saved.
    #[serde(default)]
    pub statistics: Statistics,
    /// Sentences for people.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What the program that saved it wants to remember. Unlike tags, they never change.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A checkpoint's RAM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RamRecord {
    /// Bytes of a target page.
    pub page_size: u64,
    /// The RAM blocks in stream order.
    pub blocks: Vec<BlockRecord>,
    /// The page map.
    pub map: ObjectRef,
}

/// One RAM block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BlockRecord {
    /// Its name.
    pub idstr: String,
    /// Its length in bytes.
    pub used_length: u64,
    /// Bytes of the host pages behind it, where the stream told.
    #[serde(default)]
    pub host_page_size: Option<u64>,
    /// What its pages are.
    pub pages: PageCounts,
}

/// How many pages are what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageCounts {
    /// Pages with content.
    pub data: u64,
    /// Pages of zeros.
    pub zero: u64,
    /// Pages that the source never sent.
    pub absent: u64,
}

/// A page map or a device state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Its name.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// A pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackRecord {
    /// Its name.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// How many frames it has.
    pub frames: u64,
    /// How many pages are in them.
    pub pages: u64,
}

/// What is needed to build the same machine again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// The VM's name as QEMU knows it.
    pub name: Option<String>,
    /// The machine's UUID.
    pub uuid: Option<String>,
    /// `10.0.2`.
    pub qemu_version: Option<String>,
    /// Canonical machine type: `pc-q35-10.0`.
    pub machine_type: Option<String>,
    /// QEMU's name of the target: `x86_64`.
    pub architecture: Option<String>,
    /// The target's byte order.
    pub endianness: Option<Endianness>,
    /// The run state before the save, in QEMU's words: `running`, `paused`, …
    pub run_state: Option<String>,
    /// QEMU's program file.
    pub exe: Option<String>,
    /// QEMU's arguments, the program's name first.
    pub command_line: Vec<String>,
    /// QEMU's working directory.
    pub cwd: Option<String>,
}

/// Byte order of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Endianness {
    /// The least significant byte comes first.
    Little,
    /// The most significant byte comes first.
    Big,
    /// A word that this version does not know.
    #[serde(untagged)]
    Other(String),
}

/// A disk that the machine had.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockDevice {
    /// QEMU's name of the drive; may be empty.
    pub device: String,
    /// Path or id of the guest device.
    pub qdev: Option<String>,
    /// The block node at the top.
    pub node: Option<String>,
    /// The image file.
    pub file: Option<String>,
    /// The image format.
    pub format: Option<String>,
    /// Whether the guest could not write to it.
    pub read_only: Option<bool>,
    /// The block nodes from the device down to its backing files.
    pub nodes: Vec<BlockNode>,
}

/// A node of QEMU's block graph.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockNode {
    /// Its name.
    pub node: String,
    /// Its driver.
    pub driver: Option<String>,
    /// Its file.
    pub file: Option<String>,
}

/// How a checkpoint was saved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SaveRecord {
    /// In which way.
    pub mode: Option<SaveMode>,
    /// Name and version of the program that saved it.
    pub tool: Option<String>,
    /// For how many microseconds the guest stood still.
    pub pause_us: Option<u64>,
    /// How many microseconds the save took.
    pub duration_us: Option<u64>,
}

/// In which way a checkpoint was saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SaveMode {
    /// The guest stood still all the time.
    Stop,
    /// QEMU's background snapshot: it ran on.
    Snapshot,
    /// It ran on, and stood still for the last of its pages.
    Precopy,
    /// From a state file.
    Import,
    /// A word that this version does not know.
    #[serde(untagged)]
    Other(String),
}

/// What was counted while a checkpoint was saved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// Pages that came, each time that they came.
    pub pages_received: u64,
    /// Those of them that were zero.
    pub pages_zero: u64,
    /// Those of them that had come before.
    pub pages_repeated: u64,
    /// Pages in the packs that this save wrote.
    pub pages_stored: u64,
    /// Those of them that nothing refers to, because a later copy came.
    pub pages_dead: u64,
    /// Bytes of the pages in the packs that this save wrote.
    pub raw_bytes: u64,
    /// Bytes of all objects that this save wrote.
    pub stored_bytes: u64,
    /// Bytes of the stream that was saved, where it is known.
    pub stream_bytes: Option<u64>,
}

impl RamRecord {
    /// The blocks as the stream library knows them.
    pub fn to_blocks(&self) -> RamBlocks {
        self.blocks
            .iter()
            .map(|block| RamBlock {
                idstr: block.idstr.clone(),
                used_length: block.used_length,
                host_page_size: block.host_page_size,
            })
            .collect()
    }
}

impl Manifest {
    /// Refuses values that no save could have written.
    pub(super) fn check(&self, file: &str) -> Result<(), StoreError> {
        let bad = |what, expected: &str, found: String| {
            Err(StoreError::damaged(file, what, expected, found))
        };
        let Some(page_size) = PageSize::new(self.ram.page_size) else {
            let found = self.ram.page_size.to_string();
            return bad("ram.page_size", "a power of two, 1 to 64 KiB", found);
        };
        if self.ram.blocks.len() > MAX_BLOCKS {
            let found = self.ram.blocks.len().to_string();
            return bad("number of RAM blocks", "at most 4096", found);
        }
        let mut all_pages: u64 = 0;
        for block in &self.ram.blocks {
            if block.idstr.is_empty() || block.idstr.len() > MAX_IDSTR_BYTES {
                let found = format!("{} bytes", block.idstr.len());
                return bad("idstr of a RAM block", "1 to 255 bytes", found);
            }
            let pages = block.used_length / self.ram.page_size;
            if block.used_length % self.ram.page_size != 0 || block.pages.total() != Some(pages) {
                let expected = format!("{pages} pages of {page_size}");
                let found = format!("{:?} in {} bytes", block.pages, block.used_length);
                return bad("pages of a RAM block", &expected, found);
            }
            all_pages = all_pages.saturating_add(pages);
        }
        if self.ram.to_blocks().len() != self.ram.blocks.len() {
            return bad("RAM blocks", "each name once", "a name twice".into());
        }
        if all_pages > MAX_PAGES {
            return bad(
                "pages in all RAM blocks",
                "at most 2^36",
                all_pages.to_string(),
            );
        }
        if self.packs.len() > MAX_PACKS {
            return bad(
                "number of packs",
                "at most 2^16",
                self.packs.len().to_string(),
            );
        }
        let sizes = self.packs.iter().map(|pack| pack.size);
        let sizes = sizes.chain([self.ram.map.size, self.state.size]);
        if let Some(size) = sizes.into_iter().find(|size| *size > MAX_OBJECT_BYTES) {
            return bad("size of an object", "at most 2^44", size.to_string());
        }
        Ok(())
    }
}

impl PageCounts {
    /// All pages together.
    pub fn total(&self) -> Option<u64> {
        self.data.checked_add(self.zero)?.checked_add(self.absent)
    }
}
