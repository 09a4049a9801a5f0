//! The scores of a batch become records of the journal, and spatial maps where they are asked for.

use anyhow::Context as _;
use rayon::prelude::*;

use super::measure::Values;
use super::{Flow, PairFacts};
use crate::batch::Row;
use crate::column::{Column, Origin, Value};
use crate::error::Failure;
use crate::eval::{Distance, PairScore, Scored, Unscored};
use crate::image::{Size, Stamp};
use crate::manifest::{Entry, Manifest};
use crate::masks::Masks;
use crate::metric::{self, Reduction, Unreduced};
use crate::pair::Files;
use crate::run::inputs::Taken;
use crate::run::journal::Record;
use crate::run::known::KnownReader;
use crate::run::maps::Maps;

/// What is made of the scores.
pub(super) struct Reducer<'a> {
    manifest: &'a Manifest,
    columns: &'a [Option<Column>],
    is_computed: Vec<bool>,
    known: KnownReader<'a>,
    masks: Option<&'a Masks>,
}

/// The records of a batch.
pub(super) struct Reduced {
    /// In the order of the batch.
    pub(super) records: Vec<Record>,
    /// Rows without a record: their files have changed since their known values were computed.
    pub(super) changed: Vec<Row>,
}

/// A row of a batch while its record is made.
struct Reducing<'a> {
    record: Record,
    score: &'a PairScore,
    /// Read only where it is needed.
    entry: Option<Entry>,
}

