//! The rows of a run from all journals of all attempts, by row.
//!
//! Journals are read once from start to end; 8 bytes a row stay in memory, which say where the
//! row's record is. Of several attempts at one shard the latest wins: it has read the earlier
//! ones, and scored again only what failed or has changed. Otherwise a row must not have two
//! different scores. A record counts if it is of this run, of its pair and of the shape of the
//! plan's columns; everything else is skipped and counted, and its row is missing.

use std::path::PathBuf;

use anyhow::ensure;

use super::inputs::Taken;
use super::joined::Joined;
use super::journal::{self, End, Entry, Header, JournalName, Reader, Record};
use super::plan::Frozen;
use super::{RunDir, names};
use crate::batch::Row;
use crate::column::{Column, Value};
use crate::error::Refusal;
use crate::manifest::Manifest;
use crate::shard::Shard;

/// Marks a row without a record.
const ABSENT: u64 = u64::MAX;
/// Marks a record of a failed pair.
const FAILED: u64 = 1 << 63;
/// A place is the number of a journal above this many bits of offset.
const OFFSET_BITS: u32 = 40;
/// Memory for buffers of journals that are read at the same time, and the least and the most of
/// one. Rows in another order than they were finished in cost a buffer each.
const BUFFERS_BYTES: usize = 32 << 20;
const BUFFER_MIN_BYTES: usize = 4 << 10;
const BUFFER_MAX_BYTES: usize = 8 << 10;
/// Files that this process may have open for other purposes.
const OTHER_FILES: usize = 64;

/// A journal that was read.
#[derive(Clone, PartialEq, Debug)]
pub struct Journal {
    /// Its name.
    pub name: JournalName,
    /// Its first line; `None` if it is damaged, which costs no row.
    pub header: Option<Header>,
    /// Its last one.
    pub end: Option<End>,
    /// What it has of other runs.
    pub reused: Vec<Taken>,
    path: PathBuf,
}

impl Journal {
    /// Within it a pair's bits are equal; the plan's if the first line is damaged.
    fn numerics_class<'a>(&'a self, frozen: &'a Frozen) -> &'a str {
        self.header.as_ref().map_or(&frozen.plan.numerics_class, |header| &header.numerics_class)
    }
}

/// Where the record of each row is.
#[derive(Debug)]
pub struct Records {
    journals: Vec<Journal>,
    places: Vec<u64>,
    /// Rows that are there twice with equal scores.
    pub repeated: usize,
    /// Lines that were torn or damaged.
    pub torn: usize,
    /// Good lines that are of another run or pair, or do not fit the columns.
    pub foreign: usize,
    /// Values that others computed, and the number of columns before theirs.
    joined: Option<(usize, Joined)>,
}

impl Records {
    /// Reads the journals of a run, or of one shard of it.
    ///
    /// # Errors
    /// When a journal cannot be read, belongs to another plan, or a row has two different scores.
    pub fn open(
        run_dir: &RunDir,
        frozen: &Frozen,
        manifest: &Manifest,
        of: Option<Shard>,
    ) -> anyhow::Result<Records> {
        let places = vec![ABSENT; manifest.len()];
        let mut records = Records {
            journals: Vec::new(),
            places,
            repeated: 0,
            torn: 0,
            foreign: 0,
            joined: None,
        };
        for name in run_dir.journal_names()? {
            if of.is_none_or(|shard| shard == name.shard) {
                records.add(run_dir, frozen, manifest, name)?;
            }
        }
        Ok(records)
    }

    /// Lets records end with the values of `joined`, which follow `columns` others.
    pub(super) fn join(&mut self, columns: usize, joined: Joined) {
        self.joined = Some((columns, joined));
    }

    /// The journals, by shard and attempt.
    #[must_use]
    pub fn journals(&self) -> &[Journal] {
        &self.journals
    }

    /// What became of `row`; `None` if it is not finished.
    #[must_use]
    pub fn outcome(&self, row: Row) -> Option<Outcome> {
        match self.places[row as usize] {
            ABSENT => None,
            place if place & FAILED != 0 => Some(Outcome::Failed),
            _ => Some(Outcome::Scored),
        }
    }

    /// The numerics class that a finished row was computed in.
    #[must_use]
    pub(super) fn numerics_class<'a>(&'a self, row: Row, frozen: &'a Frozen) -> Option<&'a str> {
        let place = self.places[row as usize];
        (place != ABSENT).then(|| self.journals[journal_of(place)].numerics_class(frozen))
    }

