//! Traps of giving guest memory back.

use vmferry::channel::{Memory, RamMapping, RamSlice};
use vmferry::stream::{
    DiscardPrivate, Release, Releaser, SentPages, Staging, Writer, WriterConfig,
};

use crate::support::{Mood, Moody, PAGE, contents, guest};

type Out<'ram> = Writer<'ram, Moody<Memory>, DiscardPrivate>;

fn writer<'ram>(moods: impl IntoIterator<Item = Mood>) -> Out<'ram> {
    let channel = Moody::new(Memory::default(), moods);
    Writer::with_releaser(channel, &WriterConfig::default(), DiscardPrivate)
}

fn part(ram: &RamMapping, from: usize, len: usize) -> RamSlice<'_> {
    ram.as_ram().subslice(from..from + len).unwrap()
}

/// Which pages hold nothing any more.
fn gone(ram: &RamMapping) -> Vec<bool> {
    let is_zero = |page: &[u8]| page.iter().all(|byte| *byte == 0);
    contents(ram.as_ram()).chunks(PAGE).map(is_zero).collect()
}

#[test]
fn memory_is_kept_where_sending_it_failed() {
    let ram = guest(4);
    let before = contents(ram.as_ram());
    let mut writer = writer([Mood::UpTo(2 * PAGE), Mood::Fails(32)]);
    writer.put_ram(ram.as_ram(), Release::AfterSend);
    assert!(writer.flush().is_err());
    assert_eq!(writer.release_report().released, 0);
    drop(writer);
    assert_eq!(
        contents(ram.as_ram()),
        before,
        "the transfer can be taken up again"
    );
}

#[test]
fn memory_is_kept_while_some_of_it_waits() {
    let ram = guest(2);
    let mut writer = writer([Mood::UpTo(PAGE), Mood::NotReady]);
    writer.put_ram(ram.as_ram(), Release::AfterSend);
    assert!(writer.flush().is_err());
    assert_eq!(gone(&ram), [false, false]);
    writer.flush().unwrap();
    assert_eq!(gone(&ram), [true, true]);
}

#[test]
fn a_part_of_a_page_takes_nothing_else_with_it() {
    let ram = guest(2);
    let before = contents(ram.as_ram());
    let mut writer = writer([]);
    writer.put_ram(part(&ram, 0, 100), Release::AfterSend);
    writer.flush().unwrap();
    assert_eq!(writer.release_report().failures, 0);
    writer.finish().unwrap();
    assert_eq!(contents(ram.as_ram()), before);
}

#[test]
fn what_does_not_start_at_a_page_gives_back_the_whole_pages_within() {
    let ram = guest(4);
    let mut writer = writer([]);
    writer.put_ram(part(&ram, 8, 3 * PAGE), Release::AfterSend);
    writer.flush().unwrap();
    assert_eq!(writer.release_report().failures, 0);
    assert_eq!(writer.release_report().released, 2 * PAGE as u64);
    assert_eq!(gone(&ram), [false, true, true, false]);
}

#[test]
fn a_page_that_was_sent_in_parts_goes_when_all_of_it_was() {
    let ram = guest(1);
    let mut writer = writer([]);
    writer.put_ram(part(&ram, 0, 1000), Release::AfterSend);
    writer.flush().unwrap();
    assert_eq!(gone(&ram), [false]);
    writer.put_ram(part(&ram, 1000, PAGE - 1000), Release::AfterSend);
    writer.flush().unwrap();
    assert_eq!(gone(&ram), [true]);
}

#[test]
fn neighbouring_pages_between_headers_are_given_back_in_one_go() {
    /// Remembers what it was given.
    struct Log<'a>(&'a mut Vec<usize>);
    impl Releaser for Log<'_> {
        fn page_size(&self) -> usize {
            PAGE
        }
        fn release(&mut self, pages: SentPages<'_>) -> std::io::Result<()> {
            self.0.push(pages.len());
            Ok(())
        }
    }
    let (ram, mut log) = (guest(17), Vec::new());
    let releaser = Log(&mut log);
    let config = WriterConfig::default();
    let mut writer = Writer::with_releaser(Memory::default(), &config, releaser);
    for page in 0..17 {
        if page != 8 {
            writer.put_be64(page as u64);
            writer.put_ram(part(&ram, page * PAGE, PAGE), Release::AfterSend);
        }
    }
    writer.finish().unwrap();
    assert_eq!(log, [8 * PAGE, 8 * PAGE]);
}

#[test]
fn a_page_that_nobody_marked_stays_whatever_went_before() {
    let ram = guest(4);
    let mut writer = writer([]);
    writer.put_u8(1);
    writer.put_ram(part(&ram, 0, PAGE), Release::AfterSend);
    writer.flush().unwrap();
    let mut staging = Staging::default();
    staging.put_u8(2);
    writer.put_staged(&mut staging).unwrap();
    writer.put_ram(part(&ram, 2 * PAGE, PAGE), Release::Keep);
    writer.flush().unwrap();
    assert_eq!(gone(&ram), [true, false, false, false]);
}

#[test]
fn memory_that_the_system_does_not_take_is_reported_and_the_stream_goes_on() {
    /// Refuses.
    struct Refuses;
    impl Releaser for Refuses {
        fn release(&mut self, _: SentPages<'_>) -> std::io::Result<()> {
            Err(std::io::Error::from_raw_os_error(22))
        }
    }
    let ram = guest(3);
    let config = WriterConfig::default();
    let mut writer = Writer::with_releaser(Memory::default(), &config, Refuses);
    writer.put_ram(part(&ram, 0, PAGE), Release::AfterSend);
    writer.put_ram(part(&ram, 2 * PAGE, PAGE), Release::AfterSend);
    writer.flush().unwrap();
    let report = writer.release_report();
    assert_eq!((report.released, report.failures), (0, 2));
    let first = report.first_failure.as_ref().unwrap();
    assert_eq!(first.raw_os_error(), Some(22));
}
