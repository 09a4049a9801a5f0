//! Which items a page shows, and what its charts draw of all items.

use crate::column::Better;
use crate::compare::ranking::{Ranking, Sorted};
use crate::random::SplitMix64;

/// Random items, so that a page does not only show failures.
const RANDOM: usize = 6;
/// Methods of one item that are shown beside its reference.
const SHOTS_MAX: usize = 4;
/// Points of a distribution.
const QUANTILES: usize = 100;
/// Items of a scatter plot; of more a random part is drawn.
const SCATTER_MAX: usize = 1000;

/// Why an item is shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// The worst scores of any method.
    Worst,
    /// A method is worse than the first one by the most.
    Regressed,
    /// The largest spread between methods.
    Disputed,
    /// Chosen by the hash of its name.
    Random,
}

impl Reason {
    /// All of them, in the order of the page.
    pub const ALL: [Reason; 4] =
        [Reason::Worst, Reason::Regressed, Reason::Disputed, Reason::Random];

    /// For a heading.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Reason::Worst => "Worst",
            Reason::Regressed => "Most regressed from the first method",
            Reason::Disputed => "Most disputed between methods",
            Reason::Random => "Random",
        }
    }
}

/// An item to show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pick {
    /// Why.
    pub reasons: Vec<Reason>,
    /// Index of the group.
    pub group: usize,
    /// Hash of the item.
    pub item: u64,
    /// Method and row of each distorted image, the best first.
    pub shots: Vec<(usize, u32)>,
}

/// An item that may be shown.
#[derive(Clone, Debug)]
struct Candidate {
    group: usize,
    item: u64,
    /// Method, row, and how bad the score is.
    shots: Vec<(usize, u32, f64)>,
    /// How bad, by [`Reason`]; the greatest are shown.
    keys: [f64; 4],
}

/// Chooses items by the first metric: `count` for each reason, and six random ones. The most urgent
/// of every reason come first.
#[must_use]
pub fn select(
    sorted: &Sorted,
    values: &[f64],
    better: Better,
    rankings: &[&Ranking],
    count: usize,
) -> Vec<Pick> {
    let mut lists: [Vec<Candidate>; 4] = Default::default();
    for (group, ranking) in rankings.iter().enumerate() {
        let leader = ranking.ranked.first().map(|first| first.method);
        sorted.items(group, |item, pairs| {
            let Some(candidate) = candidate(group, item, pairs, values, better, leader) else {
                return;
            };
            for (reason, list) in Reason::ALL.into_iter().zip(&mut lists) {
                let wanted = if reason == Reason::Random { RANDOM } else { count };
                if candidate.keys[reason as usize].is_finite() {
                    keep(list, &candidate, reason, wanted);
                }
            }
        });
    }
    let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
    let mut picks: Vec<Pick> = Vec::new();
    for place in 0..longest {
        for (reason, list) in Reason::ALL.into_iter().zip(&lists) {
            let Some(candidate) = list.get(place) else { continue };
            let is_it =
                |pick: &&mut Pick| pick.group == candidate.group && pick.item == candidate.item;
            match picks.iter_mut().find(is_it) {
                Some(pick) => pick.reasons.push(reason),
                None => picks.push(Pick {
                    reasons: vec![reason],
                    group: candidate.group,
                    item: candidate.item,
                    shots: shots(candidate, rankings[candidate.group]),
                }),
            }
        }
    }
    picks.iter_mut().for_each(|pick| pick.reasons.sort_unstable());
    picks
}

