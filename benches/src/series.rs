//! Figures of several rounds.

/// One figure, measured once a round.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series(Vec<f64>);

impl Series {
    /// Adds a round.
    pub fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// Round by round.
    #[must_use]
    pub fn rounds(&self) -> &[f64] {
        &self.0
    }

    /// The middle one; of an even number, between the two in the middle. `None` without rounds.
    #[must_use]
    pub fn median(&self) -> Option<f64> {
        let sorted = self.sorted();
        let upper = sorted.get(sorted.len() / 2)?;
        let lower = sorted.get(sorted.len().saturating_sub(1) / 2)?;
        Some(f64::midpoint(*lower, *upper))
    }

    /// The least and the greatest.
    #[must_use]
    pub fn spread(&self) -> Option<(f64, f64)> {
        let sorted = self.sorted();
        Some((*sorted.first()?, *sorted.last()?))
    }

    /// This by `other`, round by round: what was measured side by side is divided, so that a slow minute of the machine
    /// cancels out. Rounds that one of the two lacks, or in which `other` is not positive, are left out.
    #[must_use]
    pub fn by(&self, other: &Self) -> Self {
        let pairs = self.0.iter().zip(&other.0);
        Self(
            pairs
                .filter(|(_, below)| **below > 0.0)
                .map(|(above, below)| above / below)
                .collect(),
        )
    }

    /// This and `other`, round by round.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a + b).collect())
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

impl FromIterator<f64> for Series {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        Self(figures.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series<const N: usize>(figures: [f64; N]) -> Series {
        figures.into_iter().collect()
    }

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        for (figures, median) in [
            (vec![], None),
            (vec![7.0], Some(7.0)),
            (vec![9.0, 1.0], Some(5.0)),
            (vec![9.0, 1.0, 2.0], Some(2.0)),
            (vec![4.0, 1.0, 100.0, 2.0], Some(3.0)),
        ] {
            let series: Series = figures.iter().copied().collect();
            assert_eq!(series.median(), median, "{figures:?}");
        }
        assert_eq!(series([3.0, 1.0, 2.0]).spread(), Some((1.0, 3.0)));
        assert_eq!(Series::default().spread(), None);
    }

    #[test]
    fn ratios_are_taken_round_by_round_and_not_of_medians() {
        // the machine is twice as slow in the second round, which both sides feel
        let peer = series([100.0, 200.0, 100.0]);
        let ours = series([50.0, 100.0, 40.0]);
        assert_eq!(peer.by(&ours).rounds(), [2.0, 2.0, 2.5]);
        assert_eq!(peer.by(&ours).median(), Some(2.0));
    }

    #[test]
    fn a_ratio_needs_both_sides_of_a_round() {
        let three = series([1.0, 2.0, 3.0]);
        assert_eq!(three.by(&series([1.0])).rounds(), [1.0]);
        assert_eq!(three.by(&series([0.0, 2.0])).rounds(), [1.0]);
        assert_eq!(three.by(&Series::default()).median(), None);
        assert_eq!(three.plus(&series([1.0, 1.0])).rounds(), [2.0, 3.0]);
    }
}
