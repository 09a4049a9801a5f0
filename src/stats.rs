//! Mean, spread, quantiles and the bootstrap interval of a set of scores.
//!
//! Pure arithmetic on numbers, which does not depend on files, columns and devices. No result
//! depends on the order in which scores are given.

use rayon::prelude::*;

use crate::random::SplitMix64;

/// Resamples of the bootstrap.
const RESAMPLES: u64 = 10_000;
/// Seed of the bootstrap: the same scores give the same interval on every machine.
const SEED: u64 = 0x4C50_4950_5300_0001;
/// At most this many units are drawn by the bootstrap; see [`units`].
const UNITS_MAX: usize = 1 << 16;

/// One score of one pair.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Observation {
    /// Hash of the item; pairs of one item are dependent.
    pub item: u64,
    /// Number of the group; see [`groups`].
    pub group: u32,
    /// The score.
    pub value: f64,
}

/// The statistics of at least one score.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Summary {
    /// Arithmetic mean; infinite if a score is.
    pub mean: f64,
    /// Standard deviation with n - 1; none for one score, or if a score is infinite.
    pub std: Option<f64>,
    /// 95 % percentile-bootstrap interval of the mean over items; none for one item, or if a score
    /// is infinite.
    pub ci95: Option<(f64, f64)>,
    /// 50 % quantile.
    pub median: f64,
    /// 5 % quantile.
    pub p05: f64,
    /// 95 % quantile.
    pub p95: f64,
    /// Smallest score.
    pub min: f64,
    /// Largest score.
    pub max: f64,
}

/// Summarizes scores, which may be infinite in one direction; `None` when there are none. Sorts
/// `observations` in place, and takes no memory that grows with them: there may be millions.
#[must_use]
pub fn summarize(observations: &mut [Observation]) -> Option<Summary> {
    if observations.is_empty() {
        return None;
    }
    observations.sort_unstable_by(|a, b| a.item.cmp(&b.item).then(a.value.total_cmp(&b.value)));
    let is_finite = observations.iter().all(|one| one.value.is_finite());
    let ci95 = if is_finite { interval(observations, UNITS_MAX) } else { None };

    observations.sort_unstable_by(|a, b| a.value.total_cmp(&b.value));
    let values = || observations.iter().map(|one| one.value);
    let count = observations.len() as f64;
    let mean = sum(values()) / count;
    let squares = sum(values().map(|value| (value - mean) * (value - mean)));
    let quantile = |p| quantile_of(observations.len(), p, |index| observations[index].value);
    Some(Summary {
        mean,
        std: (is_finite && observations.len() > 1).then(|| (squares / (count - 1.0)).sqrt()),
        ci95,
        median: quantile(0.5),
        p05: quantile(0.05),
        p95: quantile(0.95),
        min: observations[0].value,
        max: observations[observations.len() - 1].value,
    })
}

/// The observations of each of the groups `0..group_count`, in order; a group may have none. Sorts
/// `observations`.
pub fn groups(
    observations: &mut [Observation],
    group_count: usize,
) -> impl Iterator<Item = &mut [Observation]> {
    observations.sort_unstable_by_key(|one| one.group);
    let mut rest = observations;
    (0..group_count).map(move |group| {
        let end = rest.partition_point(|one| one.group as usize <= group);
        let (part, others) = std::mem::take(&mut rest).split_at_mut(end);
        rest = others;
        part
    })
}

/// The `p` quantile of sorted values by linear interpolation (type 7 of Hyndman and Fan, the
/// default of NumPy and R).
///
/// # Panics
/// When there is no value.
#[must_use]
pub fn quantile(sorted: &[f64], p: f64) -> f64 {
    quantile_of(sorted.len(), p, |index| sorted[index])
}

fn quantile_of(len: usize, p: f64, sorted: impl Fn(usize) -> f64) -> f64 {
    let position = (len - 1) as f64 * p;
    let below = position.floor() as usize;
    let above = (below + 1).min(len - 1);
    let (share, below, above) = (position - below as f64, sorted(below), sorted(above));
    // Infinite scores take part where nothing has to be interpolated.
    if share == 0.0 || below == above { below } else { below + (above - below) * share }
}

