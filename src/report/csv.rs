//! The leaderboard as CSV: a row for each group, metric and method.

use super::board::Board;
use super::rows::{Line, lines};
use crate::compare::subsets::Probability;
use crate::decimal::nine_digits;

/// Columns after those of the groups.
const COLUMNS: [&str; 24] = [
    "metric",
    "method",
    "complete",
    "rank_low",
    "rank_high",
    "items",
    "expected",
    "failed",
    "missing",
    "mean",
    "ci95_low",
    "ci95_high",
    "median",
    "p05",
    "p95",
    "difference",
    "low",
    "high",
    "level",
    "p_adjusted",
    "verdict",
    "better",
    "same",
    "worse",
];

/// The table; `cell` writes names and values of groups.
///
/// # Errors
/// Never, unless memory ends.
pub fn csv(board: &Board, cell: impl Fn(String) -> String) -> anyhow::Result<Vec<u8>> {
    let mut csv = ::csv::Writer::from_writer(Vec::new());
    let groups = board.group_by.iter().map(|name| cell(name.clone()));
    csv.write_record(groups.chain(COLUMNS.map(String::from)))?;
    for line in lines(board) {
        let values = board.groups[line.group].values.iter().map(|value| cell(value.clone()));
        csv.write_record(values.chain(cells(board, &line, &cell)))?;
    }
    Ok(csv.into_inner()?)
}

fn cells(board: &Board, line: &Line<'_>, cell: impl Fn(String) -> String) -> Vec<String> {
    let number = |value: Option<f64>| value.map(nine_digits).unwrap_or_default();
    let count = |value: Option<usize>| value.map(|value| value.to_string()).unwrap_or_default();
    let summary = line.summary;
    let interval = line.test.and_then(|test| test.interval.as_ref());
    let standing = line.standing();
    vec![
        cell(board.metrics[line.metric].name.clone()),
        cell(board.methods[line.method].clone()),
        if line.rank.is_some() { "yes" } else { "no" }.to_owned(),
        count(line.rank.map(|rank| rank.0)),
        count(line.rank.map(|rank| rank.1)),
        line.items.to_string(),
        line.expected.to_string(),
        line.failed.to_string(),
        line.missing.to_string(),
        number(summary.map(|summary| summary.mean)),
        number(summary.and_then(|summary| summary.ci95).map(|(low, _)| low)),
        number(summary.and_then(|summary| summary.ci95).map(|(_, high)| high)),
        number(summary.map(|summary| summary.median)),
        number(summary.map(|summary| summary.p05)),
        number(summary.map(|summary| summary.p95)),
        number(line.test.and_then(|test| test.difference)),
        number(interval.map(|interval| interval.low)),
        number(interval.map(|interval| interval.high)),
        number(interval.map(|interval| interval.level)),
        number(line.adjusted.map(Probability::value)),
        line.verdict.map(|verdict| verdict.name().to_owned()).unwrap_or_default(),
        count(standing.map(|standing| standing[0])),
        count(standing.map(|standing| standing[1])),
        count(standing.map(|standing| standing[2])),
    ]
}
