//! An item with its reference, distorted images and maps.

use maud::{Markup, html};

use super::item_key;
use crate::image::Size;
use crate::report::board::Board;
use crate::report::picture::Picture;
use crate::report::select::Reason;

/// An item.
#[derive(Clone, Debug)]
pub struct Card {
    /// Number on the page, from 1.
    pub number: usize,
    /// Why it is shown.
    pub reasons: Vec<Reason>,
    /// Index of the group.
    pub group: usize,
    /// Hash of the item.
    pub hash: u64,
    /// The item.
    pub item: String,
    /// Path of the reference as the run has it; empty if unknown.
    pub path: String,
    /// Absent if the file cannot be read.
    pub reference: Option<Picture>,
    /// The part of the reference in which the images differ most.
    pub crop: Option<Picture>,
    /// Where that part is: column and row.
    pub corner: (usize, usize),
    /// The value that is palest in the maps.
    pub scale: f64,
    /// The distorted images, the best first.
    pub shots: Vec<Shot>,
}

/// A distorted image.
#[derive(Clone, Debug)]
pub struct Shot {
    /// Index of the method.
    pub method: usize,
    /// Path as the run has it; empty if unknown.
    pub path: String,
    /// Its scores, by metric; NaN where there is none.
    pub scores: Vec<f64>,
    /// The distance of each layer; empty if unknown.
    pub layers: Vec<f64>,
    /// Absent if the file cannot be read.
    pub image: Option<Picture>,
    /// The spatial map.
    pub map: Option<Picture>,
    /// The part in which the images of this item differ most.
    pub crop: Option<Picture>,
}

/// The card as HTML.
#[must_use]
pub fn card(board: &Board, card: &Card) -> String {
    let Card { number, group, item, shots, .. } = card;
    let id = format!("pair-{number}");
    let key = item_key(*group, card.hash);
    let can_compare = card.reference.is_some() && shots.iter().any(|shot| shot.image.is_some());
    let markup = html! {
        article.card #(id) data-item=(key) aria-labelledby={(id) "-title"} {
            header {
                h3 #{(id) "-title"} { bdi { (item) } }
                @if board.has_groups() { span.quiet { bdi { (board.group_name(*group)) } } }
                @for reason in &card.reasons { span.tag { (reason.title()) } }
            }
            (scores(board, card))
            @if can_compare { (controls(board, card)) }
            div.views {
                @if let Some(picture) = &card.reference {
                    (View {
                        kind: "reference",
                        method: None,
                        picture,
                        caption: "Reference",
                        path: &card.path,
                        alt: &format!("Reference of {item}"),
                    })
                }
                @for shot in shots {
                    @let name = &board.methods[shot.method];
                    @if let Some(picture) = &shot.image {
                        (View {
                            kind: "distorted",
                            method: Some(shot.method),
                            picture,
                            caption: name,
                            path: &shot.path,
                            alt: &format!("{name}, {item}"),
                        })
                    }
                }
                @for shot in shots {
                    @let name = &board.methods[shot.method];
                    @if let Some(picture) = &shot.map {
                        (View {
                            kind: "map",
                            method: Some(shot.method),
                            picture,
                            caption: &format!("Map of {name}"),
                            path: "",
                            alt: &format!("Where {name} differs, {item}"),
                        })
                    }
                }
            }
            @if shots.iter().any(|shot| shot.map.is_some()) {
                p.quiet {
                    "Maps: from 0 (black) to " (format!("{:.4}", card.scale)) " (pale yellow), one \
                     scale for this item."
                }
            }
            (crops(board, card))
            (layers(board, card))
        }
    };
    markup.into_string()
}

fn scores(board: &Board, card: &Card) -> Markup {
    html! {
        @let label = format!("Scores of pair {}, {}", card.number, card.item);
        div.scroll tabindex="0" role="region" aria-label=(label) {
            table {
                thead { tr {
                    th scope="col" { "Method" }
                    @for metric in &board.metrics {
                        th.number scope="col" { bdi { (metric.title()) } }
                    }
                } }
                tbody {
                    @for shot in &card.shots { tr {
                        th scope="row" { bdi { (board.methods[shot.method]) } }
                        @for score in &shot.scores { td.number { (number(*score)) } }
                    } }
                }
            }
        }
    }
}

