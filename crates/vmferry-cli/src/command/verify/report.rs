//! What was proven of a saved state, and what could not be.

use std::fmt;

use serde::Serialize;
use vmferry::error::FormatError;

use crate::args::Verify;
use crate::ui;

/// What something is that holds no machine.
const NO_MACHINE: &str = "unknown";

/// Damages that are listed; behind the first ones, one is like the other.
const LISTED: usize = 20;

/// The result.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    schema: u32,
    name: &'a str,
    what: &'static str,
    sound: bool,
    quick: bool,
    /// Whether offsets are those in decompressed data.
    decompressed: bool,
    /// What it is, where it is not a whole machine.
    part: Option<&'static str>,
    /// What is wrong, the first first.
    damages: Vec<Damage>,
    /// Damages beyond those that are listed.
    more_damages: u64,
    /// Sentences for people.
    proven: Vec<String>,
    not_proven: Vec<String>,
}

/// Something that is wrong.
#[derive(Debug, Serialize)]
struct Damage {
    /// Where in the stream, in bytes.
    offset: Option<u64>,
    /// In which section.
    section: Option<String>,
    /// What was expected, and what is there.
    what: String,
}

impl<'a> Report<'a> {
    /// Nothing was looked at yet.
    pub(super) fn new(verify: &'a Verify, what: &'static str) -> Self {
        Self {
            schema: ui::SCHEMA,
            name: &verify.what,
            what,
            sound: true,
            quick: verify.quick,
            decompressed: false,
            part: None,
            damages: Vec::new(),
            more_damages: 0,
            proven: Vec::new(),
            not_proven: Vec::new(),
        }
    }

    /// It is something else, which was looked at.
    pub(super) fn no_machine(verify: &'a Verify, what: String) -> Self {
        let mut report = Self::new(verify, NO_MACHINE);
        report.damage(what);
        report
    }

    /// From now on, offsets are those in decompressed data.
    pub(super) fn set_decompressed(&mut self) {
        self.decompressed = true;
    }

    pub(super) fn is_sound(&self) -> bool {
        self.sound
    }

    pub(super) fn proven(&mut self, what: impl Into<String>) {
        self.proven.push(what.into());
    }

    pub(super) fn not_proven(&mut self, what: impl Into<String>) {
        self.not_proven.push(what.into());
    }

    /// It is only a part of a machine.
    pub(super) fn part(&mut self, part: &'static str) {
        self.part = Some(part);
    }

    /// Something is wrong in a stream.
    pub(super) fn format_error(&mut self, error: &FormatError) {
        self.add(Damage {
            offset: Some(error.at),
            section: error.section.as_deref().map(str::to_owned),
            what: error.to_string(),
        });
    }

    /// Something is wrong elsewhere.
    pub(super) fn damage(&mut self, what: impl Into<String>) {
        self.add(Damage {
            offset: None,
            section: None,
            what: what.into(),
        });
    }

    fn add(&mut self, damage: Damage) {
        self.sound = false;
        if self.damages.len() < LISTED {
            self.damages.push(damage);
        } else {
            self.more_damages += 1;
        }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.what == NO_MACHINE {
            writeln!(f, "{} is no saved machine\n", ui::in_line(self.name))?;
            let said = self.damages.iter();
            return said
                .into_iter()
                .try_for_each(|said| writeln!(f, "{}", said.what));
        }
        let verdict = if self.sound { "sound" } else { "damaged" };
        let name = ui::in_line(self.name);
        match self.part {
            Some(part) => writeln!(f, "{name} is {verdict}, but no machine: {part}")?,
            None => writeln!(f, "{name} is {verdict}")?,
        }
        let mut list = |heading: &str, lines: &mut dyn Iterator<Item = &str>| {
            let mut lines = lines.peekable();
            if lines.peek().is_some() {
                writeln!(f, "\n{heading}:")?;
            }
            lines.try_for_each(|line| writeln!(f, "  {}", ui::in_line(line)))
        };
        let more = match self.more_damages {
            0 => None,
            more => Some(format!("and {more} more")),
        };
        let damages = self.damages.iter().map(|damage| damage.what.as_str());
        let heading = match self.decompressed {
            true => "Damage (offsets are those in the decompressed data)",
            false => "Damage",
        };
        list(heading, &mut damages.chain(more.as_deref()))?;
        list("Proven", &mut self.proven.iter().map(String::as_str))?;
        list(
            "Not proven",
            &mut self.not_proven.iter().map(String::as_str),
        )
    }
}
