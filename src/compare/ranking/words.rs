//! Ranks, reasons and notes as every table prints them.

use super::{Incomplete, Ranked, Ranking};
use crate::decimal::{are, counted};
use crate::stats::Summary;

impl Ranked {
    /// `1`, or `1-3`.
    #[must_use]
    pub fn rank_text(&self) -> String {
        let (low, high) = self.rank;
        if low == high { low.to_string() } else { format!("{low}-{high}") }
    }
}

impl Incomplete {
    /// Why the method is not ranked: `2 of 100 items have no score, 1 is missing`.
    #[must_use]
    pub fn reason(&self) -> String {
        let Incomplete { expected, failed, missing, .. } = *self;
        let items = counted(expected, "item");
        let are = are(missing);
        let have = if failed == 1 { "has" } else { "have" };
        match (failed, missing) {
            (0, missing) => format!("{missing} of {items} {are} missing"),
            (failed, 0) => format!("{failed} of {items} {have} no score"),
            (failed, missing) => {
                format!("{failed} of {items} {have} no score, {missing} {are} missing")
            }
        }
    }
}

impl Ranking {
    /// What a reader must know of the items and tests.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let count = self.ranked.len();
        let items = |count: usize| counted(count, "item");
        let left_out = |count: usize| format!("{} left out", are(count));
        let mut notes = Vec::new();
        if self.ranked.is_empty() {
            notes.push("no method has a score for every item: none is ranked".to_owned());
        }
        if self.failed_for_all > 0 {
            let (some, out) = (items(self.failed_for_all), left_out(self.failed_for_all));
            notes.push(format!("{some} without a score of any method {out}"));
        }
        if self.infinite_for_some > 0 {
            let (some, out) = (items(self.infinite_for_some), left_out(self.infinite_for_some));
            notes.push(format!("{some} with an infinite score of some methods only {out}"));
        }
        if self.infinite_for_all > 0 {
            notes.push(format!(
                "{} with infinite scores of all methods: a tie in the tests, and in no mean",
                items(self.infinite_for_all)
            ));
        }
        if !self.is_tested {
            notes.push(format!(
                "{count} methods on {} are too many to test: ranks are not decided",
                items(self.items)
            ));
        } else if count > 1 && !self.can_separate {
            let methods = if count == 2 { String::new() } else { format!("of {count} ") };
            notes.push(format!(
                "{} cannot separate two {methods}methods, whatever the scores are",
                items(self.items)
            ));
        }
        notes
    }

    /// The digits after the decimal point, at least `digits`, with which the means of two methods
    /// differ in print whose rank intervals do not meet.
    #[must_use]
    pub fn decimals(&self, digits: usize) -> usize {
        /// No difference that a test finds needs more.
        const MAX: usize = 12;
        let mean = |one: &Ranked| one.summary.map_or(f64::NAN, |Summary { mean, .. }| mean);
        let differ = |&decimals: &usize| {
            let shown = |one: &Ranked| format!("{:.decimals$}", mean(one));
            self.ranked.windows(2).all(|two| {
                let is_separated = two[0].rank.1 < two[1].rank.0;
                !is_separated || shown(&two[0]) != shown(&two[1])
            })
        };
        (digits..MAX).find(differ).unwrap_or(MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nouns_and_verbs_agree_with_their_counts() {
        for (expected, failed, missing, reason) in [
            (1, 1, 0, "1 of 1 item has no score"),
            (1, 0, 1, "1 of 1 item is missing"),
            (8, 2, 1, "2 of 8 items have no score, 1 is missing"),
        ] {
            let of = Incomplete { method: 0, expected, failed, missing, summary: None };
            assert_eq!(of.reason(), reason);
        }
    }
}
