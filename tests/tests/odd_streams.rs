//! Streams that no QEMU of today writes by itself, given to real ones: what QEMU 10.0 takes, the library takes,
//! and what it refuses, the library refuses, with the same words in what both say.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use vmferry::load::{
    Element, ElementKind, Image, LoadError, Options, Origin, Visitor, VmDescRule, load,
};
use vmferry::ram::{BlockIndex, Page, PageIndex, PageSize, RamBlocks};
use vmferry::stream::Compressor;
use vmferry::wire::section::ElementType;
use vmferry::wire::{Sink, SliceSource};
use vmferry_tests::{PATIENCE, Program, Release, Spec};

const RAM: u32 = 77;
const ZERO: u64 = 0x02;
const MEM_SIZE: u64 = 0x04;
const PAGE: u64 = 0x08;
const EOS: u64 = 0x10;
const CONTINUE: u64 = 0x20;

/// A machine of a type that both releases know, of which they differ in nothing that it sends.
fn machine(release: Release) -> Spec {
    let mut spec = Spec::pattern(release, "pc-q35-7.2").paused();
    spec.program = Program::Firmware;
    spec.cpus = 1;
    spec
}

/// A stream, taken apart.
#[derive(Default)]
struct Parts {
    blocks: RamBlocks,
    pages: Vec<(usize, u64, Option<Vec<u8>>)>,
    /// Where the first element begins, the devices begin, and the description.
    head: usize,
    devices: usize,
    vmdesc: usize,
    sections: HashMap<String, std::ops::Range<usize>>,
    bytes: Vec<u8>,
}

impl Visitor for Parts {
    type Error = Infallible;

    fn ram_blocks(&mut self, blocks: &RamBlocks, _: PageSize) -> Result<(), Infallible> {
        self.blocks = blocks.clone();
        Ok(())
    }

    fn page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
        _: Origin,
    ) -> Result<(), Infallible> {
        let data = match content {
            Page::Zero => None,
            Page::Data(data) => Some(data.to_vec()),
        };
        self.pages.push((block.0, page.0 << 12, data));
        Ok(())
    }

    fn differences(
        &mut self,
        _: BlockIndex,
        _: PageIndex,
        _: &[u8],
        _: Origin,
    ) -> Result<(), Infallible> {
        Ok(())
    }

    fn element(&mut self, element: &Element<'_>) -> Result<(), Infallible> {
        let at = usize::try_from(element.offset).unwrap_or(0);
        let end = at + usize::try_from(element.length).unwrap_or(0);
        match element.kind {
            ElementKind::Configuration => self.head = end,
            ElementKind::Section {
                element: ElementType::Full,
                idstr,
                ..
            } => {
                if self.devices == 0 {
                    self.devices = at;
                }
                self.sections.insert(idstr.to_owned(), at..end);
            }
            ElementKind::VmDesc => self.vmdesc = at,
            _ => {}
        }
        Ok(())
    }
}

impl Parts {
    fn of(bytes: Vec<u8>) -> Result<Self> {
        let mut parts = Self::default();
        load(
            &mut SliceSource::new(&bytes),
            &mut parts,
            &Options::default(),
        )?;
        parts.bytes = bytes;
        Ok(parts)
    }

    fn head(&self) -> &[u8] {
        &self.bytes[..self.head]
    }

    /// The devices and the end, without a description.
    fn devices(&self) -> &[u8] {
        &self.bytes[self.devices..self.vmdesc]
    }

    fn section(&self, idstr: &str) -> &[u8] {
        &self.bytes[self.sections[idstr].clone()]
    }

    fn name(&self, block: usize) -> &str {
        &self.blocks.as_slice()[block].idstr
    }

    /// The list of the blocks that `wanted` takes, in an order.
    fn list(&self, order: impl Iterator<Item = usize>) -> Vec<u8> {
        let mut entries = Vec::new();
        let mut total = 0;
        for index in order {
            let block = &self.blocks.as_slice()[index];
            entries.put_name(&block.idstr);
            entries.put(&block.used_length.to_be_bytes());
            total += block.used_length;
        }
        [&(total | MEM_SIZE).to_be_bytes()[..], &entries].concat()
    }

