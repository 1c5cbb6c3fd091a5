//! The original's benchmark and its probes, unchanged, with this library in place of the original.

use std::fs;

use crate::compiled::{Linked, original_program, package, run};

/// The cases of the benchmark that are of a stream; those of `ref` are yardsticks.
const CASES: usize = 89;

#[test]
fn the_probes_of_the_original_show_what_became_of_each_defect() {
    let folder = tempfile::tempdir().unwrap();
    let ours = fs::read_to_string(package().join("tests/traps.txt")).unwrap();
    let ways = [
        (Linked::Statically, false),
        (Linked::Dynamically, false),
        (Linked::Dynamically, true),
    ];
    for (linked, header) in ways {
        let probes = ["traps.c", "shim.c"];
        let program = original_program(folder.path(), &probes, linked, header);
        let printed = run(&program, &[]).replace('\0', "\\0");
        let lines = printed.lines().zip(ours.lines());
        for (printed, expected) in lines {
            assert!(matches(printed, expected), "{printed}\nis not\n{expected}");
        }
        assert_eq!(printed.lines().count(), ours.lines().count(), "{printed}");
    }
}

#[test]
fn what_is_different_from_the_original_is_told_and_nothing_else_is_different() {
    let original = package().join("seed/results/traps.txt");
    let original = fs::read_to_string(original).unwrap();
    let ours = fs::read_to_string(package().join("tests/traps.txt")).unwrap();
    let same: Vec<_> = original
        .lines()
        .filter(|line| ours.lines().any(|ours| ours == *line))
        .collect();
    // Everything else that the probes show is a defect.
    let as_before = [
        "peek(2, offset 5) after peek(2, 0): ret=2",
        "empty counted string: ret=0 err=0",
        "1 MiB of adjacent async pages: writev calls before flush=0",
        "  after flush: calls=1 iovcnt=1; async counts bytes_xfer at queue time",
        "clean fclose passes the backend's value through: 5",
        "compress near the buffer end: child exit 0",
    ];
    assert_eq!(same, as_before);
}

#[test]
fn the_benchmark_of_the_original_runs_through_every_case() {
    let folder = tempfile::tempdir().unwrap();
    let sources = ["bench.c", "shim.c"];
    for linked in [Linked::Statically, Linked::Dynamically] {
        let program = original_program(folder.path(), &sources, linked, false);
        let printed = run(&program, &["--runs", "1", "--ms", "1"]);
        let figures: Vec<_> = printed
            .lines()
            .filter(|line| line.ends_with("ns/op") && !line.starts_with("ref/"))
            .collect();
        assert_eq!(figures.len(), CASES, "{printed}");
        for line in figures {
            let figure: f64 = line.split(' ').nth(1).unwrap().parse().unwrap();
            assert!(figure > 0.0, "{line}");
        }
    }
}

/// Whether a line is as expected, where `#` stands for any number: how long compressed data is differs
/// from one compressor to the other.
fn matches(line: &str, expected: &str) -> bool {
    let mut rest = line;
    for (i, part) in expected.split('#').enumerate() {
        if i > 0 {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        }
        match rest.strip_prefix(part) {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    rest.is_empty()
}
