//! The loader against streams that real QEMUs wrote: whole, cut at every byte, and damaged.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::Path;

use vmferry::error::{Error, FormatErrorKind};
use vmferry::load::{LoadError, Options, Origin, Summary, Visitor, load};
use vmferry::machine::{Configuration, DeviceSection, Phase, Split};
use vmferry::ram::{BlockIndex, Page, PageIndex, PageSize, RamBlocks};
use vmferry::wire::{SliceSource, globalstate};

fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/streams");
    let path = folder.join(format!("{name}.stream.zst"));
    let file = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    zstd::decode_all(&*file).expect("a golden stream is a zstd frame")
}

/// What a stream says, an entry for each thing that it says.
#[derive(Debug, Default, PartialEq)]
struct Transcript {
    events: Vec<Event>,
    payloads: Vec<(String, Vec<u8>)>,
}

#[derive(Debug, PartialEq)]
enum Event {
    Configuration(Configuration),
    RamBlocks(RamBlocks),
    Page(usize, u64, u64),
    Device(String, u32, u32, Phase, Split, u64),
    VmDesc(u64),
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Visitor for Transcript {
    type Error = std::convert::Infallible;

    fn configuration(&mut self, configuration: &Configuration) -> Result<(), Self::Error> {
        self.events
            .push(Event::Configuration(configuration.clone()));
        Ok(())
    }

    fn ram_blocks(&mut self, blocks: &RamBlocks, _: PageSize) -> Result<(), Self::Error> {
        self.events.push(Event::RamBlocks(blocks.clone()));
        Ok(())
    }

    fn page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
        _: Origin,
    ) -> Result<(), Self::Error> {
        let content = match content {
            Page::Zero => 0,
            Page::Data(data) => hash(data),
        };
        self.events.push(Event::Page(block.0, page.0, content));
        Ok(())
    }

    fn differences(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        differences: &[u8],
        _: Origin,
    ) -> Result<(), Self::Error> {
        let content = hash(("differences", differences));
        self.events.push(Event::Page(block.0, page.0, content));
        Ok(())
    }

    fn device(&mut self, section: &DeviceSection<'_>) -> Result<(), Self::Error> {
        self.events.push(Event::Device(
            section.idstr.to_owned(),
            section.instance_id,
            section.version_id,
            section.phase,
            section.split,
            hash((section.section_id, section.payload, section.element)),
        ));
        self.payloads
            .push((section.idstr.to_owned(), section.payload.to_vec()));
        Ok(())
    }

    fn vmdesc(&mut self, json: &[u8]) -> Result<(), Self::Error> {
        self.events.push(Event::VmDesc(hash(json)));
        Ok(())
    }
}

fn read(bytes: &[u8]) -> Result<(Transcript, Summary), Error> {
    let mut transcript = Transcript::default();
    match load(
        &mut SliceSource::new(bytes),
        &mut transcript,
        &Options::default(),
    ) {
        Ok(summary) => Ok((transcript, summary)),
        Err(LoadError::Read(error)) => Err(error),
        Err(LoadError::Visitor(never)) => match never {},
    }
}

