//! The pairs that a page shows: chosen, found, decoded, and drawn.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rayon::prelude::*;

use super::super::inputs::Metric;
use super::gather::Gathered;
use super::maps::{Map, Maps};
use crate::batch::Row;
use crate::cli::ReportArgs;
use crate::compare::ranking::Ranking;
use crate::decimal::counted;
use crate::error::Refusal;
use crate::image::{self, Rules};
use crate::progress::{Count, print_line};
use crate::report::page::{self, Card, Page, Shot};
use crate::report::picture::{Corner, Picture, Rgb, hottest, shrunk_map};
use crate::report::select::{Pick, Series, select, series};
use crate::run::finished::Stored;
use crate::run::maps::picture;

/// Groups that have charts.
const CHARTS_MAX: usize = 12;
/// Items that are drawn at a time.
const CHUNK: usize = 8;

/// `--root OLD=NEW`.
#[derive(Debug)]
pub(super) struct Root {
    old: PathBuf,
    new: PathBuf,
}

/// Reads the values of `--root`.
///
/// # Errors
/// A [`Refusal`] when one has no `=`.
pub(super) fn roots(texts: &[String]) -> Result<Vec<Root>, Refusal> {
    let read = |text: &String| match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => {
            Ok(Root { old: old.into(), new: new.into() })
        }
        _ => Err(Refusal::usage(format!("cannot read `--root {text}`"))
            .hint("write OLD=NEW: the folder of the images when they were scored, and now")),
    };
    texts.iter().map(read).collect()
}

/// A pair that is shown.
#[derive(Clone, Debug, Default)]
struct Place {
    input: usize,
    /// Row of its table.
    row: usize,
    id: String,
    item: String,
    /// As the run has them.
    paths: [String; 2],
    /// Where they are now.
    files: [PathBuf; 2],
    layers: Vec<f64>,
}

/// The page of a board.
///
/// # Errors
/// When tables or journals cannot be read.
pub(super) fn page(
    gathered: &Gathered,
    args: &ReportArgs,
    roots: &[Root],
) -> anyhow::Result<String> {
    let Gathered { board, sorted, values, inputs, .. } = gathered;
    let rankings: Vec<&Ranking> = board.groups.iter().map(|group| &group.rankings[0]).collect();
    let better = board.metrics[0].better;
    let series: Vec<Series> = (0..rankings.len().min(CHARTS_MAX))
        .map(|group| series(sorted, group, &values[0], rankings[group]))
        .collect();
    let picks = select(sorted, &values[0], better, &rankings, args.worst);
    let mut places = places(gathered, &picks, roots)?;
    let mapped = mapped(gathered);
    if let Some(metric) = mapped {
        read_layers(gathered, &metric.name, &mut places)?;
    }
    let total_of =
        mapped.and_then(|metric| board.metrics.iter().position(|one| one.name == metric.name));
    let artist = Artist { gathered, places, total_of };
    let (mut maps, mut unread) = (Maps::of(inputs, mapped), Vec::new());
    let mut budget = (args.budget * 1e6) as usize;
    let empty = Page { board, series: &series, cards: &[], left_out: 0, picture_notes: &[] };
    budget = budget.saturating_sub(page::page(&empty)?.len() + 4096);
    let progress = Count::new("drawing", picks.len(), "items");
    let mut cards: Vec<String> = Vec::new();
    'drawing: for chunk in picks.chunks(CHUNK) {
        for mut card in artist.draw(chunk, &mut maps, &mut unread)? {
            card.number = cards.len() + 1;
            let html = page::card(board, &card);
            let Some(left) = budget.checked_sub(html.len()) else { break 'drawing };
            budget = left;
            cards.push(html);
            progress.add(1);
        }
    }
    progress.finish();
    let notes = artist.notes(&maps, &unread);
    notes.iter().for_each(|note| print_line(&format!("warning: {note}")));
    let left_out = picks.len() - cards.len();
    let whole = Page { cards: &cards, left_out, picture_notes: &notes, ..empty };
    page::page(&whole)
}

/// The first metric of the page that has maps.
fn mapped(gathered: &Gathered) -> Option<&Metric> {
    let names = gathered.board.metrics.iter().map(|metric| metric.name.as_str());
    let known = |name: &str| gathered.inputs.iter().find_map(|input| input.metric(name));
    names.filter_map(known).find(|metric| {
        let is_lpips = |fingerprint: &crate::column::Fingerprint| {
            fingerprint.get("metric") == Some("lpips") && fingerprint.get("reduction").is_none()
        };
        metric.fingerprint.as_ref().is_some_and(is_lpips)
    })
}