    /// The folder that the paths of the manifest are relative to, if all processes noted the same.
    #[must_use]
    pub fn folder(&self) -> Option<&str> {
        let mut headers = self.journals.iter().map(|journal| journal.header.as_ref());
        let folder = headers.next()??.inputs.folder.as_deref()?;
        let is_same = |header: Option<&Header>| {
            header.is_some_and(|header| header.inputs.folder.as_deref() == Some(folder))
        };
        headers.all(is_same).then_some(folder)
    }

    /// Number of rows with every metric.
    #[must_use]
    pub fn scored(&self) -> usize {
        self.places.iter().filter(|&&place| place & FAILED == 0).count()
    }

    /// Number of rows with an outcome.
    pub(super) fn finished(&self) -> usize {
        self.places.iter().filter(|&&place| place != ABSENT).count()
    }

    /// Whether no row is finished.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.iter().all(|&place| place == ABSENT)
    }

    /// A reader of records by row, one of `readers` that are used at the same time. Cheapest in the
    /// order in which rows were finished.
    #[must_use]
    pub fn reader(&self, readers: usize) -> RecordReader<'_> {
        let buffers = self.journals.len().max(1) * readers;
        let buffer_bytes = (BUFFERS_BYTES / buffers).clamp(BUFFER_MIN_BYTES, BUFFER_MAX_BYTES);
        let files = self.journals.iter().map(|_| None).collect();
        let open_max = (open_max() / readers).max(1);
        RecordReader { records: self, files, open: 0, open_max, buffer_bytes }
    }

    fn add(
        &mut self,
        run_dir: &RunDir,
        frozen: &Frozen,
        manifest: &Manifest,
        name: JournalName,
    ) -> anyhow::Result<()> {
        let path = run_dir.journals().join(name.to_string());
        let shown = path.display().to_string();
        let number = self.journals.len() as u64;
        ensure!(number < FAILED >> OFFSET_BITS, "more than {number} journals");
        let (mut header, mut end, mut has_rows) = (None, None, false);
        let mut reused = Vec::new();
        // Rows that other journals have, too.
        let mut twice: Vec<(u64, Record)> = Vec::new();
        let (places, foreign) = (&mut self.places, &mut self.foreign);
        self.torn += journal::scan(&path, |offset, entry| {
            match entry {
                Entry::Begin(first) => {
                    check(&shown, &first, name, frozen)?;
                    header = Some(*first);
                }
                Entry::End(last) => end = Some(last),
                Entry::Reused(taken) => reused.extend(taken),
                Entry::Pair(record) => {
                    ensure!(offset < 1 << OFFSET_BITS, "`{shown}` is too long");
                    let is_ours = |_: &&mut u64| belongs(&record, frozen, manifest);
                    let place = places.get_mut(record.row as usize).filter(is_ours);
                    let Some(place) = place else {
                        *foreign += 1;
                        return Ok(());
                    };
                    has_rows = true;
                    let failed = if record.failure.is_some() { FAILED } else { 0 };
                    let before = std::mem::replace(place, failed | number << OFFSET_BITS | offset);
                    if (before | failed) & FAILED == 0 {
                        twice.push((before, record));
                    }
                }
            }
            Ok(())
        })?;
        if header.is_some() || has_rows {
            self.journals.push(Journal { name, header, end, reused, path });
        }
        self.compare(frozen, &twice)
    }

    /// Scores of a pair of unchanged files must be equal within a numerics class.
    fn compare(&mut self, frozen: &Frozen, twice: &[(u64, Record)]) -> anyhow::Result<()> {
        let mut repeated = 0;
        let mut reader = self.reader(1);
        for (place, now) in twice {
            let before = reader.read_at(*place, now.row)?;
            let class = |place: u64| self.journals[journal_of(place)].numerics_class(frozen);
            let is_other = class(*place) != class(self.places[now.row as usize]);
            if before.stamps != now.stamps || is_other {
                continue;
            }
            if before.values != now.values {
                let [before, now_in] = [*place, self.places[now.row as usize]]
                    .map(|place| self.journals[journal_of(place)].path.display().to_string());
                return Err(Refusal::inputs(format!(
                    "row {} of the manifest has different scores in `{before}` and `{now_in}`",
                    now.row + 1
                ))
                .hint("do not trust either: find out how the two machines differ, and start anew")
                .into());
            }
            // A pair whose map was made later was scored again on purpose.
            repeated += usize::from(before.maps == now.maps);
        }
        drop(reader);
        self.repeated += repeated;
        Ok(())
    }
}

/// What became of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It has every metric.
    Scored,
    /// It does not.
    Failed,
}

fn journal_of(place: u64) -> usize {
    // At most the number of journals.
    ((place & !FAILED) >> OFFSET_BITS) as usize
}

