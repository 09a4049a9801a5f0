//! The report as text for a terminal, in the layout of benchstat.

use std::fmt::Write as _;

use super::measure::Moved;
use super::report::{Comparison, GateRow, NoiseRow, Report, Row, names_method};
use crate::compare::align::Counts;
use crate::compare::gate::Outcome;
use crate::compare::numbers::{Decimals, p_value, rough};
use crate::compare::subsets::Probability;
use crate::compare::verdict::Verdict;
use crate::decimal::counted;
use crate::progress::shown;

/// Width that lines keep to where names allow it.
const WIDTH: usize = 80;

/// Whether words are coloured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Colour {
    Never,
    Always,
}

impl Colour {
    fn paint(self, code: u8, text: &str) -> String {
        match self {
            Colour::Never => text.to_owned(),
            Colour::Always => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }

    fn verdict(self, verdict: Verdict) -> String {
        let code = match verdict {
            Verdict::Worse => 31,
            Verdict::Better => 32,
            Verdict::Undecided => 33,
            Verdict::Identical | Verdict::Equivalent => 36,
        };
        self.paint(code, verdict.name())
    }

    fn outcome(self, outcome: Outcome) -> String {
        match outcome {
            Outcome::Held => self.paint(32, "held"),
            Outcome::Failed => self.paint(31, "FAILED"),
            Outcome::Undecided => self.paint(33, "UNDECIDED"),
        }
    }
}

/// The whole report.
pub(super) fn report(report: &Report, colour: Colour) -> String {
    let mut text = head(report, colour);
    for comparison in &report.comparisons {
        text.push_str(&wrapped(&alignment(report, comparison)));
    }
    let mut notes = Notes::default();
    for metric in 0..report.metrics.len() {
        text.push_str(&table(report, metric, &mut notes));
    }
    let correction = correction(report);
    if correction.is_some() || !notes.list.is_empty() {
        text.push('\n');
    }
    if let Some(correction) = correction {
        text.push_str(&wrapped(correction));
    }
    for (index, note) in notes.list.iter().enumerate() {
        text.push_str(&wrapped(&format!("{}) {note}", index + 1)));
    }
    for comparison in &report.comparisons {
        text.push_str(&movers(report, comparison));
    }
    text.push('\n');
    for (name, signature) in &report.signatures {
        let _ = writeln!(text, "signature {name}: {}", shown(signature));
    }
    let _ = writeln!(text, "signature of the test: {}", report.test_signature());
    text
}

/// The verdict, the gates, the noise floors and the warnings.
pub(super) fn head(report: &Report, colour: Colour) -> String {
    let mut text = format!("verdict: {}", colour.verdict(report.verdict()));
    if let Some(row) = report.decisive_row() {
        text.push_str("  ");
        text.push_str(&shown(&decisive(report, row)));
    }
    text.push('\n');
    for gate in &report.gates {
        text.push_str(&gate_line(report, gate, colour));
    }
    for noise in &report.noise {
        text.push_str(&wrapped(&noise_line(noise)));
    }
    for warning in &report.warnings {
        text.push_str(&wrapped(&format!("warning: {warning}")));
    }
    text
}

/// The numbers of the row that decided.
pub(super) fn decisive(report: &Report, row: &Row) -> String {
    let name = &report.metric_of(row).name;
    let of = match report.name(row).as_str() {
        "all" => String::new(),
        of => format!(" {of}"),
    };
    format!("{name}{of} mean {}", change(report, row))
}

/// `+0.0031 [+0.0012, +0.0050] p=0.0021`; p is after Holm's correction.
pub(super) fn change(report: &Report, row: &Row) -> String {
    let decimals = report.decimals(row);
    let difference = match row.statistics.difference {
        Some(difference) => decimals.signed(difference).trim().to_owned(),
        None => "-".to_owned(),
    };
    format!(
        "{difference} {}{}",
        decimals.interval(row.statistics.interval.as_ref()),
        p(report, row)
    )
}

fn p(report: &Report, row: &Row) -> String {
    let limit = report.settings.confidence.alpha();
    let p = row.adjusted.or(row.statistics.p);
    p.map(|p| format!(" p={}", p_value(p, limit))).unwrap_or_default()
}

/// Says so where the printed p values are not those of the single tests.
pub(super) fn correction(report: &Report) -> Option<&'static str> {
    let is_corrected = |row: &Row| {
        let adjusted = row.adjusted.map(Probability::value);
        adjusted.is_some() && adjusted != row.statistics.p.map(Probability::value)
    };
    let text = "p is after Holm's correction: each metric and group has several tests; \
                intervals are those of single tests";
    report.rows.iter().any(is_corrected).then_some(text)
}

