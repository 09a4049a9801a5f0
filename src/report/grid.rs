//! The table that papers and READMEs print: a row for each method, a column for each metric of each
//! group.

use super::board::Board;
use crate::compare::ranking::{Incomplete, Ranked, Ranking};
use crate::stats::Summary;

/// The table.
#[derive(Debug)]
pub(super) struct Grid {
    /// Group and metric of each column.
    pub(super) columns: Vec<(usize, usize)>,
    pub(super) rows: Vec<Row>,
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) method: usize,
    /// Whether the method has every item of every column.
    pub(super) is_complete: bool,
    /// `None` where the method has no pair.
    pub(super) cells: Vec<Option<Cell>>,
}

#[derive(Debug)]
pub(super) struct Cell {
    /// The mean in full.
    pub(super) value: Option<f64>,
    /// The mean as it is printed; absent if there is no finite score.
    pub(super) mean: Option<String>,
    /// `[0.1200, 0.1300]`.
    pub(super) interval: Option<String>,
    /// `1-2`; absent if the method is not ranked there.
    pub(super) rank: Option<String>,
    pub(super) mark: Mark,
}

/// How a mean stands to the best of its column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mark {
    Best,
    Second,
    /// Not the best two, and not separated from the best.
    Tied,
    /// The second, and not separated from the best.
    SecondTied,
    Other,
}

impl Mark {
    /// Whether the method is not separated from the best one.
    pub(super) fn is_tied(self) -> bool {
        matches!(self, Mark::Tied | Mark::SecondTied)
    }
}

impl Grid {
    pub(super) fn of(board: &Board) -> Grid {
        let metrics = 0..board.metrics.len();
        let columns: Vec<(usize, usize)> = (0..board.groups.len())
            .flat_map(|group| metrics.clone().map(move |metric| (group, metric)))
            .collect();
        let row = |method: usize| {
            let cells: Vec<Option<Cell>> =
                columns.iter().map(|&(group, metric)| cell(board, group, metric, method)).collect();
            let is_ranked =
                |cell: &Option<Cell>| cell.as_ref().is_some_and(|one| one.rank.is_some());
            Row { method, is_complete: cells.iter().all(is_ranked), cells }
        };
        let mut rows: Vec<Row> = (0..board.methods.len()).map(row).collect();
        rows.sort_by_cached_key(|row| (!row.is_complete, places(board, row.method)));
        Grid { columns, rows }
    }
}

/// The sum of the places of a method by the first metric, and its first place; methods that are not
/// ranked come last.
fn places(board: &Board, method: usize) -> (usize, usize) {
    let place = |ranking: &Ranking| {
        let ranked = ranking.ranked.iter().position(|one| one.method == method);
        let incomplete = ranking.incomplete.iter().position(|one| one.method == method);
        let below = ranking.ranked.len();
        ranked.or(incomplete.map(|place| below + place)).unwrap_or(board.methods.len())
    };
    let places: Vec<usize> = board.groups.iter().map(|group| place(&group.rankings[0])).collect();
    (places.iter().sum(), places.first().copied().unwrap_or(0))
}

fn cell(board: &Board, group: usize, metric: usize, method: usize) -> Option<Cell> {
    let ranking = &board.groups[group].rankings[metric];
    let decimals = board.decimals(group, metric);
    let number = |value: f64| format!("{value:.decimals$}");
    let of = |summary: Option<Summary>, rank: Option<String>, mark: Mark| Cell {
        value: summary.map(|summary| summary.mean),
        mean: summary.map(|summary| number(summary.mean)),
        interval: summary
            .and_then(|summary| summary.ci95)
            .map(|(low, high)| format!("[{}, {}]", number(low), number(high))),
        rank,
        mark,
    };
    let ranked = ranking.ranked.iter().enumerate().find(|(_, one)| one.method == method);
    if let Some((place, one @ Ranked { summary, .. })) = ranked {
        return Some(of(*summary, Some(one.rank_text()), mark(ranking, place)));
    }
    let incomplete = ranking.incomplete.iter().find(|one| one.method == method);
    incomplete.map(|Incomplete { summary, .. }| of(*summary, None, Mark::Other))
}

fn mark(ranking: &Ranking, place: usize) -> Mark {
    // One method is the best of nothing.
    if ranking.ranked.len() < 2 {
        return Mark::Other;
    }
    let is_tied = ranking.ranked[place].rank.0 == 1;
    match place {
        0 => Mark::Best,
        1 if is_tied => Mark::SecondTied,
        1 => Mark::Second,
        _ if is_tied => Mark::Tied,
        _ => Mark::Other,
    }
}
