//! Pages that come as differences or compressed: what the library makes of a real stream is what a real
//! QEMU makes of it, and what the library writes of it a real QEMU takes.

use std::convert::Infallible;
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use vmferry::channel;
use vmferry::load::{Image, Options, Summary, load};
use vmferry::machine::Phase;
use vmferry::progress::Progress;
use vmferry::ram::{Page, PageIndex, PageKind, PageSource};
use vmferry::save;
use vmferry::stream::{Reader, Writer};
use vmferry_tests::{Guest, Release, Spec};

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

/// A guest that rewrites whole pages while it is migrated, slowly enough that it comes to an end.
fn pattern(release: Release) -> Result<(Spec, Guest)> {
    let spec = Spec::pattern(release, "q35").tell(|pattern| {
        pattern.mib_per_second = 8;
        pattern.rewrite_percent = 50;
    });
    let guest = spec.start()?;
    guest.wait_for_passes(1)?;
    Ok((spec, guest))
}

/// A guest whose pages change a little at a time.
fn linux(release: Release) -> Result<(Spec, Guest)> {
    let spec = Spec::linux(release, "q35");
    let guest = spec.start()?;
    guest.wait_until_filled()?;
    Ok((spec, guest))
}

/// Migrates `guest` into a file while it runs: slowly, until pages were sent again.
fn migrate_live(guest: &Guest, stream: &Path) -> Result<()> {
    guest.migrate_slowly()?;
    let uri = format!("exec:cat > '{}'", stream.display());
    guest.execute("migrate", json!({"uri": uri}))?;
    guest.hurry_when_pages_came_again()?;
    guest.wait_for_migration("completed")?;
    Ok(())
}

fn read(stream: &Path) -> Result<(Image, Summary)> {
    let mut image = Image::default();
    let mut reader = Reader::new(channel::File::new(File::open(stream)?));
    let summary = load(&mut reader, &mut image, &Options::default())?;
    Ok((image, summary))
}

/// A guest that has loaded `stream`, and has not run since.
fn loaded(spec: &Spec, stream: &Path, capabilities: &[&str]) -> Result<Guest> {
    let mut spec = spec.clone().incoming("defer");
    spec.paused = true;
    let guest = spec.start()?;
    enable(&guest, capabilities)?;
    guest.load(&format!("exec:cat '{}'", stream.display()))?;
    Ok(guest)
}

fn page_of(image: &Image, index: u64) -> Result<Vec<u8>> {
    let ram = image.blocks().find("pc.ram").context("no RAM")?;
    let mut page = vec![0; PAGE];
    image
        .page(ram, PageIndex(index), &mut page)
        .map_err(|never: Infallible| match never {})?;
    Ok(page)
}

/// The guest has, above its first MiB, where there are holes, the memory that the image has.
fn has_the_memory_of(guest: &Guest, image: &Image) -> Result<()> {
    let end = u64::from(guest.spec().memory_mib) * MIB;
    let memory = guest.memory(MIB, end - MIB)?;
    for (index, there) in (MIB / PAGE as u64..).zip(memory.chunks_exact(PAGE)) {
        let ours = page_of(image, index)?;
        ensure!(ours == there, "page {index:#x} differs from that of QEMU");
    }
    Ok(())
}

/// Has `guest` migrate into a mapped-ram file, as `file:` has it.
fn migrate_mapped(guest: &Guest, file: &Path, offset: u64) -> Result<()> {
    enable(guest, &["mapped-ram"])?;
    guest.migrate(&format!("file:{},offset={offset}", file.display()))
}

/// A guest that has loaded a mapped-ram file, and has not run since.
fn loaded_mapped(spec: &Spec, file: &Path, offset: u64) -> Result<Guest> {
    let mut spec = spec.clone().incoming("defer");
    spec.paused = true;
    let guest = spec.start()?;
    enable(&guest, &["mapped-ram"])?;
    guest.load(&format!("file:{},offset={offset}", file.display()))?;
    Ok(guest)
}

fn moves_as((spec, source): (Spec, Guest), capabilities: &[&str]) -> Result<Summary> {
    enable(&source, capabilities)?;
    let stream = source.folder().join("stream");
    migrate_live(&source, &stream)?;

    let (image, summary) = read(&stream)?;
    has_the_memory_of(&loaded(&spec, &stream, capabilities)?, &image)?;

    // Written again, each page once and as it is.
    let mut written = Vec::new();
    save::precopy(&mut written, &image.state, &image, &Progress::default())?;
    std::fs::write(&stream, &written)?;
    let restored = loaded(&spec, &stream, &[])?;
    has_the_memory_of(&restored, &image)?;
    restored.cont()?;
    // 7.2's translator loses track of pages that change meanwhile.
    if spec.release != Release::V7_2 {
        restored.wait_for_sums(2)?;
    }
    Ok(summary)
}

