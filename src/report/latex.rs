//! The table as LaTeX for the package booktabs.

use std::fmt::Write as _;

use super::board::Board;
use super::grid::{Cell, Grid, Mark, Row};
use crate::column::Better;

/// A `tabular`, with signatures and notes as comments.
#[must_use]
pub fn latex(board: &Board) -> String {
    let grid = Grid::of(board);
    let mut text = String::new();
    for sentence in board.unfinished().iter().chain(&board.verdicts()) {
        comment(&mut text, sentence);
    }
    for (name, signature) in &board.signatures {
        comment(&mut text, &format!("{name}: {signature}"));
    }
    comment(&mut text, &format!("tests: {}", board.test_signature()));
    comment(&mut text, "needs \\usepackage{booktabs}");
    let columns = "r".repeat(grid.columns.len());
    let rank = if board.has_groups() { "" } else { "l" };
    let _ = writeln!(text, "\\begin{{tabular}}{{{rank}l{columns}}}\n\\toprule");
    text.push_str(&header(board, &grid));
    text.push_str("\\midrule\n");
    let (ranked, below): (Vec<&Row>, Vec<&Row>) = grid.rows.iter().partition(|row| row.is_complete);
    ranked.iter().for_each(|row| text.push_str(&line(board, row)));
    if !below.is_empty() {
        text.push_str("\\midrule\n");
        below.iter().for_each(|row| text.push_str(&line(board, row)));
    }
    text.push_str("\\bottomrule\n\\end{tabular}\n");
    text.push_str(&legend(board));
    text
}

fn comment(text: &mut String, line: &str) {
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let _ = writeln!(text, "% {line}");
}

fn header(board: &Board, grid: &Grid) -> String {
    let first = if board.has_groups() { 2 } else { 3 };
    let mut text = String::new();
    let metrics = board.metrics.len();
    if board.has_groups() {
        for group in 0..board.groups.len() {
            let name = escaped(&board.group_name(group));
            let _ = write!(text, " & \\multicolumn{{{metrics}}}{{c}}{{{name}}}");
        }
        text.push_str(" \\\\\n");
        for group in 0..board.groups.len() {
            let start = first + group * metrics;
            let _ = write!(text, "\\cmidrule(lr){{{start}-{}}}", start + metrics - 1);
        }
        text.push('\n');
    } else {
        text.push_str("Rank & ");
    }
    text.push_str("Method");
    for &(_, metric) in &grid.columns {
        let metric = &board.metrics[metric];
        let arrow = match metric.better {
            Better::Lower => "\\downarrow",
            Better::Higher => "\\uparrow",
        };
        let _ = write!(text, " & {}~${arrow}$", escaped(&metric.name));
    }
    text.push_str(" \\\\\n");
    text
}

fn line(board: &Board, row: &Row) -> String {
    let mut cells = vec![escaped(&board.methods[row.method])];
    if !board.has_groups() {
        let rank = row.cells[0].as_ref().and_then(|cell| cell.rank.clone());
        cells.insert(0, rank.map_or_else(|| "--".to_owned(), |rank| rank.replace('-', "--")));
    }
    cells.extend(row.cells.iter().map(|cell| self::cell(cell.as_ref())));
    format!("{} \\\\\n", cells.join(" & "))
}

fn cell(cell: Option<&Cell>) -> String {
    let Some((cell, mean)) = cell.and_then(|cell| Some((cell, cell.mean.as_ref()?))) else {
        return "--".to_owned();
    };
    let tie = if cell.mark.is_tied() { "$^{\\dagger}$" } else { "" };
    match cell.mark {
        _ if cell.rank.is_none() => format!("({mean})$^{{*}}$"),
        Mark::Best => format!("\\textbf{{{mean}}}"),
        Mark::Second | Mark::SecondTied => format!("\\underline{{{mean}}}{tie}"),
        Mark::Tied | Mark::Other => format!("{mean}{tie}"),
    }
}

fn legend(board: &Board) -> String {
    let confidence = escaped(&board.settings.confidence.to_string());
    let mut text = format!(
        "\\par\\smallskip{{\\footnotesize Bold: best mean. Underlined: second. $\\dagger$: not \
         separated from the best at {confidence} (sign-flip test, Holm).}}\n"
    );
    let notes = board.notes();
    if !notes.is_empty() {
        let notes: Vec<String> = notes.iter().map(|note| escaped(note)).collect();
        let _ = writeln!(text, "{{\\footnotesize * {}.}}", notes.join("; "));
    }
    text
}

/// Text that LaTeX takes as text.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                out.push('\\');
                out.push(c);
            }
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
