//! A batch that a GPU has taken and not finished.

use crate::batch::Batch;
use crate::eval::{Distance, PairScore, Unscored};

/// The pass that a micro-batch belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ScoringPass {
    /// All pairs, in the precision of the run.
    First,
    /// The pairs that overflowed, in fp32.
    Rescore,
}

/// A batch whose pairs are not all scored yet.
pub(super) struct OpenBatch {
    pub(super) number: u64,
    pub(super) batch: Batch,
    pub(super) scores: Vec<PairScore>,
    /// Pairs that overflowed and are scored again.
    pub(super) to_rescore: Vec<usize>,
    /// Micro-batches in flight.
    pub(super) pending: usize,
    /// Images that went through a trunk.
    pub(super) passes: u64,
}

impl OpenBatch {
    /// Records the scores of one pair.
    pub(super) fn record(
        &mut self,
        pair: usize,
        found: PairScore,
        pass: ScoringPass,
        can_overflow: bool,
    ) {
        let is_overflow =
            |score: &Result<Distance, Unscored>| matches!(score, Err(Unscored::NotFinite { .. }));
        match pass {
            ScoringPass::First => {
                if can_overflow && found.iter().any(is_overflow) {
                    self.to_rescore.push(pair);
                }
                self.scores[pair] = found;
            }
            ScoringPass::Rescore => {
                // Only the metrics that overflowed are replaced: none depends on the others.
                for (score, again) in self.scores[pair].iter_mut().zip(found) {
                    if is_overflow(score) {
                        *score = again.map(|distance| Distance { rescored: true, ..distance });
                    }
                }
            }
        }
    }
}
