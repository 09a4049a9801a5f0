//! Charts as SVG: paired differences, distributions, and items of two methods.
//!
//! Colours are custom properties and currentColor, so that they follow light and dark; marks differ
//! in dash or shape as well.

use maud::{Markup, html};

use super::item_key;
use crate::compare::ranking::Ranking;
use crate::decimal::counted;
use crate::report::board::Board;
use crate::report::select::Series;

const WIDTH: f64 = 560.0;
/// Room for names of methods.
const NAMES: f64 = 140.0;
const ROW: f64 = 28.0;
const NAME_CHARS: usize = 18;
/// Colours and dashes that differ; lines of more methods are thin.
const STYLES: usize = 8;

/// The section.
pub(super) fn charts(board: &Board, series: &[Series]) -> Markup {
    html! {
        section #charts aria-labelledby="charts-title" {
            h2 #charts-title { "Charts" }
            @for (group, series) in series.iter().enumerate() {
                @if board.has_groups() { h3 { bdi { (board.group_name(group)) } } }
                div.charts {
                    (forest(board, group))
                    (distribution(board, group, series))
                    (scatter(board, group, series))
                }
            }
            @if series.len() < board.groups.len() {
                p.note {
                    "Charts of " (board.groups.len() - series.len()) " more groups are left out."
                }
            }
        }
    }
}

/// A linear scale with ticks.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Axis {
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let room = if low == high { low.abs().max(1e-6) * 0.1 } else { (high - low) * 0.04 };
        Axis { low: low - room, high: high + room, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// About six round values.
    fn ticks(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / 7.0;
        let power = 10f64.powi(rough.log10().floor() as i32);
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
        let step = step.into_iter().find(|&step| step >= rough).unwrap_or(power * 10.0);
        let (first, last) = ((self.low / step).ceil() as i64, (self.high / step).floor() as i64);
        (first..=last).map(|at| at as f64 * step).collect()
    }

    fn label(&self, tick: f64) -> String {
        let decimals = (2.0 - (self.high - self.low).log10()).ceil().clamp(0.0, 9.0) as usize;
        let text = format!("{tick:.decimals$}");
        let text = if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.')
        } else {
            &text
        };
        if text == "-0" { "0".to_owned() } else { text.to_owned() }
    }
}

/// A coordinate with one digit: bytes that a page can do without.
fn px(value: f64) -> String {
    format!("{value:.1}")
}

/// A coordinate, if there is a score.
fn place(axis: &Axis, score: f64) -> Option<String> {
    score.is_finite().then(|| px(axis.at(score)))
}

fn line(class: &str, from: [f64; 2], to: [f64; 2]) -> Markup {
    html! {
        line.(class) x1=(px(from[0])) y1=(px(from[1])) x2=(px(to[0])) y2=(px(to[1])) {}
    }
}

fn text(class: &str, x: f64, y: f64, anchor: &str, text: &str) -> Markup {
    html! { text.(class) x=(px(x)) y=(px(y)) text-anchor=(anchor) { (text) } }
}

fn short(name: &str) -> String {
    match name.chars().count() {
        0..=NAME_CHARS => name.to_owned(),
        _ => name.chars().take(NAME_CHARS - 1).chain(['…']).collect(),
    }
}

fn horizontal(axis: &Axis, top: f64, bottom: f64, title: &str) -> Markup {
    html! {
        g.axis aria-hidden="true" {
            @for tick in axis.ticks() {
                (line("grid", [axis.at(tick), top], [axis.at(tick), bottom]))
                (text("", axis.at(tick), bottom + 16.0, "middle", &axis.label(tick)))
            }
            (text("title", (axis.from + axis.to) / 2.0, bottom + 34.0, "middle", title))
        }
    }
}

/// `group` tells the regions of several groups apart.
fn figure(title: &str, group: &str, description: &str, chart: &Markup) -> Markup {
    let label = if group.is_empty() { title.to_owned() } else { format!("{title}, {group}") };
    html! {
        figure.chart {
            figcaption { b { (title) } " " span.quiet { bdi { (description) } } }
            div.scroll tabindex="0" role="region" aria-label=(label) { (chart) }
        }
    }
}

