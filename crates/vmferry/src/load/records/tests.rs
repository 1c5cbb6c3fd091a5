//! Records over bytes: what each shows, and which of them may come.

use super::*;
use crate::load::source::Input;
use crate::load::test_log::Log;
use crate::wire::{Sink, SliceSource};

const PAGE: u64 = 0x08;
const ZERO: u64 = 0x02;
const MEM_SIZE: u64 = 0x04;
const EOS: u64 = 0x10;
const CONTINUE: u64 = 0x20;
const HOOK: u64 = 0x80;
const FLUSH: u64 = 0x200;

/// Records, one after the other.
#[derive(Default)]
struct Stream(Vec<u8>);

impl Stream {
    fn word(mut self, word: u64) -> Self {
        self.0.put(&word.to_be_bytes());
        self
    }

    fn name(mut self, name: &str) -> Self {
        self.0.put_name(name);
        self
    }

    fn bytes(mut self, byte: u8, count: usize) -> Self {
        self.0.resize(self.0.len() + count, byte);
        self
    }

    /// A list of `pc.ram` with two pages, and `rom` with one.
    fn list() -> Self {
        let mut list = Self::default().word(0x3000 | MEM_SIZE);
        for (name, length) in [("pc.ram", 0x2000_u64), ("rom", 0x1000)] {
            list = list.name(name).word(length);
        }
        list
    }

    fn page_of(self, name: &str, offset: u64, byte: u8) -> Self {
        self.word(offset | PAGE).name(name).bytes(byte, 0x1000)
    }
}

/// Reads until the stream ends, and returns the pauses and what was shown after the list of blocks.
fn read_with(
    records: &mut Records,
    mode: Mode,
    stream: &Stream,
) -> (Vec<Pause>, Vec<String>, String) {
    let mut log = Log::default();
    let mut report = Report::new(&mut log, mode);
    let mut source = Input(SliceSource::new(&stream.0));
    let mut pauses = Vec::new();
    let end = loop {
        match records.read_bare(&mut report, &mut source) {
            Ok(Some(pause)) => pauses.push(pause),
            Ok(None) => break String::new(),
            Err(error) => break error.to_string(),
        }
    };
    log.events.retain(|event| !event.starts_with("blocks"));
    (pauses, log.events, end)
}

fn refusal(records: &mut Records, mode: Mode, stream: &Stream) -> String {
    let (_, _, error) = read_with(records, mode, stream);
    assert!(!error.is_empty());
    error
}

#[test]
fn a_page_goes_on_with_the_block_before_also_after_the_end_of_a_piece() {
    let stream = Stream::list()
        .page_of("pc.ram", 0, 7)
        .word(EOS)
        .word(0x1000 | ZERO | CONTINUE)
        .bytes(0, 1)
        .page_of("rom", 0, 9);
    let mut records = Records::new();
    let (pauses, shown, end) = read_with(&mut records, Mode::Strict, &stream);
    assert_eq!((pauses, &end[..]), (vec![Pause::EndAndMeeting], ""));
    assert_eq!(
        shown,
        [
            "page 0:0 07 x 4096, Page at 50 of Main",
            "page 0:1 zeros, Zero at 4162 of Main",
            "page 1:0 09 x 4096, Page at 4175 of Main",
        ]
    );
    assert_eq!(records.current_block(), Some(BlockIndex(1)));
}

#[test]
fn a_record_that_is_cut_anywhere_is_an_error() {
    let list = Stream::list();
    let page = Stream::list().page_of("pc.ram", 0, 7);
    for end in list.0.len() + 1..page.0.len() {
        let cut = Stream(page.0[..end].to_vec());
        let error = refusal(&mut Records::new(), Mode::Strict, &cut);
        assert!(error.contains("ends inside"), "{end}: {error}");
    }
}

#[test]
fn all_channels_meet_at_each_eos_unless_a_flush_came_first() {
    let eos = Stream::default().word(EOS).word(FLUSH).word(EOS);
    let (pauses, ..) = read_with(&mut Records::new(), Mode::Strict, &eos);
    // The flush means nothing to this machine type.
    assert_eq!(pauses, [Pause::EndAndMeeting, Pause::EndAndMeeting]);

    let flush = Stream::default().word(FLUSH).word(EOS).word(FLUSH);
    let mut records = Records::new();
    let (pauses, ..) = read_with(&mut records, Mode::Strict, &flush);
    assert_eq!(pauses, [Pause::Meeting, Pause::End, Pause::Meeting]);
    assert!(records.has_flush_marks());
}

