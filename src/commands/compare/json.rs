//! The report as JSON, and in the form of github-action-benchmark.

use serde_json::{Map, Value, json};

use super::report::{Comparison, GateRow, NoiseRow, Report, Row};
use crate::column::Better;
use crate::compare::align::Counts;
use crate::compare::subsets::{Interval, Probability};

/// Name and version of the format.
const SCHEMA: &str = "lpips-compare/1";

/// The report. Absent numbers are null, infinite ones the string `inf`.
pub(super) fn report(report: &Report) -> Value {
    let signatures: Map<String, Value> =
        report.signatures.iter().map(|(name, text)| (name.clone(), json!(text))).collect();
    let mut value = json!({
        "schema": SCHEMA,
        "verdict": report.verdict().name(),
        "aligned": aligned(&report.counts()),
        "rows": report.rows.iter().map(|one| row(report, one)).collect::<Vec<_>>(),
        "gates": report.gates.iter().map(|one| gate(report, one)).collect::<Vec<_>>(),
        "signatures": signatures,
        "test": report.test_signature(),
        "comparisons": report.comparisons.iter().map(comparison).collect::<Vec<_>>(),
        "warnings": report.warnings,
    });
    if !report.noise.is_empty() {
        let noise = report.noise.iter().map(|one| noise(report, one));
        value["noise"] = noise.collect();
    }
    value
}

fn aligned(counts: &Counts) -> Value {
    let Counts { common, only_base, only_new, failed_base, failed_new } = *counts;
    json!({
        "common": common,
        "only_base": only_base,
        "only_new": only_new,
        "failed_base": failed_base,
        "failed_new": failed_new,
    })
}

fn comparison(of: &Comparison) -> Value {
    json!({"base": of.base, "new": of.new, "aligned": aligned(&of.counts)})
}

/// A number; infinite ones have no form in JSON.
fn number(value: Option<f64>) -> Value {
    match value {
        Some(f64::INFINITY) => json!("inf"),
        Some(f64::NEG_INFINITY) => json!("-inf"),
        value => json!(value),
    }
}

fn row(report: &Report, row: &Row) -> Value {
    let statistics = &row.statistics;
    let interval = |of: fn(&Interval) -> f64| number(statistics.interval.as_ref().map(of));
    let group: Map<String, Value> =
        row.group.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let [better, same, worse] = report.standing(row);
    let Comparison { base, new, .. } = &report.comparisons[row.comparison];
    json!({
        "metric": report.metric_of(row).name,
        "method": row.method,
        "group": group,
        "n": statistics.n,
        "base_mean": number(statistics.base_mean),
        "new_mean": number(statistics.new_mean),
        "difference": number(statistics.difference),
        "low": interval(|of| of.low),
        "high": interval(|of| of.high),
        "level": interval(|of| of.level),
        "p": number(statistics.p.map(Probability::value)),
        "p_adjusted": number(row.adjusted.map(Probability::value)),
        "better": better,
        "same": same,
        "worse": worse,
        "verdict": row.verdict.name(),
        "mde80": number(statistics.mde80),
        "base": base,
        "new": new,
        "notes": row.notes,
    })
}

fn gate(report: &Report, gate: &GateRow) -> Value {
    let Comparison { base, new, .. } = &report.comparisons[gate.comparison];
    json!({
        "condition": gate.condition,
        "outcome": gate.decision.outcome.name(),
        "value": number(gate.decision.value),
        "limit": number(gate.decision.limit),
        "metric": report.metrics[gate.metric].name,
        "method": gate.method,
        "base": base,
        "new": new,
        "reason": gate.reason,
    })
}

fn noise(report: &Report, noise: &NoiseRow) -> Value {
    json!({
        "condition": noise.condition,
        "metric": report.metrics[noise.metric].name,
        "method": noise.method,
        "floor": number(noise.noise.floor()),
        "limit": number(noise.limit),
        "suggested_limit": number(noise.noise.suggested_limit()),
        "limit_is_below_floor": noise.is_too_tight(),
    })
}

/// A list of names, units, values and ranges: one entry for each row with a mean.
pub(super) fn bench(report: &Report) -> Value {
    let entries = report.rows.iter().filter_map(|row| {
        let mean = row.statistics.new_mean.filter(|mean| mean.is_finite())?;
        let metric = report.metric_of(row);
        let group = |(name, value): &(String, String)| format!("{name}={value}");
        let groups = row.group.iter().map(group).collect::<Vec<_>>().join(",");
        let group = if groups.is_empty() { "all".to_owned() } else { groups };
        let method = if row.method.is_empty() { "all" } else { &row.method };
        let mut name = format!("{}/{group}/{method}", metric.name);
        if report.comparisons.len() > 1 {
            name = format!("{name}/{}", report.comparisons[row.comparison].new);
        }
        let unit = match metric.better {
            Better::Lower => "lower is better",
            Better::Higher => "higher is better",
        };
        let mut entry = json!({"name": name, "unit": unit, "value": mean});
        if let Some(Interval { low, high, .. }) = row.statistics.interval {
            let half = report.decimals(row).plain(Some((high - low) / 2.0));
            entry["range"] = json!(format!("± {half}"));
        }
        entry["extra"] =
            json!(format!("{}: {}", row.verdict.name(), super::text::change(report, row)));
        Some(entry)
    });
    entries.collect()
}
