//! Sections beside RAM and devices, and machines that nobody here has: of those, streams made by hand.

use std::convert::Infallible;

use vmferry::load::{
    AssumptionKind, BitmapWords, Image, LoadError, Mode, Options, Origin, OtherSections, Summary,
    Visitor, VmDescRule, load,
};
use vmferry::ram::{BlockIndex, Page, PageIndex, PageKind, PageSource};
use vmferry::wire::dirty_bitmap::Content;
use vmferry::wire::{Sink, SliceSource};

use super::support::{golden, rescue, strict};

#[derive(Default)]
struct Bitmaps(Vec<(String, String, Content)>);

impl Visitor for Bitmaps {
    type Error = Infallible;

    fn page(
        &mut self,
        _: BlockIndex,
        _: PageIndex,
        _: Page<'_>,
        _: Origin,
    ) -> Result<(), Infallible> {
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

    fn dirty_bitmap(
        &mut self,
        node: &str,
        bitmap: &str,
        content: &Content,
    ) -> Result<(), Infallible> {
        let seen = (node.to_owned(), bitmap.to_owned(), content.clone());
        self.0.push(seen);
        Ok(())
    }
}

#[test]
fn dirty_bitmaps_say_what_was_written() {
    for name in ["10.0-pc-small-bitmaps", "7.2-pc-small-bitmaps"] {
        let bytes = golden(name);
        let error = strict(&bytes).map(drop).expect_err("they would be lost");
        assert!(
            error.contains("the iterable section 'dirty-bitmap'"),
            "{error}"
        );
        let mut bitmaps = Bitmaps::default();
        let options = Options {
            other_sections: OtherSections::PassOver,
            ..Options::default()
        };
        let summary = load(&mut SliceSource::new(&bytes), &mut bitmaps, &options);
        let summary = summary.expect("QEMU sent it");
        assert_eq!(summary.bytes, bytes.len() as u64);
        assert_eq!(summary.other_sections, ["dirty-bitmap"]);
        assert!(bitmaps.0.iter().all(|(node, ..)| node == "n0"));
        let of = |name: &str| {
            let all = bitmaps.0.iter().filter(|(_, bitmap, _)| bitmap == name);
            all.map(|(.., content)| content.clone()).collect::<Vec<_>>()
        };
        let [
            Content::Start(properties),
            Content::Bits(bits),
            Content::Complete,
        ] = &of("bm0")[..]
        else {
            panic!("{name}: {bitmaps:?}", bitmaps = bitmaps.0);
        };
        assert_eq!(
            (properties.granularity, properties.enabled),
            (64 << 10, true)
        );
        // 128 KiB at 1 MiB were written.
        let bits = bits.bytes.as_deref().expect("it has some");
        let set = (0..bits.len() * 8).filter(|bit| bits[bit / 8] >> (bit % 8) & 1 == 1);
        assert_eq!(set.collect::<Vec<_>>(), [16, 17], "{name}");
        let [
            Content::Start(properties),
            Content::Bits(bits),
            Content::Complete,
        ] = &of("bm1")[..]
        else {
            panic!("{name}: {bitmaps:?}", bitmaps = bitmaps.0);
        };
        assert!(!properties.enabled && bits.bytes.is_none(), "{name}");
    }
}

fn head(subsections: &[u8]) -> Vec<u8> {
    [b"QEVM\0\0\0\x03\x07\0\0\0\x08virt-8.0", subsections].concat()
}

fn page_bits(bits: u8) -> Vec<u8> {
    head(
        &[
            b"\x05\x1econfiguration/target-page-bits\0\0\0\x01\0\0\0",
            &[bits][..],
        ]
        .concat(),
    )
}

fn section(records: &[u8]) -> Vec<u8> {
    let head = b"\x01\0\0\0\x01\x03ram\0\0\0\0\0\0\0\x04";
    let end = b"\0\0\0\0\0\0\0\x10\x7e\0\0\0\x01";
    [&head[..], records, end].concat()
}

fn block(length: u64) -> Vec<u8> {
    let mut list = (length | 4).to_be_bytes().to_vec();
    list.put_name("mach-virt.ram");
    list.put(&length.to_be_bytes());
    list
}

fn image(stream: &[u8], options: &Options) -> Result<(Image, Summary), String> {
    let mut image = Image::default();
    match load(&mut SliceSource::new(stream), &mut image, options) {
        Ok(summary) => Ok((image, summary)),
        Err(LoadError::Read(error)) => Err(error.to_string()),
        Err(LoadError::Visitor(never)) => match never {},
    }
}

fn bare() -> Options {
    Options {
        vmdesc: VmDescRule::Optional,
        ..Options::default()
    }
}

#[test]
fn pages_of_other_sizes_are_read() {
    // Made by hand: there is no such QEMU here.
    for bits in [10_u8, 14, 16] {
        let size = 1_u64 << bits;
        let mut records = block(3 * size);
        records.put(&(size | 8).to_be_bytes());
        records.put_name("mach-virt.ram");
        records.put(&vec![7; 1 << bits]);
        records.put(&((2 * size) | 0x22).to_be_bytes());
        records.put(&[0]);
        let stream = [page_bits(bits), section(&records), vec![0]].concat();
        let (image, summary) = image(&stream, &bare()).expect("it is read");
        assert_eq!((summary.pages, summary.zero_pages), (2, 1));
        assert_eq!(image.page_size().bytes(), 1 << bits);
        let mut data = vec![0; 1 << bits];
        let Ok(kind) = PageSource::page(&image, BlockIndex(0), PageIndex(1), &mut data);
        assert_eq!((kind, data), (PageKind::Data, vec![7; 1 << bits]));
    }
    assert!(image(&page_bits(17), &bare()).is_err());
}

const MAPPED: &[u8] = b"\x05\x1aconfiguration/capabilities\0\0\0\x01\0\0\0\x01\x0amapped-ram";

/// A mapped-ram file of three pages, of which the second is full of sevens.
fn mapped(bitmap: [u8; 8], is_ended: bool) -> Vec<u8> {
    let mut stream = head(MAPPED);
    let mut records = block(3 * 4096);
    let entry = stream.len() + 17 + records.len();
    records.put(&1_u32.to_be_bytes());
    records.put(&4096_u64.to_be_bytes());
    records.put(&(entry as u64 + 28).to_be_bytes());
    records.put(&4096_u64.to_be_bytes());
    records.put(&bitmap);
    records.resize(4096 - stream.len() - 17, 0);
    for byte in [0, 7, 0] {
        records.put(&[byte; 4096]);
    }
    stream.put(&section(&records));
    if is_ended {
        stream.put(b"\x03\0\0\0\x01\0\0\0\0\0\0\0\x10\x7e\0\0\0\x01");
    }
    stream.put(&[0]);
    stream
}

fn sevens(image: &Image) -> bool {
    let mut data = [0; 4096];
    let Ok(kind) = PageSource::page(image, BlockIndex(0), PageIndex(1), &mut data);
    kind == PageKind::Data && data == [7; 4096]
}

#[test]
fn bitmaps_of_other_hosts_are_read_as_they_lie() {
    // Made by hand: there is no such host here.
    for (bitmap_words, bitmap) in [
        (BitmapWords::Little, [2, 0, 0, 0, 0, 0, 0, 0]),
        (BitmapWords::Big, [0, 0, 0, 0, 0, 0, 0, 2]),
        (BitmapWords::Big32, [0, 0, 0, 2, 0, 0, 0, 0]),
    ] {
        let options = Options {
            bitmap_words,
            ..bare()
        };
        let (image, summary) = image(&mapped(bitmap, true), &options).expect("it is read");
        assert!(sevens(&image), "{bitmap_words:?}");
        assert_eq!(summary.zero_pages, 2);
    }
}

#[test]
fn pages_without_a_bitmap_are_rescued_unless_it_was_written() {
    // As a background snapshot leaves it: no end of the RAM, and no bitmap.
    let unfinished = mapped([0; 8], false);
    let error = image(&unfinished, &bare())
        .map(drop)
        .expect_err("QEMU would restore zeros");
    assert!(error.contains("holds no memory"), "{error}");
    let options = Options {
        mode: Mode::Rescue,
        ..bare()
    };
    let (rescued, summary) = image(&unfinished, &options).expect("it is rescued");
    assert!(sevens(&rescued));
    let [assumption] = &summary.assumptions[..] else {
        panic!("{:?}", summary.assumptions);
    };
    let block = "mach-virt.ram".into();
    assert_eq!(assumption.kind, AssumptionKind::BitmapNotWritten { block });

    // An end: the bitmap was written, and what stands there does not count.
    let (finished, summary) = image(&mapped([0; 8], true), &options).expect("it is whole");
    assert!(!sevens(&finished));
    assert!(summary.assumptions.is_empty());
}

#[test]
fn memory_that_went_another_way_is_told() {
    let mut records = block(4096);
    records.put(&0x80_u64.to_be_bytes());
    let stream = [head(b""), section(&records), vec![0]].concat();
    for (_, summary) in [
        strict(&stream).expect("QEMU 10.0 takes it"),
        rescue(&stream),
    ] {
        let [assumption] = &summary.assumptions[..] else {
            panic!("{:?}", summary.assumptions);
        };
        assert_eq!(assumption.kind, AssumptionKind::RamElsewhere);
        assert!(assumption.to_string().contains("RDMA"), "{assumption}");
    }
}

#[test]
fn colo_is_refused_by_name_in_both_modes() {
    let stream = [head(b""), b"\x08\0\x08\0\0\0".to_vec()].concat();
    for mode in [Mode::Strict, Mode::Rescue] {
        let options = Options { mode, ..bare() };
        let refused = image(&stream, &options);
        match mode {
            Mode::Strict => assert!(refused.expect_err("COLO").contains("ENABLE_COLO")),
            Mode::Rescue => {
                let (_, summary) = refused.expect("what came before is there");
                let said = summary.assumptions[0].to_string();
                assert!(said.contains("ENABLE_COLO"), "{said}");
            }
        }
    }
}
