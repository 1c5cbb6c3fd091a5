//! A destination that waits for a page gets it from a lazy source, whatever the source does for all other pages
//! meanwhile. The destination here is made by hand: what counts is when an answer comes, not what a guest does with it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod destination;
mod source;

use vmferry::postcopy::HostPages;
use vmferry::ram::PageIndex;
use vmferry::wire::return_path::Message;

use destination::{Channels, PATIENCE, restore};
use source::{Mood, Moody, large_pages, machine, memory, part_of, ram};

#[test]
fn a_page_that_the_fill_has_read_is_not_kept_from_a_guest_that_asks_for_it() {
    for channels in [Channels::One, Channels::WithPreempt] {
        let (source, stalled) = Moody::new(machine(), Mood::StallsAfter(3));
        let memory = memory(&source.image);
        let outcome = restore(&source, channels, &HostPages::ordinary(4096), |guest| {
            let shown = stalled.recv_timeout(PATIENCE).expect("the fill has begun");
            // One that nobody has read yet, and all that the fill holds.
            let block = ram(&source.image);
            for page in [(block, PageIndex(40)), shown[1], shown[2], shown[0]] {
                guest.ask_for(page);
                guest.wait_for(page);
            }
            source.go_on();
            guest.receive_the_rest();
            assert!(guest.arrived == memory, "not the memory of the machine");
            guest.say(&Message::Shut(0));
        });
        outcome.served.expect("no panic").expect("all went well");
        assert_eq!(outcome.loaded, Ok(()), "{channels:?}");
        assert_eq!((outcome.sent, outcome.on_demand), (memory.len() as u64, 4));
    }
}

#[test]
fn a_host_page_that_the_fill_is_reading_is_not_kept_from_a_guest_that_asks_for_it() {
    for channels in [Channels::One, Channels::WithPreempt] {
        let image = machine();
        let (host_pages, block) = (large_pages(&image), ram(&image));
        // In the middle of a host page.
        let mood = Mood::StallsAt((block, PageIndex(39)));
        let (source, stalled) = Moody::new(image, mood);
        let outcome = restore(&source, channels, &host_pages, |guest| {
            stalled.recv_timeout(PATIENCE).expect("the fill has begun");
            guest.ask_for((block, PageIndex(32)));
            for page in 32..48 {
                guest.wait_for((block, PageIndex(page)));
            }
            source.go_on();
            guest.receive_the_rest();
            guest.say(&Message::Shut(0));
        });
        outcome.served.expect("no panic").expect("all went well");
        assert_eq!(outcome.loaded, Ok(()), "{channels:?}");
        assert_eq!(outcome.on_demand, 16);
    }
}

#[test]
fn a_host_page_that_was_left_out_because_it_is_absent_is_there_for_a_guest_that_asks_for_it() {
    for channels in [Channels::One, Channels::WithPreempt] {
        let whole = machine();
        let (host_pages, block) = (large_pages(&whole), ram(&whole));
        let image = part_of(&whole, |at| at.0 != block || at.1.0 >= 16);
        let mood = Mood::StallsAt((block, PageIndex(16)));
        let (source, stalled) = Moody::new(image, mood);
        let outcome = restore(&source, channels, &host_pages, |guest| {
            let passed = stalled.recv_timeout(PATIENCE);
            passed.expect("the fill is behind the first host page");
            let first = (block, PageIndex(0));
            guest.ask_for(first);
            guest.wait_for(first);
            assert_eq!(guest.arrived[&first], None);
            source.go_on();
            guest.receive_the_rest();
            guest.say(&Message::Shut(0));
        });
        outcome.served.expect("no panic").expect("all went well");
        assert_eq!((outcome.loaded, outcome.on_demand), (Ok(()), 16));
    }
}

#[test]
fn a_request_that_crosses_the_end_of_the_stream_is_no_failure() {
    for channels in [Channels::One, Channels::WithPreempt] {
        let whole = machine();
        let block = ram(&whole);
        let image = part_of(&whole, |at| at == (block, PageIndex(0)));
        let (source, _stalled) = Moody::new(image, Mood::StallsAfter(usize::MAX));
        let outcome = restore(&source, channels, &HostPages::ordinary(4096), |guest| {
            guest.receive_the_rest();
            // The stream is at its end, and QEMU takes zeros for what did not come.
            guest.ask_for((block, PageIndex(7)));
            guest.say(&Message::Shut(0));
        });
        outcome.served.expect("no panic").expect("all went well");
        assert_eq!((outcome.loaded, outcome.sent), (Ok(()), 1));
    }
}

#[test]
fn a_source_that_panics_ends_the_restore_without_an_end_of_the_stream() {
    for channels in [Channels::One, Channels::WithPreempt] {
        for in_the_fill in [true, false] {
            let image = machine();
            let page = (ram(&image), PageIndex(40));
            let mood = match in_the_fill {
                true => Mood::PanicsAfter(3),
                false => Mood::PanicsAt(page),
            };
            let (source, _stalled) = Moody::new(image, mood);
            let outcome = restore(&source, channels, &HostPages::ordinary(4096), |guest| {
                guest.ask_for(page);
                guest.receive_the_rest();
            });
            assert!(outcome.served.is_err(), "{channels:?}, {mood:?}");
            let text = outcome.loaded.expect_err("the stream has no end");
            assert!(text.contains("ends"), "{channels:?}, {mood:?}: {text}");
        }
    }
}
