//! The statistics of one row of a comparison: one metric, method and group.

use super::decimal::{Confidence, Decimal, settle};
use super::subsets::{Draws, Interval, Probability, Subsets};
use crate::stats::Sum;

/// Multiples of the standard error that a difference must have to be found with 80 % power by a
/// two-sided test at 5 %: the normal quantiles 1.959964 + 0.841621.
const MDE80: f64 = 2.801_585_218;
/// With fewer units the normal approximation behind [`MDE80`] is untrue.
const MDE80_MIN: usize = 20;

/// What the user chose.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// Of the interval and the verdict.
    pub confidence: Confidence,
    /// Differences below it do not matter.
    pub margin: Option<Decimal>,
    /// How subsets are drawn.
    pub draws: Draws,
    /// Levels that gates ask for.
    pub levels: Vec<Confidence>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            confidence: Confidence::USUAL,
            margin: None,
            draws: Draws::default(),
            levels: Vec::new(),
        }
    }
}

impl Settings {
    /// These settings for a family of `tests`: with so many draws that the smallest p value stays
    /// below the limit after Holm, and that every level of a gate has an interval.
    #[must_use]
    pub fn for_tests(&self, tests: usize) -> Settings {
        let needed = self.levels.iter().map(|level| level.draws_needed(1));
        let resamples = needed
            .chain([self.confidence.draws_needed(tests as u64), self.draws.resamples])
            .max()
            .unwrap_or(self.draws.resamples);
        Settings { draws: Draws { resamples, ..self.draws }, ..self.clone() }
    }
}

/// The scores of the units (items, unless asked otherwise) of a row.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Sample {
    differences: Vec<f64>,
    base: Sum,
    new: Sum,
    left_out: usize,
}

impl Sample {
    /// Adds the next unit in the order of their ids. `difference` is new - base; it is 0 where the
    /// two differ by rounding alone. A unit that is infinite on one side is left out.
    pub fn push(&mut self, base: f64, new: f64, difference: f64) {
        if base.is_finite() != new.is_finite() || base.is_infinite() && base != new {
            self.left_out += 1;
            return;
        }
        self.differences.push(if base.is_finite() { difference } else { 0.0 });
        self.base.add(base);
        self.new.add(new);
    }

    /// A sample of differences to 0.
    #[must_use]
    pub fn of_differences(differences: &[f64]) -> Sample {
        let mut sample = Sample::default();
        differences.iter().for_each(|&difference| sample.push(0.0, difference, difference));
        sample
    }

    /// new - base of each unit.
    #[must_use]
    pub fn differences(&self) -> &[f64] {
        &self.differences
    }

    /// Units that are infinite on one side.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Computes the statistics. The p value is that of one test.
    #[must_use]
    pub fn assess(&self, settings: &Settings) -> Assessment {
        let n = self.differences.len();
        let mean_of = |sum: Sum| (n > 0).then(|| sum.value() / n as f64);
        let (base_mean, new_mean) = (mean_of(self.base), mean_of(self.new));
        let magnitude = magnitude(base_mean, new_mean);
        let mean = (n > 0).then(|| settle(mean(&self.differences), magnitude));
        let count = |has: fn(f64) -> bool| self.differences.iter().filter(|&&d| has(d)).count();
        let mut row = Assessment {
            n,
            base_mean: base_mean.map(|mean| settle(mean, mean)),
            new_mean: new_mean.map(|mean| settle(mean, mean)),
            difference: mean,
            higher: count(|d| d > 0.0),
            lower: count(|d| d < 0.0),
            sd: deviation(&self.differences),
            ..Assessment::default()
        };
        row.mde80 = row.sd.filter(|_| n >= MDE80_MIN).map(|sd| MDE80 * sd / (n as f64).sqrt());
        // One unit that differs can be tested in no way.
        if n == 0 || n == 1 && !row.is_identical() {
            row.at_levels = settings.levels.iter().map(|&level| (level, None)).collect();
            return row;
        }
        let mut subsets = Subsets::of(&self.differences, settings.draws);
        row.p = Some(subsets.p());
        row.interval = subsets.interval(settings.confidence);
        row.highest_level = Some(subsets.highest_level());
        row.at_levels =
            settings.levels.iter().map(|&level| (level, subsets.interval(level))).collect();
        if let Some(margin) = settings.margin.map(Decimal::to_f64) {
            row.equivalence = subsets.interval(Confidence::EQUIVALENCE);
            row.is_equivalent = row.equivalence.is_some_and(|Interval { low, high, .. }| {
                let ends = [low, high].map(|end| settle(end, magnitude));
                -margin < ends[0] && ends[1] < margin
            });
        }
        row
    }
}