#[test]
fn pages_that_came_as_differences_are_those_that_qemu_has() -> Result<()> {
    for release in Release::ALL {
        let summary = moves_as(linux(release)?, &["xbzrle"])?;
        ensure!(summary.xbzrle_pages > 0, "{release:?}: {summary:?}");
    }
    Ok(())
}

#[test]
fn pages_that_came_compressed_are_those_that_qemu_has() -> Result<()> {
    let summary = moves_as(pattern(Release::V7_2)?, &["compress"])?;
    ensure!(summary.compressed_pages > 0, "{summary:?}");
    let summary = moves_as(linux(Release::V7_2)?, &["compress", "xbzrle"])?;
    ensure!(summary.compressed_pages > 0, "{summary:?}");
    ensure!(summary.xbzrle_pages > 0, "{summary:?}");
    Ok(())
}

#[test]
fn a_guest_whose_pages_are_written_as_differences_goes_on() -> Result<()> {
    for release in Release::ALL {
        let (spec, source) = pattern(release)?;
        source.stop()?;
        let stream = source.folder().join("stream");
        source.migrate_to_file(&stream)?;
        let (image, _) = read(&stream)?;

        // As if every third page had been a little different when the pages were sent first.
        let ram = image.blocks().find("pc.ram").context("no RAM")?;
        let mut before = image.clone();
        let pages = u64::from(spec.memory_mib) * MIB / PAGE as u64;
        for index in (0..pages).step_by(3) {
            let mut page = page_of(&image, index)?;
            let differs = |at: usize| at % 61 < usize::try_from(index % 5).unwrap_or(0);
            for (at, byte) in page.iter_mut().enumerate() {
                *byte ^= u8::from(differs(at));
            }
            before.put(ram, PageIndex(index), Page::Data(&page));
        }
        let mut written = Vec::new();
        save::precopy_xbzrle(
            &mut written,
            &image.state,
            &before,
            &image,
            &Progress::default(),
        )?;
        std::fs::write(&stream, &written)?;

        let (again, summary) = read(&stream)?;
        ensure!(summary.xbzrle_pages > 1000, "{summary:?}");
        ensure!(again == image, "what is read is not what was written");
        let restored = loaded(&spec, &stream, &[])?;
        has_the_memory_of(&restored, &image)?;
        restored.cont()?;
        restored.wait_for_passes(3)?;
    }
    Ok(())
}

#[test]
fn a_mapped_ram_file_is_read_as_qemu_reads_it_wherever_it_begins() -> Result<()> {
    let (spec, source) = pattern(Release::V10_0)?;
    source.stop()?;
    let file = source.folder().join("mapped");
    migrate_mapped(&source, &file, 0)?;
    let (image, summary) = read(&file)?;
    ensure!(
        summary.ram_ended && summary.zero_pages > 1000,
        "{summary:?}"
    );
    has_the_memory_of(&loaded_mapped(&spec, &file, 0)?, &image)?;

    // Once more, further on in its file.
    let (_, source) = pattern(Release::V10_0)?;
    source.stop()?;
    let file = source.folder().join("mapped");
    let offset = 0x12345;
    migrate_mapped(&source, &file, offset)?;
    let mut reader = Reader::new(channel::File::from_offset(File::open(&file)?, offset)?);
    let mut image = Image::default();
    let options = Options {
        file_offset: offset,
        ..Options::default()
    };
    load(&mut reader, &mut image, &options)?;
    has_the_memory_of(&source, &image)
}

