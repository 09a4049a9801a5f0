//! The leaderboard as JSON.

use serde_json::{Map, Value, json};

use super::board::{Board, Metric, RunFacts};
use super::rows::{Line, lines};
use crate::compare::subsets::{Interval, Probability};
use crate::stats::Summary;

/// Name and version of the format.
const SCHEMA: &str = "lpips-report/1";

/// The leaderboard. Absent numbers are null, infinite ones the string `inf`.
#[must_use]
pub fn json(board: &Board) -> Value {
    let signatures: Map<String, Value> =
        board.signatures.iter().map(|(name, text)| (name.clone(), json!(text))).collect();
    let metric = |metric: &Metric| json!({"name": metric.name, "better": metric.better.word()});
    json!({
        "schema": SCHEMA,
        "date": board.date(),
        "complete": board.unfinished().is_empty(),
        "verdicts": board.verdicts(),
        "metrics": board.metrics.iter().map(metric).collect::<Vec<_>>(),
        "group_by": board.group_by,
        "rows": lines(board).iter().map(|line| row(board, line)).collect::<Vec<_>>(),
        "notes": board.notes(),
        "warnings": board.warnings,
        "runs": board.runs.iter().map(run).collect::<Vec<_>>(),
        "signatures": signatures,
        "test": board.test_signature(),
    })
}

fn run(run: &RunFacts) -> Value {
    let RunFacts { label, finished, pairs, failed, missing } = run;
    json!({
        "label": label,
        "finished": finished,
        "pairs": pairs,
        "failed": failed,
        "missing": missing,
    })
}

/// A number; infinite ones have no form in JSON.
fn number(value: Option<f64>) -> Value {
    match value {
        Some(f64::INFINITY) => json!("inf"),
        Some(f64::NEG_INFINITY) => json!("-inf"),
        value => json!(value),
    }
}

fn row(board: &Board, line: &Line<'_>) -> Value {
    let values = &board.groups[line.group].values;
    let group: Map<String, Value> =
        board.group_by.iter().cloned().zip(values.iter().map(|value| json!(value))).collect();
    let of = |of: fn(&Summary) -> Option<f64>| number(line.summary.and_then(of));
    let interval = |end: fn(&Interval) -> f64| {
        number(line.test.and_then(|test| test.interval.as_ref()).map(end))
    };
    let standing = line.standing();
    json!({
        "metric": board.metrics[line.metric].name,
        "method": board.methods[line.method],
        "group": group,
        "complete": line.rank.is_some(),
        "rank": line.rank.map(|(low, high)| [low, high]),
        "items": line.items,
        "expected": line.expected,
        "failed": line.failed,
        "missing": line.missing,
        "mean": of(|s| Some(s.mean)),
        "ci95_low": of(|s| s.ci95.map(|(low, _)| low)),
        "ci95_high": of(|s| s.ci95.map(|(_, high)| high)),
        "median": of(|s| Some(s.median)),
        "p05": of(|s| Some(s.p05)),
        "p95": of(|s| Some(s.p95)),
        "difference": number(line.test.and_then(|test| test.difference)),
        "low": interval(|of| of.low),
        "high": interval(|of| of.high),
        "level": interval(|of| of.level),
        "p": number(line.test.and_then(|test| test.p).map(Probability::value)),
        "p_adjusted": number(line.adjusted.map(Probability::value)),
        "verdict": line.verdict.map(|verdict| verdict.name()),
        "better": standing.map(|standing| standing[0]),
        "same": standing.map(|standing| standing[1]),
        "worse": standing.map(|standing| standing[2]),
    })
}