    fn whole_list(&self) -> Vec<u8> {
        self.list(0..self.blocks.len())
    }

    /// Records of pages, each with the name of its block.
    fn records<'a>(
        &self,
        pages: impl Iterator<Item = &'a (usize, u64, Option<Vec<u8>>)>,
    ) -> Vec<u8> {
        let mut records = Vec::new();
        for (block, offset, data) in pages {
            let kind = if data.is_some() { PAGE } else { ZERO };
            records.put(&(offset | kind).to_be_bytes());
            records.put_name(self.name(*block));
            records.put(data.as_deref().unwrap_or(&[0]));
        }
        records
    }

    fn all(&self) -> Vec<u8> {
        self.records(self.pages.iter())
    }

    /// A whole stream with these elements before its devices.
    fn with(&self, elements: &[Vec<u8>]) -> Vec<u8> {
        [self.head(), &elements.concat(), self.devices()].concat()
    }

    /// One whose only PART holds all pages, and something more.
    fn with_record(&self, more: &[u8]) -> Vec<u8> {
        let part = part(&[&self.all(), more].concat());
        self.with(&[start(&self.whole_list()), part, end(&[])])
    }

    /// One that has these bytes between two elements.
    fn with_element(&self, more: &[u8]) -> Vec<u8> {
        let pages = part(&self.all());
        self.with(&[start(&self.whole_list()), more.to_vec(), pages, end(&[])])
    }

    fn plain(&self) -> Vec<u8> {
        self.with_record(&[])
    }
}

fn word(offset: u64, flags: u64) -> Vec<u8> {
    (offset | flags).to_be_bytes().to_vec()
}

fn named(offset: u64, flags: u64, name: &str, content: &[u8]) -> Vec<u8> {
    let mut record = word(offset, flags);
    record.put_name(name);
    record.put(content);
    record
}

fn footer() -> Vec<u8> {
    [&[0x7e][..], &RAM.to_be_bytes()].concat()
}

fn start_of(version: u32, records: &[u8]) -> Vec<u8> {
    let mut element = vec![1];
    element.put(&RAM.to_be_bytes());
    element.put_name("ram");
    element.put(&0_u32.to_be_bytes());
    element.put(&version.to_be_bytes());
    [&element[..], records, &word(0, EOS), &footer()].concat()
}

fn start(records: &[u8]) -> Vec<u8> {
    start_of(4, records)
}

fn piece(kind: u8, records: &[u8]) -> Vec<u8> {
    let head = [&[kind][..], &RAM.to_be_bytes()].concat();
    [&head[..], records, &word(0, EOS), &footer()].concat()
}

fn part(records: &[u8]) -> Vec<u8> {
    piece(2, records)
}

fn end(records: &[u8]) -> Vec<u8> {
    piece(3, records)
}

/// What a receiver makes of a stream: nothing, or what it says is wrong.
type Verdict = Result<(), String>;

/// What a real QEMU makes of it.
fn qemu(release: Release, stream: &Path) -> Result<Verdict> {
    let mut guest = machine(release).incoming("defer").start()?;
    let events = json!([{"capability": "events", "state": true}]);
    guest.execute("migrate-set-capabilities", json!({"capabilities": events}))?;
    let events = guest.qmp().subscribe();
    let uri = format!("exec:cat '{}'", stream.display());
    guest
        .qmp()
        .execute("migrate-incoming", json!({"uri": uri}))?;
    let ended = events.wait_for("the end", Instant::now() + PATIENCE, |event| {
        let status = event.migration_status()?;
        ["completed", "failed"]
            .contains(&status)
            .then(|| status == "completed")
    });
    if matches!(ended, Ok(true)) {
        return Ok(Ok(()));
    }
    // It ends, not well, and has then said why.
    let _ = guest.wait_for_end();
    Ok(Err(guest.log()))
}

