use super::*;
use crate::wire::SliceSource;

/// The init packet of channel 1 of QEMU 10.0.2; its reserved bytes are left out.
const INIT: &[u8] = b"\x11\x22\x33\x44\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01";

/// What is in front of the name in a packet with `pc.rom`'s 32 pages, all zero, from QEMU 10.0.2 with zlib.
const ZEROS: &[u8] = b"\x11\x22\x33\x44\0\0\0\x01\0\0\0\x02\0\0\0\x80\0\0\0\0\0\0\0\0\
    \0\0\0\0\0\0\0\x29\0\0\0\x20";

/// The same of a packet of QEMU 7.2.22 with one page of `/rom@etc/acpi/rsdp` and a meeting point.
const MERGED: &[u8] = b"\x11\x22\x33\x44\0\0\0\x01\0\0\0\x01\0\0\0\x80\0\0\0\x01\0\0\x10\0\
    \0\0\0\0\0\0\0\x07\0\0\0\0";

/// A whole head: what is in front of the name, the name, and offsets, with zeros where nothing is.
fn head(front: &[u8], name: &[u8], offsets: &[u64]) -> Vec<u8> {
    let mut bytes = front.to_vec();
    bytes.resize(64, 0);
    bytes.extend_from_slice(name);
    bytes.resize(320, 0);
    offsets
        .iter()
        .for_each(|offset| bytes.extend(offset.to_be_bytes()));
    bytes.resize(1344, 0);
    bytes
}

fn zeros() -> Vec<u8> {
    head(
        ZEROS,
        b"pc.rom",
        &(0..32).map(|page| page << 12).collect::<Vec<_>>(),
    )
}

fn decode(bytes: &[u8]) -> Result<Packet, FormatError> {
    Packet::decode(&mut SliceSource::new(bytes), PageSize::X86)
}

fn pages(bytes: &[u8]) -> Pages {
    match decode(bytes).unwrap() {
        Packet::Pages(pages) => pages,
        other => panic!("{other:?}"),
    }
}

fn refusal(bytes: &[u8]) -> String {
    decode(bytes).unwrap_err().to_string()
}

#[test]
fn the_init_packet_of_qemu_is_read_and_written_back() {
    let mut bytes = INIT.to_vec();
    bytes.resize(Init::LEN, 0);
    let init = Init::decode(&mut SliceSource::new(&bytes)).unwrap();
    assert_eq!((init.id, init.uuid), (1, [0; 16]));
    let mut again = Vec::new();
    init.encode(&mut again);
    assert_eq!(again, bytes);
    for end in 0..Init::LEN {
        assert!(Init::decode(&mut SliceSource::new(&bytes[..end])).is_err());
    }
    let main = Init::decode(&mut SliceSource::new(b"QEVM\0\0\0\x03")).unwrap_err();
    assert!(
        main.to_string()
            .contains("expected magic 11223344, found 5145564d"),
        "{main}"
    );
}

#[test]
fn a_packet_of_zero_pages_is_read_and_written_back() {
    let bytes = zeros();
    let packet = pages(&bytes);
    assert_eq!(
        (packet.method, packet.number, packet.sync),
        (Method::Zlib, 41, false)
    );
    assert_eq!((packet.block.as_str(), packet.normal.len()), ("pc.rom", 0));
    assert_eq!(packet.zero.last(), Some(&0x1f000));
    let mut again = Vec::new();
    packet.encode(PageSize::X86, &mut again);
    assert_eq!(again, bytes);
    for end in 0..bytes.len() {
        assert!(decode(&bytes[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn what_is_left_over_from_an_earlier_packet_is_not_taken_for_pages() {
    let packet = pages(&head(MERGED, b"/rom@etc/acpi/rsdp", &[0, 0x1000, 0x2000]));
    assert!(packet.sync && !packet.is_bare_sync());
    assert_eq!((packet.normal.as_slice(), packet.zero.len()), (&[0][..], 0));

    // The phantom behind it: no pages, although it has a size.
    let mut phantom = head(MERGED, b"/rom@etc/acpi/rsdp", &[0, 0x1000, 0x2000]);
    (phantom[11], phantom[19]) = (0, 0);
    let packet = pages(&phantom);
    assert!(!packet.sync && packet.is_empty());
    assert_eq!(packet.size, 4096);
}

#[test]
fn a_meeting_point_says_nothing_else() {
    let bytes = head(b"\x11\x22\x33\x44\0\0\0\x01\0\0\0\x01", b"", &[]);
    let packet = pages(&bytes);
    assert!(packet.is_bare_sync());
    let mut again = Vec::new();
    packet.encode(PageSize::X86, &mut again);
    assert_eq!(again, bytes);
}

#[test]
fn the_head_is_as_long_as_the_pages_of_the_target_make_it() {
    for (bytes, len) in [(1 << 10, 4416), (1 << 12, 1344), (1 << 16, 384)] {
        let page_size = PageSize::new(bytes).unwrap();
        let packet = Pages {
            pages_alloc: 2,
            normal: vec![bytes],
            zero: vec![0],
            block: "ram".into(),
            ..Pages::default()
        };
        let mut head = Vec::new();
        packet.encode(page_size, &mut head);
        assert_eq!(head.len(), len);
        let read = Packet::decode(&mut SliceSource::new(&head), page_size).unwrap();
        assert_eq!(read, Packet::Pages(packet));
    }
}

#[test]
fn a_devices_state_has_a_head_of_its_own() {
    let state = DeviceState {
        idstr: "0000:00:02.0/vfio".into(),
        instance_id: 3,
        size: 9,
    };
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    assert_eq!(bytes.len(), 276);
    assert_eq!(decode(&bytes).unwrap(), Packet::DeviceState(state));
    for end in 0..bytes.len() {
        assert!(decode(&bytes[..end]).is_err(), "cut at {end}");
    }
    bytes[275] = 0;
    assert!(refusal(&bytes).contains("expected 1 byte or more, found 0"));
    bytes[11] = 0x41;
    assert!(refusal(&bytes).contains("a device's state, and nothing else"));
}

#[test]
fn what_qemu_refuses_is_refused() {
    for (at, byte, says) in [
        (0, 0x12, "expected magic 11223344"),
        (7, 2, "expected version 1, found version 2"),
        (11, 0x06, "one method of compression, found 0x6"),
        (10, 0x01, "found 0x102"),
        (
            15,
            0x1f,
            "at most 128 pages, found 0 and 32 zero ones, with room for 31",
        ),
        (34, 0x01, "found 0 and 288 zero ones"),
        (17, 0x01, "found 65536 and 32 zero ones"),
        (64, 0xff, "at most 255 bytes of UTF-8 text"),
        (327, 0x01, "one on a page boundary, found 0x1"),
    ] {
        let mut bytes = zeros();
        bytes[at] = byte;
        let error = refusal(&bytes);
        assert!(error.contains(says), "{at}: {error}");
    }
    // A payload that is too long, of a page that has one.
    let mut bytes = zeros();
    (bytes[19], bytes[20]) = (1, 1);
    assert!(refusal(&bytes).contains("has a length of 16777216, the limit is 1048576"));
}
