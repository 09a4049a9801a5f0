//! Which pairs of two runs belong together, by the hashes of their ids.
//!
//! In memory are, for one metric, 53 bytes for each pair of the baseline and 24 for each pair that
//! only the new run has; ids themselves are not kept. Rows may come in any order: what is computed
//! from them is sorted by the hashes.

mod aligned;

use rayon::prelude::*;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::assess::Sample;
use super::decimal::settle;
use super::tolerance::Promise;
use crate::stats::Sum;

/// XXH3-128 of an id: two ids of a run have one hash with a probability below 1e-20.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key([u64; 2]);

impl Key {
    /// The key of an id.
    #[must_use]
    pub fn of(id: &str) -> Key {
        let hash = xxh3_128(id.as_bytes());
        Key([(hash >> 64) as u64, hash as u64])
    }

    /// The pair as a unit of its own.
    #[must_use]
    pub fn unit(self) -> u64 {
        self.0[0]
    }
}

/// The hash of a unit: an item, or whatever pairs are averaged by.
#[must_use]
pub fn unit_of(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}

/// A pair of one run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pair<'a> {
    /// Of its id.
    pub key: Key,
    /// The unit that it belongs to.
    pub unit: u64,
    /// Number of its method and groups, counted from 0.
    pub cell: u32,
    /// What must be equal in both runs, such as a hash of the size of the images; 0 if unknown.
    pub contents: u32,
    /// A score for each metric; NaN where there is none.
    pub values: &'a [f64],
}

/// The pairs of one run.
#[derive(Clone, PartialEq, Debug)]
pub struct Side {
    metrics: usize,
    keys: Vec<Key>,
    units: Vec<u64>,
    cells: Vec<u32>,
    contents: Vec<u32>,
    values: Vec<f64>,
}

/// Why two runs cannot be aligned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Two pairs of one run have this key.
    Duplicate(Key),
    /// The contents of the pair with this key differ.
    Contents(Key),
}