fn gate_line(report: &Report, gate: &GateRow, colour: Colour) -> String {
    let decimals = Decimals::for_gate(&gate.decision, report.digits);
    let (value, limit) = (decimals.plain(gate.decision.value), decimals.plain(gate.decision.limit));
    let whose = match whose(report, gate.comparison, &gate.method).as_str() {
        "" => String::new(),
        whose => format!(" ({whose})"),
    };
    let outcome = colour.outcome(gate.decision.outcome);
    let reason = gate.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let (of, reason) = (format!("gate `{}`{whose}", gate.condition), shown(&reason));
    format!("{} {outcome}: {value} against {limit}{reason}\n", shown(&of))
}

/// New run and method, where there are several.
pub(super) fn whose(report: &Report, comparison: usize, method: &str) -> String {
    let mut parts = Vec::new();
    if report.comparisons.len() > 1 {
        parts.push(report.comparisons[comparison].new.as_str());
    }
    let is_named = parts.last().is_some_and(|last| names_method(last, method));
    if !method.is_empty() && !is_named {
        parts.push(method);
    }
    parts.join(" ")
}

pub(super) fn noise_line(noise: &NoiseRow) -> String {
    let method = match noise.method.as_str() {
        "" => String::new(),
        method => format!(" ({method})"),
    };
    let Some((floor, suggestion)) = noise.noise.floor().zip(noise.noise.suggested_limit()) else {
        return format!("noise floor of `{}`{method}: too few items", noise.condition);
    };
    let floor = rough(floor);
    let line =
        format!("noise floor of `{}`{method}: {floor} between runs of one model", noise.condition);
    match noise.is_too_tight() {
        true => format!("{line}; warning: the limit is below it, try {suggestion}"),
        false => line,
    }
}

pub(super) fn alignment(report: &Report, comparison: &Comparison) -> String {
    let Comparison { base, new, counts, lone_methods, .. } = comparison;
    let Counts { common, only_base, only_new, failed_base, failed_new } = *counts;
    let runs = match report.comparisons.len() {
        1 => format!("base `{base}`, new `{new}`"),
        _ => format!("`{base}` and `{new}`"),
    };
    let common = counted(common, "pair");
    let mut text = format!(
        "aligned: {common} of {runs}; {only_base} only in base, {only_new} only in new; \
         {failed_base} failed in base, {failed_new} failed in new"
    );
    for (methods, whose) in lone_methods.iter().zip(["base", "new"]) {
        if !methods.is_empty() {
            let _ = write!(text, "; only {whose} has the methods {}", methods.join(", "));
        }
    }
    text
}

/// Footnotes, each once.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) list: Vec<String>,
}

impl Notes {
    /// The numbers of the notes of a row.
    pub(super) fn marks(&mut self, row: &Row) -> String {
        let mut marks = Vec::new();
        for note in &row.notes {
            let known = self.list.iter().position(|one| one == note);
            let index = known.unwrap_or_else(|| {
                self.list.push(note.clone());
                self.list.len() - 1
            });
            marks.push(format!("{})", index + 1));
        }
        marks.join(" ")
    }
}

