//! Another run, and its rows by their two paths.

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3Default;

use crate::batch::Row;
use crate::column::{Column, Origin, Value};
use crate::error::Refusal;
use crate::image::{Stamp, Verify};
use crate::manifest::Entry;
use crate::run::finished::Stored;
use crate::run::inputs::Taken;
use crate::run::journal::Record;
use crate::run::records::RecordReader;
use crate::run::resume::Files;

/// A run whose values may be taken.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    stored: Stored,
    /// For each column of this run the number of the other's column that has the same values.
    columns: Vec<Option<usize>>,
    /// The key of each row with an outcome, and the row; sorted.
    rows: Vec<(Key, Row)>,
    /// Whether its paths are relative to the folder that this run's are relative to.
    has_same_folder: bool,
    /// Whether this run has every column of the other that takes a model.
    has_all_models: bool,
}

/// What must be equal for the files of a row to count as unchanged.
#[derive(Clone, Copy, Debug)]
pub(super) enum Same<'a> {
    /// These files and what the other run read.
    Files(&'a [PathBuf]),
    /// The contents that this run has read and those that the other run read.
    Contents(&'a [Stamp]),
}

impl Source {
    pub(super) fn open(path: &Path, columns: &[Column], folder: &str) -> anyhow::Result<Source> {
        let stored = Stored::open(path)?;
        let theirs = &stored.frozen.plan.columns;
        let same = |column: &Column| theirs.iter().position(|other| other.agrees_with(column));
        let numbers: Vec<Option<usize>> = columns.iter().map(same).collect();
        if numbers.iter().all(Option::is_none) {
            return Err(no_column(path, columns, theirs).into());
        }
        let mut models = (0..theirs.len()).filter(|&number| takes_model(&theirs[number]));
        let has_all_models = models.all(|number| numbers.contains(&Some(number)));
        let mut rows = Vec::with_capacity(stored.records.finished());
        let mut entries = stored.manifest.rows()?;
        for row in 0..stored.manifest.len() as Row {
            if stored.records.outcome(row).is_some() {
                rows.push((key(&entries.read(row)?), row));
            }
        }
        drop(entries);
        rows.sort_unstable();
        let of = stored.records.folder();
        let has_same_folder = of.is_some_and(|of| of == folder);
        let path = path.to_owned();
        Ok(Source { path, stored, columns: numbers, rows, has_same_folder, has_all_models })
    }

    /// Nothing was taken from it yet.
    pub(super) fn nothing(&self) -> Taken {
        let plan_sha256 = self.stored.frozen.sha256.clone();
        Taken { run: self.path.display().to_string(), plan_sha256, ..Taken::default() }
    }
}

fn no_column(path: &Path, ours: &[Column], theirs: &[Column]) -> Refusal {
    let signatures = |columns: &[Column]| -> String {
        columns.iter().map(|column| format!("\n  {}", column.fingerprint.signature())).collect()
    };
    let (shown, ours, theirs) = (path.display(), signatures(ours), signatures(theirs));
    Refusal::inputs(format!(
        "`--reuse {shown}` has no column of this run; expected one of{ours}\nfound{theirs}"
    ))
    .hint("score with the settings of that run, or leave `--reuse` out")
}

/// A source with what reading it takes.
#[derive(Debug)]
pub(super) struct SourceReader<'a> {
    source: &'a Source,
    records: RecordReader<'a>,
    files: Files,
    /// That of this run.
    numerics_class: &'a str,
}

/// A row of a source.
pub(super) struct Hit<'a> {
    pub(super) record: Record,
    source: &'a Source,
    /// Whether the values of columns that take a model may be taken.
    has_models: bool,
}

impl<'a> SourceReader<'a> {
    pub(super) fn new(
        source: &'a Source,
        numerics_class: &'a str,
        verify: Verify,
    ) -> SourceReader<'a> {
        let verify = if source.has_same_folder { verify } else { Verify::Content };
        let (records, files) = (source.stored.records.reader(1), Files::new(verify));
        SourceReader { source, records, files, numerics_class }
    }

    /// The row of the pair of `entry`, if it has a value and its files are unchanged.
    pub(super) fn find(
        &mut self,
        entry: &Entry,
        same: Same<'_>,
    ) -> anyhow::Result<Option<Hit<'a>>> {
        let source = self.source;
        let Source { stored, rows, .. } = source;
        let key = key(entry);
        let start = rows.partition_point(|(other, _)| *other < key);
        for &(_, row) in rows[start..].iter().take_while(|(other, _)| *other == key) {
            let Some(record) = self.records.read(row)? else { continue };
            if record.values.is_empty() || !self.is_unchanged(&record.stamps, same) {
                continue;
            }
            let class = stored.records.numerics_class(row, &stored.frozen);
            // Which of its columns overflowed is not known.
            let is_known = !record.rescored || source.has_all_models;
            let has_models = is_known && class == Some(self.numerics_class);
            return Ok(Some(Hit { record, source, has_models }));
        }
        Ok(None)
    }

    fn is_unchanged(&mut self, stamps: &[Stamp], same: Same<'_>) -> bool {
        match same {
            Same::Files(files) => self.files.are_unchanged(files.to_vec(), stamps),
            Same::Contents(read) => have_same_contents(read, stamps),
        }
    }
}

impl Hit<'_> {
    /// The value of column `index` of this run, if it may be taken, and whether it takes a model.
    pub(super) fn value(&self, index: usize) -> Option<(&Value, bool)> {
        let number = self.source.columns[index]?;
        let takes_model = takes_model(&self.source.stored.frozen.plan.columns[number]);
        // Values of pixels are the same in every numerics class.
        let may_be_taken = self.has_models || !takes_model;
        self.record.value(number).filter(|_| may_be_taken).map(|value| (value, takes_model))
    }
}

/// Whether two rows have read files of the same contents.
pub(in crate::run) fn have_same_contents(one: &[Stamp], other: &[Stamp]) -> bool {
    let mut files = one.iter().zip(other);
    one.len() == other.len() && files.all(|(one, other)| one.has_content_of(other))
}

fn takes_model(column: &Column) -> bool {
    matches!(column.from, Origin::Model { .. })
}

/// The two paths of a pair as they are written: their XXH3-128, in halves, which take less memory
/// than an integer of 128 bits.
type Key = [u64; 2];

fn key(entry: &Entry) -> Key {
    let mut hash = Xxh3Default::new();
    for path in [&entry.reference, &entry.distorted] {
        hash.update(path.as_bytes());
        hash.update(b"\0");
    }
    let hash = hash.digest128();
    [(hash >> 64) as u64, hash as u64]
}
