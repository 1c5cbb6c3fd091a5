//! The memory of a machine as the crate `vm-memory` has it.

use vm_memory::bitmap::{AtomicBitmap, Bitmap};
use vm_memory::{Bytes as _, MmapRegion, VolatileMemory};
use vmferry::channel::{Bytes, Memory, Null};
use vmferry::stream::{DiscardPrivate, Reader, Release, Writer, WriterConfig};

use crate::support::{PAGE, pattern};

fn guest(pages: usize) -> MmapRegion<AtomicBitmap> {
    MmapRegion::new(pages * PAGE).unwrap()
}

#[test]
fn volatile_memory_is_sent_from_where_it_is() {
    let guest = guest(4);
    let all = guest.as_volatile_slice();
    all.write_slice(&pattern(4 * PAGE), 0).unwrap();
    let mut writer = Writer::new(Memory::default());
    writer.put_be64(1);
    writer.put_volatile(&guest.get_slice(PAGE, 2 * PAGE).unwrap(), Release::Keep);
    // It may change until it is sent.
    all.write_obj(0xff_u8, PAGE).unwrap();
    let sent = writer.finish().unwrap().0;
    let mut expected = pattern(4 * PAGE)[PAGE..3 * PAGE].to_vec();
    expected[0] = 0xff;
    assert!(sent[8..] == expected);
}

#[test]
fn volatile_memory_goes_back_once_it_is_sent() {
    let guest = guest(2);
    let all = guest.as_volatile_slice();
    all.write_slice(&pattern(2 * PAGE), 0).unwrap();
    let config = WriterConfig::default();
    let mut writer = Writer::with_releaser(Null, &config, DiscardPrivate);
    writer.put_volatile(&guest.get_slice(0, PAGE).unwrap(), Release::AfterSend);
    writer.flush().unwrap();
    assert_eq!(writer.release_report().released, PAGE as u64);
    let mut left = vec![0; 2 * PAGE];
    all.read_slice(&mut left, 0).unwrap();
    assert!(left[..PAGE].iter().all(|byte| *byte == 0));
    assert!(left[PAGE..] == pattern(2 * PAGE)[PAGE..]);
}

#[test]
fn volatile_memory_that_is_read_into_is_dirty() {
    let guest = guest(4);
    let bytes = pattern(PAGE);
    let mut reader = Reader::new(Bytes::new(&bytes));
    let page = guest.get_slice(2 * PAGE, PAGE).unwrap();
    reader.get_volatile(&page).unwrap();
    let mut got = vec![0; PAGE];
    page.read_slice(&mut got, 0).unwrap();
    assert!(got == bytes);
    let dirty = |page| guest.bitmap().dirty_at(page * PAGE);
    assert_eq!([0, 1, 2, 3].map(dirty), [false, false, true, false]);
    // Part of it may have come, so it is dirty.
    let page = guest.get_slice(0, PAGE).unwrap();
    assert!(reader.get_volatile(&page).is_err());
    assert!(dirty(0));
}