#[test]
fn a_small_machine_of_each_version_is_read_to_its_last_byte() {
    for (name, machine, run_state, devices) in [
        ("7.2-pc-small", "pc-i440fx-7.2", "prelaunch", 30),
        ("7.2-q35-small", "pc-q35-7.2", "prelaunch", 29),
        ("7.2-pc-small-snapshot", "pc-i440fx-7.2", "running", 30),
        ("10.0-pc-small", "pc-i440fx-10.0", "prelaunch", 30),
        ("10.0-q35-small", "pc-q35-10.0", "prelaunch", 29),
        ("10.0-pc-small-snapshot", "pc-i440fx-10.0", "running", 30),
    ] {
        let bytes = golden(name);
        let (transcript, summary) = read(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(summary.bytes, bytes.len() as u64);
        assert_eq!(summary.devices, devices, "{name}");
        let Some(Event::Configuration(configuration)) = transcript.events.first() else {
            panic!("{name}: {:?}", transcript.events.first());
        };
        assert_eq!(configuration.machine, machine);
        let Some(Event::RamBlocks(blocks)) = transcript.events.get(1) else {
            panic!("{name}: {:?}", transcript.events.get(1));
        };
        assert!(blocks.find("pc.ram").is_some());
        // A machine that writes no RAM meanwhile sends each page of each block exactly once.
        assert_eq!(summary.pages, blocks.total_length() / 4096, "{name}");
        assert_eq!(transcript.payloads[0].0, "timer");
        let (_, payload) = transcript
            .payloads
            .iter()
            .find(|(idstr, _)| idstr == globalstate::IDSTR)
            .unwrap();
        assert_eq!(
            globalstate::run_state(payload).unwrap(),
            run_state,
            "{name}"
        );
    }
}

#[test]
fn a_device_section_before_the_ram_is_told_from_those_behind_it() {
    // QEMU 7.2 has no such section yet.
    let early_ones = [
        ("7.2-q35-vmem", &[][..]),
        ("10.0-q35-vmem", &["0000:00:01.0/virtio-mem-device-early"]),
    ];
    for (name, expected) in early_ones {
        let (transcript, _) = read(&golden(name)).unwrap();
        let early: Vec<_> = transcript
            .events
            .iter()
            .take_while(|event| !matches!(event, Event::Page(..)))
            .filter_map(|event| match event {
                Event::Device(idstr, _, _, Phase::Early, Split::Footer, _) => Some(idstr.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(early, expected, "{name}");
        let unplugged = transcript.events.iter().find_map(|event| match event {
            Event::RamBlocks(blocks) => blocks.find("0000:00:01.0/vm0"),
            _ => None,
        });
        let unplugged = unplugged.unwrap().0;
        let sent = transcript
            .events
            .iter()
            .filter(|event| matches!(event, Event::Page(block, ..) if *block == unplugged))
            .count();
        assert_eq!(sent, 0, "pages of unplugged memory in {name}");
    }
}

#[test]
fn the_capability_for_postcopy_does_not_change_what_is_read() {
    let (transcript, summary) = read(&golden("7.2-q35-postcopycap")).unwrap();
    let Event::RamBlocks(blocks) = &transcript.events[1] else {
        panic!("{:?}", transcript.events[1]);
    };
    assert!(
        blocks
            .as_slice()
            .iter()
            .all(|block| block.host_page_size.is_none())
    );
    assert_eq!(summary.pages, blocks.total_length() / 4096);
}

#[test]
fn a_stream_cut_at_any_byte_is_an_error_at_that_place() {
    for name in ["7.2-q35-small", "10.0-pc-small-snapshot"] {
        let bytes = golden(name);
        for end in 0..bytes.len() {
            let error = match read(&bytes[..end]) {
                Err(Error::Format(error)) => error,
                other => panic!("{name} cut at {end}: {other:?}"),
            };
            let FormatErrorKind::Truncated { wanted, got, .. } = error.kind else {
                panic!("{name} cut at {end}: {error}");
            };
            assert_eq!(error.at + got, end as u64, "{name} cut at {end}: {error}");
            assert!(wanted > got, "{name} cut at {end}: {error}");
        }
    }
}

#[test]
fn a_changed_byte_is_an_error_or_changes_one_thing_only() {
    let bytes = golden("10.0-pc-small-snapshot");
    let (whole, _) = read(&bytes).unwrap();
    // A fixed sequence, so that a failure can be seen again: xorshift64.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).unwrap()
    };
    let mut errors = 0;
    for _ in 0..10_000 {
        let at = next(bytes.len());
        let mut changed = bytes.clone();
        changed[at] ^= u8::try_from(1 + next(255)).unwrap();
        let Ok((transcript, _)) = read(&changed) else {
            errors += 1;
            continue;
        };
        assert_eq!(transcript.events.len(), whole.events.len(), "byte {at}");
        let differences = std::iter::zip(&transcript.events, &whole.events)
            .filter(|(changed, whole)| changed != whole)
            .count();
        assert!(differences <= 1, "byte {at}: {differences} differences");
    }
    assert!(errors > 1000, "only {errors} of 10000 changes were noticed");
}