fn check(shown: &str, header: &Header, name: JournalName, frozen: &Frozen) -> anyhow::Result<()> {
    ensure!(
        frozen.is_of(&header.plan_sha256),
        Refusal::inputs(format!("`{shown}` belongs to another run than `{}`", names::PLAN)).hint(
            "restore the plan if it was edited, or move the journal back to the run that it was \
             copied from; its rows are intact"
        )
    );
    ensure!(
        header.shard == name.shard,
        Refusal::inputs(format!("`{shown}` was renamed: it is of shard {}", header.shard)).hint(
            format!(
                "give it back its name, `{}-of-{}.attempt-{}` or a later attempt",
                header.shard.index, header.shard.count, name.attempt
            )
        )
    );
    Ok(())
}

/// Whether a record is of this plan and of the pair that its row is, with values for the columns.
fn belongs(record: &Record, frozen: &Frozen, manifest: &Manifest) -> bool {
    frozen.binds(record.pair, manifest.identity(record.row)) && fits(record, &frozen.plan.columns)
}

fn fits(record: &Record, columns: &[Column]) -> bool {
    let Record { values, failure, .. } = record;
    if values.is_empty() {
        return failure.is_some();
    }
    let is_value = |(value, column): (&Option<Value>, &Column)| match value {
        None => failure.is_some(),
        Some(Value { total, parts }) => {
            !total.is_nan()
                && parts.len() == column.parts
                && parts.iter().all(|part| part.is_finite())
        }
    };
    values.len() == columns.len() && values.iter().zip(columns).all(is_value)
}

/// Files that may be open at the same time, after asking for as many as there may be.
fn open_max() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let is_raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    // If the limit cannot be raised, files are closed and opened again.
    let limit = if is_raised { maximum } else { current };
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    limit.saturating_sub(OTHER_FILES)
}

/// Records by row.
#[derive(Debug)]
pub struct RecordReader<'a> {
    records: &'a Records,
    files: Vec<Option<Reader>>,
    open: usize,
    open_max: usize,
    buffer_bytes: usize,
}

