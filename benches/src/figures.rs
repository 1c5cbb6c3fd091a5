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

    /// An interval that holds the true median at least 95 times of 100, whatever the figures are
    /// distributed like; `None` if there are too few for one.
    pub fn interval(&self) -> Option<(f64, f64)> {
        let sorted = self.sorted();
        let n = sorted.len();
        // Each figure is below the true median as often as above it: how many are, a coin that is thrown n
        // times tells. `outside` is how often fewer than `skipped` of them are.
        let mut outside = 0.5_f64.powi(n.try_into().unwrap_or(i32::MAX));
        let mut chance = outside;
        let mut skipped = 0;
        while 2.0 * outside <= 0.05 && skipped < n {
            skipped += 1;
            #[allow(clippy::cast_precision_loss, reason = "they are few")]
            let ways = (n - skipped + 1) as f64 / skipped as f64;
            chance *= ways;
            outside += chance;
        }
        let low = skipped.checked_sub(1)?;
        Some((*sorted.get(low)?, *sorted.get(n - skipped)?))
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
    fn an_interval_leaves_out_as_many_figures_as_chance_allows() {
        let first = |n: u32| figures(&(1..=n).map(f64::from).collect::<Vec<_>>());
        assert_eq!(first(5).interval(), None);
        assert_eq!(first(6).interval(), Some((1.0, 6.0)));
        assert_eq!(first(9).interval(), Some((2.0, 8.0)));
        assert_eq!(first(15).interval(), Some((4.0, 12.0)));
        assert_eq!(first(20).interval(), Some((6.0, 15.0)));
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        let ratio = figures(&[2.0, 9.0]).over(&figures(&[1.0, 3.0]));
        assert_eq!(ratio, figures(&[2.0, 3.0]));
    }
}