#[test]
fn a_mapped_ram_file_of_ours_is_loaded_and_as_sparse_as_that_of_qemu() -> Result<()> {
    let (spec, source) = pattern(Release::V10_0)?;
    source.stop()?;
    let theirs = source.folder().join("theirs");
    migrate_mapped(&source, &theirs, 0)?;
    let (image, _) = read(&theirs)?;

    let ours = source.folder().join("ours");
    let mut writer = Writer::new(channel::File::create(&ours)?);
    save::mapped_ram(&mut writer, &image.state, &image, &Progress::default())?;
    writer.close()?;
    let (again, _) = read(&ours)?;
    ensure!(again == image, "what is read is not what was written");
    let blocks = |path: &Path| Ok::<_, std::io::Error>(path.metadata()?.blocks());
    let (our_blocks, their_blocks) = (blocks(&ours)?, blocks(&theirs)?);
    // Of 512 bytes each; a page more or less for how a file is laid out.
    ensure!(
        our_blocks <= their_blocks + 64,
        "{our_blocks} and {their_blocks}"
    );

    let restored = loaded_mapped(&spec, &ours, 0)?;
    has_the_memory_of(&restored, &image)?;
    restored.cont()?;
    restored.wait_for_passes(3)?;

    // Further on in its file, and with several threads.
    let (place, offset) = (source.folder().join("further-on"), 0x12345);
    let file = File::create_new(&place)?;
    let threads = NonZeroUsize::MIN.saturating_add(2);
    let state = &image.state;
    save::mapped_ram_parallel(&file, offset, threads, state, &image, &Progress::default())?;
    let restored = loaded_mapped(&spec, &place, offset)?;
    has_the_memory_of(&restored, &image)?;
    restored.cont()?;
    restored.wait_for_passes(3)?;

    // The same machine as a stream: the capability stays behind.
    let mut stream = Vec::new();
    save::precopy(&mut stream, &image.state, &image, &Progress::default())?;
    std::fs::write(&ours, &stream)?;
    let restored = loaded(&spec, &ours, &[])?;
    restored.cont()?;
    restored.wait_for_passes(3)?;
    Ok(())
}

#[test]
fn a_background_snapshot_in_a_mapped_ram_file_is_refused_because_it_holds_no_memory() -> Result<()>
{
    let (_, source) = pattern(Release::V10_0)?;
    enable(&source, &["background-snapshot"])?;
    let file = source.folder().join("mapped");
    migrate_mapped(&source, &file, 0)?;
    let error = read(&file).expect_err("a file without memory was read");
    ensure!(
        format!("{error:#}").contains("holds no memory"),
        "{error:#}"
    );
    Ok(())
}

/// What QEMU sent of a guest that stands still is the memory that it has, and what is written of it the same QEMU
/// takes, and the guest goes on.
fn is_read_and_written(spec: &Spec) -> Result<Image> {
    let source = spec.start()?;
    source.wait_for_passes(1)?;
    source.stop()?;
    let stream = source.folder().join("stream");
    source.migrate_to_file(&stream)?;
    let (image, summary) = read(&stream)?;
    ensure!(summary.assumptions.is_empty(), "{summary:?}");
    has_the_memory_of(&source, &image)?;

    let mut written = Vec::new();
    save::precopy(&mut written, &image.state, &image, &Progress::default())?;
    std::fs::write(&stream, &written)?;
    let (again, _) = read(&stream)?;
    ensure!(again == image, "what is read is not what was written");
    let restored = loaded(spec, &stream, &[])?;
    has_the_memory_of(&restored, &image)?;
    restored.cont()?;
    restored.wait_for_passes(3)?;
    Ok(image)
}

#[test]
fn memory_that_may_have_holes_is_written_as_it_came() -> Result<()> {
    // From 8.0 on, machine types send a section of the device before the RAM.
    for (release, machine, early) in [
        (Release::V7_2, "q35", false),
        (Release::V10_0, "q35", true),
        (Release::V10_0, "pc-q35-7.2", false),
    ] {
        let mut spec = Spec::pattern(release, machine);
        for argument in [
            "-m",
            "32M,maxmem=1G",
            "-object",
            "memory-backend-ram,id=vm0,size=64M",
            "-device",
            "virtio-mem-pci,memdev=vm0,requested-size=64M",
        ] {
            spec = spec.arg(argument);
        }
        let image = is_read_and_written(&spec).with_context(|| format!("{release:?}"))?;
        let mut devices = image.state.devices.iter();
        let has_early = devices.any(|device| device.phase() == Phase::Early);
        ensure!(has_early == early, "{release:?} {machine}");
        let mut blocks = image.blocks().iter();
        let plugged = blocks.find(|(_, block)| block.idstr.ends_with("vm0"));
        let (plugged, _) = plugged.context("no block of virtio-mem")?;
        let mut page = vec![0; PAGE];
        let first = image.page(plugged, PageIndex(0), &mut page);
        let first = first.map_err(|never: Infallible| match never {})?;
        ensure!(first == PageKind::Absent, "{release:?}: {first:?}");
    }
    Ok(())
}

#[test]
fn a_machine_type_without_footers_or_configuration_is_written_without_them() -> Result<()> {
    let image = is_read_and_written(&Spec::pattern(Release::V7_2, "pc-i440fx-2.3"))?;
    ensure!(image.state.configuration.is_none());
    Ok(())
}
