//! Numbers of rows by outcome.

use std::collections::BTreeMap;

use super::journal::Record;
use crate::code::Code;
use crate::error::Failure;
use crate::pair::Difference;

use super::identity::Identical;
use super::reads::Changed;

/// How many rows were scored, and how many failed.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Counts {
    /// Rows with every metric.
    pub scored: usize,
    /// Rows without.
    pub failed: usize,
    /// Rows without, by the code of their reason.
    pub failures: BTreeMap<String, Failures>,
    /// Rows whose two images differ in something that does not fail them, in the order of
    /// [`Difference::ALL`].
    pub differing: [usize; 4],
    /// Rows that overflowed in a lower precision and were scored again in fp32.
    pub rescored: usize,
    /// Rows with an infinite value.
    pub infinite: usize,
    /// Rows without a value in a column that others computed; counted at the end of a run.
    pub unjoined: usize,
    /// Files that two reads found with different contents; counted at the end of a run.
    pub changed: Changed,
    /// Methods whose every image is identical to its reference; counted at the end of a run.
    pub identical: Identical,
    /// For each column the sum of its values, and how many there are.
    pub sums: Vec<(f64, usize)>,
}

/// Rows that failed for one reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failures {
    /// How many.
    pub count: usize,
    /// The id of the first, and what was wrong with it.
    pub first: String,
}

impl Counts {
    /// Rows that have an outcome.
    #[must_use]
    pub fn done(&self) -> usize {
        self.scored + self.failed
    }

    /// Whether no pair failed and no value is missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed == 0 && self.unjoined == 0
    }

    /// How many pairs failed, by the code of their reason.
    #[must_use]
    pub fn failure_codes(&self) -> BTreeMap<String, usize> {
        self.failures.iter().map(|(code, of)| (code.clone(), of.count)).collect()
    }

    /// How many pairs have each [`Difference`], were rescored, read a file that changed or are of a
    /// method that is identical to its references, by code. Codes of no pair are absent.
    #[must_use]
    pub fn warnings(&self) -> BTreeMap<&'static str, usize> {
        let differing =
            Difference::ALL.map(|one| one.code().as_str()).into_iter().zip(self.differing);
        let others = [
            (Code::Fp16Overflow, self.rescored),
            (Code::Infinite, self.infinite),
            (Code::NotJoined, self.unjoined),
            (Code::Changed, self.changed.pairs),
            (Code::WholeIdentical, self.identical.pairs),
        ];
        let others = others.map(|(code, count)| (code.as_str(), count));
        let counts = differing.chain(others);
        counts.filter(|&(_, count)| count > 0).collect()
    }

    /// Counts a row; `id` is asked for the first failure of each reason.
    ///
    /// # Errors
    /// When `id` fails.
    pub fn add(
        &mut self,
        record: &Record,
        id: impl FnOnce() -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        match &record.failure {
            None => self.scored += 1,
            Some(Failure { code, message }) => {
                self.failed += 1;
                if let Some(same) = self.failures.get_mut(code.as_str()) {
                    same.count += 1;
                } else {
                    let first = Failures { count: 1, first: format!("`{}`: {message}", id()?) };
                    self.failures.insert(code.to_string(), first);
                }
            }
        }
        self.rescored += usize::from(record.rescored);
        self.sums.resize(self.sums.len().max(record.values.len()), (0.0, 0));
        for ((sum, count), value) in self.sums.iter_mut().zip(&record.values) {
            if let Some(value) = value {
                *sum += value.total;
                *count += 1;
            }
        }
        let mut values = record.values.iter().flatten();
        self.infinite += usize::from(values.any(|value| value.total.is_infinite()));
        for (count, difference) in self.differing.iter_mut().zip(Difference::ALL) {
            *count += usize::from(record.differences.contains(difference));
        }
        Ok(())
    }
}
