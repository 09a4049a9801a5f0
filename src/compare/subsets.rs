//! The sign-flip test of a mean of differences, and the interval that is its inversion.
//!
//! Both come from one list: the means of subsets of the differences, in each of which every
//! difference is with probability one half (Hartigan's typical values). Flipping the signs of a
//! subset with the sum `s` changes the total `t` to `t - 2s`, so that the flipped total is as far
//! from zero on the other side, or farther, exactly if `s` has not the sign of `t`. The test
//! counts such subsets; the interval cuts the same list at the count that the test needs. Neither
//! can contradict the other.
//!
//! For at most [`ENUMERATED_MAX`] differences all subsets are listed. For more a fixed number is
//! drawn; the draws depend on the seed and on the place of a difference in its list alone.

use rayon::prelude::*;

use super::decimal::Confidence;

/// With so many differences or fewer, all subsets are listed.
pub const ENUMERATED_MAX: usize = 20;
/// Bits of the largest difference as an integer: sums of eight million differences fit in an i64.
const BITS: i32 = 40;
/// The most differences whose sum is certain to fit in an i64.
pub const LENGTH_MAX: usize = (1 << (63 - BITS)) - 1;
/// Differences that one random word decides about.
const WORD: usize = 64;
/// Differences whose 256 subset sums are tabulated.
const BLOCK: usize = 8;

/// How subsets are drawn where there are too many to list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Draws {
    /// One more than the number of drawn subsets.
    pub resamples: u64,
    /// Another seed, other subsets.
    pub seed: u64,
}

impl Default for Draws {
    fn default() -> Draws {
        Draws { resamples: 10_000, seed: 0 }
    }
}

/// A probability as a fraction, so that it is compared exactly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probability {
    numerator: u64,
    denominator: u64,
}

impl Probability {
    /// `numerator / denominator`.
    #[must_use]
    pub fn new(numerator: u64, denominator: u64) -> Probability {
        Probability { numerator, denominator }
    }

    /// Certainty.
    pub const ONE: Probability = Probability { numerator: 1, denominator: 1 };

    /// As a number.
    #[must_use]
    pub fn value(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }

    /// This, `factor` times, at most 1.
    #[must_use]
    pub fn times(self, factor: u64) -> Probability {
        let numerator = self.numerator.saturating_mul(factor).min(self.denominator);
        Probability { numerator, ..self }
    }
}

/// An interval of the mean difference.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The share of cases in which such an interval holds the true value: at least what was asked
    /// for.
    pub level: f64,
}

/// Differences as integers of one unit, `max|d| * 2^-40`.
#[derive(Clone, PartialEq, Debug)]
struct Quantised {
    values: Vec<i64>,
    /// The largest |d|.
    largest: f64,
}

impl Quantised {
    fn of(differences: &[f64]) -> Quantised {
        let largest = differences.iter().fold(0.0f64, |largest, d| largest.max(d.abs()));
        let one = 2f64.powi(BITS);
        let values = differences.iter().map(|&d| (d / largest * one).round() as i64).collect();
        Quantised { values, largest }
    }

    /// A sum that rounding may have moved away from zero is zero.
    fn sign(&self, sum: i64) -> i64 {
        if sum.unsigned_abs() <= self.values.len() as u64 { 0 } else { sum.signum() }
    }

    fn mean(&self, sum: i64, count: u32) -> f64 {
        match self.sign(sum) {
            0 => 0.0,
            _ => sum as f64 / (f64::from(count) * 2f64.powi(BITS)) * self.largest,
        }
    }
}

/// The means of subsets of differences, and how many of them have not the sign of the mean.
#[derive(Clone, PartialEq, Debug)]
pub struct Subsets {
    means: Vec<f64>,
    /// Subset sums on the other side of zero, ties included; `None` if the sum of all is zero.
    opposed: Option<u64>,
    /// 2^n if all subsets are listed, else one more than were drawn.
    total: u64,
}

impl Subsets {
    /// The subsets of `differences`, which are in the order that draws are bound to.
    ///
    /// # Panics
    /// When there are eight million differences or more (2^23).
    #[must_use]
    pub fn of(differences: &[f64], draws: Draws) -> Subsets {
        assert!(differences.len() <= LENGTH_MAX, "more differences than sums can hold");
        if differences.iter().all(|&d| d == 0.0) {
            return Subsets { means: Vec::new(), opposed: None, total: 1 };
        }
        let quantised = Quantised::of(differences);
        let (sums, counts, total) = match differences.len() {
            0..=ENUMERATED_MAX => listed(&quantised.values),
            _ => drawn(&quantised.values, draws),
        };
        let side = quantised.sign(quantised.values.iter().sum());
        let opposed = sums.iter().filter(|&&sum| quantised.sign(sum) != side).count() as u64;
        let means = sums.iter().zip(counts).map(|(&sum, count)| quantised.mean(sum, count));
        Subsets { means: means.collect(), opposed: (side != 0).then_some(opposed), total }
    }

