//! Figures of several rounds.

use std::fmt;

/// The same figure, once for each round.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures(Vec<f64>);

impl Figures {
    /// Adds that of the next round.
    pub fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// That of a round; the first is round 0.
    pub fn round(&self, round: usize) -> Option<f64> {
        self.0.get(round).copied()
    }

    /// The median; of nothing it is no number.
    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[odd / 2],
            even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
        }
    }

    /// This divided by `other`, round by round.
    pub fn over(&self, other: &Self) -> Self {
        Self(
            std::iter::zip(&self.0, &other.0)
                .map(|(a, b)| a / b)
                .collect(),
        )
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

/// The median, and the smallest and the largest: `1.26 (1.20 to 1.58)`.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sorted = self.sorted();
        let digits = f.precision().unwrap_or(2);
        match (sorted.first(), sorted.last()) {
            (Some(least), Some(most)) => {
                let median = self.median();
                write!(f, "{median:.digits$} ({least:.digits$} to {most:.digits$})")
            }
            _ => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(list: &[f64]) -> Figures {
        Figures(list.to_vec())
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert!(figures(&[]).median().is_nan());
        assert!((figures(&[3.0, 1.0, 2.0]).median() - 2.0).abs() < 1e-9);
        assert!((figures(&[4.0, 1.0, 2.0, 3.0]).median() - 2.5).abs() < 1e-9);
        assert_eq!(
            format!("{:.1}", figures(&[3.0, 1.0, 2.0])),
            "2.0 (1.0 to 3.0)"
        );
        assert_eq!(format!("{}", figures(&[])), "-");
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        let ratio = figures(&[2.0, 9.0]).over(&figures(&[1.0, 3.0]));
        assert_eq!(ratio, figures(&[2.0, 3.0]));
    }
}
