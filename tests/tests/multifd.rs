//! Machines that come and go through several channels: what the library makes of those of a real QEMU is the
//! memory that it has, and what the library sends a real QEMU takes.

use std::convert::Infallible;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use vmferry::load::{Image, Options, Summary, load_live};
use vmferry::progress::Progress;
use vmferry::ram::{PageIndex, PageKind, PageSource};
use vmferry::save::{self, MultifdOptions};
use vmferry::stream::{AbortHandle, Writer};
use vmferry::wire::multifd::Method;
use vmferry_tests::channels::{Gate, connect};
use vmferry_tests::{Guest, Release, Spec};

const MIB: u64 = 1 << 20;
const PAGE: usize = 4096;

/// The guest has, above its first MiB, where there are holes, the memory that the image has.
fn has_the_memory_of(guest: &Guest, image: &Image) -> Result<()> {
    let ram = image.blocks().find("pc.ram").context("no RAM")?;
    let end = u64::from(guest.spec().memory_mib) * MIB;
    let memory = guest.memory(MIB, end - MIB)?;
    let mut page = vec![0; PAGE];
    for (index, there) in (MIB / PAGE as u64..).zip(memory.chunks_exact(PAGE)) {
        let kind = image.page(ram, PageIndex(index), &mut page);
        match kind.map_err(|never: Infallible| match never {})? {
            PageKind::Data => {}
            PageKind::Zero | PageKind::Absent => page.fill(0),
        }
        ensure!(page == there, "page {index:#x} differs from that of QEMU");
    }
    Ok(())
}

/// Has `source` migrate to us; `meanwhile` may hurry it.
fn received(
    source: &Guest,
    (channels, method): (usize, Method),
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<(Image, Summary)> {
    let gate = Gate::open(source.folder())?;
    source.begin_to_migrate(&gate.uri())?;
    let mut from = gate.accept(channels)?;
    let abort = from.abort_handle();
    let mut image = Image::default();
    let summary = thread::scope(|scope| {
        let load = || load_live(&mut from, &mut image, &Options::default(), &abort);
        let loading = scope.spawn(load);
        let hurried = meanwhile();
        if hurried.is_err() {
            abort.abort()?;
        }
        let loaded = loading.join().map_err(|_| anyhow!("the thread panicked"))?;
        hurried?;
        loaded.with_context(|| format!("{method:?}"))
    })?;
    source.wait_until_migrated()?;
    Ok((image, summary))
}

/// Sends a machine to a guest that waits for it, and has not run since.
fn sent(spec: &Spec, image: &Image, channels: usize, method: Method) -> Result<Guest> {
    let guest = spec.clone().incoming("defer").paused().start()?;
    guest.set_multifd(channels, method)?;
    guest.listen()?;
    let (mut main, mut others) = connect(&guest, channels)?;
    let handles = others.iter().map(Writer::abort_handle);
    let abort = handles.fold(AbortHandle::default(), |all, other| all.and(&other));
    let state = (&image.state, image);
    let options = MultifdOptions::new(method);
    let result = save::multifd(
        &mut main,
        &mut others,
        state,
        &options,
        &abort,
        &Progress::default(),
    );
    guest.told(result.map_err(Into::into))?;
    for other in others {
        other.close()?;
    }
    main.close()?;
    guest.wait_until_migrated()?;
    Ok(guest)
}

/// Moves a guest out of QEMU through channels of its own, and into another through ours.
fn moves(
    release: Release,
    machine: &str,
    out: (usize, Method),
    back: (usize, Method),
) -> Result<()> {
    let spec = Spec::pattern(release, machine);
    let source = spec.start()?;
    source.wait_for_passes(1)?;
    source.stop()?;
    source.set_multifd(out.0, out.1)?;
    let (image, summary) = received(&source, out, || Ok(()))?;
    ensure!(summary.multifd_pages > 1000, "{machine}: {summary:?}");
    has_the_memory_of(&source, &image)?;
    drop(source);

    let restored = sent(&spec, &image, back.0, back.1)?;
    has_the_memory_of(&restored, &image)?;
    restored.cont()?;
    restored.wait_for_passes(3)?;
    Ok(())
}

#[test]
fn a_guest_moves_out_of_7_2_and_back_through_several_channels() -> Result<()> {
    moves(Release::V7_2, "q35", (3, Method::None), (2, Method::Zstd))?;
    moves(Release::V7_2, "q35", (2, Method::Zlib), (3, Method::None))?;
    moves(Release::V7_2, "pc", (2, Method::Zstd), (1, Method::Zlib))
}

#[test]
fn a_guest_moves_out_of_10_0_and_back_whatever_its_machine_type_wants() -> Result<()> {
    moves(Release::V10_0, "q35", (3, Method::None), (2, Method::Zstd))?;
    moves(
        Release::V10_0,
        "pc-q35-8.2",
        (2, Method::Zlib),
        (3, Method::None),
    )?;
    moves(
        Release::V10_0,
        "pc-q35-8.0",
        (2, Method::Zstd),
        (1, Method::Zlib),
    )?;
    moves(Release::V10_0, "q35", (1, Method::Zlib), (4, Method::None))
}

#[test]
fn pages_that_are_sent_again_while_the_guest_runs_are_in_the_right_order() -> Result<()> {
    for method in [Method::None, Method::Zlib, Method::Zstd] {
        let spec = Spec::pattern(Release::V10_0, "q35").tell(|pattern| {
            pattern.mib_per_second = 8;
            pattern.rewrite_percent = 50;
        });
        let source = spec.start()?;
        source.wait_for_passes(1)?;
        source.set_multifd(2, method)?;
        source.migrate_slowly()?;
        let hurry = || source.hurry_when_pages_came_again();
        let (image, summary) = received(&source, (2, method), hurry)?;
        ensure!(
            summary.pages > 8500,
            "no pages were sent again: {summary:?}"
        );
        has_the_memory_of(&source, &image)?;
        let restored = sent(&spec, &image, 3, method)?;
        restored.cont()?;
        restored.wait_for_passes(3)?;
    }
    Ok(())
}