/// The statistics of a row; what cannot be computed is `None`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Assessment {
    /// Units.
    pub n: usize,
    /// Mean over the units.
    pub base_mean: Option<f64>,
    /// Mean over the units.
    pub new_mean: Option<f64>,
    /// Mean of new - base.
    pub difference: Option<f64>,
    /// Units with a higher new score.
    pub higher: usize,
    /// Units with a lower new score.
    pub lower: usize,
    /// Standard deviation of the differences, with n - 1.
    pub sd: Option<f64>,
    /// Smallest true difference that so many units show with 80 % power.
    pub mde80: Option<f64>,
    /// Two-sided p value of the sign-flip test.
    pub p: Option<Probability>,
    /// At the confidence of the settings.
    pub interval: Option<Interval>,
    /// The highest level at which there is an interval.
    pub highest_level: Option<f64>,
    /// At the levels of the settings.
    pub at_levels: Vec<(Confidence, Option<Interval>)>,
    /// At 90 %, if there is a margin.
    pub equivalence: Option<Interval>,
    /// Whether that lies inside the margin.
    pub is_equivalent: bool,
}

impl Assessment {
    /// Units with the same score.
    #[must_use]
    pub fn same(&self) -> usize {
        self.n - self.higher - self.lower
    }

    /// Whether all units have the same score.
    #[must_use]
    pub fn is_identical(&self) -> bool {
        self.n > 0 && self.same() == self.n
    }
}

/// How large the scores are that are compared; what [`settle`] rounds to.
pub(super) fn magnitude(base_mean: Option<f64>, new_mean: Option<f64>) -> f64 {
    [base_mean, new_mean].into_iter().flatten().fold(0.0, |largest, mean| largest.max(mean.abs()))
}

fn mean(values: &[f64]) -> f64 {
    let mut sum = Sum::default();
    values.iter().for_each(|&value| sum.add(value));
    sum.value() / values.len() as f64
}

