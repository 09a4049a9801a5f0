//! The leaderboard as Markdown, for READMEs and job summaries.

use std::fmt::Write as _;

use super::board::{Board, Metric};
use super::grid::{Cell, Grid, Mark, Row};
use crate::compare::ranking::Ranked;

/// Longer names are cut.
const NAME_MAX: usize = 960;

/// The leaderboard.
#[must_use]
pub fn markdown(board: &Board) -> String {
    let mut text = String::new();
    for sentence in board.unfinished() {
        let _ = writeln!(text, "**{}**\n", escaped(&sentence));
    }
    for verdict in board.verdicts() {
        let _ = writeln!(text, "{}\n", escaped(&verdict));
    }
    text.push_str(&table(board));
    let _ = writeln!(
        text,
        "\nBold is the best mean, underlined the second; † is not separated from the best at {}; \
         [...] is the 95 % interval of the mean over items.",
        board.settings.confidence
    );
    for note in board.notes().iter().chain(&board.warnings) {
        let _ = writeln!(text, "- {}", escaped(note));
    }
    for (name, signature) in &board.signatures {
        let _ = writeln!(text, "- signature of {}: {}", escaped(name), escaped(signature));
    }
    let _ = writeln!(text, "- signature of the tests: {}", escaped(&board.test_signature()));
    text
}

/// The table alone.
#[must_use]
pub fn table(board: &Board) -> String {
    let grid = Grid::of(board);
    let mut header = vec!["method".to_owned()];
    header.extend(grid.columns.iter().map(|&(group, metric)| title(board, group, metric)));
    let mut align = vec!["---"];
    align.extend(grid.columns.iter().map(|_| "---:"));
    // With groups the rank is in each cell.
    let has_groups = board.has_groups();
    if !has_groups {
        header.insert(0, "rank".to_owned());
        header.push(format!("{} - best", board.metrics[0].name));
        header.push("items".to_owned());
        align.insert(0, "---");
        align.extend(["---:", "---:"]);
    }
    let mut text = String::new();
    push_line(&mut text, &header.iter().map(|cell| escaped(cell)).collect::<Vec<_>>());
    push_line(&mut text, &align);
    for row in &grid.rows {
        push_line(&mut text, &cells(board, row, has_groups));
    }
    text
}

fn title(board: &Board, group: usize, metric: usize) -> String {
    let metric = board.metrics[metric].title();
    match board.group_name(group).as_str() {
        "" => metric,
        group => format!("{group}: {metric}"),
    }
}

fn push_line<T: AsRef<str>>(text: &mut String, cells: &[T]) {
    for cell in cells {
        let _ = write!(text, "| {} ", cell.as_ref());
    }
    text.push_str("|\n");
}

fn cells(board: &Board, row: &Row, has_groups: bool) -> Vec<String> {
    let mut cells = vec![escaped(&board.methods[row.method])];
    cells.extend(row.cells.iter().map(|cell| self::cell(cell.as_ref(), has_groups)));
    if !has_groups {
        let rank = row.cells[0].as_ref().and_then(|cell| cell.rank.clone());
        cells.insert(0, rank.unwrap_or_else(|| "-".to_owned()));
        let ranking = &board.groups[0].rankings[0];
        let ranked = ranking.ranked.iter().find(|one| one.method == row.method);
        cells.push(ranked.map(|one| difference(board, one)).unwrap_or_default());
        let incomplete = ranking.incomplete.iter().find(|one| one.method == row.method);
        cells.push(match incomplete {
            Some(one) => format!("INCOMPLETE: {}", one.reason()),
            None => ranking.items.to_string(),
        });
    }
    cells
}

/// `+0.0123 [+0.0100, +0.0150]`, this less the first method.
pub(super) fn difference(board: &Board, one: &Ranked) -> String {
    let Some((test, verdict)) = one.to_first.as_ref().zip(one.verdict) else {
        return String::new();
    };
    let decimals = board.difference_decimals(test, verdict);
    let difference = decimals.signed(test.difference.unwrap_or_default());
    format!("{} {}", difference.trim(), decimals.interval(test.interval.as_ref()))
}

fn cell(cell: Option<&Cell>, has_rank: bool) -> String {
    let Some(cell) = cell else { return "-".to_owned() };
    let Some(mean) = &cell.mean else { return "no score".to_owned() };
    let marked = match cell.mark {
        Mark::Best => format!("**{mean}**"),
        Mark::Second | Mark::SecondTied => format!("<u>{mean}</u>"),
        Mark::Tied | Mark::Other => mean.clone(),
    };
    let tie = if cell.mark.is_tied() { "†" } else { "" };
    match (&cell.rank, has_rank) {
        (None, _) => format!("({mean}) incomplete"),
        (Some(rank), true) => format!("{marked}{tie} (rank {rank})"),
        (Some(_), false) => {
            let interval = cell.interval.as_ref().map(|interval| format!(" {interval}"));
            format!("{marked}{tie}{}", interval.unwrap_or_default())
        }
    }
}

impl Metric {
    /// `lpips_alex: lower is better`.
    #[must_use]
    pub fn direction(&self) -> String {
        format!("{}: {} is better", self.name, self.better.word())
    }
}

/// Text that Markdown and HTML take as text, cut if it is very long.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    for (index, c) in text.chars().enumerate() {
        if index >= NAME_MAX {
            out.push_str("...");
            break;
        }
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' | '~' | '@' | '!' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
