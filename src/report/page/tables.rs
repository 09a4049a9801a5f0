//! The ranking as tables that can be sorted.

use maud::{Markup, html};

use crate::column::Better;
use crate::compare::ranking::{Ranked, Ranking};
use crate::decimal::counted;
use crate::report::board::Board;
use crate::report::grid::{Cell, Grid, Mark};
use crate::report::markdown::difference;

/// Groups whose table is unfolded at first.
const OPEN: usize = 1;

/// The section: an overview of groups if there are several, and a table for each.
pub(super) fn ranking(board: &Board) -> Markup {
    let grid = Grid::of(board);
    html! {
        section #ranking aria-labelledby="ranking-title" {
            h2 #ranking-title { "Ranking" }
            p.lead {
                "The rank of a method is an interval: methods whose intervals meet are not \
                 separated by these items at " (board.settings.confidence) ". "
                b { "Bold" } " is the best mean, " u { "underlined" } " the second; † is not \
                 separated from the best."
            }
            @if board.has_groups() {
                (overview(board, &grid))
                @for group in 0..board.groups.len() {
                    details.group open[group < OPEN] {
                        summary { bdi { (board.group_name(group)) } }
                        (table(board, &grid, group))
                    }
                }
            } @else {
                (table(board, &grid, 0))
            }
        }
    }
}

fn scrolling(label: &str, table: &Markup) -> Markup {
    html! { div.scroll tabindex="0" role="region" aria-label=(label) { (table) } }
}

fn header(label: &str, is_number: bool) -> Markup {
    html! {
        th.number[is_number] scope="col" { button.sort type="button" { bdi { (label) } } }
    }
}

/// Methods by groups.
fn overview(board: &Board, grid: &Grid) -> Markup {
    let table = html! {
        table.sortable {
            caption { "Means by group, with the rank in each" }
            thead {
                tr {
                    (header("Method", false))
                    @for &(group, metric) in &grid.columns {
                        @let metric = board.metrics[metric].title();
                        (header(&format!("{}: {metric}", board.group_name(group)), true))
                    }
                }
            }
            @for (is_complete, label) in [(true, "ranked"), (false, "incomplete")] {
                tbody.(label) {
                    @for row in grid.rows.iter().filter(|row| row.is_complete == is_complete) {
                        tr {
                            th scope="row" { bdi { (board.methods[row.method]) } }
                            @for cell in &row.cells { (grid_cell(cell.as_ref(), true)) }
                        }
                    }
                }
            }
        }
    };
    scrolling("Means by group", &table)
}

fn grid_cell(cell: Option<&Cell>, has_rank: bool) -> Markup {
    let Some((cell, mean)) = cell.and_then(|cell| Some((cell, cell.mean.as_ref()?))) else {
        return html! { td.number { "no score" } };
    };
    html! {
        td.number data-value=[cell.value] {
            @match cell.mark {
                Mark::Best => b { (mean) },
                Mark::Second | Mark::SecondTied => u { (mean) },
                Mark::Tied | Mark::Other => (mean),
            }
            @if cell.mark.is_tied() { "†" }
            @match (&cell.rank, has_rank) {
                (None, _) => { " " span.quiet { "incomplete" } }
                (Some(rank), true) => { " " span.quiet { "rank " (rank) } }
                (Some(_), false) => {
                    @if let Some(interval) = &cell.interval { " " span.quiet { (interval) } }
                }
            }
        }
    }
}

/// The methods of one group.
fn table(board: &Board, grid: &Grid, group: usize) -> Markup {
    let ranking = &board.groups[group].rankings[0];
    let first = &board.metrics[0];
    let group_name = board.group_name(group);
    let of = if group_name.is_empty() { String::new() } else { format!(" in {group_name}") };
    let caption = format!(
        "{} of {} by {}{of}, mean with 95 % interval over {}",
        counted(ranking.ranked.len(), "ranked method"),
        ranking.ranked.len() + ranking.incomplete.len(),
        first.name,
        counted(ranking.items, "item")
    );
    let cell = |method: usize, metric: usize| {
        let row = grid.rows.iter().find(|row| row.method == method);
        let column = grid.columns.iter().position(|&column| column == (group, metric));
        grid_cell(row.zip(column).and_then(|(row, column)| row.cells[column].as_ref()), false)
    };
    let decimals = board.decimals(group, 0);
    let number = |value: f64| format!("{value:.decimals$}");
    let metrics = 0..board.metrics.len();
    // The quantile of bad scores.
    let tail = match first.better {
        Better::Lower => "p95",
        Better::Higher => "p05",
    };
    let table = html! {
        table.sortable {
            caption { bdi { (caption) } }
            thead {
                tr {
                    (header("Rank", true))
                    (header("Method", false))
                    @for metric in &board.metrics { (header(&metric.title(), true)) }
                    (header("Difference to first", true))
                    (header("Median", true))
                    (header(tail, true))
                    (header("Better/same/worse", true))
                }
            }
            tbody.ranked {
                @for one in &ranking.ranked {
                    tr {
                        td.number data-value=(one.rank.0) { (one.rank_text()) }
                        th scope="row" { bdi { (board.methods[one.method]) } }
                        @for metric in metrics.clone() { (cell(one.method, metric)) }
                        (difference_cell(board, one))
                        @if let Some(summary) = &one.summary {
                            @let tail = match first.better {
                                Better::Lower => summary.p95,
                                Better::Higher => summary.p05,
                            };
                            td.number data-value=(summary.median) { (number(summary.median)) }
                            td.number data-value=(tail) { (number(tail)) }
                        } @else { td {} td {} }
                        (standing(one, first.better))
                    }
                }
            }
            tbody.incomplete {
                @for one in &ranking.incomplete {
                    tr {
                        td.number { span aria-label="not ranked" { "–" } }
                        th scope="row" { bdi { (board.methods[one.method]) } }
                        @for metric in metrics.clone() { (cell(one.method, metric)) }
                        td colspan="4" { "not ranked: " (one.reason()) }
                    }
                }
            }
        }
    };
    html! { (scrolling(&caption, &table)) (notes(board, ranking, group)) }
}

fn notes(board: &Board, first: &Ranking, group: usize) -> Markup {
    let others = board.groups[group].rankings.iter().skip(1).zip(&board.metrics[1..]);
    let notes = first.notes().into_iter();
    let notes = notes.chain(others.flat_map(|(ranking, metric)| {
        ranking.notes().into_iter().map(move |note| format!("{}: {note}", metric.name))
    }));
    html! { @for note in notes { p.note { bdi { (note) } "." } } }
}

fn difference_cell(board: &Board, one: &Ranked) -> Markup {
    let test = one.to_first.as_ref();
    match test.and_then(|test| test.difference).zip(one.verdict) {
        Some((value, verdict)) => {
            let text = difference(board, one);
            let (value_text, interval) = text.split_once(' ').unwrap_or((&text, ""));
            html! {
                td.number data-value=(value) {
                    (value_text) " " span.quiet { (verdict.name()) " " (interval) }
                }
            }
        }
        None => html! { td.number data-value="0" { span.quiet { "the first" } } },
    }
}

fn standing(one: &Ranked, better: Better) -> Markup {
    let Some(test) = &one.to_first else { return html! { td {} } };
    let [wins, losses] = match better {
        Better::Lower => [test.lower, test.higher],
        Better::Higher => [test.higher, test.lower],
    };
    html! { td.number data-value=(wins) { (wins) "/" (test.same()) "/" (losses) } }
}
