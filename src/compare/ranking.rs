//! Methods ranked over the items that all of them have scored.
//!
//! The rank of a method is an interval: from 1 + the number of methods that are significantly
//! better, to the number of methods - the number of those that are significantly worse. Every two
//! methods are tested (sign-flip test of the paired differences of items), and the p values are
//! adjusted by Holm's method, so that two methods without a proven difference never have ranks that
//! separate them. A method that lacks an item is not ranked: its mean is of other data.

mod entries;
mod words;

use rayon::prelude::*;

pub use self::entries::{Entries, Sorted};
use super::assess::{Assessment, Sample, Settings};
use super::decimal::settle;
use super::subsets::{ENUMERATED_MAX, LENGTH_MAX, Probability};
use super::verdict::{Verdict, holm};
use crate::column::Better;
use crate::stats::{Observation, Sum, Summary, summarize};

/// At most this many words of random bits are drawn for one ranking: a minute or two. See
/// [`Ranking::is_tested`].
const WORK_MAX: u64 = 1 << 33;

impl Sorted {
    /// Ranks the methods of one group by `values`, one for each row and NaN where there is none.
    #[must_use]
    pub fn rank(
        &self,
        group: usize,
        values: &[f64],
        better: Better,
        settings: &Settings,
    ) -> Ranking {
        let table = Table::of(self, group, values);
        table.rank(better, settings)
    }
}

/// The methods of one group, the best first.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Ranking {
    /// Methods with every item, in the order of their means.
    pub ranked: Vec<Ranked>,
    /// Methods that lack items, those with the most items first.
    pub incomplete: Vec<Incomplete>,
    /// Items that the ranked methods are compared on.
    pub items: usize,
    /// Items that no method has a score for; they are left out.
    pub failed_for_all: usize,
    /// Items that are infinite for some of the ranked methods and not for others; left out.
    pub infinite_for_some: usize,
    /// Items that are infinite for all ranked methods: the same in every test, and in no mean.
    pub infinite_for_all: usize,
    /// Whether the pairs of methods were tested. There may be too many methods and items for that;
    /// then every rank interval is the widest.
    pub is_tested: bool,
    /// Whether so few items can separate two of so many methods at all.
    pub can_separate: bool,
}

/// A method with every item.
#[derive(Clone, PartialEq, Debug)]
pub struct Ranked {
    /// Index of the method.
    pub method: usize,
    /// The best and the worst rank that are not excluded.
    pub rank: (usize, usize),
    /// Statistics of its means over the pairs of each item; `None` if all are infinite.
    pub summary: Option<Summary>,
    /// The paired differences to the first method (this - first); `None` for itself.
    pub to_first: Option<Assessment>,
    /// The p value of that test, after Holm.
    pub adjusted: Option<Probability>,
    /// What that test proves.
    pub verdict: Option<Verdict>,
}

/// A method that lacks items.
#[derive(Clone, PartialEq, Debug)]
pub struct Incomplete {
    /// Index of the method.
    pub method: usize,
    /// Items that some method has a score for.
    pub expected: usize,
    /// Those of them that failed for this method.
    pub failed: usize,
    /// Those of them that it has no pair of, or fewer pairs than others.
    pub missing: usize,
    /// Statistics of what it has.
    pub summary: Option<Summary>,
}

/// Means over the pairs of each item, by item and method.
struct Table {
    methods: Vec<usize>,
    /// By method and item; [`ABSENT`] and [`FAILED`] are kept apart.
    means: Vec<Vec<f64>>,
    hashes: Vec<u64>,
    failed_for_all: usize,
}

/// NaN of a method without a pair of the item, or with fewer pairs than others.
const ABSENT: f64 = f64::NAN;
/// Stands for an item of which a pair failed: no score is the largest negative number.
const FAILED: f64 = f64::MIN;

fn is_score(mean: f64) -> bool {
    !mean.is_nan() && mean != FAILED
}

