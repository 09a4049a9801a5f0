//! The leaderboard as a list: one line for each group, metric and method.

use super::board::Board;
use crate::column::Better;
use crate::compare::assess::Assessment;
use crate::compare::subsets::Probability;
use crate::compare::verdict::Verdict;
use crate::stats::Summary;

/// One method in one group by one metric.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) group: usize,
    pub(super) metric: usize,
    pub(super) method: usize,
    /// `None` if it lacks items.
    pub(super) rank: Option<(usize, usize)>,
    /// Items that the statistics are of.
    pub(super) items: usize,
    /// Items that a method must have.
    pub(super) expected: usize,
    pub(super) failed: usize,
    pub(super) missing: usize,
    pub(super) summary: Option<&'a Summary>,
    /// The differences to the first method.
    pub(super) test: Option<&'a Assessment>,
    pub(super) adjusted: Option<Probability>,
    pub(super) verdict: Option<Verdict>,
    better: Better,
}

impl Line<'_> {
    /// Items in which the method is better than the first, the same, and worse.
    pub(super) fn standing(&self) -> Option<[usize; 3]> {
        let test = self.test?;
        Some(match self.better {
            Better::Lower => [test.lower, test.same(), test.higher],
            Better::Higher => [test.higher, test.same(), test.lower],
        })
    }
}

/// All lines: by group, metric, and place.
pub(super) fn lines(board: &Board) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    for (group, of) in board.groups.iter().enumerate() {
        for (metric, ranking) in of.rankings.iter().enumerate() {
            let better = board.metrics[metric].better;
            let blank = Line {
                group,
                metric,
                method: 0,
                rank: None,
                items: ranking.items,
                expected: ranking.items + ranking.infinite_for_some,
                failed: 0,
                missing: 0,
                summary: None,
                test: None,
                adjusted: None,
                verdict: None,
                better,
            };
            lines.extend(ranking.ranked.iter().map(|one| Line {
                method: one.method,
                rank: Some(one.rank),
                summary: one.summary.as_ref(),
                test: one.to_first.as_ref(),
                adjusted: one.adjusted,
                verdict: one.verdict,
                ..blank
            }));
            lines.extend(ranking.incomplete.iter().map(|one| Line {
                method: one.method,
                items: one.expected - one.failed - one.missing,
                expected: one.expected,
                failed: one.failed,
                missing: one.missing,
                summary: one.summary.as_ref(),
                ..blank
            }));
        }
    }
    lines
}
