//! The scores of a batch become records of the journal, and spatial maps where they are asked for.

use rayon::prelude::*;

use super::PairFacts;
use crate::batch::Row;
use crate::column::{Column, Origin, Value};
use crate::error::Failure;
use crate::eval::{Distance, PairScore, Scored, Unscored};
use crate::image::Stamp;
use crate::manifest::{Entry, Manifest};
use crate::masks::Masks;
use crate::metric::{self, Reduction, Unreduced};
use crate::pair::Files;
use crate::run::journal::Record;
use crate::run::maps::Maps;

/// What is made of the scores.
#[derive(Debug)]
pub(super) struct Reducer<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) columns: &'a [Column],
    pub(super) masks: Option<&'a Masks>,
    pub(super) maps: Option<&'a mut Maps>,
}

impl Reducer<'_> {
    /// The records of a batch, in its order; their maps are written when this returns.
    ///
    /// # Errors
    /// When the manifest or, by a fault of the machine, a mask cannot be read, or a map cannot be
    /// written.
    pub(super) fn records(
        &mut self,
        scored: Scored,
        facts: Vec<PairFacts>,
    ) -> anyhow::Result<Vec<Record>> {
        let Scored { rows, size, scores } = scored;
        let is_heavy = self.masks.is_some() || self.maps.is_some();
        let entries = if is_heavy { self.entries(&rows)? } else { Vec::new() };
        let record = |index: usize| {
            let PairFacts { files, values } = facts[index].clone();
            let Files { differences, stamps } = files;
            let mut stamps = stamps.to_vec();
            let entry = entries.get(index);
            let values = self.values(values, &scores[index], entry, size, &mut stamps)?;
            let failure = values.iter().find_map(|one| one.as_ref().err()).cloned();
            let values = values.into_iter().map(Result::ok).collect();
            let size = Some((size.width, size.height));
            let rescored = scores[index].iter().flatten().any(|distance| distance.rescored);
            let row = rows[index];
            let (pair, maps) = (None, Vec::new());
            Ok(Record { row, pair, size, values, differences, stamps, maps, rescored, failure })
        };
        // Means and values of pixels are there already; everything else is worth a thread.
        let is_there = |column: &Column| match column.from {
            Origin::Model { reduction, .. } => {
                matches!(reduction, Reduction::Mean | Reduction::Statistics)
            }
            Origin::Pixels(_) => true,
        };
        let records: anyhow::Result<Vec<Record>> = if self.columns.iter().all(is_there) {
            (0..rows.len()).map(record).collect()
        } else {
            (0..rows.len()).into_par_iter().map(record).collect()
        };
        let mut records = records?;
        if let Some(maps) = &mut self.maps {
            let mut admitted: Vec<(usize, usize, &Distance)> = Vec::new();
            for (place, ((entry, record), score)) in
                entries.iter().zip(&mut records).zip(&scores).enumerate()
            {
                record.maps = vec![None; self.columns.len()];
                for (index, column) in self.columns.iter().enumerate() {
                    let distance =
                        column.mapped_model().and_then(|model| score[model].as_ref().ok());
                    let (Some(distance), Some(total)) = (distance, record.total(index)) else {
                        continue;
                    };
                    if maps.admit(index, record.row, &entry.id, total)? {
                        admitted.push((place, index, distance));
                    }
                }
            }
            let write = |(place, column, distance): (usize, usize, &Distance)| {
                let map = metric::spatial(&distance.maps, size);
                let hash = maps.write(column, rows[place], &entries[place].id, size, &map)?;
                Ok((place, column, hash))
            };
            let written: anyhow::Result<Vec<_>> = admitted.into_par_iter().map(write).collect();
            for (place, column, hash) in written? {
                records[place].maps[column] = hash;
            }
        }
        Ok(records)
    }

    fn entries(&self, rows: &[Row]) -> anyhow::Result<Vec<Entry>> {
        let mut reader = self.manifest.rows()?;
        rows.iter().map(|&row| reader.read(row)).collect()
    }

    /// What every column holds of one pair, or why it holds nothing: `measured` where the value is
    /// that of pixels, else what the model's distance gives. Adds the stamp of the mask to those of
    /// the images.
    fn values(
        &self,
        measured: Vec<Option<Result<Value, Failure>>>,
        score: &PairScore,
        entry: Option<&Entry>,
        size: crate::image::Size,
        stamps: &mut Vec<Stamp>,
    ) -> anyhow::Result<Vec<Result<Value, Failure>>> {
        let mask = self.masks.zip(entry).map(|(masks, entry)| {
            let images =
                [&entry.reference, &entry.distorted].map(|path| self.manifest.resolve(path));
            match masks.load(&entry.item, size, [&images[0], &images[1]]) {
                Ok((mask, stamp)) => {
                    stamps.push(stamp);
                    anyhow::Ok(Ok(mask))
                }
                Err(unusable) => Ok(Err(unusable.failure()?)),
            }
        });
        let mask = mask.transpose()?;
        let reduced = |model: usize, reduction: Reduction| {
            let distance: &Distance = score[model].as_ref().map_err(failure_of)?;
            let mask = match (reduction, &mask) {
                (Reduction::Masked, Some(mask)) => Some(mask.as_ref().map_err(Clone::clone)?),
                _ => None,
            };
            let layers = metric::reduce(distance, reduction, mask);
            layers.map(Value::sum).map_err(|reason| unreduced(&reason))
        };
        let value = |(column, measured): (&Column, Option<_>)| match column.from {
            Origin::Model { index, reduction } => reduced(index, reduction),
            Origin::Pixels(_) => measured.expect("pixels are measured when a pair is assembled"),
        };
        Ok(self.columns.iter().zip(measured).map(value).collect())
    }
}

fn failure_of(reason: &Unscored) -> Failure {
    Failure::new(reason.code(), reason.to_string())
}

fn unreduced(reason: &Unreduced) -> Failure {
    Failure::new(reason.code(), reason.to_string())
}
