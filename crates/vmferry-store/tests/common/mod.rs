//! A machine made up for tests, and what must be found again in a checkpoint of it.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "each test program uses a part of this"
)]

pub mod golden;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;

use vmferry::load::Visitor;
use vmferry::machine::{Configuration, DeviceSection, Phase, Split};
use vmferry::ram::{
    BlockIndex, Page, PageIndex, PageKind, PageSize, PageSource, RamBlock, RamBlocks,
};
use vmferry_store::{
    Checkpoint, CheckpointName, Defaults, Details, Manifest, ReadOptions, SaveOptions, Store,
    StoreError, Writer,
};

/// A machine: what was sent for each page, in the order in which it was sent.
#[derive(Debug, Clone)]
pub struct Machine {
    pub page_size: PageSize,
    pub blocks: RamBlocks,
    pub sent: Vec<(BlockIndex, PageIndex, Content)>,
    pub configuration: Option<Configuration>,
    pub devices: Vec<Device>,
    pub vmdesc: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// Announced as zero.
    Zero,
    /// Sent as bytes, all of them zero.
    ZeroBytes,
    /// Compressible bytes, different for each seed.
    Text(u64),
    /// Incompressible bytes, different for each seed.
    Noise(u64),
}

#[derive(Debug, Clone)]
pub struct Device {
    pub section_id: u32,
    pub idstr: String,
    pub phase: Phase,
    pub split: Split,
    pub element: Vec<u8>,
}

type Made = HashMap<(Content, usize), Rc<[u8]>>;

thread_local! {
    /// Made once: tests look at the same few pages thousands of times.
    static MADE: RefCell<Made> = RefCell::default();
}

impl Content {
    pub fn bytes(self, size: PageSize) -> Rc<[u8]> {
        let size = size.bytes();
        MADE.with_borrow_mut(|made| {
            let bytes = made.entry((self, size)).or_insert_with(|| match self {
                Self::Zero | Self::ZeroBytes => vec![0; size].into(),
                Self::Text(seed) => {
                    let line = format!("line {seed} of a log; ");
                    line.bytes().cycle().take(size).collect()
                }
                Self::Noise(seed) => noise(seed, size).into(),
            });
            Rc::clone(bytes)
        })
    }
}

/// `length` bytes without any order, from `seed` (splitmix64).
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub fn block(idstr: &str, pages: u64, size: PageSize) -> RamBlock {
    RamBlock {
        idstr: idstr.into(),
        used_length: pages * size.bytes() as u64,
        host_page_size: None,
    }
}

