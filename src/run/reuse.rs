//! Finished rows of other runs, taken over instead of scored.
//!
//! A row is taken if a run has a row of the same two paths, whose files (reference, distorted
//! image, and mask if there is one) are unchanged since it read them, and if for every column of
//! this run such a run has a column of the same fingerprint, computed in the same numerics class.
//! Columns may come from several runs. Where paths are relative to other folders, contents decide.
//!
//! In memory are 16 bytes for each row of another run, beside what an open run takes.

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3Default;

use super::attempt::Attempt;
use super::finished::Stored;
use super::inputs::Taken;
use super::journal::{self, Record, Writer};
use super::records::{Outcome, RecordReader};
use super::resume::{Files, FilesOf, Remaining};
use crate::batch::Row;
use crate::column::{Column, Value};
use crate::error::Refusal;
use crate::image::Verify;
use crate::manifest::{Entry, Manifest, Rows};

/// Rows that are written to the journal together.
const CHUNK_ROWS: usize = 16384;

/// Other runs whose rows may be taken.
#[derive(Debug)]
pub struct Reuse {
    runs: Vec<Run>,
    columns: usize,
    numerics_class: String,
}

/// Another run.
#[derive(Debug)]
struct Run {
    path: PathBuf,
    stored: Stored,
    /// For each column of this run the number of the other's column that is computed in the same
    /// way.
    columns: Vec<Option<usize>>,
    /// Hashes of the two paths of each scored row, and the row; sorted.
    rows: Vec<(u64, Row)>,
    /// Whether its paths are relative to the folder that this run's are relative to.
    has_same_folder: bool,
}

impl Reuse {
    /// Opens the runs in `paths` for a run with these columns and paths relative to `folder`.
    ///
    /// # Errors
    /// A [`Refusal`] when one of them is no run, or computes none of the columns in the same way.
    pub fn open(
        paths: &[PathBuf],
        columns: &[Column],
        numerics_class: &str,
        folder: &str,
    ) -> anyhow::Result<Reuse> {
        let runs = paths.iter().map(|path| Run::open(path, columns, folder));
        let runs: anyhow::Result<Vec<Run>> = runs.collect();
        let numerics_class = numerics_class.to_owned();
        Ok(Reuse { runs: runs?, columns: columns.len(), numerics_class })
    }

    /// Takes what can be taken of the rows that remain, writes it to the journal, and removes it
    /// from `remaining`. Returns how many pairs each run gave.
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
        let mut rows = manifest.rows()?;
        let others: anyhow::Result<Vec<Other<'_>>> =
            self.runs.iter().map(|run| Other::new(run, verify)).collect();
        let mut others = others?;
        let mut all: Vec<Taken> = others.iter().map(Other::nothing).collect();
        let mut left = Vec::with_capacity(remaining.rows.len());
        for chunk in remaining.rows.chunks(CHUNK_ROWS) {
            let mut records = Vec::new();
            let mut taken: Vec<Taken> = others.iter().map(Other::nothing).collect();
            for &row in chunk {
                let entry = rows.read(row)?;
                let files = files_of(&entry);
                match self.record(&mut others, &entry, &files, &mut taken)? {
                    Some(record) => {
                        let pair = Some(attempt.pair_hash(manifest.identity(row)));
                        records.push(Record { row, pair, ..record });
                    }
                    None => left.push(row),
                }
            }
            taken.iter().zip(&mut all).for_each(|(taken, all)| all.pairs += taken.pairs);
            taken.retain(|taken| taken.pairs > 0);
            if !records.is_empty() {
                attempt.reuse(&taken, &records)?;
            }
        }
        remaining.reused = remaining.rows.len() - left.len();
        remaining.kept += remaining.reused;
        remaining.rows = left;
        Ok(all)
    }

    /// The record of a pair whose columns other runs have; `None` if one of them is missing.
    fn record(
        &self,
        others: &mut [Other<'_>],
        entry: &Entry,
        files: &[PathBuf],
        taken: &mut [Taken],
    ) -> anyhow::Result<Option<Record>> {
        let mut found: Option<Record> = None;
        let mut values: Vec<Option<Value>> = vec![None; self.columns];
        let mut gave = vec![false; others.len()];
        for (number, other) in others.iter_mut().enumerate() {
            if values.iter().all(Option::is_some) {
                break;
            }
            let Some(record) = other.find(entry, files, &self.numerics_class)? else { continue };
            // Contents at the time of reading: columns of one row are of the same files.
            if found.as_ref().is_some_and(|found| found.stamps != record.stamps) {
                continue;
            }
            for (value, column) in values.iter_mut().zip(&other.run.columns) {
                if let (None, Some(column)) = (&value, column) {
                    *value = record.value(*column).cloned();
                    gave[number] |= value.is_some();
                }
            }
            found = found.or(Some(record));
        }
        let is_whole = values.iter().all(Option::is_some);
        let Some(record) = found.filter(|_| is_whole) else { return Ok(None) };
        gave.iter().zip(taken).for_each(|(gave, taken)| taken.pairs += usize::from(*gave));
        // Maps lie in the other run's directory.
        Ok(Some(Record { values, maps: Vec::new(), ..record }))
    }
}

