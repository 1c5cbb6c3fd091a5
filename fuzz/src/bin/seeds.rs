//! Seeds from the golden streams: `seeds STREAMS CORPUS`.
//!
//! A real stream is mostly memory and slow to change. So each is written again with one page to a block, which leaves
//! all of its devices and their description (`load_*`, `index_read`), also as a mapped-ram file; and each device is given with its part of
//! the description alone (`wire_vmstate`).

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::error::Error;
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::Path;

use vmferry::load::{Image, Mode, Options, OtherSections, VmDescRule, load};
use vmferry::machine::MachineState;
use vmferry::progress::Progress;
use vmferry::ram::{BlockIndex, Page, PageIndex, PageKind, PageSize, PageSource, RamBlocks};
use vmferry::save;
use vmferry::stream::{Reader, Writer};
use vmferry::wire::SliceSource;
use vmferry::wire::mapped_ram::{Header, LEN};
use vmferry::{channel, container};

/// A machine with other memory: every other page is zero.
struct Thin(RamBlocks);

impl PageSource for Thin {
    type Error = Infallible;

    fn page_size(&self) -> PageSize {
        PageSize::X86
    }

    fn blocks(&self) -> &RamBlocks {
        &self.0
    }

    fn page(
        &self,
        block: BlockIndex,
        page: PageIndex,
        out: &mut [u8],
    ) -> Result<PageKind, Infallible> {
        if (block.0 as u64 + page.0) % 2 == 0 {
            return Ok(PageKind::Zero);
        }
        out.fill(7);
        Ok(PageKind::Data)
    }

    fn pages(
        &self,
        wanted: &(dyn Fn(BlockIndex, PageIndex) -> bool + Sync),
        visit: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        let mut bytes = [0; 4096];
        for (number, block) in self.0.as_slice().iter().enumerate() {
            let block_index = BlockIndex(number);
            for page in (0..block.pages(PageSize::X86)).map(PageIndex) {
                if !wanted(block_index, page) {
                    continue;
                }
                let content = match self.page(block_index, page, &mut bytes)? {
                    PageKind::Data => Page::Data(&bytes),
                    _ => Page::Zero,
                };
                if visit(block_index, page, content).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// The first blocks, each with so much memory.
fn thin(image: &Image, blocks: usize, length: u64) -> Thin {
    let mut thin = RamBlocks::default();
    for block in image.blocks().as_slice().iter().take(blocks) {
        let mut block = block.clone();
        block.used_length = length;
        thin.insert(block);
    }
    Thin(thin)
}

/// A mapped-ram file with one block and these devices: where the head ends as 16ths, the head, and what comes behind
/// the pages. These are laid between the two by the target itself.
fn mapped_ram(state: &MachineState, blocks: &Thin) -> Result<Vec<u8>, Box<dyn Error>> {
    const PIECE: usize = 16;
    const BITMAP: usize = 8;
    let path = std::env::temp_dir().join(format!("vmferry-seeds-{}", std::process::id()));
    let mut writer = Writer::new(channel::File::create(&path)?);
    save::mapped_ram(&mut writer, state, blocks, &Progress::default())?;
    writer.close()?;
    let file = fs::read(&path)?;
    fs::remove_file(&path)?;
    let found = (0..255 * PIECE).find_map(|at| {
        let header = Header::decode(&mut SliceSource::new(file.get(at..)?), PageSize::X86);
        let header = header.ok().filter(|it| it.bitmap == (at + LEN) as u64)?;
        Some((at, header))
    });
    let (at, mut header) = found.ok_or("a file without a header")?;
    let end = (at + LEN + BITMAP).next_multiple_of(PIECE);
    let mut seed = vec![u8::try_from(end / PIECE)?];
    seed.extend(&file[..at]);
    // 1 MiB in front of the pages is slow to make again and again: they stand earlier.
    header.pages = 8 << 10;
    header.encode(PageSize::X86, &mut seed);
    seed.extend(&file[at + LEN..end]);
    let tail = file.get((1 << 20) + (32 << 10)..);
    seed.extend(tail.ok_or("a file without pages")?);
    Ok(seed)
}

/// The devices that are not among those seen before, each with its description: a length, that, and the state.
fn devices(image: &Image, seen: &mut BTreeSet<Vec<u8>>) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let Some(vmdesc) = &image.state.vmdesc else {
        return Ok(Vec::new());
    };
    let vmdesc: serde_json::Value = serde_json::from_slice(vmdesc)?;
    let described = vmdesc["devices"].as_array();
    let mut seeds = Vec::new();
    for device in &image.state.devices {
        let is_it = |described: &&serde_json::Value| {
            described["name"] == *device.header().idstr
                && described["instance_id"] == device.header().instance_id
        };
        let Some(part) = described.into_iter().flatten().find(is_it) else {
            continue;
        };
        let json = serde_json::to_vec(&serde_json::json!({"devices": [part]}))?;
        let Ok(length) = u16::try_from(json.len()) else {
            continue;
        };
        if seen.insert(json.clone()) {
            seeds.push([&length.to_be_bytes()[..], &json, device.payload()].concat());
        }
    }
    Ok(seeds)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(streams), Some(corpus)) = (arguments.next(), arguments.next()) else {
        return Err("usage: seeds STREAMS CORPUS".into());
    };
    let corpus = Path::new(&corpus);
    let put = |target: &str, name: &str, head: &[u8], bytes: &[u8]| {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), [head, bytes].concat())
    };
    let mut seen = BTreeSet::new();
    let mut paths: Vec<_> = fs::read_dir(streams)?.collect::<Result<_, _>>()?;
    paths.sort_by_key(fs::DirEntry::path);
    for entry in paths {
        let name = entry.file_name().to_string_lossy().into_owned();
        // A return path is nothing that can be opened.
        let Ok(opened) = container::open(File::open(entry.path())?, 0) else {
            continue;
        };
        let options = Options {
            mode: Mode::Rescue,
            vmdesc: VmDescRule::Optional,
            other_sections: OtherSections::PassOver,
            ..Options::default()
        };
        let mut image = Image::default();
        // Nor is a channel alone a stream.
        if load(&mut Reader::new(opened.stream), &mut image, &options).is_err() {
            continue;
        }
        let mut stream = Vec::new();
        if save::precopy(
            &mut stream,
            &image.state,
            &thin(&image, usize::MAX, 4096),
            &Progress::default(),
        )
        .is_ok()
        {
            put("load_stream", &name, &[], &stream)?;
            put("load_limits", &name, &[0xff, 0x41], &stream)?;
            put("index_read", &name, &[], &stream)?;
        }
        // Memory that was left out cannot be written.
        let block = thin(&image, 1, 32 << 10);
        if name.contains("mapped")
            && let Ok(seed) = mapped_ram(&image.state, &block)
        {
            put("load_mapped_ram", &name, &[], &seed)?;
            // Most of that is devices, which others try.
            let mut state = image.state.clone();
            state.devices.clear();
            state.vmdesc = None;
            let name = format!("{name}-ram");
            put("load_mapped_ram", &name, &[], &mapped_ram(&state, &block)?)?;
        }
        for (number, seed) in devices(&image, &mut seen)?.iter().enumerate() {
            put("wire_vmstate", &format!("{name}-{number}"), &[], seed)?;
        }
    }
    Ok(())
}
