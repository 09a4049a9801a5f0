//! Finished values of other runs, taken over instead of computed.
//!
//! A value is taken if a run has a row of the same two paths whose files (reference, distorted
//! image, and mask if there is one) are unchanged since it read them, and a column of the same
//! fingerprint, computed in the same numerics class. Where paths are relative to other folders,
//! contents decide. Of a pair that lacks some columns only these are computed; columns may come
//! from several runs.
//!
//! In memory are 24 bytes for each row of another run, beside the 20 that an open run takes.

mod source;

use std::path::PathBuf;

use rayon::prelude::*;

pub(super) use self::source::have_same_contents;
use self::source::{Same, Source, SourceReader};
use super::attempt::Attempt;
use super::inputs::Taken;
use super::journal::Record;
use super::outputs::Kept;
use super::resume::{FilesOf, Remaining};
use crate::batch::Row;
use crate::column::{Column, Value};
use crate::image::Verify;
use crate::manifest::{Entry, Manifest};

/// Rows that are written to the journal together.
const CHUNK_ROWS: usize = 4096;

/// Other runs whose values may be taken.
#[derive(Debug)]
pub struct Reuse {
    sources: Vec<Source>,
    columns: Vec<Column>,
    numerics_class: String,
    maps: Option<Kept>,
}

/// Rows of which every column was found, for the journal.
#[derive(Default)]
struct Whole {
    taken: Vec<Taken>,
    records: Vec<Record>,
}

impl Whole {
    fn append(self, attempt: &mut Attempt) -> anyhow::Result<()> {
        match self.records.is_empty() {
            true => Ok(()),
            false => attempt.append(&self.taken, &self.records),
        }
    }
}

/// What other runs have of a pair.
struct Found {
    /// The first row that gave something, with the values of all of them.
    record: Record,
    /// For each column the source of its value.
    sources: Vec<Option<usize>>,
}

impl Found {
    /// Of this row of another run, what does not depend on its columns.
    fn nothing_of(record: &Record, columns: usize) -> Found {
        let &Record { row, size, differences, ref stamps, .. } = record;
        let record = Record {
            row,
            pair: None,
            size,
            values: vec![None; columns],
            differences,
            stamps: stamps.clone(),
            // Maps lie in the other run's directory.
            maps: Vec::new(),
            rescored: false,
            failure: None,
        };
        Found { record, sources: vec![None; columns] }
    }
}

impl Reuse {
    /// Opens the runs in `paths` for a run with these columns and maps, and with paths relative to
    /// `folder`.
    ///
    /// # Errors
    /// A [`Refusal`](crate::error::Refusal) when one of them is no run, or computes none of the
    /// columns in the same way.
    pub fn open(
        paths: &[PathBuf],
        columns: &[Column],
        maps: Option<Kept>,
        numerics_class: &str,
        folder: &str,
    ) -> anyhow::Result<Reuse> {
        let open = |path: &PathBuf| Source::open(path, columns, folder);
        let sources: anyhow::Result<Vec<Source>> = paths.iter().map(open).collect();
        let (columns, numerics_class) = (columns.to_vec(), numerics_class.to_owned());
        Ok(Reuse { sources: sources?, columns, numerics_class, maps })
    }

    /// Takes what can be taken of the rows that remain. Rows of which every column is there are
    /// written to the journal and removed from `remaining`; those of which some are there become
    /// partial. Returns what each run gives.
    ///
    /// # Errors
    /// When a manifest or a journal cannot be read or written.
    pub fn take(
        &self,
        manifest: &Manifest,
        verify: Verify,
        files_of: FilesOf<'_>,
        remaining: &mut Remaining,
        attempt: &mut Attempt,
    ) -> anyhow::Result<Vec<Taken>> {
        if self.sources.is_empty() {
            return Ok(Vec::new());
        }
        let mut all = Tally::new(self);
        let left = std::mem::take(&mut remaining.rows);
        // Rows that were looked up are written while the next ones are.
        let mut whole = Whole::default();
        for chunk in left.chunks(CHUNK_ROWS) {
            let (found, appended) = rayon::join(
                || self.look_up_all(chunk, manifest, verify, files_of),
                || std::mem::take(&mut whole).append(attempt),
            );
            appended?;
            let mut taken = Tally::new(self);
            for (&row, found) in chunk.iter().zip(found?) {
                let Some(found) = found else {
                    remaining.rows.push(row);
                    continue;
                };
                let is_computed = self.is_computed(&found);
                all.add(&found, &is_computed);
                if is_computed.iter().all(|&is| is) {
                    remaining.rows.push(row);
                } else if is_computed.contains(&true) {
                    remaining.add_partial(is_computed, row);
                } else {
                    taken.add(&found, &is_computed);
                    let pair = Some(attempt.pair_hash(manifest.identity(row)));
                    whole.records.push(Record { row, pair, ..found.record });
                }
            }
            whole.taken = taken.finish();
            remaining.reused += whole.records.len();
        }
        whole.append(attempt)?;
        remaining.kept += remaining.reused;
        Ok(all.finish())
    }

    /// What there is of each of these rows, by all threads.
    fn look_up_all(
        &self,
        rows: &[Row],
        manifest: &Manifest,
        verify: Verify,
        files_of: FilesOf<'_>,
    ) -> anyhow::Result<Vec<Option<Found>>> {
        // File servers have a high latency and serve many requests at a time.
        let share = rows.len().div_ceil(rayon::current_num_threads());
        let parts = rows.par_chunks(share);
        let found: anyhow::Result<Vec<Vec<Option<Found>>>> =
            parts.map(|rows| self.look_up(rows, manifest, verify, files_of)).collect();
        Ok(found?.into_iter().flatten().collect())
    }

