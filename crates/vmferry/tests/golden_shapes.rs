//! Golden captures that are no plain stream in one file: mapped-ram files, postcopy migrations with their channels, and
//! snapshots inside disk images.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::convert::Infallible;
use std::io::Write;
use std::path::Path;

use vmferry::container::{self, Container, Wanted};
use vmferry::index::Index;
use vmferry::load::{
    Assumption, AssumptionKind, Channels, Image, Mode, Options, Summary, VmDescRule, load,
    load_channels,
};
use vmferry::machine::SavedState;
use vmferry::ram::{PageIndex, PageKind, PageSource};
use vmferry::wire::SliceSource;

/// Bytes of all RAM of a machine with 1 MiB, its firmware and its tables: pages of it.
const PAGES: u64 = 338;

fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/streams");
    let path = folder.join(format!("{name}.zst"));
    let file = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    zstd::decode_all(&*file).unwrap()
}

fn mapped(name: &str, file_offset: u64, mode: Mode) -> Result<(Image, Summary), String> {
    let bytes = golden(name);
    let stream = &bytes[usize::try_from(file_offset).unwrap()..];
    let options = Options {
        mode,
        file_offset,
        ..Options::default()
    };
    let mut image = Image::default();
    let summary = load(&mut SliceSource::new(stream), &mut image, &options);
    summary
        .map(|summary| (image, summary))
        .map_err(|error| error.to_string())
}

/// How many pages of the largest block hold something.
fn data_pages(image: &Image) -> usize {
    let ram = image.blocks().find("pc.ram").unwrap();
    let mut page = vec![0; 4096];
    let pages = (0..256).map(PageIndex);
    pages
        .filter(|index| {
            let kind = image.page(ram, *index, &mut page);
            kind.map_err(|never: Infallible| match never {}) == Ok(PageKind::Data)
        })
        .count()
}

#[test]
fn mapped_ram_files_are_whole_wherever_they_begin_and_however_they_were_made() {
    for (name, offset) in [
        ("10.0-q35-mapped.mapped", 0),
        ("10.0-q35-mapped-offset.mapped", 0x12345),
        ("10.0-q35-mapped-live.mapped", 0),
        ("10.0-q35-mapped-ignore-shared.mapped", 0),
    ] {
        let (image, summary) = mapped(name, offset, Mode::Strict).unwrap();
        assert!(summary.ram_ended, "{name}");
        assert_eq!(summary.pages, PAGES, "{name}");
        assert!(summary.zero_pages > 100, "{name}: {summary:?}");
        assert!(data_pages(&image) > 0, "{name}");
        assert!(image.state.devices.len() > 20, "{name}");
        assert!(image.state.vmdesc.is_some(), "{name}");
    }
    let (image, _) = mapped("10.0-q35-mapped-ignore-shared.mapped", 0, Mode::Strict).unwrap();
    let bios = image.blocks().find("pc.bios").unwrap();
    // The firmware ends where 4 GiB do.
    let end = image.blocks().address(bios).unwrap() + image.blocks().get(bios).unwrap().used_length;
    assert_eq!(end, 1 << 32);
}

#[test]
fn a_mapped_ram_file_without_bitmaps_is_refused_and_its_pages_are_rescued() {
    let name = "10.0-q35-mapped-snapshot.mapped";
    let error = mapped(name, 0, Mode::Strict).map(drop).unwrap_err();
    assert!(error.contains("holds no memory"), "{error}");
    let (image, summary) = mapped(name, 0, Mode::Rescue).unwrap();
    assert!(!summary.assumptions.is_empty());
    assert!(data_pages(&image) > 0);
}

#[test]
fn a_mapped_ram_file_that_is_cut_anywhere_is_an_error() {
    let bytes = golden("10.0-q35-mapped.mapped");
    let ends =
        (0..bytes.len()).filter(|end| *end < 0x200 || end % 9973 == 0 || end + 64 > bytes.len());
    for end in ends {
        let cut = load(
            &mut SliceSource::new(&bytes[..end]),
            &mut Image::default(),
            &Options::default(),
        );
        assert!(cut.is_err(), "cut at {end} of {}", bytes.len());
    }
}