/// Neumaier's compensated sum: exact to the last bits however many values there are. Infinite if a
/// value is.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Sum {
    total: f64,
    lost: f64,
}

impl Sum {
    /// Adds a value.
    pub fn add(&mut self, value: f64) {
        let next = self.total + value;
        self.lost += if self.total.abs() >= value.abs() {
            (self.total - next) + value
        } else {
            (value - next) + self.total
        };
        self.total = next;
    }

    /// The sum.
    #[must_use]
    pub fn value(self) -> f64 {
        if self.total.is_finite() { self.total + self.lost } else { self.total }
    }
}

fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let mut sum = Sum::default();
    values.for_each(|value| sum.add(value));
    sum.value()
}

/// What the bootstrap draws: an item or a block of items, as the sum and the number of its values.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Unit {
    sum: f64,
    count: f64,
}

/// The items of observations that are sorted by item.
///
/// If there are more than `units_max`, they are dealt to `units_max` blocks in the order of their
/// hashes, which is as good as random. Blocks of independent items are independent and equally
/// distributed, so drawing blocks estimates the same spread of the mean. With this many blocks the
/// error of the estimate is far below one percent, and the cost of a resample stays bounded.
fn units(observations: &[Observation], units_max: usize) -> Vec<Unit> {
    let item = |same: &[Observation]| Unit {
        sum: sum(same.iter().map(|one| one.value)),
        count: same.len() as f64,
    };
    let mut units: Vec<Unit> = Vec::new();
    let items = observations.chunk_by(|a, b| a.item == b.item).map(item);
    for (index, unit) in items.enumerate() {
        if index < units_max {
            units.push(unit);
        } else {
            let block = &mut units[index % units_max];
            block.sum += unit.sum;
            block.count += unit.count;
        }
    }
    units
}

fn interval(observations: &[Observation], units_max: usize) -> Option<(f64, f64)> {
    let units = units(observations, units_max);
    if units.len() < 2 {
        return None;
    }
    let mut means = resampled_means(&units);
    means.sort_unstable_by(f64::total_cmp);
    Some((quantile(&means, 0.025), quantile(&means, 0.975)))
}