/// Cells of a row, without its name.
pub(super) fn cells(report: &Report, row: &Row) -> [String; 4] {
    let decimals = report.decimals(row);
    let Row { statistics, verdict, .. } = row;
    let change = match verdict {
        Verdict::Undecided => {
            let interval = decimals.interval(statistics.interval.as_ref());
            format!("~       {interval}{}", p(report, row))
        }
        Verdict::Equivalent => {
            let ninety = decimals.interval(statistics.equivalence.as_ref());
            let change = decimals.signed(statistics.difference.unwrap_or_default());
            format!("{change} 90% {ninety}{}", p(report, row))
        }
        _ => change_cell(report, row),
    };
    let standing = report.standing(row).map(|count| count.to_string()).join("/");
    [decimals.plain(statistics.base_mean), decimals.plain(statistics.new_mean), change, standing]
}

fn change_cell(report: &Report, row: &Row) -> String {
    let text = change(report, row);
    let is_signed = text.starts_with(['+', '-']);
    if is_signed { text } else { format!(" {text}") }
}

fn table(report: &Report, metric: usize, notes: &mut Notes) -> String {
    let rows: Vec<&Row> = report.rows.iter().filter(|row| row.metric == metric).collect();
    let header = [
        report.metrics[metric].name.clone(),
        "base".into(),
        "new".into(),
        "new - base".into(),
        "better/same/worse".into(),
    ];
    let mut lines = vec![(header, String::new())];
    for row in rows {
        let [base, new, change, standing] = cells(report, row);
        let name = format!("{} (n={})", shown(&report.name(row)), row.statistics.n);
        lines.push(([name, base, new, change, standing], notes.marks(row)));
    }
    let width = |column: usize| {
        lines.iter().map(|(cells, _)| cells[column].chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = "\n".to_owned();
    for (cells, marks) in &lines {
        let mut line = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let pad = widths[column].saturating_sub(cell.chars().count());
            let _ = write!(line, "{cell}{}  ", " ".repeat(pad));
        }
        line.push_str(marks);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// What moved most, for each metric.
fn movers(report: &Report, comparison: &Comparison) -> String {
    let mut text = String::new();
    for (metric, moved) in
        comparison.movers.iter().enumerate().filter(|(_, moved)| !moved.is_empty())
    {
        let name = &report.metrics[metric].name;
        let of = match report.comparisons.len() {
            1 => String::new(),
            _ => format!(" from {} to {}", comparison.base, comparison.new),
        };
        let of = format!("{name}{of}");
        let _ = writeln!(text, "\nwhat moved most in {}:", shown(&of));
        for pair in moved {
            text.push_str(&mover(report, pair));
        }
    }
    text
}

fn mover(report: &Report, pair: &Moved) -> String {
    let [base, new, difference] = moved_numbers(pair, report.digits);
    let mut text = format!("  {difference}  {base} -> {new}  {}\n", shown(&pair.id));
    let paths = paths(pair);
    if !paths.is_empty() {
        let _ = writeln!(text, "           {}", shown(&paths));
    }
    text
}

/// Scores of a pair that moved, with the digits in which they differ.
pub(super) fn moved_numbers(pair: &Moved, digits: usize) -> [String; 3] {
    let Moved { base, new, difference, .. } = *pair;
    let is_visible =
        |&decimals: &usize| format!("{base:.decimals$}") != format!("{new:.decimals$}");
    let decimals = (digits..12).find(is_visible).unwrap_or(12);
    [format!("{base:.decimals$}"), format!("{new:.decimals$}"), format!("{difference:+.decimals$}")]
}

/// The files of a pair that moved.
pub(super) fn paths(pair: &Moved) -> String {
    let [base, new] = &pair.distorted;
    let distorted = if base == new { base.clone() } else { format!("{base} -> {new}") };
    match (pair.reference.as_str(), distorted.as_str()) {
        ("", " -> " | "") => String::new(),
        (reference, distorted) => format!("{reference} | {distorted}"),
    }
}

/// Breaks a line at spaces, with an indent.
fn wrapped(line: &str) -> String {
    let line = shown(line);
    let mut text = String::new();
    let mut width = 0;
    for word in line.split(' ') {
        let len = word.chars().count();
        if width > 0 && width + 1 + len > WIDTH {
            text.push_str("\n  ");
            width = 2;
        } else if width > 0 {
            text.push(' ');
            width += 1;
        }
        text.push_str(word);
        width += len;
    }
    text.push('\n');
    text
}