fn deviation(values: &[f64]) -> Option<f64> {
    let degrees = values.len().checked_sub(1).filter(|&degrees| degrees > 0)?;
    let mean = mean(values);
    let mut squares = Sum::default();
    values.iter().for_each(|value| squares.add((value - mean) * (value - mean)));
    Some((squares.value() / degrees as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assess(differences: &[f64]) -> Assessment {
        Sample::of_differences(differences).assess(&Settings::default())
    }

    fn near(value: Option<f64>, expected: f64) {
        let value = value.unwrap();
        assert!((value - expected).abs() < 1e-12, "{value} instead of {expected}");
    }

    fn interval(interval: Option<Interval>, low: f64, high: f64, level: f64) {
        let Interval { low: found_low, high: found_high, level: found_level } = interval.unwrap();
        near(Some(found_low), low);
        near(Some(found_high), high);
        assert_eq!(found_level, level);
    }

    #[test]
    fn five_items_have_no_interval_at_95_percent() {
        let row = assess(&[0.010, 0.020, -0.005, 0.030, 0.015]);
        assert_eq!(row.difference, Some(0.014));
        near(row.sd, 0.012_942_179_105_545);
        assert_eq!(row.p.unwrap().value(), 0.125);
        assert_eq!((row.interval, row.highest_level), (None, Some(0.9375)));
        assert_eq!((row.mde80, row.higher, row.lower), (None, 4, 1));

        let settings = Settings { confidence: "93.75".parse().unwrap(), ..Settings::default() };
        let row = Sample::of_differences(&[0.010, 0.020, -0.005, 0.030, 0.015]).assess(&settings);
        interval(row.interval, -0.005, 0.030, 0.9375);
    }

    #[test]
    fn equal_differences_have_an_interval_of_no_width() {
        let five = assess(&[0.010; 5]);
        assert_eq!((five.p.unwrap().value(), five.sd, five.interval), (0.0625, Some(0.0), None));
        let six = assess(&[0.010; 6]);
        assert_eq!((six.difference, six.p.unwrap().value()), (Some(0.01), 0.03125));
        interval(six.interval, 0.010, 0.010, 0.96875);
    }

    #[test]
    fn eight_items_have_the_intervals_of_their_subset_means() {
        let differences = [-0.004, 0.011, 0.007, -0.002, 0.013, 0.005, 0.009, -0.001];
        let settings = Settings { levels: vec![Confidence::EQUIVALENCE], ..Settings::default() };
        let row = Sample::of_differences(&differences).assess(&settings);
        assert_eq!((row.difference, row.p.unwrap().value()), (Some(0.00475), 0.09375));
        near(row.sd, 0.006_386_369_413_503);
        interval(row.interval, -0.0015, 0.031 / 3.0, 0.953_125);
        interval(row.at_levels[0].1, 0.001 / 3.0, 0.0095, 0.90625);
    }

    #[test]
    fn identical_scores_are_certain_at_any_number() {
        for count in [1, 4, 50] {
            let row = assess(&vec![0.0; count]);
            assert!(row.is_identical());
            assert_eq!((row.difference, row.p.unwrap().value()), (Some(0.0), 1.0));
            interval(row.interval, 0.0, 0.0, 0.95);
        }
    }

    #[test]
    fn balanced_differences_prove_nothing() {
        let row = assess(&[0.02, -0.02, 0.02, -0.02]);
        assert_eq!((row.difference, row.p.unwrap().value()), (Some(0.0), 1.0));
        near(row.sd, 0.023_094_010_767_585);
        assert_eq!((row.higher, row.same(), row.lower), (2, 0, 2));
    }

    #[test]
    fn one_item_has_neither_test_nor_interval() {
        let row = assess(&[0.3]);
        assert_eq!((row.p, row.interval, row.highest_level, row.sd), (None, None, None, None));
        assert_eq!(assess(&[]).difference, None);
    }

    #[test]
    fn the_smallest_visible_difference_is_stated_from_twenty_items_on() {
        let differences: Vec<f64> = (0..20).map(|i| f64::from(i % 5) / 100.0).collect();
        assert_eq!(assess(&differences[..19]).mde80, None);
        let row = assess(&differences);
        near(row.mde80, MDE80 * row.sd.unwrap() / 20f64.sqrt());
    }

    #[test]
    fn infinite_scores_are_left_out_or_the_same() {
        let mut sample = Sample::default();
        sample.push(f64::INFINITY, f64::INFINITY, f64::NAN);
        sample.push(f64::INFINITY, 30.0, f64::NEG_INFINITY);
        sample.push(30.0, f64::INFINITY, f64::INFINITY);
        assert_eq!((sample.differences(), sample.left_out()), (&[0.0][..], 2));
        let row = sample.assess(&Settings::default());
        assert_eq!((row.base_mean, row.same()), (Some(f64::INFINITY), 1));
    }

    #[test]
    fn more_tests_and_higher_levels_need_more_draws() {
        let settings = Settings { levels: vec!["99.99".parse().unwrap()], ..Settings::default() };
        assert_eq!(settings.for_tests(1).draws.resamples, 40_000);
        assert_eq!(Settings::default().for_tests(125).draws.resamples, 10_000);
        assert_eq!(Settings::default().for_tests(126).draws.resamples, 10_080);
    }
}
