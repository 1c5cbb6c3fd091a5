//! A save whose process is killed leaves the store as it was, and the next save tidies up.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Machine, files, noise, open, tiny_store};
use vmferry::load::Visitor;
use vmferry::ram::{BlockIndex, Page, PageIndex, PageSize};
use vmferry_store::{Details, SaveOptions, Store};

const STORE: &str = "VMFERRY_TEST_KILLED_SAVE_STORE";
const PAGES: u64 = 400;

/// Not a test: what the test below runs, and kills.
#[test]
fn a_save_that_is_to_be_killed() {
    let Ok(path) = std::env::var(STORE) else {
        return;
    };
    let say = |line: &str| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
    };
    let store = Store::open(path).unwrap();
    let mut writer = store
        .save("vm".parse().unwrap(), &SaveOptions::default())
        .unwrap();
    say("AT begun");
    let blocks = [common::block("pc.ram", PAGES, PageSize::X86)];
    writer
        .ram_blocks(&blocks.into_iter().collect(), PageSize::X86)
        .unwrap();
    for page in 0..PAGES {
        let bytes = noise(page, 4096);
        writer
            .put(BlockIndex(0), PageIndex(page), Page::Data(&bytes))
            .unwrap();
        say(&format!("AT {page}"));
    }
    say("AT publish");
    writer.publish(Details::default()).unwrap();
    say("AT published");
}

/// Starts the save, kills it when it says `line`, and tells whether it had got through.
fn kill_at(store: &Path, line: &str) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_save_that_is_to_be_killed", "--nocapture"])
        .env(STORE, store)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let wanted = |said: &Result<String, _>| said.as_ref().unwrap().ends_with(line);
    assert!(
        lines.by_ref().any(|said| wanted(&said)),
        "it never said {line}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    lines.any(|said| said.unwrap().ends_with("AT published"))
}

#[test]
fn a_killed_save_is_not_seen_and_is_tidied_up_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let store = tiny_store(directory.path());
    let machine = Machine::small();
    let kept = machine.save(&store, "vm").unwrap();
    let clean = files(directory.path());
    for line in [
        "AT begun",
        "AT 0",
        "AT 17",
        "AT 200",
        "AT 399",
        "AT publish",
        "AT publish",
    ] {
        let published = kill_at(directory.path(), line);
        for listed in store.list().unwrap() {
            let checkpoint = open(&store, &listed.name).unwrap();
            assert!(checkpoint.verify().is_sound());
            drop(checkpoint);
            if listed.name != kept.name() {
                assert!(line == "AT publish" || published, "seen after {line}");
                store.delete(&listed.name).unwrap();
            }
        }
        machine.check(&open(&store, &kept.name()).unwrap()).unwrap();
        let next = machine.save(&store, "other").unwrap();
        assert!(
            !files(directory.path())
                .iter()
                .any(|file| file.starts_with("tmp/"))
        );
        store.delete(&next.name()).unwrap();
        store.sweep().unwrap();
        assert_eq!(files(directory.path()), clean, "after {line}");
    }
}
