//! The report as Markdown, for job summaries and comments: small enough for GitHub, with headings
//! that fit below others, and details folded.

use std::fmt::Write as _;

use super::report::{Report, Row};
use super::text::{Colour, Notes, alignment, cells, correction, head, moved_numbers, paths};
use crate::report::markdown::escaped;

/// GitHub takes one mebibyte; this leaves room for what others write.
const BYTES_MAX: usize = 900_000;

/// The whole report.
pub(super) fn report(report: &Report) -> String {
    let mut text = format!("### Comparison: {}\n\n", report.verdict().name());
    for line in head(report, Colour::Never).lines() {
        let _ = writeln!(text, "{}  ", escaped(line));
    }
    for comparison in &report.comparisons {
        let _ = writeln!(text, "{}  ", escaped(&alignment(report, comparison)));
    }
    let mut notes = Notes::default();
    let tables: Vec<String> =
        (0..report.metrics.len()).map(|metric| table(report, metric, &mut notes)).collect();
    let mut folded = Vec::new();
    if !notes.list.is_empty() {
        let lines = notes.list.iter().enumerate();
        let lines = lines.map(|(index, note)| format!("{}. {}\n", index + 1, escaped(note)));
        folded.push(("Footnotes", lines.collect::<String>()));
    }
    folded.push(("What moved most", movers(report)));
    folded.push(("Signatures", signatures(report)));
    for table in tables {
        push_whole_lines(&mut text, &table);
    }
    if let Some(correction) = correction(report) {
        let _ = writeln!(text, "\n{correction}");
    }
    for (title, content) in folded.into_iter().filter(|(_, content)| !content.is_empty()) {
        let _ = write!(text, "\n<details><summary>{title}</summary>\n\n");
        push_whole_lines(&mut text, &content);
        text.push_str("\n</details>\n");
    }
    text
}

/// Appends lines as long as there is room.
fn push_whole_lines(text: &mut String, content: &str) {
    let mut left_out = 0;
    for line in content.lines() {
        if text.len() + line.len() < BYTES_MAX {
            text.push_str(line);
            text.push('\n');
        } else {
            left_out += 1;
        }
    }
    // A few short lines for the rest of the report fit in any case.
    if left_out > 0 {
        let _ = writeln!(text, "\n{left_out} more lines are in the other formats.");
    }
}

fn table(report: &Report, metric: usize, notes: &mut Notes) -> String {
    let name = escaped(&report.metrics[metric].name);
    let mut text = format!(
        "\n#### {name}\n\n| | n | base | new | new - base | better/same/worse | verdict | notes |\n\
         |---|---:|---:|---:|---|---|---|---|\n"
    );
    let rows = report.rows.iter().filter(|row| row.metric == metric);
    for row in rows {
        text.push_str(&line(report, row, notes));
    }
    text
}

fn line(report: &Report, row: &Row, notes: &mut Notes) -> String {
    let [base, new, change, standing] = cells(report, row);
    let change = change.split_whitespace().collect::<Vec<_>>().join(" ");
    let (name, n, verdict) = (escaped(&report.name(row)), row.statistics.n, row.verdict.name());
    let marks = notes.marks(row);
    format!("| {name} | {n} | {base} | {new} | {change} | {standing} | {verdict} | {marks} |\n")
}

fn movers(report: &Report) -> String {
    let mut text = String::new();
    for comparison in &report.comparisons {
        for (metric, moved) in comparison.movers.iter().enumerate() {
            if moved.is_empty() {
                continue;
            }
            let name = escaped(&report.metrics[metric].name);
            let new = escaped(&comparison.new);
            let _ = write!(
                text,
                "\n##### {name}, {new}\n\n| change | base | new | id | files |\n\
                 |---:|---:|---:|---|---|\n"
            );
            for pair in moved {
                let [base, new, difference] = moved_numbers(pair, report.digits);
                let (id, files) = (escaped(&pair.id), escaped(&paths(pair)));
                let _ = writeln!(text, "| {difference} | {base} | {new} | {id} | {files} |");
            }
        }
    }
    text
}

fn signatures(report: &Report) -> String {
    let mut text = String::new();
    for (name, signature) in &report.signatures {
        let _ = writeln!(text, "- {}: {}", escaped(name), escaped(signature));
    }
    let _ = writeln!(text, "- test: {}", escaped(&report.test_signature()));
    text
}