impl Machine {
    /// A small machine with something of everything.
    pub fn small() -> Self {
        let size = PageSize::MIN;
        let mut sent = Vec::new();
        for page in 0..24 {
            let content = match page % 4 {
                0 => Content::Text(page),
                1 => Content::Noise(page),
                2 => Content::Zero,
                _ => continue,
            };
            sent.push((BlockIndex(0), PageIndex(page), content));
        }
        sent.push((BlockIndex(1), PageIndex(2), Content::Noise(99)));
        // Repeats: data over zero, zero over data, data over data.
        sent.push((BlockIndex(0), PageIndex(2), Content::Text(1002)));
        sent.push((BlockIndex(0), PageIndex(0), Content::ZeroBytes));
        sent.push((BlockIndex(0), PageIndex(1), Content::Noise(1001)));
        let mut ram = block("pc.ram", 24, size);
        ram.host_page_size = Some(2 << 20);
        Self {
            page_size: size,
            blocks: [ram, block("vga.vram", 3, size), block("empty", 0, size)]
                .into_iter()
                .collect(),
            sent,
            configuration: Some(Configuration {
                machine: "pc-q35-10.0".into(),
                target_page_bits: Some(10),
                capabilities: vec!["x-ignore-shared".into()],
                uuid: Some([7; 16]),
            }),
            devices: vec![
                Device {
                    section_id: 3,
                    idstr: "0000:00:01.0/virtio-mem-device-early".into(),
                    phase: Phase::Early,
                    split: Split::Footer,
                    element: b"early element".to_vec(),
                },
                Device {
                    section_id: 0,
                    idstr: "timer".into(),
                    phase: Phase::Device,
                    split: Split::Vmdesc,
                    element: noise(5, 300),
                },
            ],
            vmdesc: Some(br#"{"devices":[]}"#.to_vec()),
        }
    }

    /// What each page is at the end.
    pub fn expected(&self) -> BTreeMap<(usize, u64), Content> {
        let pages = self.sent.iter();
        pages
            .map(|(block, page, content)| ((block.0, page.0), *content))
            .collect()
    }

    pub fn feed(&self, writer: &mut Writer) -> Result<(), StoreError> {
        if let Some(configuration) = &self.configuration {
            writer.configuration(configuration)?;
        }
        writer.ram_blocks(&self.blocks, self.page_size)?;
        for (block, page, content) in &self.sent {
            let bytes = content.bytes(self.page_size);
            let content = match content {
                Content::Zero => Page::Zero,
                _ => Page::Data(&bytes),
            };
            writer.put(*block, *page, content)?;
        }
        for device in &self.devices {
            writer.device(&device.section())?;
        }
        if let Some(json) = &self.vmdesc {
            writer.vmdesc(json)?;
        }
        Ok(())
    }

    pub fn save(&self, store: &Store, vm: &str) -> Result<Manifest, StoreError> {
        let mut writer = store.save(vm.parse()?, &SaveOptions::default())?;
        self.feed(&mut writer)?;
        writer.publish(Details::default())
    }

    /// Reads everything in every way. Whatever is handed out must be right; errors are returned.
    pub fn check(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let mut result = self.check_state(checkpoint);
        for outcome in [self.check_each(checkpoint), self.check_all(checkpoint)] {
            result = result.and(outcome);
        }
        result
    }

    fn check_state(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        assert_eq!(checkpoint.blocks(), &self.blocks);
        assert_eq!(checkpoint.page_size(), self.page_size);
        let state = checkpoint.device_state()?;
        assert_eq!(state.configuration(), self.configuration.as_ref());
        assert_eq!(state.vmdesc(), self.vmdesc.as_deref());
        let found: Vec<_> = state.devices().collect();
        assert_eq!(found.len(), self.devices.len());
        for (found, device) in found.iter().zip(&self.devices) {
            assert_eq!(format!("{found:?}"), format!("{:?}", device.section()));
        }
        Ok(())
    }

    fn check_each(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let expected = self.expected();
        let mut result = Ok(());
        let mut page = vec![0; self.page_size.bytes()];
        for (block, of_block) in self.blocks.iter() {
            for number in 0..of_block.pages(self.page_size) {
                page.fill(0xee);
                let kind = match checkpoint.page(block, PageIndex(number), &mut page) {
                    Ok(kind) => kind,
                    Err(error) => {
                        result = Err(error);
                        continue;
                    }
                };
                let wanted = match expected.get(&(block.0, number)) {
                    None => PageKind::Absent,
                    Some(Content::Zero | Content::ZeroBytes) => PageKind::Zero,
                    Some(content) => {
                        assert_eq!(
                            page[..],
                            content.bytes(self.page_size)[..],
                            "{block:?} {number}"
                        );
                        PageKind::Data
                    }
                };
                assert_eq!(kind, wanted, "{block:?} {number}");
            }
        }
        result
    }

    fn check_all(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let mut left = self.expected();
        checkpoint.pages(&|_, _| true, &mut |block, page, content| {
            let wanted = left.remove(&(block.0, page.0));
            let wanted = wanted.unwrap_or_else(|| panic!("{block:?} {page:?} unasked or twice"));
            match content {
                Page::Zero => assert!(matches!(wanted, Content::Zero | Content::ZeroBytes)),
                Page::Data(bytes) => assert_eq!(bytes, &wanted.bytes(self.page_size)[..]),
            }
            ControlFlow::Continue(())
        })?;
        assert!(left.is_empty(), "not shown: {left:?}");
        Ok(())
    }
}

impl Device {
    pub fn section(&self) -> DeviceSection<'_> {
        DeviceSection {
            section_id: self.section_id,
            idstr: &self.idstr,
            instance_id: 1,
            version_id: 2,
            phase: self.phase,
            split: self.split,
            payload: &self.element[3..self.element.len() - 5],
            element: &self.element,
            offset: 0x1234,
        }
    }
}

/// A store of tiny frames and packs, so that small machines fill several of them.
pub fn tiny_store(path: &Path) -> Store {
    Store::create(
        path,
        Defaults {
            zstd_level: 1,
            frame_bytes: 4096,
            pack_bytes: 3000,
        },
    )
    .unwrap()
}

pub fn open(store: &Store, name: &CheckpointName) -> Result<Checkpoint, StoreError> {
    let options = ReadOptions::default().workers(NonZeroUsize::MIN);
    store.checkpoint(name, options)
}

/// All files below `path`, relative to it, sorted.
pub fn files(path: &Path) -> Vec<String> {
    fn walk(top: &Path, path: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(top, &path, found);
            } else {
                found.push(path.strip_prefix(top).unwrap().to_str().unwrap().into());
            }
        }
    }
    let mut found = Vec::new();
    walk(path, path, &mut found);
    found.sort();
    found
}