impl Table {
    fn of(sorted: &Sorted, group: usize, values: &[f64]) -> Table {
        let mut methods: Vec<usize> = Vec::new();
        for cell in sorted.cells.iter().filter(|cell| cell.group as usize == group) {
            methods.push(cell.method as usize);
        }
        methods.sort_unstable_by(|&a, &b| sorted.methods[a].cmp(&sorted.methods[b]));
        let mut column_of = vec![usize::MAX; sorted.methods.len()];
        methods.iter().enumerate().for_each(|(column, &method)| column_of[method] = column);
        let items = sorted.item_count(group);
        let mut table = Table {
            means: methods.iter().map(|_| Vec::with_capacity(items)).collect(),
            hashes: Vec::with_capacity(items),
            failed_for_all: 0,
            methods,
        };
        let width = table.methods.len();
        let mut row = vec![ABSENT; width];
        let mut scores = Vec::new();
        sorted.items(group, |item, pairs| {
            row.fill(ABSENT);
            let by_method = || pairs.chunk_by(|a, b| a.0 == b.0);
            let most = by_method().map(<[_]>::len).max().unwrap_or(0);
            for of_method in by_method() {
                scores.clear();
                scores.extend(of_method.iter().map(|&(_, row)| values[row as usize]));
                row[column_of[of_method[0].0]] = match scores.iter().any(|score| score.is_nan()) {
                    true => FAILED,
                    false if scores.len() < most => ABSENT,
                    false => mean(&mut scores),
                };
            }
            if row.iter().copied().any(is_score) {
                table.means.iter_mut().zip(&row).for_each(|(means, &mean)| means.push(mean));
                table.hashes.push(item);
            } else {
                table.failed_for_all += 1;
            }
        });
        table
    }

    fn rank(mut self, better: Better, settings: &Settings) -> Ranking {
        let lacks = |column: usize| !self.means[column].iter().copied().all(is_score);
        let (incomplete, complete): (Vec<usize>, Vec<usize>) =
            (0..self.methods.len()).partition(|&column| lacks(column));
        let mut incomplete: Vec<Incomplete> =
            incomplete.into_iter().map(|column| self.incomplete(column)).collect();
        incomplete.sort_by_key(|one| one.failed + one.missing);

        let mut ranking = Ranking {
            failed_for_all: self.failed_for_all,
            incomplete,
            is_tested: true,
            can_separate: true,
            ..Ranking::default()
        };
        let mut kept = vec![true; self.hashes.len()];
        for (index, kept) in kept.iter_mut().enumerate() {
            let is_infinite = |column: &&usize| self.means[**column][index].is_infinite();
            match complete.iter().filter(is_infinite).count() {
                0 => {}
                all if all == complete.len() => ranking.infinite_for_all += 1,
                _ => {
                    ranking.infinite_for_some += 1;
                    *kept = false;
                }
            }
        }
        retain(&mut self.hashes, &kept);
        ranking.items = self.hashes.len();
        let mut entrants: Vec<Entrant> =
            complete.into_iter().map(|column| self.entrant(column, &kept)).collect();
        entrants.sort_by(|a, b| a.order(b, better));
        compete(&entrants, better, settings, &mut ranking);
        ranking
    }

    /// Takes the scores of a method with every item. `hashes` are of the items that are kept.
    fn entrant(&mut self, column: usize, kept: &[bool]) -> Entrant {
        let mut values = std::mem::take(&mut self.means[column]);
        retain(&mut values, kept);
        let mut observations: Vec<Observation> = (values.iter().zip(&self.hashes))
            .filter(|(value, _)| value.is_finite())
            .map(|(&value, &item)| Observation { item, group: 0, value })
            .collect();
        Entrant { method: self.methods[column], summary: summarize(&mut observations), values }
    }

    fn incomplete(&self, column: usize) -> Incomplete {
        let own = || self.means[column].iter().copied();
        let mut observations: Vec<Observation> = (own().zip(&self.hashes))
            .filter(|&(mean, _)| is_score(mean))
            .map(|(value, &item)| Observation { item, group: 0, value })
            .collect();
        Incomplete {
            method: self.methods[column],
            expected: self.hashes.len(),
            failed: own().filter(|&mean| mean == FAILED).count(),
            missing: own().filter(|mean| mean.is_nan()).count(),
            summary: summarize(&mut observations),
        }
    }
}

