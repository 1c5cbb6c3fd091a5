//! Postcopy migrations, recorded between two real QEMUs: put together again, they are the memory that the guest had
//! when it moved.

use std::convert::Infallible;
use std::fs::File;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vmferry::channel;
use vmferry::load::{
    Channels, Element, ElementKind, Image, Nesting, Options, Origin, Summary, Visitor,
    load_channels,
};
use vmferry::machine::{Configuration, DeviceSection, Split};
use vmferry::progress::Progress;
use vmferry::ram::{BlockIndex, Page, PageIndex, PageSize, PageSource, RamBlocks};
use vmferry::save;
use vmferry::stream::Reader;
use vmferry::wire::command::Command;
use vmferry_tests::{Guest, PATIENCE, Recorded, Recorder, Release, Spec};

const MIB: u64 = 1 << 20;
const PAGE: usize = 4096;

fn enable(guest: &Guest, capabilities: &[&str]) -> Result<()> {
    let list = capabilities
        .iter()
        .map(|name| json!({"capability": name, "state": true}));
    let list: Vec<_> = list.collect();
    guest.execute("migrate-set-capabilities", json!({"capabilities": list}))?;
    Ok(())
}

/// A machine, and what passed by.
#[derive(Default)]
struct Whole {
    image: Image,
    /// Names of commands, and of elements in packages.
    commands: Vec<String>,
    packaged: u64,
    guessed: bool,
    requested: u64,
}

impl Visitor for Whole {
    type Error = Infallible;

    fn configuration(&mut self, configuration: &Configuration) -> Result<(), Infallible> {
        self.image.configuration(configuration)
    }

    fn ram_blocks(&mut self, blocks: &RamBlocks, page_size: PageSize) -> Result<(), Infallible> {
        self.image.ram_blocks(blocks, page_size)
    }

    fn page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
        origin: Origin,
    ) -> Result<(), Infallible> {
        if origin.channel == vmferry::load::ChannelName::Preempt {
            self.requested += 1;
        }
        Visitor::page(&mut self.image, block, page, content, origin)
    }

    fn differences(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        differences: &[u8],
        origin: Origin,
    ) -> Result<(), Infallible> {
        self.image.differences(block, page, differences, origin)
    }

    fn device(&mut self, section: &DeviceSection<'_>) -> Result<(), Infallible> {
        self.guessed |= section.split == Split::Footer;
        self.image.device(section)
    }

    fn vmdesc(&mut self, json: &[u8]) -> Result<(), Infallible> {
        self.image.vmdesc(json)
    }

    fn element(&mut self, element: &Element<'_>) -> Result<(), Infallible> {
        if let ElementKind::Command(command) = element.kind {
            let name = match command {
                Command::PostcopyRamDiscard(_) => "discard",
                Command::PostcopyAdvise(_) => "advise",
                Command::PostcopyListen => "listen",
                Command::PostcopyRun => "run",
                Command::Packaged(_) => "package",
                _ => return Ok(()),
            };
            if self.commands.last().is_none_or(|last| last != name) {
                self.commands.push(name.to_owned());
            }
        }
        self.packaged += u64::from(element.nesting == Nesting::Package);
        Ok(())
    }
}

fn read(recorded: &[Recorded]) -> Result<(Whole, Summary)> {
    let open = |recorded: &Recorded| {
        let file = File::open(&recorded.sent)?;
        Ok::<_, std::io::Error>(Reader::new(channel::File::new(file)))
    };
    let (main, beside) = recorded.split_first().context("no connection")?;
    let mut channels = Channels {
        preempt: beside.first().map(open).transpose()?,
        ..Channels::new(open(main)?)
    };
    let mut whole = Whole::default();
    let summary = load_channels(&mut channels, &mut whole, &Options::default())?;
    Ok((whole, summary))
}

/// The guest has, above its first MiB, where there are holes, the memory that the image has.
fn has_the_memory_of(guest: &Guest, image: &Image) -> Result<()> {
    let ram = image.blocks().find("pc.ram").context("no RAM")?;
    let end = u64::from(guest.spec().memory_mib) * MIB;
    let memory = guest.memory(MIB, end - MIB)?;
    for (index, there) in (MIB / PAGE as u64..).zip(memory.chunks_exact(PAGE)) {
        let mut ours = vec![0; PAGE];
        PageSource::page(image, ram, PageIndex(index), &mut ours)
            .map_err(|never: Infallible| match never {})?;
        ensure!(
            ours == there,
            "page {index:#x} differs from that of the guest"
        );
    }
    Ok(())
}

