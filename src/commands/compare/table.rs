//! The table of a report as CSV.

use super::report::{Comparison, Report, Row};
use crate::compare::subsets::{Interval, Probability};
use crate::run::cells::{ALL, TextCells, group_cell};

/// Columns after the runs, the metric, the method and the groups.
const STATISTICS: [&str; 15] = [
    "n",
    "base_mean",
    "new_mean",
    "difference",
    "low",
    "high",
    "level",
    "p",
    "p_adjusted",
    "better",
    "same",
    "worse",
    "verdict",
    "mde80",
    "notes",
];

/// A row for each metric, method and group.
///
/// # Errors
/// Never, unless memory ends.
pub(super) fn csv(
    report: &Report,
    group_by: &[String],
    text: TextCells,
) -> anyhow::Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let header = ["base", "new", "metric", "method"].into_iter();
    csv.write_record(header.chain(group_by.iter().map(String::as_str)).chain(STATISTICS))?;
    for row in &report.rows {
        let Comparison { base, new, .. } = &report.comparisons[row.comparison];
        let metric = report.metric_of(row).name.clone();
        let names = [base.clone(), new.clone(), metric, row.method.clone()];
        let groups = group_by.iter().map(|column| {
            let found = row.group.iter().find(|(name, _)| name == column);
            found.map_or_else(|| ALL.to_owned(), |(_, value)| group_cell(value))
        });
        let cells = names.into_iter().chain(groups).map(|cell| text.write(cell));
        csv.write_record(cells.chain(statistics(report, row)))?;
    }
    Ok(csv.into_inner()?)
}

fn statistics(report: &Report, row: &Row) -> [String; 15] {
    let of = &row.statistics;
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    let interval = |end: fn(&Interval) -> f64| number(of.interval.as_ref().map(end));
    let [better, same, worse] = report.standing(row).map(|count| count.to_string());
    [
        of.n.to_string(),
        number(of.base_mean),
        number(of.new_mean),
        number(of.difference),
        interval(|of| of.low),
        interval(|of| of.high),
        interval(|of| of.level),
        number(of.p.map(Probability::value)),
        number(row.adjusted.map(Probability::value)),
        better,
        same,
        worse,
        row.verdict.name().to_owned(),
        number(of.mde80),
        row.notes.join("; "),
    ]
}