#[test]
fn a_postcopy_migration_is_whole_with_all_of_its_channels() {
    for (name, preempt) in [
        ("7.2-q35-postcopy", false),
        ("10.0-q35-postcopy", false),
        ("7.2-q35-postcopy-preempt", true),
        ("10.0-q35-postcopy-preempt", true),
        ("10.0-q35-7.1-postcopy-preempt", true),
    ] {
        let main = golden(&format!("{name}.main"));
        let urgent = preempt.then(|| golden(&format!("{name}.preempt")));
        let mut channels = Channels::new(SliceSource::new(&main));
        channels.preempt = urgent.as_deref().map(SliceSource::new);
        let options = Options {
            vmdesc: VmDescRule::Optional,
            ..Options::default()
        };
        let mut image = Image::default();
        let summary = load_channels(&mut channels, &mut image, &options).unwrap();
        assert!(summary.switched_to_postcopy, "{name}");
        assert!(image.state.devices.len() > 20, "{name}");
        let mut page = vec![0; 4096];
        for (index, block) in image.blocks().iter() {
            for number in (0..block.pages(image.page_size())).map(PageIndex) {
                let kind = image.page(index, number, &mut page);
                let kind = kind.map_err(|never: Infallible| match never {}).unwrap();
                assert_ne!(kind, PageKind::Absent, "{name}: {} {number:?}", block.idstr);
            }
        }
        // Cut in its head, in its package, behind it: never a whole machine.
        for end in (0..main.len())
            .step_by(9973)
            .chain(main.len() - 40..main.len())
        {
            let mut cut = Channels::new(SliceSource::new(&main[..end]));
            let cut = load_channels(&mut cut, &mut Image::default(), &options);
            assert!(cut.is_err(), "{name} cut at {end} of {}", main.len());
        }
    }
}

#[test]
fn a_postcopy_migration_that_broke_off_is_an_error_and_rescued_as_far_as_it_came() {
    for release in ["7.2", "10.0"] {
        let main = format!("{release}-q35-postcopy-recovery.main");
        let error = mapped(&main, 0, Mode::Strict).map(drop).unwrap_err();
        assert!(error.contains("the stream ends inside"), "{error}");
        let (image, summary) = mapped(&main, 0, Mode::Rescue).unwrap();
        assert!(summary.switched_to_postcopy && !summary.ram_ended);
        assert!(
            matches!(
                &summary.assumptions[..],
                [Assumption {
                    kind: AssumptionKind::Cut { .. },
                    ..
                }]
            ),
            "{:?}",
            summary.assumptions
        );
        // The devices were in the package, before the guest moved.
        assert!(summary.devices >= 29, "{summary:?}");
        assert!(data_pages(&image) > 0);
        // The connection that follows has no header, and alone is no machine.
        let error = mapped(&format!("{main}2"), 0, Mode::Rescue).map(drop);
        assert!(error.unwrap_err().contains("magic"));
    }
}

#[test]
fn a_snapshot_in_a_disk_image_is_a_whole_machine() {
    for name in ["7.2-q35-savevm.qcow2", "10.0-q35-savevm.qcow2"] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&golden(name)).unwrap();
        let open = |snapshot: Option<&str>| {
            let wanted = Wanted {
                snapshot: snapshot.map(str::to_owned),
                ..Wanted::default()
            };
            container::open_wanted(file.reopen().unwrap(), &wanted)
        };
        // There are two of them.
        let error = open(None).map(drop).unwrap_err().to_string();
        let named = |id: &str| open(Some(id)).unwrap();
        assert!(error.contains("snapshot"), "{error}");
        for id in ["1", "2"] {
            let opened = named(id);
            assert!(matches!(opened.container, Container::Qcow2(_)), "{name}");
            let index = Index::open(opened, VmDescRule::Required).unwrap();
            assert!(
                SavedState::state(&index).unwrap().devices.len() > 20,
                "{name}"
            );
            for (number, block) in index.blocks().iter() {
                assert_eq!(index.pages_missing(number), 0, "{name}: {}", block.idstr);
            }
        }
    }
}
