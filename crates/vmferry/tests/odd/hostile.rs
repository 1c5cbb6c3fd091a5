//! Streams that are made to keep a reader busy: the work is counted, and is that of their length.

use std::ops::ControlFlow;
use std::sync::Arc;

use vmferry::channel::Bytes;
use vmferry::index::Index;
use vmferry::load::{Mode, Options, OtherSections, VmDescRule};
use vmferry::ram::{PageIndex, PageSource};
use vmferry::stream::Reader;
use vmferry::wire::vmdesc::VmDesc;
use vmferry::wire::{limits, vmstate};
use vmferry::work;

use super::support::read;

const HEAD: &[u8] = b"QEVM\0\0\0\x03\x07\0\0\0\x0bpc-q35-10.0";
const START: &[u8] = b"\x01\0\0\0\x01\x03ram\0\0\0\0\0\0\0\x04";
const BLOCK: &[u8] = b"\0\0\0\0\0\0\x10\x04\x06pc.ram\0\0\0\0\0\0\x10\0";
const END: &[u8] = b"\0\0\0\0\0\0\0\x10\x7e\0\0\0\x01";
const PAGE: &[u8] = b"\x02\0\0\0\x01\0\0\0\0\0\0\0\x02\x06pc.ram\0";

/// A machine with one page, up to its devices.
pub(crate) fn machine() -> Vec<u8> {
    [HEAD, START, BLOCK, END, PAGE, END].concat()
}

fn full(id: u32, name: &str, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(name.len()).expect("a short name");
    let id = id.to_be_bytes();
    let head = [&[4][..], &id, &[len], name.as_bytes(), &[0; 7], &[1]].concat();
    [&head[..], payload, &[0x7e], &id].concat()
}

fn vmdesc(json: &str) -> Vec<u8> {
    let len = u32::try_from(json.len()).expect("a short text");
    [&[0, 6][..], &len.to_be_bytes(), json.as_bytes()].concat()
}

/// The work of reading what `make` makes of some size, for each byte of it; it must not grow with the size.
fn assert_linear(what: &str, most: u64, make: impl Fn(usize) -> Vec<u8>) {
    for mode in [Mode::Strict, Mode::Rescue] {
        for size in [1_000, 8_000] {
            let bytes = make(size);
            let (_, work) = work::of(|| read(&bytes, mode).map(drop));
            let len = bytes.len() as u64;
            assert!(
                work <= most * len + 1_000_000,
                "{what}, {mode:?}: {work} for {len} bytes"
            );
        }
    }
}

#[test]
fn sections_that_nothing_describes_cost_their_length() {
    assert_linear("short sections", 200, |n| {
        let section = |id| full(id, "ab", &[0xaa; 8]);
        let sections = (0..u32::try_from(n).unwrap()).flat_map(section);
        [machine(), sections.collect(), vec![0]].concat()
    });
    // With footers that are not their own, each is searched in vain.
    assert_linear("short sections with wrong footers", 200, |n| {
        let section = |id| {
            let mut bytes = full(id, "ab", &[0xaa; 8]);
            let last = bytes.len() - 1;
            bytes[last] ^= 0x55;
            bytes
        };
        let sections = (0..u32::try_from(n).unwrap()).flat_map(section);
        [machine(), sections.collect(), vec![0]].concat()
    });
    assert_linear("what may be a footer", 200, |n| {
        let marks = b"\x7e\0\0\0\x09\x7e".repeat(n);
        [machine(), full(9, "ab", &marks), vec![0]].concat()
    });
}

#[test]
fn texts_that_may_be_descriptions_cost_their_length() {
    let described = r#"{"devices":[{"name":"ab","instance_id":0,"version":1,"fields":[{"name":"x","size":8}]}]}"#;
    let null_first = r#"{"devices":[{"name":"ab","instance_id":0,"fields":[{"name":"x","type":"struct","array_len":2,"size":1}]}]}"#;
    assert_linear("heads without a text", 50, |n| {
        let heads = b"{ \0\x06\0\x30\0\0{".repeat(n);
        [machine(), full(9, "ab", &heads), vec![0]].concat()
    });
    assert_linear("texts that end soon", 50, |n| {
        let heads = b"\0\x06\0\0\0\x02{}".repeat(n);
        [machine(), full(9, "ab", &heads), vec![0]].concat()
    });
    for (what, text) in [("descriptions", described), ("arrays", null_first)] {
        let most = if what == "arrays" { 300 } else { 60 };
        assert_linear(what, most, |n| {
            let texts = vmdesc(text).repeat(n / 10);
            [machine(), full(9, "ab", &texts), vmdesc(text)].concat()
        });
    }
}