fn candidate(
    group: usize,
    item: u64,
    pairs: &[(usize, u32)],
    values: &[f64],
    better: Better,
    leader: Option<usize>,
) -> Option<Candidate> {
    // The worst pair of each method stands for it.
    let mut shots: Vec<(usize, u32, f64)> = Vec::new();
    for &(method, row) in pairs {
        let badness = better.worsening(values[row as usize]);
        match shots.last_mut() {
            _ if badness.is_nan() => {}
            Some(last) if last.0 == method && last.2 >= badness => {}
            Some(last) if last.0 == method => *last = (method, row, badness),
            _ => shots.push((method, row, badness)),
        }
    }
    shots.sort_by(|a, b| a.2.total_cmp(&b.2).then(a.0.cmp(&b.0)));
    let (best, worst) = (shots.first()?.2, shots.last()?.2);
    let of_leader = shots.iter().find(|shot| Some(shot.0) == leader).map(|shot| shot.2);
    let is_alone = shots.len() < 2;
    let spread = if is_alone { f64::NAN } else { worst - best };
    let regressed = of_leader.filter(|_| !is_alone).map_or(f64::NAN, |leader| worst - leader);
    let random = SplitMix64::new(item ^ group as u64).unit();
    Some(Candidate { group, item, shots, keys: [worst, regressed, spread, random] })
}

/// Keeps the `count` greatest, the greatest first.
fn keep(list: &mut Vec<Candidate>, candidate: &Candidate, reason: Reason, count: usize) {
    let key = |one: &Candidate| one.keys[reason as usize];
    let place = list.partition_point(|one| {
        let order = key(one).total_cmp(&key(candidate)).reverse();
        order.then(one.group.cmp(&candidate.group)).then(one.item.cmp(&candidate.item)).is_lt()
    });
    if place < count {
        list.insert(place, candidate.clone());
        list.truncate(count);
    }
}

/// The first method, the best and the worst of this item, then others in their order of rank.
fn shots(candidate: &Candidate, ranking: &Ranking) -> Vec<(usize, u32)> {
    let by_rank = ranking.ranked.iter().map(|one| one.method);
    let all: Vec<usize> = candidate.shots.iter().map(|shot| shot.0).collect();
    let urgent = by_rank.clone().take(1).chain(all.last().copied()).chain(all.first().copied());
    let mut wanted: Vec<usize> = Vec::new();
    for method in urgent.chain(by_rank).chain(all.iter().copied()) {
        if wanted.len() < SHOTS_MAX && all.contains(&method) && !wanted.contains(&method) {
            wanted.push(method);
        }
    }
    let shown = candidate.shots.iter().filter(|shot| wanted.contains(&shot.0));
    shown.map(|&(method, row, _)| (method, row)).collect()
}

/// What the charts of a group draw.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Series {
    /// For each method the 0 %, 1 % ... 100 % quantiles of its items; none without a finite score.
    pub quantiles: Vec<(usize, Vec<f64>)>,
    /// Items of the scatter plot: the hash, and for each method of `quantiles` its score or NaN.
    pub items: Vec<(u64, Vec<f64>)>,
    /// How many items there are.
    pub count: usize,
}

/// The series of one group, from finite scores.
#[must_use]
pub fn series(sorted: &Sorted, group: usize, values: &[f64], ranking: &Ranking) -> Series {
    let ranked = ranking.ranked.iter().map(|one| one.method);
    let methods: Vec<usize> =
        ranked.chain(ranking.incomplete.iter().map(|one| one.method)).collect();
    let mut scores: Vec<Vec<f64>> = vec![Vec::new(); methods.len()];
    let mut items: Vec<(u64, Vec<f64>)> = Vec::new();
    let mut count = 0;
    sorted.items(group, |item, pairs| {
        let of_method = |&method: &usize| {
            let own = pairs.iter().filter(|pair| pair.0 == method);
            let (sum, count) = own.fold((0.0, 0.0), |(sum, count), pair| {
                (sum + values[pair.1 as usize], count + 1.0)
            });
            sum / count
        };
        let means: Vec<f64> = methods.iter().map(of_method).collect();
        for (list, &mean) in scores.iter_mut().zip(&means) {
            list.extend(Some(mean).filter(|mean| mean.is_finite()));
        }
        count += 1;
        let place = items.partition_point(|one| mixed(one.0) < mixed(item));
        if place < SCATTER_MAX {
            items.insert(place, (item, means));
            items.truncate(SCATTER_MAX);
        }
    });
    let quantiles = methods.into_iter().zip(scores).map(|(method, mut scores)| {
        scores.sort_by(f64::total_cmp);
        let at = |step: usize| crate::stats::quantile(&scores, step as f64 / QUANTILES as f64);
        let quantiles =
            if scores.is_empty() { Vec::new() } else { (0..=QUANTILES).map(at).collect() };
        (method, quantiles)
    });
    Series { quantiles: quantiles.collect(), items, count }
}