/// Each resample has a generator of its own, so the number of threads changes nothing but the time.
fn resampled_means(units: &[Unit]) -> Vec<f64> {
    let mean = |resample: u64| {
        let mut random = SplitMix64::new(SEED ^ resample.wrapping_mul(0xD134_2543_DE82_EF95));
        let (mut sum, mut count) = (0.0, 0.0);
        for _ in 0..units.len() {
            let unit = units[random.below(units.len())];
            sum += unit.sum;
            count += unit.count;
        }
        sum / count
    };
    (0..RESAMPLES).into_par_iter().map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observations(values: &[(u64, f64)]) -> Vec<Observation> {
        values.iter().map(|&(item, value)| Observation { item, group: 0, value }).collect()
    }

    /// Sums of twelve uniform numbers: about normal, standard deviation 1.
    fn normal(count: usize) -> Vec<f64> {
        let mut random = SplitMix64::new(7);
        let mut uniform = move || random.unit();
        (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f64>() - 6.0).collect()
    }

    #[test]
    fn small_cases_are_those_of_numpy() {
        // numpy.percentile([1, 2, 4, 8], [5, 50, 95]) and numpy.std(ddof=1)
        let mut given = observations(&[(0, 8.0), (1, 1.0), (2, 4.0), (3, 2.0)]);
        let summary = summarize(&mut given).unwrap();
        assert_eq!((summary.mean, summary.median, summary.min, summary.max), (3.75, 3.0, 1.0, 8.0));
        assert!((summary.p05 - 1.15).abs() < 1e-12 && (summary.p95 - 7.4).abs() < 1e-12);
        assert!((summary.std.unwrap() - 3.095_695_936_834_452).abs() < 1e-12);
    }

    #[test]
    fn one_score_has_no_spread_and_one_item_no_interval() {
        let one = summarize(&mut observations(&[(1, 0.5)])).unwrap();
        assert_eq!((one.mean, one.std, one.ci95), (0.5, None, None));
        let same_item = summarize(&mut observations(&[(1, 0.5), (1, 0.7)])).unwrap();
        assert!(same_item.std.is_some() && same_item.ci95.is_none());
        assert_eq!(summarize(&mut []), None);
    }

    #[test]
    fn infinite_scores_are_order_statistics() {
        let mut given = observations(&[(0, f64::INFINITY), (1, 1.0), (2, 2.0), (3, f64::INFINITY)]);
        let summary = summarize(&mut given).unwrap();
        assert_eq!((summary.mean, summary.std, summary.ci95), (f64::INFINITY, None, None));
        assert_eq!((summary.min, summary.max, summary.median), (1.0, f64::INFINITY, f64::INFINITY));
        assert!((summary.p05 - 1.15).abs() < 1e-12 && summary.p95 == f64::INFINITY);
    }

    #[test]
    fn the_order_of_scores_changes_no_bit() {
        let mut given: Vec<Observation> = normal(1000)
            .into_iter()
            .enumerate()
            .map(|(index, value)| Observation { item: index as u64 % 300, group: 0, value })
            .collect();
        let expected = summarize(&mut given.clone());
        let mut random = SplitMix64::new(3);
        for _ in 0..3 {
            for index in (1..given.len()).rev() {
                given.swap(index, random.below(index + 1));
            }
            assert_eq!(summarize(&mut given.clone()), expected);
        }
    }

    #[test]
    fn the_interval_has_the_width_that_theory_gives() {
        let values = normal(400);
        let mut given: Vec<Observation> = observations(&(0..).zip(values).collect::<Vec<_>>());
        let summary = summarize(&mut given).unwrap();
        let (low, high) = summary.ci95.unwrap();
        let expected = 2.0 * 1.96 * summary.std.unwrap() / 20.0;
        assert!(((high - low) / expected - 1.0).abs() < 0.05, "{} against {expected}", high - low);
        assert!(low < summary.mean && summary.mean < high);
    }

    #[test]
    fn pairs_of_one_item_do_not_narrow_the_interval() {
        // The same forty values, each four times: as one item they are no new evidence.
        let values = normal(40);
        let repeated = |item: fn(usize) -> u64| -> f64 {
            let mut given: Vec<Observation> = (0..160)
                .map(|index| Observation { item: item(index), group: 0, value: values[index % 40] })
                .collect();
            let (low, high) = summarize(&mut given).unwrap().ci95.unwrap();
            high - low
        };
        let dependent = repeated(|index| (index % 40) as u64);
        let independent = repeated(|index| index as u64);
        assert!((dependent / independent - 2.0).abs() < 0.1, "{}", dependent / independent);
    }

    #[test]
    fn blocks_of_items_give_the_same_interval() {
        let given: Vec<Observation> = observations(&(0..).zip(normal(8000)).collect::<Vec<_>>());
        let (low, high) = interval(&given, 8000).unwrap();
        let (low_of_blocks, high_of_blocks) = interval(&given, 1000).unwrap();
        let ratio = (high_of_blocks - low_of_blocks) / (high - low);
        assert!((ratio - 1.0).abs() < 0.08, "{ratio}");
        let all = units(&given, 1000);
        assert_eq!(all.len(), 1000);
        assert_eq!(all.iter().map(|unit| unit.count).sum::<f64>(), 8000.0);
    }

    #[test]
    fn groups_are_given_in_order_and_may_be_empty() {
        let mut given: Vec<Observation> = [2, 0, 2, 3, 0]
            .into_iter()
            .enumerate()
            .map(|(item, group)| Observation { item: item as u64, group, value: 0.5 })
            .collect();
        let sizes: Vec<usize> = groups(&mut given, 5).map(|group| group.len()).collect();
        assert_eq!(sizes, [2, 0, 2, 1, 0]);
    }

    #[test]
    fn equal_scores_have_an_interval_of_no_width() {
        let summary = summarize(&mut observations(&[(1, 0.25), (2, 0.25), (3, 0.25)])).unwrap();
        assert_eq!(summary.ci95, Some((0.25, 0.25)));
    }
}
