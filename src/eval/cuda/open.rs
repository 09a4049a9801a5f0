//! A batch that a GPU has taken and not finished.

use crate::batch::Batch;
use crate::eval::{Distance, PairScore, Unscored};

/// Which pass a micro-batch belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Which {
    First,
    /// In fp32, pairs that overflowed.
    Again,
}

/// A batch of which not all pairs are scored.
pub(super) struct Open {
    pub(super) number: u64,
    pub(super) batch: Batch,
    pub(super) scores: Vec<PairScore>,
    /// Pairs that overflowed.
    pub(super) again: Vec<usize>,
    /// Micro-batches in flight.
    pub(super) pending: usize,
    /// Images that were sent through a trunk.
    pub(super) passes: u64,
}

impl Open {
    /// Takes the scores of one pair.
    pub(super) fn settle(
        &mut self,
        pair: usize,
        found: PairScore,
        which: Which,
        can_overflow: bool,
    ) {
        let is_overflow =
            |score: &Result<Distance, Unscored>| matches!(score, Err(Unscored::NotFinite { .. }));
        match which {
            Which::First => {
                if can_overflow && found.iter().any(is_overflow) {
                    self.again.push(pair);
                }
                self.scores[pair] = found;
            }
            Which::Again => {
                // Only what overflowed is replaced: one metric does not depend on the others.
                for (score, again) in self.scores[pair].iter_mut().zip(found) {
                    if is_overflow(score) {
                        *score = again.map(|distance| Distance { rescored: true, ..distance });
                    }
                }
            }
        }
    }
}