impl Side {
    /// No pairs yet, of so many metrics each.
    #[must_use]
    pub fn new(metrics: usize) -> Side {
        Side {
            metrics,
            keys: Vec::new(),
            units: Vec::new(),
            cells: Vec::new(),
            contents: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Adds a pair.
    pub fn push(&mut self, pair: &Pair<'_>) {
        debug_assert_eq!(pair.values.len(), self.metrics);
        self.keys.push(pair.key);
        self.units.push(pair.unit);
        self.cells.push(pair.cell);
        self.contents.push(pair.contents);
        self.values.extend_from_slice(pair.values);
    }

    /// Number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are no pairs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn pair(&self, index: usize) -> Pair<'_> {
        Pair {
            key: self.keys[index],
            unit: self.units[index],
            cell: self.cells[index],
            contents: self.contents[index],
            values: &self.values[index * self.metrics..][..self.metrics],
        }
    }

    fn order(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        order.par_sort_unstable_by_key(|&index| self.keys[index as usize]);
        order
    }

    /// Makes one pair of all pairs with one key, with the means of their scores, and how many they
    /// are as contents. A score is missing if one of theirs is.
    #[must_use]
    pub fn collapsed(&self) -> Side {
        let mut order = self.order();
        // The order of a sum decides its last bits.
        let value = |index: u32| self.pair(index as usize).values.first().copied().unwrap_or(0.0);
        order.sort_by(|&a, &b| {
            let [key_a, key_b] = [a, b].map(|index| self.keys[index as usize]);
            key_a.cmp(&key_b).then(value(a).total_cmp(&value(b)))
        });
        let mut collapsed = Side::new(self.metrics);
        for group in order.chunk_by(|&a, &b| self.keys[a as usize] == self.keys[b as usize]) {
            let mut means = vec![Sum::default(); self.metrics];
            for &index in group {
                let values = self.pair(index as usize).values;
                means.iter_mut().zip(values).for_each(|(mean, &value)| mean.add(value));
            }
            let values: Vec<f64> =
                means.iter().map(|mean| mean.value() / group.len() as f64).collect();
            let first = self.pair(group[0] as usize);
            collapsed.push(&Pair { contents: group.len() as u32, values: &values, ..first });
        }
        collapsed
    }

    /// Calls `visit` for every pair.
    ///
    /// # Errors
    /// The first error of `visit`.
    pub fn each<E>(&self, mut visit: impl FnMut(&Pair<'_>) -> Result<(), E>) -> Result<(), E> {
        (0..self.len()).try_for_each(|index| visit(&self.pair(index)))
    }
}

/// A baseline that takes in the pairs of a new run.
#[derive(Debug)]
pub struct Join {
    base: Side,
    /// Indices of the baseline's pairs, by key.
    order: Vec<u32>,
    seen: Vec<bool>,
    new_values: Vec<f64>,
    only_new: Vec<(Key, u32)>,
    failed_only_new: Vec<u32>,
    /// Pairs whose contents are a number of pairs; see [`Side::collapsed`].
    counts_pairs: bool,
}

impl Join {
    /// A join of pairs of one baseline.
    ///
    /// # Errors
    /// [`Fault::Duplicate`].
    pub fn new(base: Side) -> Result<Join, Fault> {
        let order = base.order();
        let key = |index: u32| base.keys[index as usize];
        if let Some(same) = order.windows(2).find(|two| key(two[0]) == key(two[1])) {
            return Err(Fault::Duplicate(key(same[0])));
        }
        Ok(Join {
            seen: vec![false; base.len()],
            new_values: vec![f64::NAN; base.values.len()],
            only_new: Vec::new(),
            failed_only_new: Vec::new(),
            counts_pairs: false,
            order,
            base,
        })
    }

    /// A join of sides that are collapsed: where one has more pairs of a key than the other, the
    /// score of the other is missing.
    ///
    /// # Errors
    /// Never, since keys are unique then.
    pub fn of_collapsed(base: Side) -> Result<Join, Fault> {
        Ok(Join { counts_pairs: true, ..Join::new(base)? })
    }

    /// Adds a pair of the new run.
    ///
    /// # Errors
    /// A [`Fault`] of this pair.
    pub fn add(&mut self, pair: &Pair<'_>) -> Result<(), Fault> {
        let found =
            self.order.binary_search_by_key(&pair.key, |&index| self.base.keys[index as usize]);
        let Ok(place) = found else {
            self.only_new.push((pair.key, pair.cell));
            if pair.values.first().is_some_and(|value| value.is_nan()) {
                self.failed_only_new.push(pair.cell);
            }
            return Ok(());
        };
        let index = self.order[place] as usize;
        if std::mem::replace(&mut self.seen[index], true) {
            return Err(Fault::Duplicate(pair.key));
        }
        let metrics = self.base.metrics;
        let values = index * metrics..(index + 1) * metrics;
        self.new_values[values.clone()].copy_from_slice(pair.values);
        let contents = self.base.contents[index];
        match self.counts_pairs {
            true if pair.contents < contents => self.new_values[values].fill(f64::NAN),
            true if pair.contents > contents => self.base.values[values].fill(f64::NAN),
            false if contents != 0 && pair.contents != 0 && pair.contents != contents => {
                return Err(Fault::Contents(pair.key));
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends the join.
    ///
    /// # Errors
    /// [`Fault::Duplicate`] among the pairs that the baseline lacks.
    pub fn finish(self) -> Result<Aligned, Fault> {
        let Join { base, seen, new_values, mut only_new, failed_only_new, .. } = self;
        only_new.par_sort_unstable();
        if let Some(same) = only_new.windows(2).find(|two| two[0].0 == two[1].0) {
            return Err(Fault::Duplicate(same[0].0));
        }
        let only_new = only_new.into_iter().map(|(_, cell)| cell).collect();
        let Side { metrics, keys, units, cells, values, .. } = base;
        let base_values = values;
        Ok(Aligned {
            metrics,
            keys,
            units,
            cells,
            base_values,
            new_values,
            seen,
            only_new,
            failed_only_new,
        })
    }
}

/// How many pairs two runs have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// In both runs, whether scored or not.
    pub common: usize,
    /// Missing in the new run.
    pub only_base: usize,
    /// Missing in the baseline.
    pub only_new: usize,
    /// Without a score in the baseline.
    pub failed_base: usize,
    /// Without a score in the new run.
    pub failed_new: usize,
}

impl Counts {
    /// Whether every pair has a score on both sides.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let Counts { common: _, only_base, only_new, failed_base, failed_new } = *self;
        only_base + only_new + failed_base + failed_new == 0
    }
}

/// The units of a row, and how they come about.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Units {
    /// Their scores.
    pub sample: Sample,
    /// Pairs in them.
    pub pairs: usize,
    /// Whether means over pairs are other numbers than means over units.
    pub weights_matter: bool,
    /// Pairs whose difference counts as 0, being within what the program promises.
    pub within_tolerance: usize,
}

/// A pair whose score changed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Mover {
    /// Of its id.
    pub key: Key,
    /// Its score.
    pub base: f64,
    /// Its score.
    pub new: f64,
    /// new - base.
    pub difference: f64,
}

/// Two runs whose pairs are matched.
#[derive(Debug)]
pub struct Aligned {
    metrics: usize,
    keys: Vec<Key>,
    units: Vec<u64>,
    cells: Vec<u32>,
    base_values: Vec<f64>,
    new_values: Vec<f64>,
    seen: Vec<bool>,
    only_new: Vec<u32>,
    failed_only_new: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::assess::Settings;