/// What the library makes of it, strictly, but without asking for a description.
fn ours(stream: &[u8]) -> Verdict {
    let options = Options {
        vmdesc: VmDescRule::Optional,
        ..Options::default()
    };
    match load(
        &mut SliceSource::new(stream),
        &mut Image::default(),
        &options,
    ) {
        Ok(_) => Ok(()),
        Err(LoadError::Read(error)) => Err(error.to_string()),
        Err(LoadError::Visitor(never)) => match never {},
    }
}

/// Who takes a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Both,
    V10,
    V72,
    Neither,
}

use Takes::{Both, Neither, V10, V72};

struct Case {
    name: &'static str,
    stream: Vec<u8>,
    takes: Takes,
    /// What both say of it, in small letters; nothing where there is nothing to say.
    words: &'static str,
}

fn case(name: &'static str, takes: Takes, words: &'static str, stream: Vec<u8>) -> Case {
    Case {
        name,
        stream,
        takes,
        words,
    }
}

fn records(parts: &Parts) -> Vec<Case> {
    let first = &parts.pages[0];
    let name = parts.name(first.0);
    let ram = |flags, content: &[u8]| parts.with_record(&named(0, flags, "pc.ram", content));
    let reversed = parts.records(parts.pages.iter().rev());
    let listed = parts.whole_list();
    let unknown = "unknown combination of migration flags";
    let mut continued = word(0, ZERO | CONTINUE);
    continued.put(&[0]);
    vec![
        case("as it is", Both, "", parts.plain()),
        case(
            "in reverse, with names repeated",
            Both,
            "",
            parts.with(&[start(&listed), part(&reversed), end(&[])]),
        ),
        case(
            "without an end",
            Both,
            "",
            parts.with(&[start(&listed), part(&parts.all())]),
        ),
        case(
            "pages in START, and nothing else",
            Both,
            "",
            parts.with(&[start(&[listed.clone(), parts.all()].concat())]),
        ),
        case(
            "a list in reverse",
            Both,
            "",
            parts.with(&[
                start(&parts.list((0..parts.blocks.len()).rev())),
                part(&parts.all()),
            ]),
        ),
        case(
            "two STARTs",
            Both,
            "",
            parts.with(&[start(&listed), start(&listed), part(&parts.all()), end(&[])]),
        ),
        case(
            "a START without a list",
            Both,
            "",
            parts.with(&[start(&[]), start(&listed), part(&parts.all()), end(&[])]),
        ),
        case(
            "a list of some blocks, and their pages",
            Both,
            "",
            parts.with(&[
                start(&parts.list(0..2)),
                part(&parts.records(parts.pages.iter().filter(|page| page.0 < 2))),
            ]),
        ),
        case("no difference", Both, "", ram(0x40, &[1, 0, 0])),
        case(
            "a difference that ends with unchanged bytes",
            Neither,
            "",
            ram(0x40, &[1, 0, 4, 5, 1, 9, 3]),
        ),
        case(
            "another fill byte",
            V72,
            "zero page with value 170",
            ram(ZERO, &[0xaa]),
        ),
        case(
            "a meeting point",
            V10,
            "",
            parts.with_record(&word(0, 0x200)),
        ),
        case("a hook", V10, "", parts.with_record(&word(0, 0x80))),
        case("flag 1", Neither, unknown, ram(0x01, &[])),
        case("flag 400", Neither, unknown, ram(0x400, &[])),
        case("a page and zero", Neither, unknown, ram(ZERO | PAGE, &[])),
        case("no flag", Neither, unknown, parts.with_record(&word(0, 0))),
        case(
            "beyond its block",
            Neither,
            "illegal ram offset",
            parts.with_record(&named(1 << 40, ZERO, "pc.ram", &[0])),
        ),
        case(
            "an unknown block",
            Neither,
            "qc.ram",
            parts.with_record(&named(0, ZERO, "qc.ram", &[0])),
        ),
        case(
            "no block",
            Neither,
            "",
            parts.with(&[start(&listed), part(&continued), end(&[])]),
        ),
        case(
            "a page twice",
            Both,
            "",
            parts.with_record(&named(first.1, ZERO, name, &[0])),
        ),
        case(
            "version 3",
            Neither,
            "'ram'",
            parts.with(&[start_of(3, &listed), part(&parts.all()), end(&[])]),
        ),
    ]
}