    /// What there is of each of these rows.
    fn look_up(
        &self,
        rows: &[Row],
        manifest: &Manifest,
        verify: Verify,
        files_of: FilesOf<'_>,
    ) -> anyhow::Result<Vec<Option<Found>>> {
        let (mut entries, mut reader) = (manifest.rows()?, self.reader(verify));
        let mut found = |&row: &Row| {
            let entry = entries.read(row)?;
            reader.find(&entry, Same::Files(&files_of(&entry)))
        };
        rows.iter().map(&mut found).collect()
    }

    /// For each column whether it is computed. A spatial map is not in the journal of another run:
    /// where maps are made of a pair, the columns that have maps are computed.
    fn is_computed(&self, found: &Found) -> Vec<bool> {
        let values = &found.record.values;
        let is_whole = values.iter().all(Option::is_some);
        let are_mapped = match self.maps {
            None => false,
            Some(Kept { worst: None }) => true,
            // Which pairs are the worst is decided when their values are there.
            Some(Kept { worst: Some(_) }) => !is_whole,
        };
        let is_mapped = |column: &Column| are_mapped && column.mapped_model().is_some();
        let columns = self.columns.iter().zip(values);
        columns.map(|(column, value)| value.is_none() || is_mapped(column)).collect()
    }

    pub(super) fn reader(&self, verify: Verify) -> ReuseReader<'_> {
        let open = |source| SourceReader::new(source, &self.numerics_class, verify);
        let sources = self.sources.iter().map(open).collect();
        ReuseReader { reuse: self, sources, tally: Tally::new(self) }
    }
}

/// [`Reuse`] with what reading the runs takes.
#[derive(Debug)]
pub(super) struct ReuseReader<'a> {
    reuse: &'a Reuse,
    sources: Vec<SourceReader<'a>>,
    /// What [`Self::complete`] took.
    tally: Tally<'a>,
}

impl ReuseReader<'_> {
    /// The values of the pair of `entry`; `None` if there is not one of them.
    fn find(&mut self, entry: &Entry, same: Same<'_>) -> anyhow::Result<Option<Found>> {
        let columns = &self.reuse.columns;
        let mut found: Option<Found> = None;
        for (number, source) in self.sources.iter_mut().enumerate() {
            let Some(hit) = source.find(entry, same)? else { continue };
            let found = found.get_or_insert_with(|| Found::nothing_of(&hit.record, columns.len()));
            // Contents at the time of reading: columns of one row are of the same files.
            if !have_same_contents(&found.record.stamps, &hit.record.stamps) {
                continue;
            }
            for index in 0..columns.len() {
                let Some((value, takes_model)) = hit.value(index) else { continue };
                if found.record.values[index].is_none() {
                    found.record.values[index] = Some(value.clone());
                    found.record.rescored |= takes_model && hit.record.rescored;
                    found.sources[index] = Some(number);
                }
            }
            if found.record.values.iter().all(Option::is_some) {
                break;
            }
        }
        Ok(found.filter(|found| found.sources.iter().any(Option::is_some)))
    }

    /// Fills the columns of `record` that are not computed. Returns false, and fills nothing, if
    /// the runs have no values of files with these contents.
    pub(super) fn complete(
        &mut self,
        entry: &Entry,
        is_computed: &[bool],
        record: &mut Record,
    ) -> anyhow::Result<bool> {
        let Some(found) = self.find(entry, Same::Contents(&record.stamps))? else {
            return Ok(false);
        };
        let is_there =
            |(value, is_computed): (&Option<Value>, &bool)| *is_computed || value.is_some();
        if !found.record.values.iter().zip(is_computed).all(is_there) {
            return Ok(false);
        }
        self.tally.add(&found, is_computed);
        fill(record, found.record, is_computed);
        Ok(true)
    }

    /// What was taken since the last call.
    pub(super) fn taken(&mut self) -> Vec<Taken> {
        std::mem::replace(&mut self.tally, Tally::new(self.reuse)).finish()
    }
}

/// Fills the columns of `record` that are not computed with values of `known`.
pub(super) fn fill(record: &mut Record, known: Record, is_computed: &[bool]) {
    record.rescored |= known.rescored;
    let values = record.values.iter_mut().zip(known.values).zip(is_computed);
    for ((value, known), _) in values.filter(|(_, is_computed)| !**is_computed) {
        *value = known;
    }
}

/// Counts what each run gave.
#[derive(Debug)]
struct Tally<'a> {
    columns: &'a [Column],
    taken: Vec<Taken>,
}

impl<'a> Tally<'a> {
    fn new(reuse: &'a Reuse) -> Tally<'a> {
        let taken = reuse.sources.iter().map(Source::nothing).collect();
        Tally { columns: &reuse.columns, taken }
    }

    /// Adds the values of a pair that are not computed.
    fn add(&mut self, found: &Found, is_computed: &[bool]) {
        for (number, taken) in self.taken.iter_mut().enumerate() {
            let columns = self.columns.iter().zip(&found.sources).zip(is_computed);
            let given = columns
                .filter(|((_, source), is_computed)| **source == Some(number) && !**is_computed);
            let before = taken.columns.values().sum::<usize>();
            for ((column, _), _) in given {
                *taken.columns.entry(column.name.clone()).or_default() += 1;
            }
            taken.pairs += usize::from(taken.columns.values().sum::<usize>() > before);
        }
    }

    /// The runs that gave something.
    fn finish(self) -> Vec<Taken> {
        self.taken.into_iter().filter(|taken| taken.pairs > 0).collect()
    }
}