    /// Id, unit, cell, score.
    type Row = (&'static str, &'static str, u32, f64);

    fn pair<'a>(row: &Row, values: &'a [f64]) -> Pair<'a> {
        let &(id, unit, cell, _) = row;
        Pair { key: Key::of(id), unit: unit_of(unit), cell, contents: 0, values }
    }

    fn side(rows: &[Row]) -> Side {
        let mut side = Side::new(1);
        rows.iter().for_each(|row| side.push(&pair(row, &[row.3])));
        side
    }

    fn align(base: &[Row], new: &[Row]) -> Result<Aligned, Fault> {
        let mut join = Join::new(side(base))?;
        new.iter().try_for_each(|row| join.add(&pair(row, &[row.3])))?;
        join.finish()
    }

    const NAN: f64 = f64::NAN;
    const BASE: [Row; 5] = [
        ("a", "1", 0, 0.1),
        ("b", "1", 0, 0.3),
        ("c", "2", 1, 0.5),
        ("d", "2", 1, NAN),
        ("e", "3", 0, 0.2),
    ];
    const NEW: [Row; 5] = [
        ("f", "4", 1, NAN),
        ("d", "2", 1, 0.4),
        ("c", "2", 1, 0.6),
        ("b", "1", 0, 0.4),
        ("a", "1", 0, 0.1),
    ];

    #[test]
    fn pairs_are_matched_and_counted() {
        let aligned = align(&BASE, &NEW).unwrap();
        let all = Counts { common: 4, only_base: 1, only_new: 1, failed_base: 1, failed_new: 1 };
        assert_eq!(aligned.counts(0, &[true, true]), all);
        let first = Counts { common: 2, only_base: 1, ..Counts::default() };
        assert_eq!(aligned.counts(0, &[true, false]), first);
        assert!(!first.is_complete() && Counts { common: 3, ..Counts::default() }.is_complete());
    }

    #[test]
    fn pairs_of_a_unit_are_averaged_first() {
        let aligned = align(&BASE, &NEW).unwrap();
        let units = aligned.units(0, &[true, true], Promise::Exact);
        let mut differences = units.sample.differences().to_vec();
        differences.sort_by(f64::total_cmp);
        assert_eq!(differences, [0.05, 0.1]);
        assert_eq!((units.pairs, units.weights_matter), (3, true));
    }

    #[test]
    fn repeated_pairs_of_an_item_prove_nothing_more() {
        let items = ["1", "2", "3", "4", "5", "6", "7"];
        let rows = |repeats: &[&str], shift: f64| -> Vec<(String, &str, f64)> {
            let scores = items.iter().zip([0.01, 0.03, -0.01, 0.02, 0.04, 0.02, 0.01]);
            let repeated = scores.flat_map(|(&item, change)| {
                repeats.iter().map(move |one| (format!("{item}/{one}"), item, 0.5 + change * shift))
            });
            repeated.collect()
        };
        let assess = |repeats: &[&str]| {
            let mut base = Side::new(1);
            let row = |(id, item, value): &(String, &str, f64)| {
                let pair = Pair {
                    key: Key::of(id),
                    unit: unit_of(item),
                    cell: 0,
                    contents: 0,
                    values: &[],
                };
                (pair, [*value])
            };
            for one in rows(repeats, 0.0) {
                let (pair, values) = row(&one);
                base.push(&Pair { values: &values, ..pair });
            }
            let mut join = Join::new(base).unwrap();
            for one in rows(repeats, 1.0) {
                let (pair, values) = row(&one);
                join.add(&Pair { values: &values, ..pair }).unwrap();
            }
            let units = join.finish().unwrap().units(0, &[true], Promise::Exact);
            units.sample.assess(&Settings::default())
        };
        let once = assess(&["a"]);
        assert_eq!(assess(&["a", "b", "c"]), once);
        assert!(once.interval.is_some());
    }

    #[test]
    fn the_order_of_rows_changes_no_bit() {
        let expected = align(&BASE, &NEW).unwrap().units(0, &[true, true], Promise::Exact);
        for shift in 0..5 {
            let (mut base, mut new) = (BASE, NEW);
            base.rotate_left(shift);
            new.swap(shift, 4 - shift);
            let units = align(&base, &new).unwrap().units(0, &[true, true], Promise::Exact);
            assert_eq!(units, expected);
        }
    }

    #[test]
    fn an_id_that_comes_twice_is_a_fault() {
        let duplicate = |id| Some(Fault::Duplicate(Key::of(id)));
        let twice: Vec<Row> = BASE.iter().chain(&BASE[1..2]).copied().collect();
        assert_eq!(align(&twice, &NEW).err(), duplicate("b"));
        let twice: Vec<Row> = NEW.iter().chain(&NEW[2..3]).copied().collect();
        assert_eq!(align(&BASE, &twice).err(), duplicate("c"));
        let twice: Vec<Row> = NEW.iter().chain(&NEW[..1]).copied().collect();
        assert_eq!(align(&BASE, &twice).err(), duplicate("f"));
    }

    #[test]
    fn other_contents_are_a_fault() {
        let with = |contents| Pair { contents, ..pair(&BASE[0], &[0.1]) };
        let faults = |ours, theirs| {
            let mut side = Side::new(1);
            side.push(&with(ours));
            Join::new(side).unwrap().add(&with(theirs)).err()
        };
        assert_eq!(faults(7, 8), Some(Fault::Contents(Key::of("a"))));
        assert_eq!((faults(7, 7), faults(0, 8), faults(7, 0)), (None, None, None));
    }

    #[test]
    fn differences_within_the_promise_count_as_none() {
        let base = [("a", "1", 0, 0.2), ("b", "2", 0, 0.2)];
        let new = [("a", "1", 0, 0.200_003), ("b", "2", 0, 0.200_005)];
        let units = |promise| align(&base, &new).unwrap().units(0, &[true], promise);
        let mut differences = units(Promise::Fp32).sample.differences().to_vec();
        differences.sort_by(f64::total_cmp);
        assert_eq!((differences, units(Promise::Fp32).within_tolerance), (vec![0.0, 5e-6], 1));
        assert_eq!(units(Promise::Exact).within_tolerance, 0);
        let movers = align(&base, &new).unwrap().movers(0, &[true], Promise::Fp32, 5);
        assert_eq!(movers.len(), 1);
    }

    #[test]
    fn the_largest_changes_come_first() {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let rows = |scale: f64| -> Vec<Row> {
            let score = |i: usize| 0.5 + scale * ((i * 5) % 8) as f64 * (-1f64).powi(i as i32);
            (0..8).map(|i| (names[i], names[i], 0, score(i))).collect()
        };
        let aligned = align(&rows(0.0), &rows(0.01)).unwrap();
        let movers = aligned.movers(0, &[true], Promise::Exact, 3);
        let differences: Vec<f64> = movers.iter().map(|mover| mover.difference).collect();
        assert_eq!(differences, [-0.07, 0.06, -0.05]);
    }

    #[test]
    fn items_of_two_methods_are_matched_by_their_means() {
        let rows = [("x", "1", 0, 0.1), ("x", "1", 0, 0.3), ("y", "2", 0, 0.5)];
        let collapsed = side(&rows).collapsed();
        assert_eq!(collapsed.len(), 2);
        let mut join = Join::of_collapsed(collapsed).unwrap();
        let new = [("x", "1", 0, 0.4), ("y", "2", 0, 0.6)];
        side(&new).collapsed().each(|pair| join.add(pair)).unwrap();
        let aligned = join.finish().unwrap();
        let counts = Counts { common: 2, failed_new: 1, ..Counts::default() };
        assert_eq!(aligned.counts(0, &[true]), counts, "one pair of x is missing");
        assert_eq!(aligned.units(0, &[true], Promise::Exact).sample.differences(), [0.1]);
    }
}
