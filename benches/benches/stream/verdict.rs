//! Which cases are faster than their peers, and which are slower.

use std::fmt;

use vmferry_benches::Figures;

/// A median that is nearer to 1 than this is as fast, whatever its interval.
const SLOWER: f64 = 0.95;

/// The cases so far.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    faster: usize,
    as_fast: usize,
    slower: Vec<String>,
}

impl Verdicts {
    /// Takes up the case `name`, and tells its ratio, the interval of that, and what it means.
    pub(super) fn of(&mut self, name: &str, ratio: &Figures) -> String {
        let median = ratio.median();
        let Some((low, high)) = ratio.interval() else {
            return format!("{median:.2} (too few rounds for a verdict)");
        };
        let verdict = if high < 1.0 && median < SLOWER {
            self.slower.push(name.to_owned());
            " slower"
        } else if low > 1.0 {
            self.faster += 1;
            " faster"
        } else {
            self.as_fast += 1;
            ""
        };
        format!("{median:.2} ({low:.2} to {high:.2}){verdict}")
    }
}

impl fmt::Display for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            faster,
            as_fast,
            slower,
        } = self;
        write!(
            f,
            "{faster} faster, {as_fast} as fast, {} slower",
            slower.len()
        )?;
        if !slower.is_empty() {
            write!(f, ": {}", slower.join(", "))?;
        }
        Ok(())
    }
}
