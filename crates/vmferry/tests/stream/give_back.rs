//! Guest memory that goes back to the system once it has been sent.

use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, fstat, ftruncate, memfd_create};
use vmferry::channel::{Memory, RamMapping};
use vmferry::stream::{DiscardPrivate, PunchHole, Release, Releaser, Writer, WriterConfig};

use crate::support::{PAGE, contents, guest, pattern};

/// Sends all of `ram` but its last page, with a number before each, and to give it back.
fn send<M: Releaser>(ram: &RamMapping, releaser: M) -> (Vec<u8>, u64) {
    let config = WriterConfig::default();
    let mut writer = Writer::with_releaser(Memory::default(), &config, releaser);
    let pages = ram.len() / PAGE - 1;
    for page in 0..pages {
        writer.put_be64(page as u64);
        let page = ram.as_ram().subslice(page * PAGE..(page + 1) * PAGE);
        writer.put_ram(page.unwrap(), Release::AfterSend);
    }
    writer.flush().unwrap();
    let report = writer.release_report();
    assert_eq!(report.failures, 0, "{:?}", report.first_failure);
    let released = report.released;
    (writer.finish().unwrap().0, released)
}

/// What [`send`] is to send of the pattern.
fn sent(pages: usize) -> Vec<u8> {
    let all = pattern(pages * PAGE);
    let with_number = |(page, bytes)| [&u64::to_be_bytes(page)[..], bytes].concat();
    (0..).zip(all.chunks(PAGE)).flat_map(with_number).collect()
}

/// Memory of `pages` pages that others can map, too.
fn shared(pages: usize) -> (OwnedFd, RamMapping) {
    let file = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, (pages * PAGE) as u64).unwrap();
    let mut ram = RamMapping::shared(&file, 0, pages * PAGE).unwrap();
    ram.as_ram_mut().copy_from(&pattern(pages * PAGE));
    (file, ram)
}

/// Bytes that the system holds for a file.
fn held(file: &OwnedFd) -> usize {
    usize::try_from(fstat(file).unwrap().st_blocks).unwrap() * 512
}

#[test]
fn private_memory_is_dropped_but_for_what_was_not_sent() {
    let ram = guest(100);
    let (bytes, released) = send(&ram, DiscardPrivate);
    assert!(bytes == sent(99));
    assert_eq!(released, 99 * PAGE as u64);
    let left = contents(ram.as_ram());
    assert!(left[..99 * PAGE].iter().all(|byte| *byte == 0));
    assert!(left[99 * PAGE..] == pattern(100 * PAGE)[99 * PAGE..]);
}

#[test]
fn shared_memory_goes_back_for_all_who_share_it() {
    let (file, ram) = shared(100);
    let other = RamMapping::shared(&file, 0, 100 * PAGE).unwrap();
    assert_eq!(held(&file), 100 * PAGE);
    let (bytes, released) = send(&ram, PunchHole::default());
    assert!(bytes == sent(99));
    assert_eq!(released, 99 * PAGE as u64);
    assert_eq!(held(&file), PAGE);
    let left = contents(other.as_ram());
    assert!(left[..99 * PAGE].iter().all(|byte| *byte == 0));
    assert!(left[99 * PAGE..] == pattern(100 * PAGE)[99 * PAGE..]);
}

#[test]
fn dropping_the_pages_of_shared_memory_frees_nothing() {
    // Which is why there are two kinds of releasers.
    let (file, ram) = shared(10);
    send(&ram, DiscardPrivate);
    assert_eq!(held(&file), 10 * PAGE);
    assert!(contents(ram.as_ram()) == pattern(10 * PAGE));
}

#[test]
fn only_whole_pages_of_the_size_that_the_memory_has_are_given_back() {
    // As on huge pages, four times as large here.
    let (file, ram) = shared(16);
    let config = WriterConfig::default();
    let releaser = PunchHole::new(4 * PAGE);
    let start = ram.as_ram().as_ptr() as usize / PAGE % 4;
    let mut writer = Writer::with_releaser(Memory::default(), &config, releaser);
    // From somewhere within a large page on to the end of the third large page after it.
    let first_whole = (4 - start) % 4;
    let to = (first_whole + 8) * PAGE;
    let part = ram.as_ram().subslice(first_whole * PAGE + 100..to);
    writer.put_ram(part.unwrap(), Release::AfterSend);
    writer.flush().unwrap();
    assert_eq!(writer.release_report().released, 4 * PAGE as u64);
    assert_eq!(held(&file), 12 * PAGE);
}
