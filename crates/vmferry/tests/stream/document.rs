//! `docs/stream.md` leaves out no function of the original, names tests that exist, and each function
//! is found in the documentation under its C name.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The functions of the original.
const ORIGINAL: &[&str] = &[
    "add_to_iovec",
    "qemu_fclose",
    "qemu_fflush",
    "qemu_file_get_error",
    "qemu_file_get_rate_limit",
    "qemu_file_get_return_path",
    "qemu_file_is_writable",
    "qemu_file_mode_is_not_valid",
    "qemu_file_rate_limit",
    "qemu_file_reset_rate_limit",
    "qemu_file_set_blocking",
    "qemu_file_set_error",
    "qemu_file_set_hooks",
    "qemu_file_set_rate_limit",
    "qemu_file_shutdown",
    "qemu_file_skip",
    "qemu_fill_buffer",
    "qemu_fopen_ops",
    "qemu_ftell",
    "qemu_ftell_fast",
    "qemu_get_be16",
    "qemu_get_be32",
    "qemu_get_be64",
    "qemu_get_buffer",
    "qemu_get_buffer_in_place",
    "qemu_get_byte",
    "qemu_get_counted_string",
    "qemu_iovec_release_ram",
    "qemu_peek_buffer",
    "qemu_peek_byte",
    "qemu_put_be16",
    "qemu_put_be32",
    "qemu_put_be64",
    "qemu_put_buffer",
    "qemu_put_buffer_async",
    "qemu_put_byte",
    "qemu_put_compression_data",
    "qemu_put_qemu_file",
    "qemu_update_position",
    "ram_control_after_iterate",
    "ram_control_before_iterate",
    "ram_control_load_hook",
    "ram_control_save_page",
];

fn package() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The text of every Rust file below `folder`.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &fs::read_to_string(path).unwrap();
        }
    }
    text
}

/// The rows of the document: the function, and the tests that it names.
fn rows() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(package().join("../../docs/stream.md")).unwrap();
    text.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split(" | ").collect();
            assert_eq!(cells.len(), 4, "{line}");
            let names = |cell: &str| {
                cell.split('`')
                    .skip(1)
                    .step_by(2)
                    .map(str::to_owned)
                    .collect()
            };
            let function: Vec<String> = names(cells[0]);
            assert_eq!(function.len(), 1, "{line}");
            (function[0].clone(), names(cells[3]))
        })
        .collect()
}

#[test]
fn every_function_of_the_original_has_one_row() {
    let rows: Vec<_> = rows().into_iter().map(|(function, _)| function).collect();
    let named: BTreeSet<_> = rows.iter().map(String::as_str).collect();
    assert_eq!(named.len(), rows.len(), "a function has two rows");
    let missing: Vec<_> = ORIGINAL
        .iter()
        .filter(|name| !named.contains(*name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_row_names_tests_that_exist() {
    let tests = sources(&package().join("tests/stream"));
    for (function, named) in rows() {
        assert!(!named.is_empty(), "nothing shows {function}");
        for test in named {
            let is_there = ["(", "<"]
                .iter()
                .any(|next| tests.contains(&format!("fn {test}{next}")));
            assert!(is_there, "{function}: {test}");
        }
    }
}

#[test]
fn every_function_is_found_under_its_name_in_c() {
    let library = sources(&package().join("src"));
    for (function, _) in rows() {
        let alias = format!("#[doc(alias = \"{function}\")]");
        assert!(library.contains(&alias), "{function}");
    }
}