/// As good as random.
fn mixed(item: u64) -> u64 {
    item.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::assess::Settings;
    use crate::compare::ranking::Entries;

    /// Scores of the methods a and b by item; NaN where there is none.
    fn selected(scores: &[(f64, f64)], count: usize) -> Vec<Pick> {
        let mut entries = Entries::default();
        let mut values = Vec::new();
        for (item, &(a, b)) in scores.iter().enumerate() {
            for (method, value) in [("a", a), ("b", b)] {
                entries.push(method, std::iter::empty(), item as u64);
                values.push(value);
            }
        }
        let sorted = entries.sorted();
        let ranking = sorted.rank(0, &values, Better::Lower, &Settings::default());
        select(&sorted, &values, Better::Lower, &[&ranking], count)
    }

    fn items(picks: &[Pick], reason: Reason) -> Vec<u64> {
        picks.iter().filter(|pick| pick.reasons.contains(&reason)).map(|pick| pick.item).collect()
    }

    #[test]
    fn every_reason_finds_its_item() {
        let mut scores = vec![(0.1, 0.2); 20];
        scores[3] = (0.9, 0.91); // worst
        scores[5] = (0.1, 0.6); // b falls behind a
        scores[8] = (0.8, 0.1); // disputed, but a is the first method
        let picks = selected(&scores, 1);
        assert_eq!(items(&picks, Reason::Worst), [3]);
        assert_eq!(items(&picks, Reason::Regressed), [5]);
        assert_eq!(items(&picks, Reason::Disputed), [8]);
        assert_eq!(items(&picks, Reason::Random).len(), RANDOM);
        assert_eq!(picks[0].shots, [(0, 6), (1, 7)], "the best first");
    }

    #[test]
    fn one_item_with_several_reasons_is_shown_once() {
        let picks = selected(&[(0.1, 0.9), (0.1, 0.2)], 1);
        let reasons = &picks[0].reasons;
        assert_eq!(reasons[..3], [Reason::Worst, Reason::Regressed, Reason::Disputed]);
        assert_eq!(picks.len(), 2);
    }

    #[test]
    fn failed_pairs_are_not_shown() {
        let picks = selected(&[(f64::NAN, f64::NAN), (0.1, f64::NAN), (0.1, 0.2)], 3);
        assert!(items(&picks, Reason::Random).iter().all(|&item| item > 0));
        assert_eq!(items(&picks, Reason::Disputed), [2], "one method has no spread");
    }

    #[test]
    fn charts_draw_a_thousand_items_at_most() {
        let mut entries = Entries::default();
        let values: Vec<f64> = (0..3000).map(f64::from).collect();
        (0..3000u64).for_each(|item| entries.push("a", std::iter::empty(), item));
        let sorted = entries.sorted();
        let ranking = sorted.rank(0, &values, Better::Lower, &Settings::default());
        let series = series(&sorted, 0, &values, &ranking);
        assert_eq!((series.items.len(), series.count), (SCATTER_MAX, 3000));
        let quantiles = &series.quantiles[0].1;
        assert_eq!((quantiles[0], quantiles[50], quantiles[100]), (0.0, 1499.5, 2999.0));
    }
}
