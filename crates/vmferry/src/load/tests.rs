//! What no real stream holds: hostile ones that stay within each single limit.

use std::convert::Infallible;

use super::{Channels, Image, LoadError, Options, VmDescRule, load, load_channels};
use crate::error::Error;
use crate::progress::Progress;
use crate::ram::{BlockIndex, PageIndex, PageKind, PageSource};
use crate::save::{self, SaveError};
use crate::wire::configuration::{Configuration, X_IGNORE_SHARED};
use crate::wire::section::{self, ElementType, SectionHeader};
use crate::wire::{Sink, SliceSource, header, limits, ram};

const RAM: u32 = 1;

/// A stream up to and including its configuration.
fn head() -> Vec<u8> {
    head_with(&[])
}

fn head_with(capabilities: &[&str]) -> Vec<u8> {
    let mut stream = Vec::new();
    header::encode(&mut stream);
    let configuration = Configuration {
        machine: "pc-q35-10.0".into(),
        capabilities: capabilities.iter().copied().map(Into::into).collect(),
        ..Configuration::default()
    };
    configuration.encode(&mut stream);
    stream
}

fn put_section(stream: &mut Vec<u8>, element: ElementType, id: u32, idstr: &str, payload: &[u8]) {
    let header = SectionHeader {
        section_id: id,
        idstr: idstr.into(),
        instance_id: 0,
        version_id: ram::VERSION,
    };
    header.encode(element, stream);
    stream.put(payload);
    stream.put(&section::footer(id));
}

/// A list of blocks named from `first` on, each of `length` bytes, as a START of the RAM.
fn put_list(stream: &mut Vec<u8>, first: usize, count: usize, length: u64) {
    const MEM_SIZE: u64 = 4;
    let mut payload = Vec::new();
    let total = length * count as u64;
    payload.put(&(total | MEM_SIZE).to_be_bytes());
    for number in first..first + count {
        payload.put_name(&format!("b{number}"));
        payload.put(&length.to_be_bytes());
    }
    payload.put(&ram::EOS_RECORD);
    put_section(stream, ElementType::Start, RAM, ram::IDSTR, &payload);
}

fn read(stream: &[u8]) -> Result<Image, String> {
    let mut image = Image::default();
    let options = Options {
        vmdesc: VmDescRule::Optional,
        ..Options::default()
    };
    match load(&mut SliceSource::new(stream), &mut image, &options) {
        Ok(_) => Ok(image),
        Err(LoadError::Read(Error::Format(error))) => Err(error.to_string()),
        Err(LoadError::Read(error)) => panic!("{error}"),
        Err(LoadError::<Infallible>::Visitor(never)) => match never {},
    }
}

fn refusal(stream: &[u8]) -> String {
    read(stream).map(drop).unwrap_err()
}

/// A machine with two pages, of which the second comes through the channel of requested pages.
fn with_preempt(preempt: &[u8]) -> Result<Image, String> {
    let mut main = head();
    put_list(&mut main, 0, 1, 8192);
    let mut payload = 0x08_u64.to_be_bytes().to_vec();
    payload.put_name("b0");
    payload.put(&[1; 4096]);
    payload.put(&ram::EOS_RECORD);
    section::encode_continued(ElementType::End, RAM, &mut main);
    main.put(&payload);
    main.put(&section::footer(RAM));
    main.push(0);
    let mut channels = Channels {
        preempt: Some(SliceSource::new(preempt)),
        ..Channels::new(SliceSource::new(&main))
    };
    let mut image = Image::default();
    let options = Options {
        vmdesc: VmDescRule::Optional,
        ..Options::default()
    };
    match load_channels(&mut channels, &mut image, &options) {
        Ok(_) => Ok(image),
        Err(LoadError::Read(error)) => Err(error.to_string()),
        Err(LoadError::<Infallible>::Visitor(never)) => match never {},
    }
}