/// Finds the rows of the chosen pairs.
fn places(
    gathered: &Gathered,
    picks: &[Pick],
    roots: &[Root],
) -> anyhow::Result<HashMap<u32, Place>> {
    let rows = picks.iter().flat_map(|pick| &pick.shots).map(|&(_, row)| row);
    let mut places: HashMap<u32, Place> = rows.map(|row| (row, Place::default())).collect();
    let index_of: HashMap<&str, usize> = (gathered.inputs.iter().enumerate())
        .map(|(index, input)| (input.label.as_str(), index))
        .collect();
    gathered.each(|input, number, row| {
        let Some(place) = places.get_mut(&number) else { return Ok(()) };
        let paths = row.paths();
        let file =
            |path: &str| moved(&input.folder.as_deref().unwrap_or(Path::new("")).join(path), roots);
        *place = Place {
            input: index_of[input.label.as_str()],
            row: row.index,
            id: row.id().to_owned(),
            item: row.item().to_owned(),
            files: paths.map(file),
            paths: paths.map(str::to_owned),
            layers: Vec::new(),
        };
        Ok(())
    })?;
    Ok(places)
}

/// Where a file is now.
fn moved(path: &Path, roots: &[Root]) -> PathBuf {
    let found = roots
        .iter()
        .find_map(|root| path.strip_prefix(&root.old).ok().map(|rest| root.new.join(rest)));
    found.unwrap_or_else(|| path.to_owned())
}

/// The layers of the chosen pairs, from the journals.
fn read_layers(
    gathered: &Gathered,
    metric: &str,
    places: &mut HashMap<u32, Place>,
) -> anyhow::Result<()> {
    for (index, input) in gathered.inputs.iter().enumerate() {
        let Some(folder) = &input.run_dir else { continue };
        if !folder.join(crate::run::names::JOURNALS).is_dir() {
            continue;
        }
        let Stored { frozen, records, .. } = Stored::open(folder)?;
        let column = frozen.plan.columns.iter().position(|column| column.name == metric);
        let Some(column) = column else { continue };
        let mut reader = records.reader(1);
        for place in places.values_mut().filter(|place| place.input == index) {
            let record = reader.read(place.row as Row)?;
            let value = record.and_then(|record| record.values.into_iter().nth(column).flatten());
            place.layers = value.map(|value| value.parts).unwrap_or_default();
        }
    }
    Ok(())
}

/// Draws cards.
struct Artist<'a> {
    gathered: &'a Gathered,
    places: HashMap<u32, Place>,
    /// Index of the metric that maps are of.
    total_of: Option<usize>,
}

/// Decoded images of a pick: the reference, then the distorted ones.
struct Images(Vec<Result<Rgb, String>>);

