//! Checkpoints of virtual machines: packs of compressed pages, page maps, manifests, all verified.
//!
//! A [`Store`] holds checkpoints. [`Store::save`] begins one: the [`Writer`] is a
//! [`Visitor`](vmferry::load::Visitor), so a migration stream can be read straight into it, and
//! [`Writer::publish`] makes it visible, whole or not at all. [`Store::checkpoint`] opens one: the
//! [`Checkpoint`] is a [`PageSource`](vmferry::ram::PageSource), so a lazy restore can ask it for any
//! page, and every page is compared with its digest before it is handed out.
//!
//! ```
//! use vmferry::load::Visitor;
//! use vmferry::ram::{BlockIndex, Page, PageIndex, PageKind, PageSize, PageSource, RamBlock};
//! use vmferry_store::{Details, ReadOptions, SaveOptions, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! let store = Store::open_or_create(directory.path())?;
//!
//! let mut writer = store.save("web-1".parse()?, &SaveOptions::default())?;
//! let ram = RamBlock {
//!     idstr: "pc.ram".into(),
//!     used_length: 8192,
//!     host_page_size: None,
//! };
//! writer.ram_blocks(&[ram].into_iter().collect(), PageSize::X86)?;
//! writer.put(BlockIndex(0), PageIndex(1), Page::Data(&[7; 4096]))?;
//! let manifest = writer.publish(Details::default())?;
//!
//! let name = store.resolve(&"web-1@latest".parse()?)?;
//! assert_eq!(name, manifest.name());
//! let checkpoint = store.checkpoint(&name, ReadOptions::default())?;
//! let mut page = [0; 4096];
//! let kind = checkpoint.page(BlockIndex(0), PageIndex(1), &mut page)?;
//! assert_eq!((kind, page), (PageKind::Data, [7; 4096]));
//! # Ok(())
//! # }
//! ```
//!
//! The format on disk is specified in `docs/format.md`; this crate follows it. It knows neither QMP nor
//! a terminal.

#![forbid(unsafe_code)]

pub mod backend;
pub mod config;
pub mod conformance;
pub mod digest;
pub mod error;
pub mod limits;
pub mod manifest;
pub mod name;

mod codec;
#[cfg(test)]
mod crash_tests;
mod features;
mod hex;
mod map;
mod object;
mod pack;
mod random;
mod reader;
mod state;
mod store;
mod writer;

pub use config::Defaults;
pub use error::{Damage, StoreError};
pub use features::FORMAT_VERSION;
pub use manifest::Manifest;
pub use name::{
    CheckpointId, CheckpointName, CheckpointRef, Folder, Key, NameError, ObjectKind, ObjectName,
    VmName, Which,
};
pub use reader::{Checkpoint, PageIdentity, ReadOptions, VerifyReport};
pub use state::DeviceState;
pub use store::{Deleted, Listed, Store, Swept};
pub use writer::{Details, Progress, ProgressCounters, SaveOptions, Writer};
