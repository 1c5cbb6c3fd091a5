//! Images that were made by hand. Those of real QEMUs are in `tests/containers.rs` and in the lab.

use std::sync::Arc;

use super::{Image, Snapshot};
use crate::container::{ContainerError, ReadAt};

const CLUSTER: u64 = 512;

/// An image of 512-byte clusters with one snapshot of a disk of one cluster, and a state of `state` clusters, of
/// which every third is missing.
fn image(state: u64, extended: bool) -> Vec<u8> {
    let entry_len = if extended { 16 } else { 8 };
    let per_table = CLUSTER / entry_len;
    let mut bytes = vec![0; 104];
    bytes[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    bytes[23] = 9;
    bytes[24..32].copy_from_slice(&CLUSTER.to_be_bytes());
    bytes[63] = 1;
    bytes[64..72].copy_from_slice(&CLUSTER.to_be_bytes());
    if extended {
        bytes[79] = 0x10;
    }
    bytes.resize(512, 0);
    // The snapshot's entry, in a cluster of its own; the L1 table in the next.
    let tables = state.div_ceil(per_table);
    let mut entry = (2 * CLUSTER).to_be_bytes().to_vec();
    entry.extend(u32::try_from(1 + tables).unwrap().to_be_bytes());
    entry.extend([0, 1, 0, 4]);
    entry.extend(1_700_000_000_u32.to_be_bytes());
    entry.extend(500_000_000_u32.to_be_bytes());
    entry.extend(3_000_000_000_u64.to_be_bytes());
    entry.extend([0; 4]);
    entry.extend(16_u32.to_be_bytes());
    entry.extend((state * CLUSTER - 100).to_be_bytes());
    entry.extend(CLUSTER.to_be_bytes());
    entry.extend(b"1here");
    bytes.extend(&entry);
    bytes.resize(3 * 512, 0);
    let mut next = 3 * CLUSTER;
    let mut put = |bytes: &mut Vec<u8>, content: &[u8]| {
        let at = next;
        bytes.extend_from_slice(content);
        next += CLUSTER;
        at | 1 << 63
    };
    let mut l1 = vec![0];
    for table in 0..tables {
        let mut l2 = Vec::new();
        for number in (table * per_table..(table + 1) * per_table).take_while(|n| *n < state) {
            let word = if number % 3 == 2 {
                0
            } else {
                put(&mut bytes, &[u8::try_from(number % 251).unwrap() + 1; 512])
            };
            l2.extend(word.to_be_bytes());
            if extended {
                // The first half of it.
                l2.extend(0xffff_u64.to_be_bytes());
            }
        }
        l2.resize(512, 0);
        l1.push(put(&mut bytes, &l2));
    }
    for (number, word) in l1.into_iter().enumerate() {
        bytes[1024 + number * 8..][..8].copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

fn open(bytes: Vec<u8>) -> Result<Image, ContainerError> {
    let length = bytes.len() as u64;
    Image::open(Arc::new(bytes), length)
}

#[test]
fn a_state_is_read_from_wherever_its_clusters_are() {
    for extended in [false, true] {
        let image = open(image(150, extended)).unwrap();
        let [snapshot] = image.snapshots() else {
            panic!("{:?}", image.snapshots());
        };
        assert_eq!(
            (snapshot.id.as_str(), snapshot.name.as_str()),
            ("1", "here")
        );
        assert_eq!(snapshot.vm_clock.as_secs(), 3);
        let state = image.vm_state(snapshot).unwrap();
        let size = usize::try_from(state.size()).unwrap();
        assert_eq!(size, 150 * 512 - 100);
        let mut whole = vec![0xff; size];
        state.read_exact_at(&mut whole, 0).unwrap();
        for (number, cluster) in whole.chunks(512).enumerate() {
            let fill = match number % 3 {
                2 => 0,
                _ => u8::try_from(number % 251).unwrap() + 1,
            };
            let (first, second) = cluster.split_at(256);
            assert!(first.iter().all(|byte| *byte == fill), "{number}");
            let fill = if extended { 0 } else { fill };
            assert!(second.iter().all(|byte| *byte == fill), "{number}");
        }
        // In pieces that begin and end anywhere.
        for (at, len) in [(0, 1), (511, 2), (1000, 700), (70_000, 6000), (size - 1, 1)] {
            let mut piece = vec![0xff; len];
            state.read_exact_at(&mut piece, at as u64).unwrap();
            assert_eq!(piece, &whole[at..at + len]);
        }
        let mut beyond = [0; 2];
        assert!(state.read_exact_at(&mut beyond, size as u64 - 1).is_err());
    }
}

#[test]
fn an_image_that_ends_anywhere_gives_an_error_or_zeros_behind_its_end() {
    let whole = image(20, false);
    for len in 0..whole.len() {
        let Ok(image) = open(whole[..len].to_vec()) else {
            continue;
        };
        let Ok(state) = image.vm_state(&image.snapshots()[0]) else {
            continue;
        };
        let mut bytes = vec![0; usize::try_from(state.size()).unwrap()];
        state.read_exact_at(&mut bytes, 0).unwrap();
    }
}

#[test]
fn the_parts_of_a_cluster_that_lie_behind_the_end_of_the_image_are_zeros() {
    let mut bytes = image(20, true);
    // The first cluster of the state is the last of the image, and ends within its third part.
    let last = bytes.len() as u64;
    let table = bytes.len() - 512;
    bytes[table..table + 8].copy_from_slice(&(last | 1 << 63).to_be_bytes());
    bytes.extend([7; 40]);
    let image = open(bytes).unwrap();
    let state = image.vm_state(&image.snapshots()[0]).unwrap();
    let mut cluster = [0xff; 512];
    state.read_exact_at(&mut cluster, 0).unwrap();
    assert_eq!(cluster[..40], [7; 40]);
    assert_eq!(cluster[40..], [0; 472]);
}

fn says(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = image(20, false);
    change(&mut bytes);
    let opened = open(bytes).and_then(|image| {
        let snapshot = image.choose(None)?;
        image.vm_state(snapshot)
    });
    match opened {
        Ok(_) => "nothing".into(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_image_that_is_wrong_says_what_is_wrong_and_where() {
    assert_eq!(says(|_| {}), "nothing");
    for (change, expected) in [
        (
            (7, 4),
            "the version of a qcow2 image: expected 2 or 3, found 4, at offset 0x4",
        ),
        (
            (23, 40),
            "the clusters of a qcow2 image: expected 2^9 to 2^21 bytes, found 2^40, at offset 0x14",
        ),
        (
            (35, 2),
            "an encrypted qcow2 image is not supported, at offset 0x20",
        ),
        (
            (79, 4),
            "a qcow2 image with incompatible features 0x4 is not supported, at offset 0x48",
        ),
        (
            (60, 1),
            "the snapshot table of a qcow2 image has a length of 16777217, the limit is 65536, at offset 0x3c",
        ),
        (
            (64, 1),
            "the place of the snapshot table: expected one within the image's 9216 bytes, found 72057594037928448, at offset 0x40",
        ),
        (
            (512, 1),
            "the place of a snapshot's L1 table: expected one within the image's 9216 bytes, found 0x100000000000400, at offset 0x200",
        ),
        (
            (520, 1),
            "the L1 table of a snapshot has a length of 16777218, the limit is 4194304, at offset 0x200",
        ),
        (
            (550, 9),
            "an entry of the snapshot table has a length of 2320, the limit is 1024, at offset 0x200",
        ),
        (
            (554, 9),
            "the L1 table of a snapshot: expected 301989889 entries for the machine's state from entry 1 on, found 2 entries in all, at offset 0x400",
        ),
        ((1032, 0xc0), "nothing"),
        (
            (1034, 1),
            "an entry of a snapshot's tables: expected a cluster within the image's 9216 bytes, found 0x10000002200, at offset 0x408",
        ),
        (
            (8704, 0xc0),
            "a compressed cluster in the state of a machine is not supported, at offset 0x2200",
        ),
        (
            (8706, 1),
            "an entry of a snapshot's tables: expected a cluster within the image's 9216 bytes, found 0x10000000600, at offset 0x2200",
        ),
    ] {
        let (at, value): (usize, u8) = change;
        assert_eq!(says(|bytes| bytes[at] = value), expected, "{at}");
    }
}

#[test]
fn tables_that_name_the_same_clusters_again_and_again_are_an_error() {
    let said = says(|bytes| {
        for entry in bytes[8704..].chunks_exact_mut(8) {
            entry.copy_from_slice(&(1536_u64).to_be_bytes());
        }
        // 64 clusters, of 18 in the image.
        bytes[552..560].copy_from_slice(&(64 * CLUSTER).to_be_bytes());
    });
    let expected = "an entry of a snapshot's tables: expected each cluster once, found more than the image has";
    assert!(said.starts_with(expected), "{said}");
}

#[test]
fn one_of_several_snapshots_is_chosen_by_its_id_or_its_name() {
    let mut image = open(image(20, false)).unwrap();
    let first = image.snapshots[0].clone();
    let more = |id: &str, name: &str, vm_state_size| Snapshot {
        id: id.into(),
        name: name.into(),
        vm_state_size,
        ..first.clone()
    };
    image.snapshots.push(more("2", "disk", 0));
    assert_eq!(image.choose(None).unwrap().id, "1");
    assert_eq!(image.choose(Some("here")).unwrap().id, "1");
    assert_eq!(
        image.choose(Some("2")).unwrap_err().to_string(),
        "snapshot '2' is one of the disk alone: it holds no machine"
    );
    image.snapshots.push(more("3", "there", 1000));
    assert_eq!(image.choose(Some("3")).unwrap().name, "there");
    assert_eq!(
        image.choose(None).unwrap_err().to_string(),
        "the image has several snapshots: say which one ('here' (id 1), 'disk' (id 2), 'there' (id 3))"
    );
    assert_eq!(
        image.choose(Some("x")).unwrap_err().to_string(),
        "the image has no snapshot 'x'; it has 'here' (id 1), 'disk' (id 2), 'there' (id 3)"
    );
    image.snapshots.clear();
    let error = image.choose(None).unwrap_err();
    assert!(error.to_string().contains("it is only a disk"));
}