impl Artist<'_> {
    /// Draws some cards. Files that cannot be read are added to `unread`.
    fn draw(
        &self,
        picks: &[Pick],
        maps: &mut Maps,
        unread: &mut Vec<String>,
    ) -> anyhow::Result<Vec<Card>> {
        let images: Vec<Images> = picks.par_iter().map(|pick| self.decode(pick)).collect();
        let mut drawn = Vec::new();
        for (pick, images) in picks.iter().zip(&images) {
            drawn.push(self.maps(pick, images, maps));
        }
        for image in images.iter().flat_map(|images| &images.0) {
            unread.extend(image.as_ref().err().cloned());
        }
        let all: Vec<_> = picks.iter().zip(images).zip(drawn).collect();
        all.into_par_iter().map(|((pick, images), maps)| self.card(pick, images, maps)).collect()
    }

    fn place(&self, row: u32) -> &Place {
        &self.places[&row]
    }

    fn decode(&self, pick: &Pick) -> Images {
        let shots = || pick.shots.iter().map(|&(_, row)| self.place(row));
        let reference = shots().next().map(|place| (&place.paths[0], &place.files[0]));
        let distorted = shots().map(|place| (&place.paths[1], &place.files[1]));
        let read = |(path, file): (&String, &PathBuf)| match path.as_str() {
            "" => Err(String::new()),
            _ => image::decode(file, &Rules::default())
                .map(Rgb::of)
                .map_err(|error| error.to_string()),
        };
        Images(reference.into_iter().chain(distorted).map(read).collect())
    }

    /// The maps of a pick: of the run, or computed where both images are there.
    fn maps(&self, pick: &Pick, images: &Images, source: &mut Maps) -> Vec<Option<Map>> {
        let Some(metric) = self.total_of else { return pick.shots.iter().map(|_| None).collect() };
        let mut maps: Vec<Option<Map>> = Vec::new();
        for (index, &(_, row)) in pick.shots.iter().enumerate() {
            let place = &self.places[&row];
            let map = source.stored(place.input, &place.id);
            let total = self.gathered.values[metric][row as usize];
            let is_there = images.0[0].is_ok() && images.0[index + 1].is_ok();
            maps.push(match map {
                Some(map) => Some(map),
                None if is_there && total.is_finite() => {
                    let [reference, distorted] = &place.files;
                    source.computed(&[(reference, distorted, total)]).pop().flatten()
                }
                None => None,
            });
        }
        maps
    }

    fn card(&self, pick: &Pick, images: Images, maps: Vec<Option<Map>>) -> anyhow::Result<Card> {
        let Gathered { values, .. } = self.gathered;
        let first = self.place(pick.shots[0].1);
        let mut images = images.0.into_iter();
        let reference = images.next().and_then(Result::ok);
        let distorted: Vec<Option<Rgb>> = images.map(Result::ok).collect();
        let scale = maps.iter().flatten().flat_map(|map| &map.values).copied().fold(0.0, f32::max);
        let corner = corner(reference.as_ref(), &maps);
        let crop = |rgb: Option<&Rgb>| -> anyhow::Result<Option<Picture>> {
            let both = rgb
                .zip(corner)
                .filter(|(rgb, _)| Some(rgb.size) == reference.as_ref().map(|of| of.size));
            Ok(both.map(|(rgb, corner)| rgb.crop(corner)).transpose()?)
        };
        let mut shots = Vec::new();
        for ((&(method, row), rgb), map) in pick.shots.iter().zip(&distorted).zip(&maps) {
            let place = self.place(row);
            let layers = match map {
                Some(map) if place.layers.is_empty() => map.layers.clone(),
                _ => place.layers.clone(),
            };
            shots.push(Shot {
                method,
                path: place.paths[1].clone(),
                scores: values.iter().map(|values| values[row as usize]).collect(),
                layers,
                image: rgb.as_ref().map(Rgb::thumbnail).transpose()?,
                map: map.as_ref().map(|map| drawn(map, scale)).transpose()?,
                crop: crop(rgb.as_ref())?,
            });
        }
        Ok(Card {
            number: 0,
            reasons: pick.reasons.clone(),
            group: pick.group,
            hash: pick.item,
            item: first.item.clone(),
            path: first.paths[0].clone(),
            crop: crop(reference.as_ref())?,
            corner: corner.map_or((0, 0), |corner| (corner.x, corner.y)),
            reference: reference.as_ref().map(Rgb::thumbnail).transpose()?,
            scale: scale.into(),
            shots,
        })
    }

    /// What the pictures lack, and what helps.
    fn notes(&self, maps: &Maps, unread: &[String]) -> Vec<String> {
        let mut notes = Vec::new();
        let files: Vec<&String> = unread.iter().filter(|text| !text.is_empty()).collect();
        if let Some(first) = files.first() {
            notes.push(format!(
                "{} cannot be read, first: {first}; if images have moved, name both folders with \
                 --root OLD=NEW",
                counted(files.len(), "image")
            ));
        }
        if unread.len() > files.len() {
            notes.push(
                "tables without the columns ref and dist have no pictures; name a run directory \
                 to see them"
                    .to_owned(),
            );
        }
        let is_used = self.places.values().any(|place| !place.paths[1].is_empty());
        if let Some(reason) = maps.obstacle().filter(|_| is_used) {
            notes.push(format!("maps that the runs do not hold are left out: {reason}"));
        }
        if maps.refused > 0 {
            notes.push(format!(
                "{} maps are left out: computed again, the totals are others (the images have \
                 changed, or the run has cut or masked them); --spatial keeps maps in a run",
                maps.refused
            ));
        }
        if maps.failed > 0 {
            notes.push(format!("{} maps could not be computed and are left out", maps.failed));
        }
        notes
    }
}

/// The square in which the worst image with a map differs most.
fn corner(reference: Option<&Rgb>, maps: &[Option<Map>]) -> Option<Corner> {
    let map = maps.iter().rev().flatten().next()?;
    reference.filter(|rgb| rgb.size == map.size).map(|_| hottest(&map.values, map.size))
}

fn drawn(map: &Map, scale: f32) -> anyhow::Result<Picture> {
    let (values, size) = shrunk_map(&map.values, map.size);
    let file = picture(size, &values, scale).context("a map cannot be drawn")?;
    Ok(Picture::png(&file, size))
}
