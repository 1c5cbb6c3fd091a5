//! The golden streams are those that the table of captures makes, and `testdata/README.md` tells of each.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use vmferry_tests::captures::{CAPTURES, WRAPPED};

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata")
}

#[test]
fn every_capture_is_there_and_nothing_else() -> Result<()> {
    let mut expected = BTreeSet::new();
    for capture in CAPTURES {
        for release in capture.releases {
            for part in capture.parts() {
                let new = expected.insert(capture.file(*release, &part));
                ensure!(new, "two captures are called {}", capture.name);
            }
        }
    }
    are_there("streams", &expected)?;
    let wrapped = WRAPPED.iter().map(|wrapped| wrapped.file.to_owned());
    are_there("containers", &wrapped.collect())
}

fn are_there(folder: &str, expected: &BTreeSet<String>) -> Result<()> {
    let mut found = BTreeSet::new();
    let mut bytes = 0;
    for entry in fs::read_dir(testdata().join(folder))? {
        let entry = entry?;
        found.insert(entry.file_name().to_string_lossy().into_owned());
        bytes += entry.metadata()?.len();
    }
    let missing: Vec<_> = expected.difference(&found).collect();
    let unknown: Vec<_> = found.difference(expected).collect();
    ensure!(missing.is_empty(), "./x testdata makes {missing:?}");
    ensure!(unknown.is_empty(), "nothing says how {unknown:?} were made");
    ensure!(bytes < 6 << 20, "{bytes} bytes in all");
    Ok(())
}

#[test]
fn the_readme_tells_how_each_capture_was_made() -> Result<()> {
    let text = fs::read_to_string(testdata().join("README.md"))?;
    let rows = text
        .lines()
        .skip_while(|line| !line.starts_with("| name |"));
    let rows: Vec<_> = rows
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    let expected: Vec<_> = CAPTURES.iter().map(|capture| capture.row()).collect();
    // `cargo run -p vmferry-tests --bin testdata -- --list` prints what belongs there.
    ensure!(rows == expected, "README.md has {rows:#?}");
    Ok(())
}
