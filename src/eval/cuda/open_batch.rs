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
    /// Names of the nets, in the order of the scores of a pair.
    pub(super) nets: Vec<&'static str>,
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

    /// Records that the GPU has no memory for pairs: in the first pass no net scores them, in the
    /// second one those that overflowed do not.
    pub(super) fn give_up(&mut self, pairs: &[usize], pass: ScoringPass, reason: &str) {
        let size = self.batch.shape().size;
        let too_large =
            |&net: &&'static str| Err(Unscored::TooLarge { net, size, reason: reason.to_owned() });
        let found: PairScore = self.nets.iter().map(too_large).collect();
        for &pair in pairs {
            self.record(pair, found.clone(), pass, false);
        }
    }
}

fn is_overflow(score: &Result<Distance, Unscored>) -> bool {
    matches!(score, Err(Unscored::NotFinite { .. }))
}