/// A guest, one that waits for it, and a recorder between them.
fn pair(release: Release, capabilities: &[&str]) -> Result<(Guest, Guest, Recorder)> {
    let spec = Spec::pattern(release, "q35");
    let source = spec.start()?;
    source.wait_for_passes(1)?;
    if release == Release::V7_2 {
        // Its translator loses track of pages that change meanwhile.
        source.stop()?;
    }
    let destination = spec.clone().incoming("defer").start()?;
    for guest in [&source, &destination] {
        enable(guest, capabilities)?;
    }
    let onward = destination.folder().join("incoming");
    let uri = format!("unix:{}", onward.display());
    destination.execute("migrate-incoming", json!({"uri": uri}))?;
    let recorder = Recorder::start(source.folder(), Some(&onward))?;
    Ok((source, destination, recorder))
}

/// Moves a guest by postcopy, and gives what passed, and the guest that stays behind.
fn moved(release: Release, capabilities: &[&str]) -> Result<(Guest, Vec<Recorded>)> {
    let (source, destination, recorder) = pair(release, capabilities)?;
    // So slowly that most pages are still there when the guest moves, and that it asks for some before they come.
    let slowly = json!({"max-bandwidth": 4 * MIB, "max-postcopy-bandwidth": 8 * MIB});
    source.execute("migrate-set-parameters", slowly)?;
    source.execute("migrate", json!({"uri": recorder.uri()}))?;
    source.wait_for_migration("active")?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = source.execute("query-migrate", Value::Null)?;
        if said["ram"]["transferred"].as_u64().unwrap_or(0) > 2 * MIB {
            break;
        }
        ensure!(Instant::now() < deadline, "nothing is sent: {said}");
    }
    source.execute("migrate-start-postcopy", Value::Null)?;
    source.wait_for_migration("completed")?;
    destination.wait_for_migration("completed")?;
    destination.wait_for_passes(2)?;
    Ok((source, recorder.finish()?))
}

fn rebuilt(release: Release, capabilities: &[&str]) -> Result<(Whole, Summary)> {
    let (source, recorded) = moved(release, capabilities)?;
    let (whole, summary) = read(&recorded)?;
    ensure!(summary.switched_to_postcopy, "{summary:?}");
    ensure!(summary.assumptions.is_empty(), "{summary:?}");
    ensure!(
        whole.guessed && whole.packaged > summary.devices,
        "no package"
    );
    let expected = ["advise", "discard", "package", "listen", "run"];
    ensure!(whole.commands == expected, "{:?}", whole.commands);
    goes_on_from(&source, &whole.image)?;
    Ok((whole, summary))
}

/// The image has the memory of the guest that stays behind; written as a plain stream, it goes on from where it was.
fn goes_on_from(source: &Guest, image: &Image) -> Result<()> {
    has_the_memory_of(source, image)?;
    let mut stream = Vec::new();
    save::precopy(&mut stream, &image.state, image, &Progress::default())?;
    let path = source.folder().join("stream");
    std::fs::write(&path, &stream)?;
    let restored = source.spec().restore(&path)?;
    restored.cont()?;
    restored.wait_for_passes(2)?;
    Ok(())
}

#[test]
fn a_guest_that_could_have_moved_before_its_pages_and_did_not_is_whole() -> Result<()> {
    for release in Release::ALL {
        let (source, destination, recorder) = pair(release, &["postcopy-ram"])?;
        source.migrate(&recorder.uri())?;
        destination.wait_for_migration("completed")?;
        destination.cont()?;
        destination.wait_for_passes(2)?;
        let (whole, summary) = read(&recorder.finish()?)?;
        ensure!(!summary.switched_to_postcopy, "{release}: {summary:?}");
        ensure!(summary.assumptions.is_empty(), "{release}: {summary:?}");
        ensure!(
            whole.commands == ["advise"],
            "{release}: {:?}",
            whole.commands
        );
        ensure!(!whole.guessed, "{release}: its devices are not described");
        goes_on_from(&source, &whole.image).with_context(|| format!("{release}"))?;
    }
    Ok(())
}

#[test]
fn a_recorded_postcopy_migration_is_the_memory_that_the_guest_had() -> Result<()> {
    for release in Release::ALL {
        rebuilt(release, &["postcopy-ram"]).with_context(|| format!("{release:?}"))?;
    }
    Ok(())
}

#[test]
fn requested_pages_that_came_by_their_own_channel_are_part_of_it() -> Result<()> {
    for release in Release::ALL {
        let capabilities = ["postcopy-ram", "postcopy-preempt"];
        let (whole, summary) =
            rebuilt(release, &capabilities).with_context(|| format!("{release:?}"))?;
        ensure!(whole.requested > 0, "{summary:?}");
    }
    Ok(())
}