#[test]
fn requested_pages_are_newer_than_those_of_the_main_channel() {
    let mut requested = Vec::new();
    for (word, name) in [(0x08_u64, Some("b0")), (0x1028, None)] {
        requested.put(&word.to_be_bytes());
        if let Some(name) = name {
            requested.put_name(name);
        }
        requested.put(&[2; 4096]);
    }
    // QEMU 7.2 ends the channel with an EOS, 10.0 does not.
    for end in [&[][..], &ram::EOS_RECORD] {
        let image = with_preempt(&[&requested[..], end].concat()).unwrap();
        for page in [PageIndex(0), PageIndex(1)] {
            let mut data = [0; 4096];
            let Ok(kind) = image.page(BlockIndex(0), page, &mut data);
            assert_eq!((kind, data), (PageKind::Data, [2; 4096]));
        }
    }
    for end in (0..requested.len()).filter(|end| *end != 0 && *end != 11 + 4096) {
        let error = with_preempt(&requested[..end]).map(drop).unwrap_err();
        assert!(error.contains("ends inside"), "{end}: {error}");
    }
}

#[test]
fn the_channel_of_requested_pages_names_its_blocks_itself_and_holds_pages_alone() {
    for (bytes, says) in [
        (
            0x28_u64.to_be_bytes().to_vec(),
            "the name of a block before the first CONTINUE",
        ),
        (
            0x40_u64.to_be_bytes().to_vec(),
            "unknown combination of migration flags: 0x40",
        ),
        (0x04_u64.to_be_bytes().to_vec(), "the guest runs already"),
        (
            [&ram::EOS_RECORD[..], b"x"].concat(),
            "1 bytes are left over",
        ),
    ] {
        let error = with_preempt(&bytes).map(drop).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn lists_of_blocks_together_meet_the_limit_of_one() {
    let mut stream = head();
    put_list(&mut stream, 0, limits::RAM_BLOCKS, 4096);
    let mut whole = stream.clone();
    whole.push(0);
    read(&whole).unwrap();
    put_list(&mut stream, limits::RAM_BLOCKS, 1, 4096);
    stream.push(0);
    let error = refusal(&stream);
    assert!(error.contains("the list of RAM blocks"), "{error}");
    assert!(error.contains("the limit is 4096"), "{error}");
}

#[test]
fn the_bytes_of_all_blocks_can_be_counted() {
    let mut stream = head();
    put_list(&mut stream, 0, 4095, limits::RAM_BLOCK_LENGTH);
    put_list(&mut stream, 0, 1, limits::RAM_BLOCK_LENGTH);
    let mut whole = stream.clone();
    whole.push(0);
    read(&whole).unwrap();
    put_list(&mut stream, 4095, 1, limits::RAM_BLOCK_LENGTH);
    stream.push(0);
    let error = refusal(&stream);
    assert!(error.contains("all RAM blocks together"), "{error}");
}

#[test]
fn early_sections_meet_a_limit() {
    let mut stream = head();
    put_list(&mut stream, 0, 1, 4096);
    for _ in 0..=limits::SECTIONS {
        put_section(&mut stream, ElementType::Full, 7, "early", b"");
    }
    stream.push(0);
    let error = refusal(&stream);
    assert!(error.contains("the limit is 65536"), "{error}");
}

#[test]
fn early_sections_together_meet_the_limit_of_all_device_state() {
    let mut stream = head();
    put_list(&mut stream, 0, 1, 4096);
    let payload = vec![0xff; limits::TAKE - 64];
    for _ in 0..limits::DEVICE_STATE / payload.len() + 1 {
        put_section(&mut stream, ElementType::Full, 7, "early", &payload);
    }
    stream.push(0);
    let error = refusal(&stream);
    assert!(error.contains("the state of all devices"), "{error}");
}

#[test]
fn a_machine_whose_shared_memory_was_left_out_is_read_but_not_written() {
    let mut stream = head_with(&[X_IGNORE_SHARED]);
    let mut payload = 0x1004_u64.to_be_bytes().to_vec();
    payload.put_name("mem0");
    payload.put(&4096_u64.to_be_bytes());
    let address = 0x1_0000_0000_u64;
    payload.put(&address.to_be_bytes());
    payload.put(&ram::EOS_RECORD);
    put_section(&mut stream, ElementType::Start, RAM, ram::IDSTR, &payload);
    stream.push(0);
    let image = read(&stream).unwrap();
    let mut again = Vec::new();
    let result = save::precopy(&mut again, &image.state, &image, &Progress::default());
    assert!(matches!(result, Err(SaveError::SharedMemoryLeftOut)));
    assert_eq!(again, b"");
}
