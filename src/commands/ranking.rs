//! The ranking at the end of eval and merge, which is that of `lpips report`, and the means of
//! groups.

use crate::batch::Row;
use crate::compare::align::unit_of;
use crate::compare::assess::Settings;
use crate::compare::ranking::{Entries, Ranking, Sorted};
use crate::decimal::{are, counted, nine_digits};
use crate::progress::shown;
use crate::run::tables::{GroupColumn, SummaryRow, Tables};
use crate::stats::Summary;

/// Digits after the decimal point.
const DIGITS: usize = 4;
/// At most so many groups are printed; summary.csv has all.
const GROUPS_MAX: usize = 24;

/// Methods ranked by every metric within the groups of the other columns, or the groups of a run
/// of one method. The mean of all pairs comes last.
///
/// # Errors
/// When the manifest or the journals cannot be read.
pub(super) fn ranking(tables: &Tables<'_>, summary: &[SummaryRow]) -> anyhow::Result<String> {
    let others: Vec<&GroupColumn> =
        tables.group_by.iter().filter(|column| **column != GroupColumn::Method).collect();
    // The sides of triplets are no methods.
    let entries = match tables.manifest.judge() {
        Some(_) => None,
        None => Some(entries(tables, &others)?).filter(|entries| entries.methods.len() > 1),
    };
    let mut text = String::new();
    for (index, column) in tables.columns.iter().enumerate() {
        let rows: Vec<&SummaryRow> =
            summary.iter().filter(|row| row.metric == column.name).collect();
        let Some((all, groups)) = rows.split_first() else { continue };
        let entries = entries.as_ref().filter(|_| column.is_ranked());
        let by = match entries {
            Some(_) if others.is_empty() => " by method".to_owned(),
            Some(_) => format!(" by method within {}", names(&others)),
            None if groups.is_empty() => String::new(),
            None => format!(" by {}", names(&tables.group_by.iter().collect::<Vec<_>>())),
        };
        text.push_str(&format!(
            "{}{by}, mean ({}), 95 % interval over items\n",
            column.name,
            match column.is_ranked() {
                true => format!("{} is better", column.better.word()),
                false => "not ranked: no direction is known".to_owned(),
            }
        ));
        let mut lines = match entries {
            Some(entries) => {
                let values = values(tables, index)?;
                ranked(entries, &others, |group| {
                    entries.rank(group, &values, column.better, &Settings::default())
                })
            }
            None => means(groups),
        };
        lines.push(Line::new("", "all pairs", mean_cells(all)));
        text.push_str(&aligned(&lines));
    }
    Ok(text.trim_end().to_owned())
}

fn names(columns: &[&GroupColumn]) -> String {
    columns.iter().map(|column| column.name()).collect::<Vec<_>>().join(", ")
}

/// The methods, groups and items of all pairs.
fn entries(tables: &Tables<'_>, groups: &[&GroupColumn]) -> anyhow::Result<Sorted> {
    let mut entries = Entries::default();
    let mut rows = tables.manifest.rows()?;
    for row in 0..tables.manifest.len() as Row {
        let entry = rows.read(row)?;
        let group = groups.iter().map(|column| column.cell(&entry));
        entries.push(&entry.method, group, unit_of(&entry.item));
    }
    Ok(entries.sorted())
}

/// What pairs.csv has in a column; NaN without a score.
fn values(tables: &Tables<'_>, column: usize) -> anyhow::Result<Vec<f64>> {
    let mut records = tables.records.reader(1);
    let mut values = Vec::with_capacity(tables.manifest.len());
    for row in 0..tables.manifest.len() as Row {
        let total = records.read(row)?.and_then(|record| record.total(column));
        values.push(total.map_or(f64::NAN, |total| nine_digits(total).parse().unwrap_or(total)));
    }
    Ok(values)
}

/// A line of the ranking: what stands before the name, the name, and what follows it.
struct Line {
    rank: String,
    name: String,
    cells: String,
}

impl Line {
    fn new(rank: impl Into<String>, name: &str, cells: String) -> Line {
        Line { rank: rank.into(), name: shown(name).into_owned(), cells }
    }
}

fn aligned(lines: &[Line]) -> String {
    let wide = |of: fn(&Line) -> &str| {
        let widths = lines.iter().filter(|line| !line.cells.is_empty());
        widths.map(|line| of(line).chars().count()).max().unwrap_or(0)
    };
    let (ranks, names) = (wide(|line| &line.rank), wide(|line| &line.name));
    let line = |Line { rank, name, cells }: &Line| match cells.as_str() {
        "" => format!("  {name}\n"),
        cells => format!("  {rank:>ranks$}  {name:names$}  {cells}\n"),
    };
    lines.iter().map(line).collect()
}

