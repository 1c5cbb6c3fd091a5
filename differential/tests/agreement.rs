//! Programs come out the same on the original and on this project's stream; and the check that says so can fail.

use std::fs;
use std::path::{Path, PathBuf};

use vmferry_differential::{
    Api, CHANGED, Candidate, Difference, ORIGINAL, OURS, Program, Rule, Rules, Runner, shrink,
};

/// Programs of one test; `./x differential` runs more.
const PROGRAMS: u64 = 3000;

fn random(seed: u64, count: u64) -> impl Iterator<Item = Program> {
    (0..count).map(move |number| Program::random(seed, number))
}

/// The first program that comes apart.
fn first_difference(
    runner: &mut Runner,
    programs: impl Iterator<Item = Program>,
) -> Option<(Program, Difference)> {
    let mut programs = programs;
    programs.find_map(|program| {
        let difference = runner.run(&program).err()?;
        Some((program, difference))
    })
}

#[track_caller]
fn all_are_the_same(candidate: Candidate, seed: u64) {
    let mut runner = Runner::new(candidate);
    if let Some((program, _)) = first_difference(&mut runner, random(seed, PROGRAMS)) {
        let (program, difference) = shrink(&mut runner, &program).expect("it came apart");
        panic!("{difference}\n{program}");
    }
}

#[test]
fn the_original_does_what_it_does() {
    all_are_the_same(Candidate::Table(ORIGINAL), 1);
}

#[test]
fn the_interface_in_c_does_what_the_original_does() {
    all_are_the_same(Candidate::C, 2);
}

#[test]
fn the_stream_in_rust_does_what_the_original_does() {
    all_are_the_same(Candidate::Rust, 3);
}

fn package() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The programs of a folder, by their names.
fn kept(folder: &Path) -> Vec<(String, Program)> {
    let files = fs::read_dir(folder).expect("the folder is there");
    let paths = files.map(|file| file.expect("it can be listed").path());
    let programs = paths.map(|path| {
        let text = fs::read_to_string(&path).expect("it can be read");
        (
            path.display().to_string(),
            text.parse().expect("it is a program"),
        )
    });
    programs.collect()
}

#[test]
fn programs_that_came_apart_once_come_out_the_same() {
    let programs = kept(&package().join("programs"));
    assert!(!programs.is_empty());
    for candidate in [Candidate::C, Candidate::Rust] {
        let mut runner = Runner::new(candidate);
        for (name, program) in &programs {
            if let Err(difference) = runner.run(program) {
                panic!("{name}, {candidate:?}: {difference}");
            }
        }
    }
}

#[test]
fn a_mode_is_a_letter_and_a_b() {
    let modes = [
        None,
        Some(c""),
        Some(c"r"),
        Some(c"rb"),
        Some(c"wb"),
        Some(c"rb+"),
        Some(c"ab"),
    ];
    for mode in modes {
        assert_eq!(
            OURS.refuses_mode(mode),
            ORIGINAL.refuses_mode(mode),
            "{mode:?}"
        );
    }
}

/// As many programs as are needed to find out what is found rarely.
const SEARCH: u64 = 30_000;

fn is_found_out(candidate: Candidate, reference: &'static Api, rules: Rules) -> bool {
    let mut runner = Runner::with(candidate, reference, rules);
    first_difference(&mut runner, random(4, SEARCH)).is_some()
}

#[test]
fn every_copy_of_the_original_that_was_changed_is_found_out() {
    let not_found: Vec<_> = CHANGED
        .iter()
        .filter(|changed| !is_found_out(Candidate::C, changed, Rules::ALL))
        .map(|changed| changed.name)
        .collect();
    assert!(not_found.is_empty(), "{not_found:?}");
}

#[test]
fn no_rule_is_there_for_nothing() {
    let is_superfluous = |rule: &Rule| {
        let rules = Rules::ALL.without(*rule);
        let candidates = [Candidate::C, Candidate::Rust];
        !rule.is_needed_to_survive()
            && !candidates
                .into_iter()
                .any(|candidate| is_found_out(candidate, ORIGINAL, rules))
    };
    let superfluous: Vec<_> = Rule::all().filter(is_superfluous).collect();
    assert!(superfluous.is_empty(), "{superfluous:?}");
}

#[test]
fn every_rule_names_a_row_of_the_document() {
    let document = fs::read_to_string(package().join("../docs/stream.md")).unwrap();
    for rule in Rule::all() {
        let row = format!("\n| `{}` |", rule.row());
        assert!(
            document.contains(&row),
            "{rule:?}: no row of {}",
            rule.row()
        );
    }
}

#[test]
fn a_program_is_text_and_text_a_program() {
    for program in random(5, 300) {
        assert_eq!(program.to_string().parse::<Program>().unwrap(), program);
    }
    let error = "{\"no\":1}".parse::<Program>().unwrap_err();
    assert!(
        error.to_string().starts_with("line 1 is no channel"),
        "{error}"
    );
}

#[test]
fn a_program_that_fails_is_made_short() {
    let changed = CHANGED
        .iter()
        .find(|changed| changed.name == "be16_swapped")
        .unwrap();
    let mut runner = Runner::with(Candidate::C, changed, Rules::ALL);
    let (program, _) = first_difference(&mut runner, random(6, SEARCH)).unwrap();
    let (short, difference) = shrink(&mut runner, &program).unwrap();
    assert!(short.to_string().lines().count() <= 3, "{short}");
    assert!(difference.to_string().contains("byte"), "{difference}");
}
