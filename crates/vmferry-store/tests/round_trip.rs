//! What was saved is what is read, whatever came in whatever order.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use common::{Content, Machine, block, open, tiny_store};
use proptest::collection::vec;
use proptest::prelude::*;
use vmferry::load::Visitor;
use vmferry::ram::{BlockIndex, Page, PageIndex, PageSize, PageSource};
use vmferry_store::manifest::{BlockDevice, Machine as MachineRecord, SaveMode, SaveRecord};
use vmferry_store::{Defaults, Details, ReadOptions, SaveOptions, Store, StoreError};

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        2 => Just(Content::Zero),
        1 => Just(Content::ZeroBytes),
        4 => any::<u64>().prop_map(Content::Text),
        4 => any::<u64>().prop_map(Content::Noise),
    ]
}

fn machines() -> impl Strategy<Value = Machine> {
    let lengths = vec(0_u64..600, 1..4);
    (10_u32..=16, lengths).prop_flat_map(|(bits, lengths)| {
        let size = PageSize::new(1 << bits).unwrap();
        let most = if bits > 13 { 40 } else { 400 };
        let sent = vec((any::<prop::sample::Index>(), content()), 0..most);
        (Just(size), Just(lengths), sent).prop_map(|(size, lengths, sent)| {
            let pages: Vec<(usize, u64)> = (0..)
                .zip(&lengths)
                .flat_map(|(block, length)| (0..*length).map(move |page| (block, page)))
                .collect();
            let mut machine = Machine::small();
            machine.page_size = size;
            machine.blocks = (0..)
                .zip(&lengths)
                .map(|(number, length)| block(&format!("block{number}"), *length, size))
                .collect();
            machine.sent = sent
                .into_iter()
                .filter(|_| !pages.is_empty())
                .map(|(at, content)| {
                    let (block, page) = *at.get(&pages);
                    (BlockIndex(block), PageIndex(page), content)
                })
                .collect();
            machine
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_pages_is_read_as_it_was_saved(
        machine in machines(),
        frame_bytes in 1_u32..300_000,
        pack_bytes in 1_u64..200_000,
        zstd_level in -3_i32..5,
        workers in 1_usize..4,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::create(directory.path(), Defaults::default()).unwrap();
        let options = SaveOptions::default()
            .workers(NonZeroUsize::new(workers).unwrap())
            .parameters(Defaults { zstd_level, frame_bytes, pack_bytes });
        let mut writer = store.save("vm".parse().unwrap(), &options).unwrap();
        machine.feed(&mut writer).unwrap();
        let manifest = writer.publish(Details::default()).unwrap();
        let checkpoint = open(&store, &manifest.name()).unwrap();
        machine.check(&checkpoint).unwrap();
        let options = ReadOptions::default().workers(NonZeroUsize::new(3).unwrap()).cache_bytes(0);
        machine.check(&store.checkpoint(&manifest.name(), options).unwrap()).unwrap();
        let report = checkpoint.verify();
        prop_assert!(report.is_sound(), "{:?}", report.damages);
        prop_assert_eq!(report.pages, manifest.statistics.pages_stored);
        prop_assert_eq!(manifest.statistics.pages_received, machine.sent.len() as u64);
    }
}

#[test]
fn a_machine_with_something_of_everything_is_read_as_it_was_saved() {
    let directory = tempfile::tempdir().unwrap();
    let store = tiny_store(directory.path());
    let machine = Machine::small();
    let manifest = machine.save(&store, "vm").unwrap();
    let checkpoint = open(&store, &manifest.name()).unwrap();
    machine.check(&checkpoint).unwrap();
    assert!(checkpoint.verify().is_sound());
    assert!(manifest.packs.len() > 1, "{manifest:?}");
    let counts = manifest.ram.blocks[0].pages;
    assert_eq!((counts.data, counts.zero, counts.absent), (12, 6, 6));
    assert_eq!(manifest.statistics.pages_repeated, 3);
    assert_eq!(manifest.statistics.pages_dead, 2);
    assert_eq!(
        manifest.machine.machine_type.as_deref(),
        Some("pc-q35-10.0")
    );
}

#[test]
fn zero_pages_take_no_pack() {
    let directory = tempfile::tempdir().unwrap();
    let store = tiny_store(directory.path());
    let mut machine = Machine::small();
    machine
        .sent
        .retain(|(_, _, content)| *content == Content::Zero);
    let manifest = machine.save(&store, "vm").unwrap();
    assert_eq!(manifest.packs, []);
    machine
        .check(&open(&store, &manifest.name()).unwrap())
        .unwrap();
}

#[test]
fn what_the_manifest_is_told_is_in_the_listing() {
    let directory = tempfile::tempdir().unwrap();
    let store = tiny_store(directory.path());
    let mut writer = store
        .save("vm".parse().unwrap(), &SaveOptions::default())
        .unwrap();
    Machine::small().feed(&mut writer).unwrap();
    let details = Details {
        machine: MachineRecord {
            command_line: vec!["qemu-system-x86_64".into(), "-m".into(), "1G".into()],
            cwd: Some("/srv".into()),
            run_state: Some("running".into()),
            ..MachineRecord::default()
        },
        block_devices: vec![BlockDevice {
            device: "drive0".into(),
            file: Some("/srv/disk.qcow2".into()),
            ..BlockDevice::default()
        }],
        save: SaveRecord {
            mode: Some(SaveMode::Snapshot),
            pause_us: Some(3141),
            ..SaveRecord::default()
        },
        warnings: vec!["the disk moved on".into()],
        labels: [("why".into(), "test".into())].into(),
        ..Details::default()
    };
    let written = writer.publish(details).unwrap();
    let listed = store.list().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].manifest.as_ref().unwrap(), &written);
    assert_eq!(store.inspect(&written.name()).unwrap(), written);
    assert_eq!(written.save.mode, Some(SaveMode::Snapshot));
    assert_eq!(written.machine.cwd.as_deref(), Some("/srv"));
}

#[test]
fn a_walk_shows_only_what_is_wanted_and_ends_when_told() {
    let directory = tempfile::tempdir().unwrap();
    let store = tiny_store(directory.path());
    let manifest = Machine::small().save(&store, "vm").unwrap();
    let checkpoint = open(&store, &manifest.name()).unwrap();
    let mut shown = BTreeSet::new();
    let odd = |_: BlockIndex, page: PageIndex| page.0 % 2 == 1;
    checkpoint
        .pages(&odd, &mut |block, page, _| {
            shown.insert((block.0, page.0));
            ControlFlow::Continue(())
        })
        .unwrap();
    let odd: BTreeSet<(usize, u64)> = Machine::small().expected().into_keys().collect();
    let odd = odd.into_iter().filter(|(_, page)| page % 2 == 1).collect();
    assert_eq!(shown, odd);
    for most in 0..19 {
        let mut count = 0;
        checkpoint
            .pages(&|_, _| true, &mut |_, _, _| {
                count += 1;
                if count > most {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
            .unwrap();
        assert_eq!(count, most + 1);
    }
}

#[test]
fn a_block_list_that_comes_again_changes_lengths_and_keeps_pages() {
    let directory = tempfile::tempdir().unwrap();
    let store = tiny_store(directory.path());
    let mut machine = Machine::small();
    let mut writer = store
        .save("vm".parse().unwrap(), &SaveOptions::default())
        .unwrap();
    machine.feed(&mut writer).unwrap();
    let size = machine.page_size;
    machine.blocks.insert(block("vga.vram", 9, size));
    machine.blocks.insert(block("late", 1, size));
    writer.ram_blocks(&machine.blocks, size).unwrap();
    let late = (BlockIndex(3), PageIndex(0), Content::Text(5));
    let bytes = late.2.bytes(size);
    writer.put(late.0, late.1, Page::Data(&bytes)).unwrap();
    machine.sent.push(late);
    let manifest = writer.publish(Details::default()).unwrap();
    machine
        .check(&open(&store, &manifest.name()).unwrap())
        .unwrap();
}

#[test]
fn what_makes_no_sense_is_refused_and_ends_the_save() {
    let directory = tempfile::tempdir().unwrap();
    let store = tiny_store(directory.path());
    let begin = || {
        let mut writer = store
            .save("vm".parse().unwrap(), &SaveOptions::default())
            .unwrap();
        Machine::small().feed(&mut writer).unwrap();
        writer
    };
    let mut writer = begin();
    let beyond = writer
        .put(BlockIndex(1), PageIndex(3), Page::Zero)
        .unwrap_err();
    assert_eq!(
        beyond.to_string(),
        "page 3 came for RAM block 1, which has none such"
    );
    assert!(matches!(
        writer.put(BlockIndex(0), PageIndex(0), Page::Zero),
        Err(StoreError::AlreadyFailed)
    ));
    assert!(matches!(
        writer.publish(Details::default()),
        Err(StoreError::AlreadyFailed)
    ));

    let short = begin().put(BlockIndex(0), PageIndex(0), Page::Data(&[1; 1023]));
    assert!(matches!(short, Err(StoreError::Misuse(_))));
    let odd = [vmferry::ram::RamBlock {
        idstr: "x".into(),
        used_length: 1500,
        host_page_size: None,
    }];
    let odd = begin().ram_blocks(&odd.into_iter().collect(), PageSize::MIN);
    assert!(matches!(odd, Err(StoreError::Misuse(_))));
    let huge = [block("x", 1 << 40, PageSize::MIN)].into_iter().collect();
    let huge = begin().ram_blocks(&huge, PageSize::MIN);
    assert!(matches!(huge, Err(StoreError::TooLarge { .. })));
    let other_size = begin().ram_blocks(&Machine::small().blocks, PageSize::X86);
    assert!(other_size.is_err());
    let nothing = store
        .save("vm".parse().unwrap(), &SaveOptions::default())
        .unwrap();
    assert!(matches!(
        nothing.publish(Details::default()),
        Err(StoreError::Misuse(_))
    ));
    assert_eq!(store.names().unwrap(), []);
    assert_eq!(
        common::files(directory.path()),
        ["lock", "vmferry-store.json"]
    );
}

#[test]
fn a_sparse_machine_of_a_terabyte_takes_kilobytes() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::create(directory.path(), Defaults::default()).unwrap();
    let mut machine = Machine::small();
    machine.page_size = PageSize::X86;
    let pages = 1 << 28;
    machine.blocks = [block("pc.ram", pages, PageSize::X86)]
        .into_iter()
        .collect();
    let last = PageIndex(pages - 1);
    machine.sent = vec![(BlockIndex(0), last, Content::Text(1))];
    let manifest = machine.save(&store, "vm").unwrap();
    let checkpoint = open(&store, &manifest.name()).unwrap();
    let mut page = [0; 4096];
    checkpoint.page(BlockIndex(0), last, &mut page).unwrap();
    assert_eq!(page[..], Content::Text(1).bytes(PageSize::X86)[..]);
    assert_eq!(manifest.ram.blocks[0].pages.absent, pages - 1);
}