fn elements(parts: &Parts) -> Vec<Case> {
    let described = [&parts.with_element(&[]), &parts.bytes[parts.vmdesc..]].concat();
    let after = [&described[..], b"more"].concat();
    let with = |element: &[u8]| parts.with_element(element);
    let plain = parts.plain();
    let listed = parts.whole_list();
    let wrong_footer = |footer: &[u8]| {
        let mut element = start(&listed);
        element.truncate(element.len() - 5);
        parts.with(&[[&element, footer].concat(), part(&parts.all())])
    };
    let mut unknown_part = part(&[]);
    unknown_part[4] = 99;
    let mut unknown_start = b"\x01\0\0\0\x63\x05other\0\0\0\0\0\0\0\x01".to_vec();
    unknown_start.put(b"\x7e\0\0\0\x63");
    let timer = parts.section("timer");
    let mut without_timer = plain.clone();
    let at = plain.len() - parts.devices().len();
    without_timer.drain(at..at + timer.len());
    let pings = b"\x08\0\x01\0\0\x08\0\x02\0\x04\0\0\0\x01\x08\0\x01\0\0";
    let resume = b"\x08\0\x0a\0\x07\x06pc.ram\x08\0\x09\0\0";
    let version = |version: u8| {
        let mut stream = plain.clone();
        stream[7] = version;
        stream
    };
    vec![
        case("a device twice", Both, "", with(timer)),
        case("a device less", Both, "", without_timer),
        case(
            "a device between pages",
            Both,
            "",
            parts.with(&[
                start(&listed),
                part(&parts.all()),
                timer.to_vec(),
                part(&parts.records(parts.pages.iter().take(3))),
                end(&[]),
            ]),
        ),
        case(
            "the footer of another section",
            Neither,
            "footer",
            wrong_footer(b"\x7e\0\0\0\x05"),
        ),
        case("no footer", Neither, "footer", wrong_footer(b"")),
        case(
            "a piece of no section",
            Neither,
            "unknown savevm section",
            with(&unknown_part),
        ),
        case(
            "a section of nobody",
            Neither,
            "other",
            with(&unknown_start),
        ),
        case("no element", Neither, "unknown", with(b"\x09")),
        case("an unknown command", Neither, "", with(b"\x08\0\x40\0\0")),
        case(
            "a command of a wrong length",
            Neither,
            "",
            with(b"\x08\0\x02\0\x02\0\0"),
        ),
        case(
            "a ping without a way back",
            Neither,
            "received with no return path",
            with(b"\x08\0\x02\0\x04\0\0\0\x01"),
        ),
        case("a way back, twice", Both, "", with(pings)),
        case(
            "LISTEN out of order",
            Neither,
            "cmd_postcopy_listen in wrong postcopy state (0)",
            with(b"\x08\0\x04\0\0"),
        ),
        case(
            "RUN out of order",
            Neither,
            "cmd_postcopy_run in wrong postcopy state (0)",
            with(b"\x08\0\x05\0\0"),
        ),
        case(
            "RAM_DISCARD out of order",
            Neither,
            "cmd_postcopy_ram_discard in wrong postcopy state (0)",
            with(b"\x08\0\x06\0\x19\0\x06pc.ram\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0"),
        ),
        case("a recovery of nothing", Both, "", with(resume)),
        case(
            "a bitmap of no block",
            Neither,
            "block 'qc.ram'",
            with(b"\x08\0\x0a\0\x07\x06qc.ram"),
        ),
        case("SWITCHOVER_START", V10, "", with(b"\x08\0\x0b\0\0")),
        case("COLO", Neither, "", with(b"\x08\0\x08\0\0")),
        case("no end", Neither, "", plain[..plain.len() - 1].to_vec()),
        case("version 2", Neither, "obsolete", version(2)),
        case("version 4", Neither, "version", version(4)),
        case(
            "another file",
            Neither,
            "migration stream",
            b"LibvirtQemudSave".to_vec(),
        ),
        case("bytes after the end", Both, "", after),
    ]
}