fn number(score: f64) -> String {
    match score {
        score if score.is_nan() => "no score".to_owned(),
        score if score.is_infinite() => "inf".to_owned(),
        score => format!("{score:.4}"),
    }
}

/// Modes, the method to compare, and zoom. Without the script all pictures are side by side.
fn controls(board: &Board, card: &Card) -> Markup {
    let name = format!("mode-{}", card.number);
    html! {
        div.controls.needs-script role="group" aria-label={"View of " (card.item)} {
            fieldset {
                legend { "View" }
                @for (value, label) in [
                    ("side", "Side by side"), ("slider", "Slider"), ("blink", "Blink"),
                    ("difference", "Difference"),
                ] {
                    label {
                        input type="radio" name=(name) value=(value) checked[value == "side"];
                        " " (label)
                    }
                }
            }
            label { "Compare " select.method {
                @for shot in card.shots.iter().filter(|shot| shot.image.is_some()).rev() {
                    option value=(shot.method) { (board.methods[shot.method]) }
                }
            } }
            label.only-slider {
                "Reference on the left " input.slide type="range" min="0" max="100" value="50";
            }
            button.swap.only-blink type="button" { "Swap" }
            span.quiet.only-difference { "three times as bright" }
            label { "Zoom " input.zoom type="range" min="1" max="8" step="0.5" value="1"; }
            button.reset type="button" { "Reset" }
        }
    }
}

/// One picture.
struct View<'a> {
    kind: &'static str,
    method: Option<usize>,
    picture: &'a Picture,
    caption: &'a str,
    path: &'a str,
    alt: &'a str,
}

impl maud::Render for View<'_> {
    fn render(&self) -> Markup {
        let View { kind, method, picture, caption, path, alt } = *self;
        let Size { width, height } = picture.size;
        html! {
            figure.view.(kind) data-method=[method] {
                div.frame {
                    img src=(picture.uri) width=(width) height=(height) alt=(alt) draggable="false";
                }
                figcaption {
                    b { bdi { (caption) } }
                    @if !path.is_empty() { " " span.path { bdi { (path) } } }
                }
            }
        }
    }
}

fn crops(board: &Board, card: &Card) -> Markup {
    let Some(crop) = &card.crop else { return html! {} };
    let (x, y) = card.corner;
    let square = |picture: &Picture, name: &str| {
        html! {
            figure {
                img src=(picture.uri) width=(picture.size.width) height=(picture.size.height)
                    alt={"Detail of " (name) ", " (card.item)};
                figcaption { bdi { (name) } }
            }
        }
    };
    html! {
        div.crops {
            p.quiet { "Where they differ most, unscaled: column " (x) ", row " (y) "." }
            (square(crop, "Reference"))
            @for shot in &card.shots {
                @if let Some(crop) = &shot.crop { (square(crop, &board.methods[shot.method])) }
            }
        }
    }
}

/// How much each layer adds.
fn layers(board: &Board, card: &Card) -> Markup {
    let shots: Vec<&Shot> = card.shots.iter().filter(|shot| !shot.layers.is_empty()).collect();
    let total = |shot: &&Shot| shot.layers.iter().sum::<f64>();
    let largest = shots.iter().map(total).fold(0.0, f64::max);
    if largest <= 0.0 {
        return html! {};
    }
    const LENGTH: f64 = 300.0;
    let bars = |shot: &Shot| {
        let mut x = 0.0;
        let widths: Vec<(f64, f64)> = shot
            .layers
            .iter()
            .map(|layer| {
                let start = x;
                x += layer / largest * LENGTH;
                (start, layer / largest * LENGTH)
            })
            .collect();
        widths
    };
    let listed = |shot: &Shot| {
        let layers = shot.layers.iter().enumerate();
        let layers = layers.map(|(index, layer)| format!("layer {index}: {layer:.4}"));
        layers.collect::<Vec<_>>().join(", ")
    };
    html! {
        dl.layers {
            @for shot in shots {
                dt { bdi { (board.methods[shot.method]) } }
                dd {
                    svg viewBox={"0 0 " (LENGTH) " 14"} role="img" aria-label=(listed(shot)) {
                        @for (index, (x, width)) in bars(shot).into_iter().enumerate() {
                            rect.{"layer l" (index % 8)} x=(format!("{x:.1}")) y="0"
                                width=(format!("{width:.1}")) height="14" {}
                        }
                    }
                    span.quiet { (listed(shot)) }
                }
            }
        }
    }
}