    /// Whether every difference is zero.
    fn is_zero(&self) -> bool {
        self.means.is_empty()
    }

    /// The two-sided p value of the sign-flip test.
    #[must_use]
    pub fn p(&self) -> Probability {
        match self.opposed {
            Some(opposed) => {
                Probability { numerator: 1 + opposed, denominator: self.total }.times(2)
            }
            None => Probability::ONE,
        }
    }

    /// The interval of the mean difference at `confidence`; `None` if there are too few differences
    /// for it.
    pub fn interval(&mut self, confidence: Confidence) -> Option<Interval> {
        if self.is_zero() {
            return Some(Interval { low: 0.0, high: 0.0, level: confidence.level() });
        }
        let rank = confidence.rank(self.total);
        let index = usize::try_from(rank).ok()?.checked_sub(1)?;
        let last = self.means.len() - 1;
        let mut at = |index| *self.means.select_nth_unstable_by(index, f64::total_cmp).1;
        let (low, high) = (at(index), at(last - index));
        let level = (self.total - 2 * rank) as f64 / self.total as f64;
        Some(Interval { low, high, level })
    }

    /// The highest level at which so many differences have an interval.
    #[must_use]
    pub fn highest_level(&self) -> f64 {
        (self.total.saturating_sub(2)) as f64 / self.total as f64
    }
}

/// Sums and sizes of all non-empty subsets.
fn listed(values: &[i64]) -> (Vec<i64>, Vec<u32>, u64) {
    let total = 1usize << values.len();
    let mut sums = Vec::with_capacity(total);
    sums.push(0);
    for &value in values {
        sums.extend_from_within(..);
        let half = sums.len() / 2;
        sums[half..].iter_mut().for_each(|sum| *sum += value);
    }
    sums.remove(0);
    let counts = (1..total).map(usize::count_ones).collect();
    (sums, counts, total as u64)
}

/// Sums and sizes of random non-empty subsets.
fn drawn(values: &[i64], draws: Draws) -> (Vec<i64>, Vec<u32>, u64) {
    let count = usize::try_from(draws.resamples.saturating_sub(1)).unwrap_or(usize::MAX).max(1);
    let share = count.div_ceil(rayon::current_num_threads());
    let mut subsets: Vec<Subset> =
        (0..count as u64).map(|draw| Subset::new(Stream::new(draws.seed, draw))).collect();
    subsets.par_chunks_mut(share).for_each(|part| draw(values, part));
    let (sums, counts) = subsets.into_iter().map(|one| (one.sum, one.count)).unzip();
    (sums, counts, count as u64 + 1)
}

/// Fills `subsets`; those that come out empty are drawn again.
fn draw(values: &[i64], subsets: &mut [Subset]) {
    let mut tables = [[0i64; 1 << BLOCK]; WORD / BLOCK];
    for (word, values) in values.chunks(WORD).enumerate() {
        let mut blocks = values.chunks(BLOCK);
        for table in &mut tables {
            tabulate(blocks.next().unwrap_or_default(), table);
        }
        let mask = u64::MAX >> (WORD - values.len());
        for subset in &mut *subsets {
            let bits = subset.stream.word(word as u64) & mask;
            subset.count += bits.count_ones();
            for (table, &byte) in tables.iter().zip(&bits.to_le_bytes()) {
                subset.sum += table[usize::from(byte)];
            }
        }
    }
    for subset in subsets.iter_mut().filter(|subset| subset.count == 0) {
        let mut again = [Subset::new(subset.stream.next())];
        draw(values, &mut again);
        [*subset] = again;
    }
}

/// The sums of all subsets of at most eight values.
fn tabulate(values: &[i64], table: &mut [i64; 1 << BLOCK]) {
    table[0] = 0;
    for bit in 0..BLOCK {
        let value = values.get(bit).copied().unwrap_or(0);
        let (known, rest) = table.split_at_mut(1 << bit);
        rest.iter_mut().zip(&*known).for_each(|(sum, &known)| *sum = known + value);
    }
}

#[derive(Clone, Copy, Debug)]
struct Subset {
    stream: Stream,
    sum: i64,
    count: u32,
}

impl Subset {
    fn new(stream: Stream) -> Subset {
        Subset { stream, sum: 0, count: 0 }
    }
}

/// The random words of one subset, each by its index (SplitMix64 of Steele, Lea and Flood).
#[derive(Clone, Copy, Debug)]
struct Stream(u64);

impl Stream {
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

    fn new(seed: u64, draw: u64) -> Stream {
        Stream(mix(mix(seed.wrapping_add(Stream::STEP)) ^ draw))
    }

    fn word(self, index: u64) -> u64 {
        mix(self.0.wrapping_add((index + 1).wrapping_mul(Stream::STEP)))
    }