#[test]
fn a_page_that_belongs_nowhere_ends_a_strict_pass_and_is_dropped_in_a_rescue() {
    for (stream, says) in [
        (Stream::list().page_of("vga", 0, 7), "found 'vga'"),
        (
            Stream::list().page_of("rom", 0x1000, 7),
            "illegal RAM offset 0x1000",
        ),
        (
            Stream::list().word(PAGE | CONTINUE).bytes(7, 0x1000),
            "the name of a block before the first CONTINUE",
        ),
    ] {
        let error = refusal(&mut Records::new(), Mode::Strict, &stream);
        assert!(error.contains(says), "{error}");
        let stream = stream.page_of("rom", 0, 9);
        let (_, shown, end) = read_with(&mut Records::new(), Mode::Rescue, &stream);
        assert_eq!(end, "");
        assert!(shown[0].starts_with("assumption a page was dropped"));
        assert!(shown[1].starts_with("page 1:0 09 x 4096"), "{shown:?}");
    }
}

#[test]
fn pages_that_go_on_with_an_unknown_block_are_dropped_with_it() {
    let stream = Stream::list()
        .page_of("rom", 0, 1)
        .page_of("vga", 0, 7)
        .word(PAGE | CONTINUE)
        .bytes(7, 0x1000);
    let (_, shown, end) = read_with(&mut Records::new(), Mode::Rescue, &stream);
    assert_eq!(end, "");
    let dropped = shown
        .iter()
        .filter(|event| event.contains("a page was dropped"));
    assert_eq!((shown.len(), dropped.count()), (3, 2));
}

#[test]
fn a_zero_page_with_a_byte_is_filled_only_in_a_rescue() {
    let stream = Stream::list().word(ZERO).name("rom").bytes(0x5a, 1);
    let error = refusal(&mut Records::new(), Mode::Strict, &stream);
    assert!(error.contains("a zero page with value 90"), "{error}");
    let (_, shown, _) = read_with(&mut Records::new(), Mode::Rescue, &stream);
    assert!(shown[0].starts_with("assumption a zero page was filled with 0x5a"));
    assert_eq!(shown[1], "page 1:0 5a x 4096, Zero at 47 of Main");
}

#[test]
fn where_the_guest_runs_only_pages_as_they_are_may_come() {
    let mut records = Records::new();
    read_with(
        &mut records,
        Mode::Strict,
        &Stream::list().page_of("rom", 0, 1),
    );
    records.switch_to_postcopy();
    let list = refusal(&mut records, Mode::Strict, &Stream::list());
    assert!(list.contains("the guest runs already (postcopy)"), "{list}");
    let (pauses, shown, end) = read_with(
        &mut records,
        Mode::Strict,
        &Stream::default().page_of("rom", 0, 2).word(EOS),
    );
    assert_eq!((pauses.len(), shown.len(), &end[..]), (1, 1, ""));
    // The other channel names its blocks itself.
    records.begin_requested_pages();
    let bare = Stream::default().word(PAGE | CONTINUE).bytes(3, 0x1000);
    let error = refusal(&mut records, Mode::Strict, &bare);
    assert!(error.contains("before the first CONTINUE"), "{error}");
}

#[test]
fn in_a_mapped_ram_file_no_record_holds_a_page() {
    let configuration = Configuration {
        capabilities: vec![MAPPED_RAM.into()],
        ..Configuration::default()
    };
    let mut records = Records::new();
    records.configure(&configuration, &Options::default());
    assert!(records.before_pages(PageCounts::PAGE));
    let error = refusal(
        &mut records,
        Mode::Strict,
        &Stream::default().page_of("rom", 0, 1),
    );
    assert!(
        error.contains("no pages besides those of the blocks"),
        "{error}"
    );
    let end = Stream::default().word(EOS);
    let (pauses, ..) = read_with(&mut records, Mode::Strict, &end);
    assert_eq!(pauses, [Pause::EndAndMeeting]);
}

#[test]
fn that_ram_took_another_way_is_said_once() {
    let stream = Stream::default().word(HOOK).word(HOOK);
    let (_, shown, end) = read_with(&mut Records::new(), Mode::Strict, &stream);
    assert_eq!((shown.len(), &end[..]), (1, ""));
    assert!(shown[0].contains("RAM went another way"), "{shown:?}");
}

#[test]
fn two_kinds_at_once_are_no_record() {
    let error = refusal(
        &mut Records::new(),
        Mode::Rescue,
        &Stream::default().word(PAGE | EOS),
    );
    assert!(
        error.contains("unknown combination of migration flags: 0x18"),
        "{error}"
    );
}
