//! The messages at the end of a run: the summary with groups ranked by their means, differences of
//! images, signatures, failures and counts.

use crate::code::Code;
use crate::column::Column;
use crate::decimal::counted;
use crate::pair::Difference;
use crate::progress::{humanized, print_line, shown};
use crate::run::Changed;
use crate::run::counts::Counts;
use crate::run::records::Records;
use crate::run::tables::{GroupColumn, SummaryRow};
use crate::run::twoafc::Agreement;

/// The groups of each metric, the best mean first; all pairs last.
pub(super) fn ranking(group_by: &[GroupColumn], summary: &[SummaryRow]) -> String {
    let header = group_by.iter().map(GroupColumn::name).collect::<Vec<_>>().join(", ");
    let mut metrics: Vec<&str> = Vec::new();
    for row in summary {
        if !metrics.contains(&row.metric.as_str()) {
            metrics.push(&row.metric);
        }
    }
    let mut text = String::new();
    for metric in metrics {
        let mut rows: Vec<&SummaryRow> =
            summary.iter().filter(|row| row.metric == metric).collect();
        let all = rows.remove(0);
        let mean = |row: &SummaryRow| row.summary.as_ref().map(|summary| summary.mean);
        let better = all.better;
        rows.sort_by(|a, b| match (mean(a), mean(b)) {
            (Some(a), Some(b)) => better.order(a, b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        });
        let name = |row: &SummaryRow| shown(&row.group.join(", ")).into_owned();
        let width = rows.iter().map(|row| name(row).chars().count()).max().unwrap_or(0);
        let width = width.max("all pairs".len());
        let by = if header.is_empty() { String::new() } else { format!(" by {header}") };
        text.push_str(&format!(
            "{metric}{by}, mean ({} is better), 95 % interval over items\n",
            better.word()
        ));
        for (place, row) in rows.iter().enumerate() {
            let rank = place + 1;
            text.push_str(&format!("  {rank:>2}. {:width$}  {}\n", name(row), cells(row)));
        }
        text.push_str(&format!("      {:width$}  {}\n", "all pairs", cells(all)));
    }
    text.trim_end().to_owned()
}

fn cells(row: &SummaryRow) -> String {
    let complete = if row.is_complete() { "" } else { "  INCOMPLETE" };
    let count = format!("{} of {} pairs{complete}", row.scored, row.expected);
    let Some(summary) = &row.summary else { return format!("no score             {count}") };
    let interval = match summary.ci95 {
        Some((low, high)) => format!("[{low:.4}, {high:.4}]"),
        None => String::new(),
    };
    format!("{:.4} {interval:16}  {count}", summary.mean)
}

/// How the numbers of each column were made, as one line that a paper can quote.
pub(super) fn report_signatures(columns: &[Column]) {
    for Column { name, fingerprint, .. } in columns {
        print_line(&format!("signature of {name}: {}", fingerprint.signature()));
    }
}

/// The 2AFC score of each metric over all triplets, which come before those of groups.
pub(super) fn report_agreements(agreements: &[Agreement]) {
    let all = agreements.first().map(|first| &first.group);
    for Agreement { metric, expected, scored, summary, .. } in
        agreements.iter().filter(|row| Some(&row.group) == all)
    {
        let Some(summary) = summary else { continue };
        let incomplete = if scored < expected { ", INCOMPLETE" } else { "" };
        let score = summary.mean;
        print_line(&format!("2AFC {metric}: {score:.4} of {scored} triplets{incomplete}"));
    }
}

/// What the journals hold beside the rows that count.
pub(super) fn report_skipped(records: &Records) {
    let Records { repeated, torn, foreign, .. } = records;
    let unknown = records.journals().iter().filter(|journal| journal.header.is_none()).count();
    for (count, what) in [
        (*repeated, "pairs were scored twice, with equal scores"),
        (*torn, "damaged lines of journals were skipped"),
        (*foreign, "lines of journals are of another run or pair and were skipped"),
        (unknown, "journals have a damaged first line: their rows count, but not who wrote them"),
    ] {
        if count > 0 {
            print_line(&format!("note: {count} {what}"));
        }
    }
}

/// One line for each way in which the two images of pairs differ, or do not differ at all.
pub(super) fn report_differences(counts: &Counts) {
    let Changed { files, pairs, first } = &counts.changed;
    if *files > 0 {
        let (code, first) = (Code::Changed, shown(first));
        print_line(&format!(
            "warning: {code} in {pairs} pairs: {files} files changed while the run read them, \
             first {first}"
        ));
    }
    for (difference, count) in Difference::ALL.into_iter().zip(counts.differing) {
        if count > 0 {
            let (code, text) = (difference.code(), difference.code().meaning());
            print_line(&format!("warning: {code} in {count} pairs: {text}"));
        }
    }
    if counts.infinite > 0 {
        let (code, text) = (Code::Infinite, Code::Infinite.meaning());
        print_line(&format!("warning: {code} in {} pairs: {text}", counts.infinite));
    }
}

/// Counts, failures by code with the first of each, and, of the `done` pairs that this process took
/// `elapsed_s` seconds for, time and rate.
pub(super) fn closing(counts: &Counts, done: usize, elapsed_s: f64) -> String {
    let Counts { scored, failed, failures, .. } = counts;
    let mut text = format!("{} scored", counted(*scored, "pair"));
    if *failed > 0 {
        text.push_str(&format!(", {failed} FAILED"));
    }
    if done > 0 {
        let rate = done as f64 / elapsed_s.max(1e-9);
        text.push_str(&format!(" in {}, {rate:.1} pairs/s", humanized(elapsed_s)));
    }
    for (code, failures) in failures {
        text.push_str(&format!("\n  {code} {}, first {}", failures.count, shown(&failures.first)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Better;
    use crate::stats::{Observation, summarize};

    fn row(method: &str, metric: &str, better: Better, value: Option<f64>) -> SummaryRow {
        let mut observations: Vec<Observation> =
            value.iter().map(|&value| Observation { item: 0, group: 0, value }).collect();
        SummaryRow {
            group: vec![method.to_owned()],
            metric: metric.to_owned(),
            better,
            expected: 1,
            scored: observations.len(),
            summary: summarize(&mut observations),
        }
    }

    #[test]
    fn methods_are_ranked_in_the_direction_of_each_column() {
        let mut rows = Vec::new();
        for (metric, better) in [("distance", Better::Lower), ("similarity", Better::Higher)] {
            for (method, value) in
                [("*", Some(0.2)), ("none", None), ("low", Some(0.1)), ("high", Some(0.3))]
            {
                rows.push(row(method, metric, better, value));
            }
        }
        let text = ranking(&[GroupColumn::Method], &rows);
        let words: Vec<&str> = text
            .lines()
            .map(|line| line.split_whitespace().find(|word| !word.ends_with('.')).unwrap())
            .collect();
        let expected =
            ["distance", "low", "high", "none", "all", "similarity", "high", "low", "none", "all"];
        assert_eq!(words, expected, "{text}");
        assert!(text.contains("distance by method, mean (lower is better)"), "{text}");
        assert!(text.contains("similarity by method, mean (higher is better)"), "{text}");
    }
}
