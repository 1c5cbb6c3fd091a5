//! Any program does the same on the C original and on this project's stream, through C and without it.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use vmferry_differential::{Candidate, Program, Runner, shrink};

thread_local! {
    static RUNNERS: RefCell<[Runner; 2]> =
        RefCell::new([Candidate::C, Candidate::Rust].map(Runner::new));
}

fuzz_target!(|bytes: &[u8]| {
    let program = Program::from_bytes(bytes);
    RUNNERS.with_borrow_mut(|runners| {
        for runner in runners {
            if runner.run(&program).is_err() {
                let (program, difference) = shrink(runner, &program).expect("it came apart");
                panic!("{difference}\n{program}");
            }
        }
    });
});
