//! The table in `docs/wire.md` of what is proven names tests that exist, leaves out no version of a shape, and has a row
//! for every golden capture.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const RELEASES: [&str; 2] = ["7.2", "10.0"];

/// What stands where no test can.
const NO_TEST: [&str; 3] = ["unknown to this version", "not written", "not proven"];

/// What may stand before tests.
const REMARKS: [&str; 2] = ["by hand: ", "refused: "];

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The cells of the table whose first column is headed so.
fn table(text: &str, first: &str) -> Vec<Vec<String>> {
    let head = format!("| {first} |");
    let lines = text.lines().skip_while(|line| !line.starts_with(&head));
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    let rows: Vec<_> = rows
        .map(|line| {
            let cells = line
                .strip_prefix('|')
                .and_then(|line| line.strip_suffix('|'));
            let cells = cells.unwrap_or_else(|| panic!("a row that does not end: {line}"));
            cells
                .split('|')
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect();
    assert!(!rows.is_empty(), "no table of '{first}'");
    rows
}

/// What a cell has between backquotes, if it is a list of such names.
fn names(cell: &str) -> Option<Vec<&str>> {
    cell.split(", ")
        .map(|part| part.strip_prefix('`')?.strip_suffix('`'))
        .collect()
}

struct Row {
    shape: String,
    releases: Vec<String>,
    captures: Vec<String>,
    /// Read, written, loaded.
    proofs: [String; 3],
}

fn rows() -> Vec<Row> {
    let rows = table(&read("docs/wire.md"), "shape");
    let row = |cells: Vec<String>| {
        let [shape, releases, captures, proofs @ ..] = &cells[..] else {
            panic!("{cells:?}");
        };
        let releases: Vec<_> = releases.split(", ").map(str::to_owned).collect();
        let known = |release: &String| RELEASES.contains(&release.as_str());
        assert!(releases.iter().all(known), "{shape}: {releases:?}");
        let captures = match captures.as_str() {
            "-" => Vec::new(),
            list => names(list).unwrap_or_else(|| panic!("{shape}: {list}")),
        };
        Row {
            shape: shape.clone(),
            releases,
            captures: captures.into_iter().map(str::to_owned).collect(),
            proofs: proofs.to_vec().try_into().unwrap_or_else(|proofs| {
                panic!("{shape}: not read, written and loaded, but {proofs:?}")
            }),
        }
    };
    rows.into_iter().map(row).collect()
}

#[test]
fn every_shape_has_one_row_of_each_version() {
    let mut seen = BTreeMap::<_, Vec<_>>::new();
    for row in rows() {
        seen.entry(row.shape).or_default().extend(row.releases);
    }
    assert!(seen.len() > 30, "{} shapes", seen.len());
    for (shape, releases) in seen {
        assert_eq!(releases, RELEASES, "{shape}");
    }
}

#[test]
fn every_cell_names_tests_that_exist_or_says_why_it_names_none() {
    let mut files = BTreeMap::new();
    for row in rows() {
        for cell in &row.proofs {
            if NO_TEST.contains(&cell.as_str()) {
                continue;
            }
            let mut remarks = REMARKS.iter();
            let tests = remarks.find_map(|remark| cell.strip_prefix(remark));
            let tests = names(tests.unwrap_or(cell));
            for named in tests.unwrap_or_else(|| panic!("{}: {cell:?}", row.shape)) {
                let (file, test) = named
                    .split_once("::")
                    .unwrap_or_else(|| panic!("{}: {named}", row.shape));
                let text = files.entry(file.to_owned()).or_insert_with(|| read(file));
                assert!(has_test(text, test), "{}: {named}", row.shape);
            }
        }
    }
}

fn has_test(text: &str, name: &str) -> bool {
    let head = format!("fn {name}()");
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    lines
        .windows(2)
        .any(|two| two[0] == "#[test]" && two[1].starts_with(&head))
}

#[test]
fn every_golden_capture_has_a_row_of_its_version() {
    let mut in_rows = BTreeSet::new();
    for row in rows() {
        for release in &row.releases {
            let captures = row.captures.iter().cloned();
            in_rows.extend(captures.map(|capture| (capture, release.clone())));
        }
    }
    let document = read("testdata/README.md");
    let mut there = BTreeSet::new();
    for cells in table(&document, "name") {
        let releases = cells[1].split(", ").map(str::to_owned);
        let name = cells[0].trim_matches('`');
        there.extend(releases.map(|release| (name.to_owned(), release)));
    }
    let missing: Vec<_> = there.difference(&in_rows).collect();
    assert!(missing.is_empty(), "in no row: {missing:?}");

    // What streams are wrapped in; which versions, their names tell.
    let mut containers = BTreeSet::new();
    let bullets = document.lines().filter_map(|line| line.strip_prefix("* `"));
    containers.extend(bullets.filter_map(|line| Some(line.split_once('`')?.0.to_owned())));
    assert!(containers.len() >= 2, "{containers:?}");
    let captures: BTreeSet<_> = in_rows.into_iter().map(|(capture, _)| capture).collect();
    let known: BTreeSet<_> = there.into_iter().map(|(capture, _)| capture).collect();
    let expected: BTreeSet<_> = known.union(&containers).cloned().collect();
    assert_eq!(captures, expected);
}