/// Paired differences to the first method, with intervals.
fn forest(board: &Board, group: usize) -> Markup {
    let Ranking { ranked, .. } = &board.groups[group].rankings[0];
    let Some(first) = ranked.first().filter(|_| ranked.len() > 1) else { return html! {} };
    let tested: Vec<_> =
        ranked.iter().filter_map(|one| Some((one, one.to_first.as_ref()?))).collect();
    let ends = tested.iter().flat_map(|(_, test)| {
        let interval = test.interval.as_ref();
        [test.difference, interval.map(|one| one.low), interval.map(|one| one.high)]
    });
    let axis = Axis::new(ends.flatten().chain([0.0]), NAMES + 12.0, WIDTH - 16.0);
    let bottom = 8.0 + ROW * tested.len() as f64;
    let metric = &board.metrics[0];
    let label = format!(
        "Differences of {} to {}: {}",
        metric.name,
        board.methods[first.method],
        tested
            .iter()
            .map(|(one, _)| {
                let text = crate::report::markdown::difference(board, one);
                format!("{} {text}", board.methods[one.method])
            })
            .collect::<Vec<_>>()
            .join("; ")
    );
    let chart = html! {
        svg viewBox={"0 0 " (WIDTH) " " (px(bottom + 44.0))} role="img" aria-label=(label) {
            (horizontal(&axis, 4.0, bottom, &format!("difference in {}", metric.direction())))
            line.zero x1=(px(axis.at(0.0))) x2=(px(axis.at(0.0))) y1="4" y2=(px(bottom)) {}
            @for (index, (one, test)) in tested.iter().enumerate() {
                @let y = 8.0 + ROW * (index as f64 + 0.5);
                text x=(px(NAMES)) y=(px(y + 4.0)) text-anchor="end" {
                    (short(&board.methods[one.method]))
                    title { (board.methods[one.method]) }
                }
                @if let Some(interval) = &test.interval {
                    line.interval x1=(px(axis.at(interval.low))) x2=(px(axis.at(interval.high)))
                        y1=(px(y)) y2=(px(y)) {}
                }
                @let x = axis.at(test.difference.unwrap_or_default());
                circle.mean cx=(px(x)) cy=(px(y)) r="5" {}
            }
        }
    };
    let description =
        format!("to {}, with {} intervals", board.methods[first.method], board.settings.confidence);
    figure("Paired differences", &board.group_name(group), &description, &chart)
}

/// The share of items below each score.
fn distribution(board: &Board, group: usize, series: &Series) -> Markup {
    let curves: Vec<&(usize, Vec<f64>)> =
        series.quantiles.iter().filter(|(_, quantiles)| !quantiles.is_empty()).collect();
    if curves.is_empty() {
        return html! {};
    }
    let (left, bottom) = (48.0, 250.0);
    let values = curves.iter().flat_map(|(_, quantiles)| quantiles.iter().copied());
    let axis = Axis::new(values, left, WIDTH - 16.0);
    let share = Axis { low: 0.0, high: 1.0, from: bottom, to: 10.0 };
    let metric = &board.metrics[0];
    let label = format!("Distributions of {} over items; medians: {}", metric.name, {
        let medians = curves.iter().map(|(method, quantiles)| {
            format!(
                "{} {:.*}",
                board.methods[*method],
                board.digits,
                quantiles[quantiles.len() / 2]
            )
        });
        medians.collect::<Vec<_>>().join(", ")
    });
    let chart = html! {
        svg viewBox={"0 0 " (WIDTH) " " (px(bottom + 44.0))} role="img" aria-label=(label) {
            (horizontal(&axis, 10.0, bottom, &metric.direction()))
            g.axis aria-hidden="true" {
                @for percent in [0, 25, 50, 75, 100] {
                    @let y = share.at(f64::from(percent) / 100.0);
                    line.grid x1=(px(left)) x2=(px(WIDTH - 16.0)) y1=(px(y)) y2=(px(y)) {}
                    text x=(px(left - 6.0)) y=(px(y + 4.0)) text-anchor="end" { (percent) " %" }
                }
            }
            @for (index, (_, quantiles)) in curves.iter().enumerate() {
                @let last = (quantiles.len() - 1).max(1) as f64;
                polyline.curve.{"m" (index % STYLES)}.again[index >= STYLES] points={
                    @for (at, value) in quantiles.iter().enumerate() {
                        (px(axis.at(*value))) "," (px(share.at(at as f64 / last))) " "
                    }
                } {}
            }
        }
        ul.legend {
            @for (index, (method, _)) in curves.iter().enumerate() {
                li {
                    svg.swatch viewBox="0 0 28 10" aria-hidden="true" {
                        line.curve.{"m" (index % STYLES)}.again[index >= STYLES]
                            x1="0" x2="28" y1="5" y2="5" {}
                    }
                    " " bdi { (board.methods[*method]) }
                }
            }
        }
    };
    let of = format!(
        "of {}: the share of {} below each score",
        metric.name,
        counted(series.count, "item")
    );
    figure("Distribution", &board.group_name(group), &of, &chart)
}