impl RecordReader<'_> {
    /// The record of `row`, or `None` if the row is not finished.
    ///
    /// # Errors
    /// When the journal cannot be read or the record is damaged.
    pub fn read(&mut self, row: Row) -> anyhow::Result<Option<Record>> {
        match self.records.places[row as usize] {
            ABSENT => Ok(None),
            place => {
                let mut record = self.read_at(place, row)?;
                if let Some((columns, joined)) = &self.records.joined {
                    // A pair that failed may have none.
                    record.values.resize(*columns, None);
                    record.values.extend(joined.of(row));
                }
                Ok(Some(record))
            }
        }
    }

    fn read_at(&mut self, place: u64, row: Row) -> anyhow::Result<Record> {
        let journal = journal_of(place);
        if self.files[journal].is_none() {
            if self.open >= self.open_max {
                self.files.iter_mut().for_each(|file| *file = None);
                self.open = 0;
            }
            self.open += 1;
        }
        let path = &self.records.journals[journal].path;
        let reader = match &mut self.files[journal] {
            Some(reader) => reader,
            closed => closed.insert(Reader::open(path, self.buffer_bytes)?),
        };
        reader.read(place & ((1 << OFFSET_BITS) - 1), row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Code;
    use crate::error::Failure;
    use crate::run::attempt::Attempt;
    use crate::run::journal::EndReason;
    use crate::run::journal::{header, record};
    use crate::run::plan::tests::plan;

    /// A manifest of ten rows.
    fn manifest(folder: &std::path::Path) -> Manifest {
        let rows: String = (0..10).map(|row| format!("r{row},d{row}\n")).collect();
        let path = folder.join("m.csv");
        fs_err::write(&path, format!("ref,dist\n{rows}")).unwrap();
        Manifest::open(crate::manifest::Location::of(&path)).unwrap()
    }

    /// The records with what binds each to its pair.
    fn bound(records: &[Record], attempt: &Attempt, manifest: &Manifest) -> Vec<Record> {
        let pair = |row: Row| Some(attempt.pair_hash(manifest.identity(row)));
        records.iter().map(|record| Record { pair: pair(record.row), ..record.clone() }).collect()
    }

    /// A run of ten rows in four shards; each attempt is a shard and its records.
    fn records(attempts: &[(u32, Vec<Record>)]) -> anyhow::Result<(Records, Vec<Option<Record>>)> {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir::open(folder.path()).unwrap();
        let frozen = plan().freeze(&run_dir, false).unwrap();
        let manifest = manifest(folder.path());
        for (index, records) in attempts {
            let shard = Shard { index: *index, count: 4 };
            let mut attempt = Attempt::begin(&run_dir, header(shard, &frozen.sha256))?;
            attempt.append(&[], &bound(records, &attempt, &manifest))?;
            attempt.end(EndReason::Finished, 1.0, Vec::new())?;
        }
        let records = Records::open(&run_dir, &frozen, &manifest, None)?;
        let mut reader = records.reader(1);
        let unbound = |record: Record| Record { pair: None, ..record };
        let read = (0..10).map(|row| reader.read(row).unwrap().map(unbound)).collect();
        drop(reader);
        Ok((records, read))
    }

    #[test]
    fn rows_are_found_in_whatever_journal_they_are() {
        let (records, read) = records(&[
            (2, vec![record(7, 0.7), record(1, 0.1)]),
            (0, vec![Record::failed(4, Failure::new(Code::Decode, "no"))]),
            (2, vec![record(3, 0.3)]),
        ])
        .unwrap();
        let found: Vec<Row> = read.iter().flatten().map(|record| record.row).collect();
        assert_eq!(found, [1, 3, 4, 7]);
        assert_eq!(records.outcome(4), Some(Outcome::Failed));
        assert_eq!(records.outcome(7), Some(Outcome::Scored));
        assert_eq!(records.outcome(0), None);
        let names: Vec<String> =
            records.journals().iter().map(|journal| journal.name.to_string()).collect();
        assert_eq!(names, ["0-of-4.attempt-1", "2-of-4.attempt-1", "2-of-4.attempt-2"]);
    }

    #[test]
    fn the_latest_attempt_wins() {
        let failed = Record::failed(4, Failure::new(Code::Decode, "no"));
        let mut changed = record(5, 0.6);
        changed.stamps[1].len += 1;
        let (records, read) = records(&[
            (0, vec![failed.clone(), record(5, 0.5), record(6, 0.5)]),
            (0, vec![record(4, 0.4), changed.clone(), Record { row: 6, ..failed.clone() }]),
        ])
        .unwrap();
        assert_eq!(read[4], Some(record(4, 0.4)));
        assert_eq!(read[5], Some(changed));
        assert_eq!(read[6], Some(Record { row: 6, ..failed }));
        assert_eq!(records.repeated, 0);
    }

    #[test]
    fn equal_repetitions_are_counted_and_unequal_ones_refused() {
        let (same, _) = records(&[(0, vec![record(4, 0.4)]), (1, vec![record(4, 0.4)])]).unwrap();
        assert_eq!(same.repeated, 1);
        let unequal = records(&[(0, vec![record(4, 0.4)]), (1, vec![record(4, 0.5)])]);
        let message = unequal.unwrap_err().to_string();
        assert!(message.starts_with("row 5 of the manifest has different scores in"), "{message}");
        assert!(message.contains("0-of-4.attempt-1` and"), "{message}");
    }

    #[test]
    fn journals_of_another_run_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir::open(folder.path()).unwrap();
        let frozen = plan().freeze(&run_dir, false).unwrap();
        let shard = Shard { index: 0, count: 4 };
        Attempt::begin(&run_dir, header(shard, "other")).unwrap();
        let refused = Records::open(&run_dir, &frozen, &manifest(folder.path()), None).unwrap_err();
        assert!(refused.to_string().contains("belongs to another run"), "{refused}");
    }

    #[test]
    fn more_journals_than_files_may_be_open_are_read() {
        let attempts: Vec<(u32, Vec<Record>)> =
            (0..10).map(|row| (row % 4, vec![record(row, 0.5)])).collect();
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir::open(folder.path()).unwrap();
        let frozen = plan().freeze(&run_dir, false).unwrap();
        let manifest = manifest(folder.path());
        for (index, records) in attempts {
            let shard = Shard { index, count: 4 };
            let mut attempt = Attempt::begin(&run_dir, header(shard, &frozen.sha256)).unwrap();
            attempt.append(&[], &bound(&records, &attempt, &manifest)).unwrap();
            attempt.end(EndReason::Stopped, 0.0, Vec::new()).unwrap();
        }
        let records = Records::open(&run_dir, &frozen, &manifest, None).unwrap();
        let mut reader = records.reader(1);
        reader.open_max = 2;
        for row in [0, 9, 4, 1, 2, 9, 0, 3] {
            let read = reader.read(row).unwrap().unwrap();
            assert_eq!((read.row, read.values), (row, record(row, 0.5).values));
            assert!(reader.files.iter().flatten().count() <= 2);
        }
    }
}