/// The methods of each group, the best first.
fn ranked(
    entries: &Sorted,
    columns: &[&GroupColumn],
    rank: impl Fn(usize) -> Ranking,
) -> Vec<Line> {
    let mut lines = Vec::new();
    for (index, values) in entries.groups.iter().enumerate().take(GROUPS_MAX) {
        let ranking = rank(index);
        let group =
            columns.iter().zip(values).map(|(one, value)| format!("{}={value}", one.name()));
        let group = group.collect::<Vec<_>>().join(", ");
        if !group.is_empty() {
            lines.push(Line::new("", &group, String::new()));
        }
        lines.extend(methods(&ranking, &entries.methods));
        let note = |note: String| Line::new("", &format!("note: {note}"), String::new());
        lines.extend(ranking.notes().into_iter().map(note));
    }
    lines.extend(more(entries.groups.len()));
    lines
}

fn more(groups: usize) -> Option<Line> {
    let more = groups.checked_sub(GROUPS_MAX).filter(|&more| more > 0)?;
    Some(Line::new(
        "",
        &format!("{} {} in summary.csv", counted(more, "more group"), are(more)),
        String::new(),
    ))
}

fn methods(ranking: &Ranking, names: &[String]) -> Vec<Line> {
    let decimals = ranking.decimals(DIGITS);
    let ranked = ranking.ranked.iter().map(|one| {
        let items = counted(ranking.items, "item");
        let cells = format!("{}  {items}", mean(one.summary.as_ref(), decimals));
        Line::new(one.rank_text(), &names[one.method], cells)
    });
    let incomplete = ranking.incomplete.iter().map(|one| {
        let mean = mean(one.summary.as_ref(), decimals);
        Line::new("-", &names[one.method], format!("{mean}  INCOMPLETE: {}", one.reason()))
    });
    ranked.chain(incomplete).collect()
}

fn means(groups: &[&SummaryRow]) -> Vec<Line> {
    let line = |row: &&SummaryRow| Line::new("", &row.group.join(", "), mean_cells(row));
    let lines = groups.iter().take(GROUPS_MAX).map(line);
    lines.chain(more(groups.len())).collect()
}

fn mean_cells(row: &SummaryRow) -> String {
    let complete = if row.is_complete() { "" } else { "  INCOMPLETE" };
    let mean = mean(row.summary.as_ref(), DIGITS);
    format!("{mean}  {} of {}{complete}", row.scored, counted(row.expected, "pair"))
}

fn mean(summary: Option<&Summary>, decimals: usize) -> String {
    let Some(Summary { mean, ci95, .. }) = summary else { return format!("{:23}", "no score") };
    let interval = match ci95 {
        Some((low, high)) => format!("[{low:.decimals$}, {high:.decimals$}]"),
        None => String::new(),
    };
    format!("{mean:.decimals$} {interval:16}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Better;
    use crate::stats::{Observation, summarize};

    #[test]
    fn incomplete_methods_stand_below_and_say_why() {
        let mut entries = Entries::default();
        let mut values = Vec::new();
        for (method, shift) in [("worst", 0.2), ("failed", 0.0), ("good", 0.1)] {
            for item in 0..8u32 {
                entries.push(method, std::iter::empty(), item.into());
                let is_failed = method == "failed" && item == 3;
                values.push(if is_failed { f64::NAN } else { shift + f64::from(item) / 100.0 });
            }
        }
        let entries = entries.sorted();
        let lines = ranked(&entries, &[], |group| {
            entries.rank(group, &values, Better::Lower, &Settings::default())
        });
        let text = aligned(&lines);
        let words: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().take(2).collect()).collect();
        assert_eq!(words, [["1", "good"], ["2", "worst"], ["-", "failed"]], "{text}");
        assert!(text.contains("INCOMPLETE: 1 of 8 items has no score"), "{text}");
    }

    #[test]
    fn groups_of_one_method_keep_their_order_and_have_no_rank() {
        let row = |group: &str, value: f64| SummaryRow {
            group: vec![group.to_owned()],
            metric: "m".to_owned(),
            better: Better::Lower,
            expected: 2,
            scored: 1,
            summary: summarize(&mut [Observation { item: 0, group: 0, value }]),
        };
        let rows = [row("x4", 0.4), row("x2", 0.2)];
        let text = aligned(&means(&rows.iter().collect::<Vec<_>>()));
        assert!(text.find("x4 ").unwrap() < text.find("x2 ").unwrap(), "{text}");
        assert!(text.contains("1 of 2 pairs  INCOMPLETE"), "{text}");
    }
}
