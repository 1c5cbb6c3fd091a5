//! The shapes of an export, byte by byte, of machines that real QEMUs saved before they ran.

use std::path::Path;

use vmferry::load::{Image, Options, load};
use vmferry::ram::PageSource;
use vmferry::ram::layout::{Known, Layout};
use vmferry::wire::SliceSource;
use vmferry_cli::export::cpu::Cpu;
use vmferry_cli::export::pour::pour;
use vmferry_cli::export::{Plan, elf, lime, raw};

const MIB: u64 = 1 << 20;

fn image(name: &str) -> Image {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/streams");
    let file =
        std::fs::File::open(path.join(format!("{name}.stream.zst"))).expect("testdata is there");
    let bytes = zstd::decode_all(file).expect("it is unpacked");
    let mut image = Image::default();
    load(
        &mut SliceSource::new(&bytes),
        &mut image,
        &Options::default(),
    )
    .expect("it is read");
    image
}

/// As if half of its memory lay above 4 GiB.
fn layout(image: &Image) -> Layout {
    let known = Known {
        below_4g: Some(MIB / 2),
        ..Known::default()
    };
    Layout::new(image.blocks(), image.page_size(), &known).expect("a layout")
}

fn poured(plan: &Plan, image: &Image) -> Vec<u8> {
    let mut out = Vec::new();
    pour(plan, image, &mut out).expect("memory takes all");
    assert_eq!(out.len() as u64, plan.len);
    out
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[test]
fn lime_has_each_range_behind_its_first_and_its_last_address() {
    let image = image("10.0-q35-small");
    let file = poured(&lime::plan(&layout(&image)), &image);
    let half = 512 << 10;
    assert_eq!(file.len(), 2 * (32 + half));
    #[rustfmt::skip]
    assert_eq!(file[..32], [
        0x45, 0x4d, 0x69, 0x4c, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0xff, 0xff, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ]);
    #[rustfmt::skip]
    assert_eq!(file[32 + half..][..32], [
        0x45, 0x4d, 0x69, 0x4c, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0,
        0xff, 0xff, 7, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ]);
}

#[test]
fn raw_ends_with_the_last_byte_of_ram() {
    let image = image("7.2-pc-small");
    let known = Known {
        below_4g: Some(MIB),
        ..Known::default()
    };
    let layout = Layout::new(image.blocks(), image.page_size(), &known).unwrap();
    let file = poured(&raw::plan(&layout), &image);
    assert_eq!(file.len() as u64, MIB);
}

#[test]
fn a_core_file_has_its_notes_and_each_segment_at_its_address() {
    let image = image("10.0-q35-small");
    let mut notes = Vec::new();
    for cpu in Cpu::all(&image.state).unwrap() {
        cpu.put_prstatus(&mut notes);
        cpu.put_qemu(&mut notes);
    }
    let processor = elf::processor(Some("pc-q35-10.0")).unwrap();
    let file = poured(
        &elf::plan(&layout(&image), processor, &notes).unwrap(),
        &image,
    );
    assert_eq!(
        file[..20],
        *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0"
    );
    // One PT_NOTE, and PT_LOADs: RAM, BIOS, RAM.
    let header = |number: usize| {
        let at = 64 + number * 56;
        let [offset, _, physical, len] = [8, 16, 24, 32].map(|field| le64(&file, at + field));
        (file[at], offset, physical, len)
    };
    assert_eq!(file[56], 4);
    let (kind, at, _, len) = header(0);
    assert_eq!((kind, len), (4, notes.len() as u64));
    let at = usize::try_from(at).unwrap();
    assert_eq!(file[at..][..notes.len()], notes);
    let half = MIB / 2;
    assert_eq!(header(1), (1, 4096, 0, half));
    assert_eq!(header(2), (1, 4096 + half, (1 << 32) - 65536, 65536));
    assert_eq!(header(3), (1, 4096 + half + 65536, 1 << 32, half));
    // The BIOS ends with the jump that a processor begins with; this one's is a halt.
    let bios = &file[4096 + (512 << 10)..][..65536];
    assert!(bios.iter().any(|byte| *byte != 0));
}

/// What x86 processors begin with, as `info registers` shows it before the first instruction.
#[test]
fn the_registers_of_a_processor_are_those_that_it_begins_with() {
    for name in [
        "7.2-pc-small",
        "7.2-q35-small",
        "10.0-pc-small",
        "10.0-q35-small",
    ] {
        let cpus = Cpu::all(&image(name).state).unwrap();
        let [cpu] = cpus.as_slice() else {
            panic!("{name}: {} processors", cpus.len());
        };
        assert_eq!((cpu.rip, cpu.rflags), (0xfff0, 2), "{name}");
        let [_, cs, ss, ..] = cpu.segments;
        assert_eq!((cs.selector, cs.base), (0xf000, 0xffff_0000), "{name}");
        assert_eq!((cs.limit, cs.flags), (0xffff, 0x9b00), "{name}");
        assert_eq!((ss.selector, ss.base, ss.flags), (0, 0, 0x9300), "{name}");
        assert_eq!((cpu.tr.flags, cpu.idt.limit), (0x8b00, 0xffff), "{name}");
        assert_eq!(cpu.control, [0x6000_0010, 0, 0, 0, 0], "{name}");

        let mut note = Vec::new();
        cpu.put_prstatus(&mut note);
        assert_eq!(note[..20], *b"\x05\0\0\0\x50\x01\0\0\x01\0\0\0CORE\0\0\0\0");
        assert_eq!(note.len(), 20 + 336);
        assert_eq!(note[20 + 0x20], 1);
        assert_eq!(le64(&note, 20 + 0xf0), 0xfff0);
        let mut note = Vec::new();
        cpu.put_qemu(&mut note);
        assert_eq!(note[..20], *b"\x05\0\0\0\xb8\x01\0\0\0\0\0\0QEMU\0\0\0\0");
        assert_eq!(note.len(), 20 + 440);
        assert_eq!(note[20..28], [1, 0, 0, 0, 0xb8, 1, 0, 0]);
    }
}

#[test]
fn the_memory_of_a_virtio_mem_device_lies_where_its_state_says() {
    let image = image("10.0-q35-vmem");
    let words = ["vmferry", "export", "x", "--format", "raw", "-o", "y"];
    let cli = <vmferry_cli::args::Cli as clap::Parser>::parse_from(words);
    let vmferry_cli::args::Command::Export(export) = cli.command else {
        panic!("it is an export");
    };
    let known = vmferry_cli::export::known::known(&image.state, image.blocks(), &export);
    assert_eq!(known.machine.as_deref(), Some("pc-q35-10.0"));
    let [(block, address)] = known.placed.as_slice() else {
        panic!("{:?}", known.placed);
    };
    assert_eq!(
        (block.as_str(), *address),
        ("0000:00:01.0/vm0", 0x1_0000_0000)
    );
}