    /// Another stream of the same subset.
    fn next(self) -> Stream {
        Stream(mix(!self.0))
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cheap generator for test data.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(Stream::STEP);
            (mix(self.0) >> 11) as f64 / (1u64 << 53) as f64
        }

        /// Skewed differences with a shift, some of them equal and some zero.
        fn differences(&mut self, len: usize) -> Vec<f64> {
            let shift = self.next() - 0.5;
            let mut one = || match self.next() {
                below if below < 0.1 => 0.0,
                below if below < 0.3 => 0.25,
                value => (value - 0.6) * (1.0 + self.next()) + shift,
            };
            (0..len).map(|_| (one() * 1e4).round() / 1e4).collect()
        }
    }

    fn contradicts(differences: &[f64], draws: Draws, confidence: Confidence) -> bool {
        let mut subsets = Subsets::of(differences, draws);
        let is_significant = subsets.p().value() <= confidence.alpha();
        match subsets.interval(confidence) {
            None => is_significant,
            Some(Interval { low, high, .. }) => is_significant != (low > 0.0 || high < 0.0),
        }
    }

    #[test]
    fn p_and_interval_never_contradict() {
        let mut random = Random(1);
        let mut significant = 0;
        for case in 0..2000u64 {
            let len = if case % 2 == 0 { 2 + case % 11 } else { 21 + case % 40 };
            let differences = random.differences(len as usize);
            let draws = Draws { resamples: 1000 + case % 77, seed: case };
            for confidence in ["95", "90", "97.5"].map(|text| text.parse().unwrap()) {
                assert!(!contradicts(&differences, draws, confidence), "{differences:?}");
            }
            significant += usize::from(Subsets::of(&differences, draws).p().value() <= 0.05);
        }
        assert!((200..1800).contains(&significant), "both outcomes are tested: {significant}");
    }

    #[test]
    fn the_order_of_listed_differences_changes_nothing() {
        let mut random = Random(2);
        for _ in 0..50 {
            let mut differences = random.differences(11);
            let subsets = |differences: &[f64]| {
                let mut subsets = Subsets::of(differences, Draws::default());
                (subsets.p(), subsets.interval(Confidence::USUAL))
            };
            let expected = subsets(&differences);
            differences.rotate_left(4);
            differences.swap(0, 7);
            assert_eq!(subsets(&differences), expected);
        }
    }

    #[test]
    fn drawn_sums_are_those_of_the_drawn_subsets() {
        let values: Vec<i64> = (0..150).map(|i| (i * i) % 97 - 40).collect();
        let draws = Draws { resamples: 50, seed: 9 };
        let (sums, counts, total) = drawn(&values, draws);
        assert_eq!((sums.len(), total), (49, 50));
        for draw in 0..49u64 {
            let stream = Stream::new(9, draw);
            let chosen = values
                .iter()
                .enumerate()
                .filter(|&(index, _)| stream.word((index / 64) as u64) >> (index % 64) & 1 == 1);
            let (sum, count) = chosen.fold((0, 0), |(sum, count), (_, v)| (sum + v, count + 1));
            assert_eq!((sums[draw as usize], counts[draw as usize]), (sum, count));
        }
    }

    #[test]
    fn no_drawn_subset_is_empty() {
        let (_, counts, _) = drawn(&[1, 2], Draws { resamples: 1000, seed: 3 });
        assert!(counts.iter().all(|&count| count > 0));
        assert!([1, 2].iter().all(|size| counts.contains(size)));
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let differences = Random(4).differences(1000);
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut subsets = Subsets::of(&differences, Draws::default());
                (subsets.p(), subsets.interval(Confidence::USUAL))
            })
        };
        assert_eq!(with(1), with(3));
    }

    #[test]
    fn drawing_agrees_with_listing() {
        let mut random = Random(5);
        for _ in 0..5 {
            let differences = random.differences(16);
            let quantised = Quantised::of(&differences);
            let side = quantised.sign(quantised.values.iter().sum());
            let share = |(sums, _, total): (Vec<i64>, Vec<u32>, u64)| {
                let opposed = sums.iter().filter(|&&sum| quantised.sign(sum) != side).count();
                (1 + opposed) as f64 / total as f64
            };
            let all = share(listed(&quantised.values));
            let some = share(drawn(&quantised.values, Draws { resamples: 40_000, seed: 1 }));
            // Five standard errors of a share.
            assert!((all - some).abs() < 5.0 * 0.5 / 200.0, "{all} {some}");
        }
    }

    #[test]
    fn another_seed_draws_other_subsets() {
        let differences = Random(6).differences(40);
        let interval = |seed| {
            let draws = Draws { seed, ..Draws::default() };
            Subsets::of(&differences, draws).interval(Confidence::USUAL)
        };
        assert_eq!(interval(0), interval(0));
        assert_ne!(interval(1), interval(0));
    }
}