impl Run {
    fn open(path: &Path, columns: &[Column], folder: &str) -> anyhow::Result<Run> {
        let stored = Stored::open(path)?;
        let theirs = &stored.frozen.plan.columns;
        let same = |column: &Column| {
            let is_same = |other: &Column| {
                other.fingerprint == column.fingerprint && other.parts == column.parts
            };
            theirs.iter().position(is_same)
        };
        let numbers: Vec<Option<usize>> = columns.iter().map(same).collect();
        if numbers.iter().all(Option::is_none) {
            let signature = |column: &Column| format!("\n  {}", column.fingerprint.signature());
            let (ours, theirs): (String, String) =
                (columns.iter().map(signature).collect(), theirs.iter().map(signature).collect());
            let message = format!(
                "`--reuse {}` has no column of this run; expected one of{ours}\nfound{theirs}",
                path.display()
            );
            return Err(Refusal::inputs(message)
                .hint("score with the settings of that run, or leave `--reuse` out")
                .into());
        }
        let mut rows = Vec::with_capacity(stored.records.scored());
        let mut entries = stored.manifest.rows()?;
        for row in 0..stored.manifest.len() as Row {
            if stored.records.outcome(row) == Some(Outcome::Scored) {
                rows.push((key(&entries.read(row)?), row));
            }
        }
        drop(entries);
        rows.sort_unstable();
        let of = stored.records.folder();
        let has_same_folder = of.is_some_and(|of| of == folder);
        let path = path.to_owned();
        Ok(Run { path, stored, columns: numbers, rows, has_same_folder })
    }
}

/// Another run with what reading it takes.
struct Other<'a> {
    run: &'a Run,
    entries: Rows<'a>,
    records: RecordReader<'a>,
    files: Files,
}

impl<'a> Other<'a> {
    fn new(run: &'a Run, verify: Verify) -> anyhow::Result<Other<'a>> {
        let verify = if run.has_same_folder { verify } else { Verify::Content };
        let files = Files::new(verify);
        let (entries, records) = (run.stored.manifest.rows()?, run.stored.records.reader(1));
        Ok(Other { run, entries, records, files })
    }

    fn nothing(&self) -> Taken {
        let run = self.run.path.display().to_string();
        Taken { run, plan_sha256: self.run.stored.frozen.sha256.clone(), pairs: 0 }
    }

    /// The record of the pair of `entry`, if its files are unchanged.
    fn find(
        &mut self,
        entry: &Entry,
        files: &[PathBuf],
        numerics_class: &str,
    ) -> anyhow::Result<Option<Record>> {
        let Run { stored, rows, .. } = self.run;
        let key = key(entry);
        let start = rows.partition_point(|(other, _)| *other < key);
        for &(_, row) in rows[start..].iter().take_while(|(other, _)| *other == key) {
            let other = self.entries.read(row)?;
            let is_same = other.reference == entry.reference && other.distorted == entry.distorted;
            let class = stored.records.numerics_class(row, &stored.frozen);
            if !is_same || class != Some(numerics_class) {
                continue;
            }
            let Some(record) = self.records.read(row)? else { continue };
            if self.files.are_unchanged(files.to_vec(), &record.stamps) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}

impl Writer {
    /// Appends records that were taken from other runs, after a line that says from which.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn reuse(&mut self, taken: &[Taken], records: &[Record]) -> anyhow::Result<()> {
        self.write(&journal::line(&journal::Entry::Reused(taken.to_vec()))?, false)?;
        self.append(records)
    }
}

/// A hash of the two paths as they are written.
fn key(entry: &Entry) -> u64 {
    let mut hash = Xxh3Default::new();
    for path in [&entry.reference, &entry.distorted] {
        hash.update(path.as_bytes());
        hash.update(b"\0");
    }
    hash.digest()
}
