//! Between two real QEMUs: everything that the source sends is read, and written again for the destination,
//! while the guest runs. What arrives must be a guest that finds its memory as it left it.

use std::thread;

use anyhow::{Context, Result, anyhow};
use vmferry::load::{LoadError, Options, Summary, load_live};
use vmferry::relay::{Forward, forward_multifd};
use vmferry::save::MultifdOptions;
use vmferry::stream::Writer;
use vmferry::wire::multifd::Method;
use vmferry_tests::channels::{Gate, connect};
use vmferry_tests::{Guest, Release, Spec};

/// How pages come or go: through so many channels beside the main one, or through that alone.
#[derive(Debug, Clone, Copy)]
struct Way {
    channels: usize,
    method: Method,
}

const ALONE: Way = Way {
    channels: 0,
    method: Method::None,
};

const fn multifd(channels: usize, method: Method) -> Way {
    Way { channels, method }
}

/// Stands between the two until the source has said everything.
fn pass_on(gate: &Gate, destination: &Guest, from: Way, to: Way) -> Result<Summary> {
    let mut source = gate.accept(from.channels)?;
    let (mut main, mut others) = connect(destination, to.channels)?;
    let ends = others.iter().map(Writer::abort_handle);
    let end = ends.fold(source.abort_handle(), |all, other| all.and(&other));
    let abort = end.and(&main.abort_handle());
    let options = Options::default();
    let summary = if to.channels == 0 {
        let mut forward = Forward::new(&mut main);
        let loaded = load_live(&mut source, &mut forward, &options, &abort);
        loaded.and_then(|summary| {
            forward.finish().map_err(LoadError::Visitor)?;
            Ok(summary)
        })
    } else {
        let with = MultifdOptions::new(to.method);
        forward_multifd(
            &mut main,
            &mut others,
            &with,
            &abort,
            LoadError::Visitor,
            |forward| load_live(&mut source, forward, &options, &abort),
        )
    };
    let summary = summary.with_context(|| format!("{from:?} to {to:?}"))?;
    for other in others {
        other.close()?;
    }
    main.close()?;
    Ok(summary)
}

/// A guest that moves from one QEMU into another through us.
fn moves(
    source: &Spec,
    release: Release,
    (from, to): (Way, Way),
    capabilities: &[&str],
) -> Result<Summary> {
    let mut target = source.clone();
    target.release = release;
    let destination = target.incoming("defer").start()?;
    let guest = source.start()?;
    guest.wait_for_passes(1)?;
    guest.set_multifd(from.channels, from.method)?;
    destination.set_multifd(to.channels, to.method)?;
    for capability in capabilities {
        guest.enable(capability)?;
    }
    destination.listen()?;
    // 7.2's translator loses track of pages that change meanwhile.
    let live = source.release != Release::V7_2;
    if live {
        guest.migrate_slowly()?;
    } else {
        guest.stop()?;
    }
    let gate = Gate::open(guest.folder())?;
    guest.begin_to_migrate(&gate.uri())?;
    let summary = thread::scope(|scope| {
        let passing = scope.spawn(|| pass_on(&gate, &destination, from, to));
        if live {
            guest.hurry_when_pages_came_again()?;
        }
        let passed = passing.join().map_err(|_| anyhow!("the thread panicked"))?;
        destination.told(passed)
    })?;
    guest.wait_until_migrated()?;
    destination.wait_until_migrated()?;
    if !live {
        // It was sent as a guest that stands still.
        destination.wait_for_state("paused")?;
        destination.cont()?;
    }
    destination.wait_for_passes(3)?;
    Ok(summary)
}

/// A guest that rewrites whole pages while it is migrated, slowly enough that it comes to an end.
fn busy(release: Release, machine: &str) -> Spec {
    Spec::pattern(release, machine).tell(|pattern| {
        pattern.mib_per_second = 8;
        pattern.rewrite_percent = 50;
    })
}

const ZLIB: Way = multifd(2, Method::Zlib);
const ZSTD: Way = multifd(3, Method::Zstd);
const PLAIN: Way = multifd(2, Method::None);

#[test]
fn a_guest_of_10_0_moves_while_it_runs_in_whatever_form_it_comes_and_goes() -> Result<()> {
    let spec = busy(Release::V10_0, "q35");
    for ways in [
        (ALONE, ALONE),
        (ZLIB, ZLIB),
        (ZSTD, ZSTD),
        (PLAIN, ZSTD),
        (ZLIB, ALONE),
        (ALONE, ZLIB),
    ] {
        moves(&spec, Release::V10_0, ways, &[])?;
    }
    Ok(())
}

#[test]
fn differences_of_pages_are_passed_on_as_they_are() -> Result<()> {
    let spec = busy(Release::V10_0, "q35");
    let summary = moves(&spec, Release::V10_0, (ALONE, ALONE), &["xbzrle"])?;
    anyhow::ensure!(summary.xbzrle_pages > 0, "{summary:?}");
    moves(
        &busy(Release::V7_2, "q35"),
        Release::V7_2,
        (ALONE, ALONE),
        &["xbzrle"],
    )?;
    Ok(())
}

#[test]
fn a_guest_of_an_older_machine_type_moves_while_it_runs() -> Result<()> {
    for (machine, ways) in [
        ("pc-q35-7.2", (ZLIB, ZSTD)),
        ("pc-q35-8.0", (ZSTD, PLAIN)),
        ("pc-q35-8.2", (PLAIN, ZLIB)),
    ] {
        moves(&busy(Release::V10_0, machine), Release::V10_0, ways, &[])?;
    }
    Ok(())
}

#[test]
fn a_guest_of_7_2_moves_in_whatever_form_it_comes_and_goes() -> Result<()> {
    let spec = busy(Release::V7_2, "q35");
    for ways in [
        (ALONE, ALONE),
        (ZLIB, ZLIB),
        (ZSTD, ZSTD),
        (PLAIN, ALONE),
        (ALONE, PLAIN),
    ] {
        moves(&spec, Release::V7_2, ways, &[])?;
    }
    Ok(())
}

#[test]
fn a_guest_of_7_2_moves_to_10_0_and_one_of_its_machine_type_back() -> Result<()> {
    let spec = busy(Release::V7_2, "pc-q35-7.2");
    for ways in [(ALONE, ALONE), (ZLIB, ZSTD), (ZSTD, ZLIB)] {
        moves(&spec, Release::V10_0, ways, &[])?;
    }
    let spec = busy(Release::V10_0, "pc-q35-7.2");
    moves(&spec, Release::V7_2, (ZLIB, ZSTD), &[])?;
    moves(&spec, Release::V7_2, (PLAIN, ALONE), &[])?;
    Ok(())
}
