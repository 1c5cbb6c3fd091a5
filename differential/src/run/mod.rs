//! A program, done by both.

mod marks;
mod pair;

use std::fmt;

use self::pair::Pair;
use crate::api::{Api, ORIGINAL, OURS};
use crate::machine::Machine;
use crate::memory::Guest;
use crate::mended::{Against, Mended};
use crate::native::Native;
use crate::program::Program;
use crate::rules::{Rules, Uses};

/// What is held against the original.
#[derive(Debug, Clone, Copy)]
pub enum Candidate {
    /// The C interface of this project.
    C,
    /// The stream of this project, without the C interface.
    Rust,
    /// The original itself, or a copy that was changed.
    Table(&'static Api),
}

/// Where the two came apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The number of the operation, from 0; the number of operations: at the end.
    pub step: usize,
    /// What was different.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operation {}: {}", self.step, self.what)
    }
}

/// Runs programs; it keeps the memory that they use.
#[derive(Debug)]
pub struct Runner {
    reference: &'static Api,
    candidate: Candidate,
    rules: Rules,
    guests: [Guest; 2],
    /// How often each rule has been used, in all programs.
    pub uses: Uses,
}

impl Runner {
    /// `candidate` against the original, with all rules.
    pub fn new(candidate: Candidate) -> Self {
        let rules = match candidate {
            Candidate::Table(_) => Rules::to_survive(),
            Candidate::C | Candidate::Rust => Rules::ALL,
        };
        Self::with(candidate, ORIGINAL, rules)
    }

    /// `candidate` against a copy of the original, with these rules.
    pub fn with(candidate: Candidate, reference: &'static Api, rules: Rules) -> Self {
        Self {
            reference,
            candidate,
            rules,
            guests: [Guest::new(), Guest::new()],
            uses: Uses::default(),
        }
    }

    /// Runs `program` on both.
    ///
    /// # Errors
    /// Where they came apart.
    pub fn run(&mut self, program: &Program) -> Result<(), Difference> {
        let channel = &program.channel;
        let is_source = channel.source.is_some();
        let [mine, other] = &mut self.guests;
        let against = match self.candidate {
            Candidate::C => Against::C,
            Candidate::Rust => Against::Rust,
            Candidate::Table(_) => Against::Original,
        };
        let machine = Machine::new(self.reference, channel, other);
        let mended = Mended::new(machine, is_source, self.rules, against);
        let (result, uses) = match self.candidate {
            Candidate::C => {
                let ours = Machine::new(OURS, channel, mine);
                Pair::new(ours, mended, self.rules, is_source).run(program)
            }
            Candidate::Rust => {
                let ours = Native::new(channel, mine);
                Pair::new(ours, mended, self.rules, is_source).run(program)
            }
            Candidate::Table(api) => {
                let machine = Machine::new(api, channel, mine);
                let other = Mended::new(machine, is_source, self.rules, against);
                Pair::new(other, mended, self.rules, is_source).run(program)
            }
        };
        self.uses.include(&uses);
        result
    }
}
