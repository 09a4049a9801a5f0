//! `--history`: many runs in order, one line each.

use std::fmt::Write as _;

use super::super::inputs::Input;
use super::super::protocol::Protocol;
use super::Pairs;
use super::measure::measure;
use super::setup::Setup;
use crate::compare::assess::Settings;
use crate::compare::numbers::Decimals;
use crate::progress::shown;

/// A run and its total row, compared with an earlier one.
struct Change {
    mean: Option<f64>,
    base_mean: Option<f64>,
    text: String,
    is_complete: bool,
}

/// For each metric and method a line for each run: date, mean, change to the first run and to the
/// one before, with intervals.
///
/// # Errors
/// When a run cannot be read or has no pair in common with the first.
pub(super) fn report(
    pairs: &Pairs,
    setup: &Setup,
    protocol: &Protocol,
    settings: &Settings,
    digits: usize,
) -> anyhow::Result<String> {
    let setup = Setup { group_by: Vec::new(), gates: Vec::new(), top: 0, ..setup.clone() };
    let runs = &pairs.inputs;
    let mut to_first = Vec::new();
    let mut to_previous = Vec::new();
    // A run that is alone is compared with itself, which gives its names and means.
    for index in 1..runs.len().max(2) {
        let new = runs.get(index).unwrap_or(&runs[0]);
        to_first.push(changes(&runs[0], new, &setup, protocol, settings, digits)?);
        let base = &runs[index - 1];
        to_previous.push(match index {
            1 => Vec::new(),
            _ => changes(base, new, &setup, protocol, settings, digits)?,
        });
    }
    let mut text = String::new();
    for warning in &protocol.warnings {
        let _ = writeln!(text, "warning: {}", shown(warning));
    }
    for (row, (name, first)) in to_first[0].iter().enumerate() {
        let mut lines = vec![[
            "date".to_owned(),
            shown(name).into_owned(),
            "mean".to_owned(),
            "to the first".to_owned(),
            "to the one before".to_owned(),
        ]];
        lines.push(line(&runs[0], first.base_mean, digits, "", ""));
        for (index, run) in runs.iter().enumerate().skip(1) {
            let [first, previous] = [&to_first, &to_previous].map(|all| {
                let named = all[index - 1].iter().find(|(other, _)| other == name);
                named.map(|(_, change)| change)
            });
            let cell = |change: Option<&Change>| match change {
                Some(change) if change.is_complete => change.text.clone(),
                Some(change) => format!("{} (pairs are missing)", change.text),
                None => "-".to_owned(),
            };
            let previous = if index == 1 { first } else { previous };
            let mean = first.and_then(|change| change.mean);
            lines.push(line(run, mean, digits, &cell(first), &cell(previous)));
        }
        if row > 0 {
            text.push('\n');
        }
        text.push_str(&table(&lines));
    }
    Ok(text)
}

/// The total rows of two runs, by metric and method.
fn changes(
    base: &Input,
    new: &Input,
    setup: &Setup,
    protocol: &Protocol,
    settings: &Settings,
    digits: usize,
) -> anyhow::Result<Vec<(String, Change)>> {
    let measured = measure(base, new, setup, &protocol.promises(base, new))?;
    let change = |selected: &super::measure::Selected| {
        let statistics = selected.units.sample.assess(settings);
        let name = &protocol.metrics[selected.metric].name;
        let name = match selected.method.as_str() {
            "" => name.clone(),
            method => format!("{name} {method}"),
        };
        let decimals = Decimals::for_interval(&statistics, digits);
        let text = match statistics.difference {
            Some(difference) => {
                let interval = decimals.interval(statistics.interval.as_ref());
                format!("{} {interval}", decimals.signed(difference))
            }
            None => "-".to_owned(),
        };
        let change = Change {
            mean: statistics.new_mean,
            base_mean: statistics.base_mean,
            text,
            is_complete: selected.counts.is_complete(),
        };
        (name, change)
    };
    Ok(measured.selected.iter().map(change).collect())
}

fn line(run: &Input, mean: Option<f64>, digits: usize, first: &str, previous: &str) -> [String; 5] {
    // Seconds are enough.
    let date = run.finished.as_deref().map(|date| date.get(..19).unwrap_or(date));
    let date = shown(date.unwrap_or("unknown")).into_owned();
    let mean = mean.map_or_else(|| "-".to_owned(), |mean| format!("{mean:.digits$}"));
    [date, shown(&run.label).into_owned(), mean, first.to_owned(), previous.to_owned()]
}

fn table(lines: &[[String; 5]]) -> String {
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max();
    let widths: Vec<usize> = (0..5).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for cells in lines {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