/// Items of two methods, which a reader can choose.
fn scatter(board: &Board, group: usize, series: &Series) -> Markup {
    let methods: Vec<usize> = series.quantiles.iter().map(|(method, _)| *method).collect();
    if methods.len() < 2 || series.items.is_empty() {
        return html! {};
    }
    let (left, bottom, side) = (56.0, 346.0, 320.0);
    let values = || series.items.iter().flat_map(|(_, values)| values.iter().copied());
    let across = Axis::new(values(), left, left + side);
    let up = Axis { from: bottom, to: bottom - side, ..Axis::new(values(), 0.0, 1.0) };
    let name = |column: usize| board.methods[methods[column]].as_str();
    let title = format!("Items of {} against {}", name(1), name(0));
    let choice = |label: &str, class: &str, chosen: usize| {
        html! {
            label { (label) " "
                select.{(class)} {
                    @for column in 0..methods.len() {
                        option value=(column) selected[column == chosen] { (name(column)) }
                    }
                }
            }
        }
    };
    let chart = html! {
        svg.square viewBox={"0 0 " (left + side + 16.0) " " (bottom + 44.0)} role="group"
            aria-label=(title) {
            (horizontal(&across, bottom - side, bottom, ""))
            g.axis aria-hidden="true" {
                @for tick in up.ticks() {
                    (line("grid", [left, up.at(tick)], [left + side, up.at(tick)]))
                    (text("", left - 6.0, up.at(tick) + 4.0, "end", &up.label(tick)))
                }
                @let middle = left + side / 2.0;
                (text("title across", middle, bottom + 34.0, "middle", &short(name(0))))
                text.title.up x=(px(left + 6.0)) y=(px(bottom - side - 10.0)) { (short(name(1))) }
            }
            line.zero x1=(px(left)) y1=(px(bottom)) x2=(px(left + side)) y2=(px(bottom - side)) {}
            g.points data-low=(up.low) data-high=(up.high) data-left=(left) data-bottom=(bottom)
                data-side=(side) {
                @for (item, values) in &series.items {
                    circle.point r="3.5" data-item=(item_key(group, *item)) data-values={
                        @for (column, value) in values.iter().enumerate() {
                            @if column > 0 { " " }
                            @if value.is_finite() { (format!("{value:.5}")) } @else { "-" }
                        }
                    } cx=[place(&across, values[0])] cy=[place(&up, values[1])]
                      visibility=[(!(values[0] + values[1]).is_finite()).then_some("hidden")] {}
                }
            }
        }
        p.choices.needs-script { (choice("Across", "x", 0)) " " (choice("Up", "y", 1)) }
    };
    let shown = match series.items.len() {
        shown if shown < series.count => format!("{shown} random items of {}", series.count),
        shown => counted(shown, "item"),
    };
    let text = format!("by {}, {shown}; equal scores lie on the line", board.metrics[0].name);
    figure("Item by item", &board.group_name(group), &text, &chart)
}