/// Keeps the values whose flag is set.
fn retain<T>(values: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    values.retain(|_| kept.next().copied().unwrap_or(false));
}

/// The mean; the order of the scores does not change it.
fn mean(scores: &mut [f64]) -> f64 {
    scores.sort_unstable_by(f64::total_cmp);
    let mut sum = Sum::default();
    scores.iter().for_each(|&score| sum.add(score));
    sum.value() / scores.len() as f64
}

/// A method with every item.
struct Entrant {
    method: usize,
    values: Vec<f64>,
    summary: Option<Summary>,
}

impl Entrant {
    /// By mean, as decimals: two methods with equal scores are not ordered by rounding.
    fn order(&self, other: &Entrant, better: Better) -> std::cmp::Ordering {
        let mean = |one: &Entrant| one.summary.map(|summary| settle(summary.mean, summary.mean));
        match (mean(self), mean(other)) {
            (Some(a), Some(b)) => better.order(a, b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }

    /// The paired differences to `base`.
    fn against(&self, base: &Entrant) -> Sample {
        let mut sample = Sample::default();
        for (&base, &new) in base.values.iter().zip(&self.values) {
            sample.push(base, new, settle(new - base, base.abs().max(new.abs())));
        }
        sample
    }
}

/// Tests every two methods, and fills in the ranks.
fn compete(entrants: &[Entrant], better: Better, settings: &Settings, ranking: &mut Ranking) {
    let count = entrants.len();
    let duels: Vec<(usize, usize)> =
        (0..count).flat_map(|base| (base + 1..count).map(move |new| (base, new))).collect();
    let settings = settings.for_tests(duels.len().max(1));
    ranking.is_tested = work(ranking.items, duels.len(), &settings) <= WORK_MAX;
    ranking.can_separate = can_separate(ranking.items, duels.len(), &settings);
    let tests: Vec<Assessment> = match ranking.is_tested {
        true => duels
            .par_iter()
            .map(|&(base, new)| entrants[new].against(&entrants[base]).assess(&settings))
            .collect(),
        false => vec![Assessment::default(); duels.len()],
    };
    let adjusted = holm(&tests.iter().map(|test| test.p).collect::<Vec<_>>());
    let verdicts: Vec<Verdict> = (tests.iter().zip(&adjusted))
        .map(|(test, &p)| Verdict::on(test, p, settings.confidence, better))
        .collect();
    let mut ranks = vec![(1, count); count];
    for (&(base, new), verdict) in duels.iter().zip(&verdicts) {
        let (winner, loser) = match verdict {
            Verdict::Better => (new, base),
            Verdict::Worse => (base, new),
            Verdict::Undecided | Verdict::Equivalent | Verdict::Identical => continue,
        };
        ranks[winner].1 -= 1;
        ranks[loser].0 += 1;
    }
    // The duels of the first method come first.
    let to_first = |place: usize| place.checked_sub(1).filter(|_| ranking.is_tested);
    ranking.ranked = (entrants.iter().zip(&ranks).enumerate())
        .map(|(place, (entrant, &rank))| Ranked {
            method: entrant.method,
            rank,
            summary: entrant.summary,
            to_first: to_first(place).map(|duel| tests[duel].clone()),
            adjusted: to_first(place).and_then(|duel| adjusted[duel]),
            verdict: to_first(place).map(|duel| verdicts[duel]),
        })
        .collect();
}

/// Words of random bits that the tests take.
fn work(items: usize, duels: usize, settings: &Settings) -> u64 {
    let per_duel = match items {
        0..=ENUMERATED_MAX => 1 << items,
        _ if items > LENGTH_MAX => return u64::MAX,
        _ => settings.draws.resamples.saturating_mul(items.div_ceil(64) as u64),
    };
    per_duel.saturating_mul(duels as u64)
}

/// With few items even the smallest p value, 2 / 2^n, is too large after Holm's correction.
fn can_separate(items: usize, duels: usize, settings: &Settings) -> bool {
    let smallest = 2.0 / 2f64.powi(items.min(64) as i32);
    smallest * duels as f64 <= settings.confidence.alpha()
}

#[cfg(test)]
mod tests;