/// What the library takes otherwise than QEMU 10.0, on purpose.
fn exceptions(parts: &Parts) -> Vec<(Case, bool)> {
    let first = parts.pages.iter().find(|page| page.2.is_some());
    let mut compressed = Vec::new();
    if let Some((block, offset, Some(data))) = first {
        let mut record = vec![0; Compressor::bound(data.len())];
        let len = Compressor::new(1).compress(data, &mut record);
        record.truncate(len.unwrap_or(0));
        let len = u32::try_from(record.len()).unwrap_or(0).to_be_bytes();
        compressed = named(
            *offset,
            0x100,
            parts.name(*block),
            &[&len[..], &record].concat(),
        );
    }
    let late = [start(&parts.all()), part(&parts.whole_list()), end(&[])];
    let described = parts.with_element(&[]);
    let described = [&described, &parts.bytes[parts.vmdesc..]].concat();
    let headless = [&parts.bytes[..8], &parts.plain()[parts.head..]].concat();
    vec![
        // Older ones write them, and nothing is doubtful about them.
        (
            case(
                "a compressed page",
                Neither,
                "",
                parts.with_record(&compressed),
            ),
            true,
        ),
        // Machine types up to 2.3 write none, and the stream alone does not tell of which type it is.
        (case("no configuration", Neither, "", headless), true),
        // QEMU knows its blocks beforehand.
        (
            case("pages before their blocks", Both, "", parts.with(&late)),
            false,
        ),
        (case("with its description", Both, "", described), true),
    ]
}

/// Gives each of these to both QEMUs and to the library; with each, whether the library takes it.
fn agree(cases: impl FnOnce(&Parts) -> Vec<(Case, bool)>) -> Result<()> {
    let source = machine(Release::V10_0).start()?;
    let path = source.folder().join("stream");
    source.migrate_to_file(&path)?;
    let parts = Parts::of(std::fs::read(&path)?)?;
    ensure!(parts.devices > 0 && parts.vmdesc > 0, "not taken apart");
    let mut wrong = Vec::new();
    for (case, expected) in cases(&parts) {
        let name = case.name;
        std::fs::write(&path, &case.stream)?;
        let ours = ours(&case.stream);
        if ours.is_ok() != expected {
            wrong.push(format!("{name}: vmferry: {ours:?}"));
        }
        for (release, takes) in [
            (Release::V10_0, matches!(case.takes, Both | V10)),
            (Release::V7_2, matches!(case.takes, Both | V72)),
        ] {
            let theirs = qemu(release, &path).with_context(|| name.to_owned())?;
            if theirs.is_ok() != takes {
                wrong.push(format!("{name}: {release:?}: {theirs:?}"));
            }
            let said = [theirs.err(), ours.clone().err()];
            for said in said.into_iter().flatten() {
                if !said.to_lowercase().contains(case.words) {
                    wrong.push(format!("{name}: not '{}' but: {said}", case.words));
                }
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn as_10_0(cases: Vec<Case>) -> Vec<(Case, bool)> {
    let cases = cases.into_iter();
    cases
        .map(|case| {
            let takes = matches!(case.takes, Both | V10);
            (case, takes)
        })
        .collect()
}

#[test]
fn records_that_qemu_takes_are_taken_and_those_that_it_refuses_are_refused_in_its_words()
-> Result<()> {
    agree(|parts| as_10_0(records(parts)))
}

#[test]
fn elements_that_qemu_takes_are_taken_and_those_that_it_refuses_are_refused_in_its_words()
-> Result<()> {
    agree(|parts| as_10_0(elements(parts)))
}

#[test]
fn where_the_library_judges_otherwise_than_qemu_it_does_so_on_purpose() -> Result<()> {
    agree(exceptions)
}