impl<'a> Reducer<'a> {
    pub(super) fn new(flow: &Flow<'a>) -> Reducer<'a> {
        let Flow { manifest, columns, masks, .. } = *flow;
        let is_computed = columns.iter().map(Option::is_some).collect();
        Reducer { manifest, columns, is_computed, known: flow.known.reader(), masks }
    }

    /// What was taken from other runs since the last call.
    pub(super) fn taken(&mut self) -> Vec<Taken> {
        self.known.taken()
    }

    /// The records of a batch; their maps are written when this returns.
    ///
    /// # Errors
    /// When the manifest, a journal or, by a fault of the machine, a mask cannot be read, or a map
    /// cannot be written.
    pub(super) fn records(
        &mut self,
        scored: Scored,
        facts: Vec<PairFacts>,
        maps: Option<&mut Maps>,
    ) -> anyhow::Result<Reduced> {
        let Scored { rows, size, scores } = scored;
        let is_whole = self.is_computed.iter().all(|&is| is);
        let entries = if self.masks.is_some() || maps.is_some() || !is_whole {
            self.entries(&rows)?.into_iter().map(Some).collect()
        } else {
            vec![None; rows.len()]
        };
        let reducing = |index: usize, entry: Option<Entry>| {
            let record = self.record(rows[index], &scores[index], &facts[index], size, &entry)?;
            Ok(Reducing { record, score: &scores[index], entry })
        };
        // Means and values of pixels are there already; everything else is worth a thread.
        let is_there = |column: &Column| match column.from {
            Origin::Model { reduction, .. } => {
                matches!(reduction, Reduction::Mean | Reduction::Statistics)
            }
            Origin::Pixels(_) | Origin::Joined { .. } => true,
        };
        let all: anyhow::Result<Vec<Reducing<'_>>> = if self.columns.iter().flatten().all(is_there)
        {
            entries.into_iter().enumerate().map(|(index, entry)| reducing(index, entry)).collect()
        } else {
            let entries = entries.into_par_iter().enumerate();
            entries.map(|(index, entry)| reducing(index, entry)).collect()
        };
        let (mut all, mut changed) = (all?, Vec::new());
        if !is_whole {
            changed = self.complete(&mut all)?;
        }
        if let Some(maps) = maps {
            self.write_maps(maps, &mut all, size)?;
        }
        Ok(Reduced { records: all.into_iter().map(|one| one.record).collect(), changed })
    }

    /// The record of a pair, as far as its values are computed.
    fn record(
        &self,
        row: Row,
        score: &PairScore,
        facts: &PairFacts,
        size: Size,
        entry: &Option<Entry>,
    ) -> anyhow::Result<Record> {
        let PairFacts { files: Files { differences, stamps }, values } = facts.clone();
        let mut stamps = stamps.to_vec();
        let values = self.values(values, score, entry.as_ref(), size, &mut stamps)?;
        let failure = values.iter().flatten().find_map(|one| one.as_ref().err()).cloned();
        let values = values.into_iter().map(|value| value?.ok()).collect();
        let size = Some((size.width, size.height));
        let rescored = score.iter().flatten().any(|distance| distance.rescored);
        let (pair, maps) = (None, Vec::new());
        Ok(Record { row, pair, size, values, differences, stamps, maps, rescored, failure })
    }

    /// Fills in the values that are known. Removes the rows of which they are not, and returns
    /// them.
    fn complete(&mut self, all: &mut Vec<Reducing<'_>>) -> anyhow::Result<Vec<Row>> {
        let (mut kept, mut changed) = (Vec::with_capacity(all.len()), Vec::new());
        for mut one in all.drain(..) {
            let entry = one.entry.as_ref().context("a row was not read")?;
            match self.known.complete(entry, &self.is_computed, &mut one.record)? {
                true => kept.push(one),
                false => changed.push(one.record.row),
            }
        }
        *all = kept;
        Ok(changed)
    }

    /// Writes the maps that are kept, and adds their hashes to the records.
    fn write_maps(
        &self,
        maps: &mut Maps,
        all: &mut [Reducing<'_>],
        size: Size,
    ) -> anyhow::Result<()> {
        let mut admitted: Vec<(usize, usize, &Distance)> = Vec::new();
        for (place, Reducing { record, score, entry }) in all.iter_mut().enumerate() {
            let score: &PairScore = score;
            record.maps = vec![None; self.columns.len()];
            let entry = entry.as_ref().context("a row was not read")?;
            for (index, column) in self.columns.iter().enumerate() {
                let model = column.as_ref().and_then(Column::mapped_model);
                let distance = model.and_then(|model| score[model].as_ref().ok());
                let (Some(distance), Some(total)) = (distance, record.total(index)) else {
                    continue;
                };
                if maps.admit(index, record.row, &entry.id, total)? {
                    admitted.push((place, index, distance));
                }
            }
        }
        let write = |(place, column, distance): (usize, usize, &Distance)| {
            let Reducing { record, entry, .. } = &all[place];
            let entry = entry.as_ref().context("a row was not read")?;
            let map = metric::spatial(&distance.maps, size);
            let hash = maps.write(column, record.row, &entry.id, size, &map)?;
            Ok((place, column, hash))
        };
        let written: anyhow::Result<Vec<_>> = admitted.into_par_iter().map(write).collect();
        for (place, column, hash) in written? {
            all[place].record.maps[column] = hash;
        }
        Ok(())
    }

    fn entries(&self, rows: &[Row]) -> anyhow::Result<Vec<Entry>> {
        let mut reader = self.manifest.rows()?;
        rows.iter().map(|&row| reader.read(row)).collect()
    }

    /// What every column that is computed holds of one pair, or why it holds nothing: `measured`
    /// where the value is that of pixels, else what the model's distance gives. Adds the stamp of
    /// the mask to those of the images.
    fn values(
        &self,
        measured: Values,
        score: &PairScore,
        entry: Option<&Entry>,
        size: Size,
        stamps: &mut Vec<Stamp>,
    ) -> anyhow::Result<Values> {
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
        let value = |(column, measured): (&Option<Column>, _)| match column.as_ref()?.from {
            Origin::Model { index, reduction } => Some(reduced(index, reduction)),
            Origin::Pixels(_) | Origin::Joined { .. } => measured,
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
