//! The scores of a batch become records of the journal, and spatial maps where they are asked for.

use rayon::prelude::*;

use crate::batch::Row;
use crate::code::Code;
use crate::error::Failure;
use crate::eval::{Distance, PairScore, Scored, Unscored};
use crate::image::Stamp;
use crate::manifest::{Entry, Manifest};
use crate::masks::Masks;
use crate::metric::{self, Output, Reduction, Unreduced};
use crate::pair::Files;
use crate::run::journal::Record;
use crate::run::maps::Maps;

/// What is made of the scores.
#[derive(Debug)]
pub(super) struct Reducer<'a> {
    pub(super) manifest: &'a Manifest,
    /// One per metric column.
    pub(super) outputs: &'a [Output],
    pub(super) masks: Option<&'a Masks>,
    /// One map per model.
    pub(super) maps: Option<&'a mut Maps>,
}

impl Reducer<'_> {
    /// The records of a batch, in its order; their maps are written when this returns.
    ///
    /// # Errors
    /// When the manifest cannot be read, or a map cannot be written.
    pub(super) fn records(
        &mut self,
        scored: Scored,
        files: Vec<Files>,
    ) -> anyhow::Result<Vec<Record>> {
        let Scored { rows, size, scores } = scored;
        let is_heavy = self.masks.is_some() || self.maps.is_some();
        let entries = if is_heavy { self.entries(&rows)? } else { Vec::new() };
        let record = |index: usize| {
            let Files { differences, stamps } = files[index];
            let mut stamps = stamps.to_vec();
            let layers = self.layers(&scores[index], entries.get(index), size, &mut stamps);
            let failure = layers.iter().find_map(|one| one.as_ref().err()).cloned();
            let layers = layers.into_iter().map(Result::ok).collect();
            let size = Some((size.width, size.height));
            let rescored = scores[index].iter().flatten().any(|distance| distance.rescored);
            let row = rows[index];
            Record { row, size, layers, differences, stamps, rescored, failure }
        };
        // Means are there already; everything else is worth a thread.
        let is_mean = |output: &Output| output.reduction == Reduction::Mean;
        let records: Vec<Record> = if self.outputs.iter().all(is_mean) {
            (0..rows.len()).map(record).collect()
        } else {
            (0..rows.len()).into_par_iter().map(record).collect()
        };
        if let Some(maps) = &mut self.maps {
            let mut admitted: Vec<(usize, usize)> = Vec::new();
            for (index, score) in scores.iter().enumerate() {
                for (model, distance) in score.iter().enumerate() {
                    let Ok(distance) = distance else { continue };
                    let id = &entries[index].id;
                    if maps.admit(model, rows[index], id, distance.total())? {
                        admitted.push((index, model));
                    }
                }
            }
            admitted.into_par_iter().try_for_each(|(index, model)| {
                let Ok(distance) = &scores[index][model] else { return Ok(()) };
                let map = metric::spatial(&distance.maps, size);
                maps.write(model, &entries[index].id, size, &map)
            })?;
        }
        Ok(records)
    }

    fn entries(&self, rows: &[Row]) -> anyhow::Result<Vec<Entry>> {
        let mut reader = self.manifest.rows()?;
        rows.iter().map(|&row| reader.read(row)).collect()
    }

    /// What every metric column holds of one pair, or why it holds nothing. Adds the stamp of the
    /// mask to those of the images.
    fn layers(
        &self,
        score: &PairScore,
        entry: Option<&Entry>,
        size: crate::image::Size,
        stamps: &mut Vec<Stamp>,
    ) -> Vec<Result<Vec<f64>, Failure>> {
        let mask = self.masks.zip(entry).map(|(masks, entry)| {
            let (mask, stamp) = masks.load(&entry.item, size)?;
            stamps.push(stamp);
            Ok(mask)
        });
        let of_output = |output: &Output| {
            let distance: &Distance = score[output.model].as_ref().map_err(failure_of)?;
            let mask = match (output.reduction, &mask) {
                (Reduction::Masked, Some(mask)) => Some(mask.as_ref().map_err(Clone::clone)?),
                _ => None,
            };
            metric::reduce(distance, output.reduction, mask).map_err(|reason| unreduced(&reason))
        };
        self.outputs.iter().map(of_output).collect()
    }
}

fn failure_of(reason: &Unscored) -> Failure {
    let code = match reason {
        Unscored::TooSmall(_) => Code::TooSmall,
        Unscored::TooLarge { .. } => Code::TooLarge,
        Unscored::NotFinite { .. } => Code::NotFinite,
    };
    Failure::new(code, reason.to_string())
}

fn unreduced(reason: &Unreduced) -> Failure {
    let code = match reason {
        Unreduced::NoActivity { .. } => Code::NoActivity,
        Unreduced::EmptyMask => Code::Mask,
    };
    Failure::new(code, reason.to_string())
}
