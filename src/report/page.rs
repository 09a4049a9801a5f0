//! The leaderboard as one HTML file: nothing external, readable without its script.
//!
//! Names, ids and paths are data of users: maud escapes them by construction, and no data goes into
//! the script, which reads what it needs from the document. The policy in the head forbids
//! everything but the style and the script of this file, by their hashes, and pictures in `data:`.

mod cards;
mod charts;
mod tables;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

pub use self::cards::{Card, Shot, card};
use super::board::Board;
use super::select::Series;
use super::{csv, latex, markdown};
use crate::decimal::counted;

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// What a page shows.
#[derive(Debug)]
pub struct Page<'a> {
    /// Tables and verdicts.
    pub board: &'a Board,
    /// For the charts of each group, by the first metric; groups beyond have none.
    pub series: &'a [Series],
    /// Cards that are rendered already; see [`card`].
    pub cards: &'a [String],
    /// Items that were chosen and did not fit.
    pub left_out: usize,
    /// What the pictures lack.
    pub picture_notes: &'a [String],
}

/// The page.
///
/// # Errors
/// Never, unless memory ends.
pub fn page(page: &Page<'_>) -> anyhow::Result<String> {
    let Page { board, series, .. } = *page;
    let title = format!("{} by {}", listed(&board.methods), board.metrics[0].name);
    let exports = exports(board)?;
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content={"lpips " (env!("CARGO_PKG_VERSION"))};
                title { (title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#ranking" { "Skip to the ranking" }
                (head(board))
                main {
                    (tables::ranking(board))
                    (charts::charts(board, series))
                    (pairs(page))
                    (exports)
                }
                footer {
                    p {
                        "Made by lpips " (env!("CARGO_PKG_VERSION")) ". Pictures are for looking \
                         at: JPEG of at most 512 pixels. Scores are of the original files."
                    }
                }
                p.visually-hidden #status role="status" {}
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    Ok(document.into_string())
}

/// Everything is forbidden but this style, this script, and pictures in the file.
fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; img-src data:; style-src 'sha256-{}'; script-src 'sha256-{}'; \
         base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

fn listed(methods: &[String]) -> String {
    const MAX: usize = 4;
    let shown: Vec<&str> = methods.iter().take(MAX).map(String::as_str).collect();
    let more = methods.len().saturating_sub(MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

fn head(board: &Board) -> Markup {
    let verdicts = board.verdicts();
    let pairs: usize = board.runs.iter().map(|run| run.pairs).sum();
    let failed: usize = board.runs.iter().map(|run| run.failed).sum();
    let missing: usize = board.runs.iter().map(|run| run.missing).sum();
    html! {
        header {
            div.bar {
                p.kicker {
                    "lpips report"
                    @if let Some(date) = board.date() {
                        " · " time datetime=(date) { (minute(date)) }
                    }
                }
                button.needs-script #theme type="button" { "Dark or light" }
            }
            @for sentence in board.unfinished() { p.alarm { strong { (sentence) } "." } }
            @if let [verdict] = verdicts.as_slice() {
                h1 { bdi { (verdict) } }
            } @else {
                h1 { "Ranking of " (board.methods.len()) " methods in " (verdicts.len()) " groups" }
                ul.verdicts { @for verdict in &verdicts { li { bdi { (verdict) } } } }
            }
            p.facts {
                (counted(board.methods.len(), "method")) " · " (counted(pairs, "pair"))
                " · " (failed) " failed · " (missing) " missing"
                @if board.runs.len() > 1 {
                    " · runs: "
                    @for (index, run) in board.runs.iter().enumerate() {
                        @if index > 0 { ", " }
                        bdi { (run.label) } " (" (counted(run.pairs, "pair")) ")"
                    }
                }
            }
            @for warning in &board.warnings { p.warning { "Note: " bdi { (warning) } "." } }
            (signatures(board))
            nav aria-label="Sections" {
                a href="#ranking" { "Ranking" }
                a href="#charts" { "Charts" }
                a href="#pairs" { "Pairs" }
                a href="#export" { "Export" }
            }
        }
    }
}

/// `2026-11-29T12:04:30Z` -> `2026-11-29 12:04 UTC`.
fn minute(date: &str) -> String {
    match (date.get(..10), date.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute} UTC"),
        _ => date.to_owned(),
    }
}

/// Ties the points of charts to the cards of their items.
fn item_key(group: usize, hash: u64) -> String {
    format!("{group}-{hash:016x}")
}

fn signatures(board: &Board) -> Markup {
    let tests = ("tests".to_owned(), board.test_signature());
    html! {
        section.signatures aria-label="How the numbers were made" {
            @for (index, (name, signature)) in board.signatures.iter().chain([&tests]).enumerate() {
                div.signature {
                    span.name { bdi { (name) } }
                    code #{"signature-" (index)} tabindex="0" { (signature) }
                    @let label = format!("Copy the signature of {name}");
                    (copy_button(&format!("signature-{index}"), &label))
                }
            }
        }
    }
}

fn copy_button(target: &str, label: &str) -> Markup {
    html! {
        button.copy.needs-script type="button" data-copy=(target) aria-label=(label) { "Copy" }
    }
}

fn pairs(page: &Page<'_>) -> Markup {
    let Page { cards, left_out, picture_notes, .. } = *page;
    html! {
        section #pairs aria-labelledby="pairs-title" {
            h2 #pairs-title { "Pairs to look at" }
            p.lead {
                "The worst items by the first metric, those in which a method falls farthest \
                 behind the first one, those on which methods differ most, and random ones."
            }
            @if left_out > 0 {
                p.warning {
                    (counted(left_out, "more item"))
                    " did not fit: the size of the page is limited (--budget)."
                }
            }
            @for note in picture_notes { p.warning { bdi { (note) } } }
            @if cards.is_empty() { p { "No item is shown." } }
            @for card in cards { (PreEscaped(card)) }
        }
    }
}

fn exports(board: &Board) -> anyhow::Result<Markup> {
    let csv = String::from_utf8(csv(board, |cell| cell)?)?;
    let texts = [
        ("sentence", "Sentence", board.verdicts().join("\n")),
        ("latex", "LaTeX (booktabs)", latex(board)),
        ("markdown", "Markdown", markdown::table(board)),
        ("csv", "CSV", csv),
    ];
    Ok(html! {
        section #export aria-labelledby="export-title" {
            h2 #export-title { "Export" }
            @for (id, title, text) in &texts {
                details {
                    summary { (title) }
                    (copy_button(&format!("text-{id}"), &format!("Copy {title}")))
                    pre #{"text-" (id)} tabindex="0" { (text) }
                }
            }
        }
    })
}