#[test]
fn pages_of_many_blocks_and_many_lists_of_blocks_cost_their_length() {
    let name = |number: usize| format!("\x06{number:06}").into_bytes();
    assert_linear("pages that name their block", 50, |n| {
        let count = (n / 2).min(limits::RAM_BLOCKS);
        let total = (count as u64 * 4096) | 4;
        let length = 4096_u64.to_be_bytes();
        let list = (0..count).flat_map(|number| [&name(number)[..], &length].concat());
        let page = |number: usize| [&2_u64.to_be_bytes()[..], &name(number % count), &[0]].concat();
        let pages = (0..8 * n).flat_map(|number| page(number * 7));
        let list: Vec<u8> = list.collect();
        let pages: Vec<u8> = pages.collect();
        [HEAD, START, &total.to_be_bytes(), &list, &pages, END].concat()
    });
    assert_linear("lists", 50, |n| {
        [HEAD, START, &BLOCK.repeat(n), END].concat()
    });
}

#[test]
fn iterable_sections_cost_their_length() {
    assert_linear("sections that are not known", 300, |n| {
        let section = |id: u32| {
            let mut bytes = full(id % 1000, &format!("name{id}"), b"12345678");
            bytes[0] = 1;
            bytes
        };
        let sections = (0..u32::try_from(n).unwrap()).flat_map(section);
        [HEAD.to_vec(), sections.collect()].concat()
    });
    let many: Vec<u8> = (0..3000_u32)
        .flat_map(|id| {
            let mut bytes = full(2, &format!("name{id}"), b"");
            bytes[0] = 1;
            bytes
        })
        .collect();
    let (_, summary) = read(&[HEAD, &many[..]].concat(), Mode::Rescue).expect("it is rescued");
    assert_eq!(summary.other_sections.len(), limits::ITERABLES);
}

#[test]
fn bytes_that_mean_nothing_cost_their_length() {
    assert_linear("what looks like records", 200, |n| {
        [
            HEAD,
            START,
            BLOCK,
            &b"\0\0\0\0\0\0\0\x22\0".repeat(n),
            &[0xff; 100],
        ]
        .concat()
    });
    assert_linear("what looks like sections", 200, |n| {
        [HEAD, &b"\x04\0\0\0\x01\x02ab\0\0\0\0\0\0\0".repeat(n)].concat()
    });
}

#[test]
fn values_that_take_no_bytes_do_not_multiply() {
    let device = |number: usize| {
        format!(
            r#"{{"name":"d{number}","instance_id":0,"fields":[{{"name":"n","type":"uint8","array_len":1000000,"size":0}}]}}"#
        )
    };
    let nested = |count: usize| {
        let empty = r#"{"name":"e","type":"buffer","size":0},"#.repeat(count);
        let fields = format!(r#"{empty}{{"name":"b","type":"uint8","size":1}}"#);
        format!(
            r#"{{"name":"d","instance_id":0,"fields":[{{"name":"s","type":"struct","array_len":{count},"size":1,"struct":{{"vmsd_name":"v","fields":[{fields}]}}}}]}}"#
        )
    };
    for count in [100, 1000] {
        let devices: Vec<_> = (0..count).map(device).collect();
        for (devices, payload) in [(devices.join(","), 0), (nested(count), count)] {
            let json = format!(r#"{{"devices":[{devices}]}}"#);
            let vmdesc = VmDesc::parse(json.as_bytes(), 0).expect("a description");
            let payload = vec![1; payload];
            let (_, work) = work::of(|| {
                for device in &vmdesc.devices {
                    let _ = vmstate::decode(device, &payload, 0);
                }
            });
            let most = 100 * (json.len() + payload.len()) as u64 + 100_000;
            assert!(work <= most, "{work} for {} bytes of text", json.len());
        }
    }
}

#[test]
fn a_block_that_is_far_larger_than_what_comes_of_it_is_not_walked_through() {
    const LENGTH: u64 = 1 << 44;
    let list = [
        &(LENGTH | 4).to_be_bytes()[..],
        b"\x06pc.ram",
        &LENGTH.to_be_bytes(),
    ]
    .concat();
    let last = (LENGTH - 4096) | 2;
    let page = [&last.to_be_bytes()[..], b"\x06pc.ram\0"].concat();
    let bytes = [HEAD, START, &list, &page, END].concat();
    let options = Options {
        mode: Mode::Rescue,
        vmdesc: VmDescRule::Optional,
        other_sections: OtherSections::PassOver,
        ..Options::default()
    };
    let place = Arc::new(bytes.clone());
    let index = Index::read(&mut Reader::new(Bytes::new(&bytes)), Some(place), &options);
    let index = index.expect("it is rescued");
    let block = index.blocks().find("pc.ram").expect("it is listed");
    let first = index.next_page(block, PageIndex(0)).expect("one came");
    assert_eq!(first.0, LENGTH / 4096 - 512);
    let (count, work) = work::of(|| {
        let mut count = 0;
        for piece in 0..1000 {
            let pages = PageIndex(piece * 512)..PageIndex(piece * 512 + 512);
            let shown = index.pages_of(block, pages, &mut |_, _| {
                count += 1;
                ControlFlow::Continue(())
            });
            shown.expect("it can be read");
        }
        count
    });
    assert_eq!(count, 0);
    assert!(work <= 10_000, "{work}");
}
