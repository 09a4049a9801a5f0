//! The journal of one attempt: finished rows, in the order in which they were finished.
//!
//! One line an entry: the CRC-32 of the rest in eight hexadecimal digits, a space, the entry as
//! JSON. The first line says who writes, the last one that the attempt ended. Lines are only ever
//! appended, by the one process that created the file. A row carries a hash of the plan and of its
//! pair, so that it counts for no other run and no other pair. Every batch is made durable before
//! more is written, so that a process or a machine that dies loses what was in flight. It may leave
//! a line that is torn: a line whose checksum does not match is skipped, and its row is scored
//! again.

use std::io::{BufRead, BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use fs_err::{File, OpenOptions};
use serde::{Deserialize, Serialize};

use super::disk::Disk;
use super::inputs::{InputNotes, Taken};
use super::outputs::Outputs;
use super::owner::Owner;
use crate::batch::Row;
use crate::column::Value;
use crate::error::{DISK_HINT, Failure, Refusal};
use crate::eval::Loss;
use crate::hash::Xxh3;
use crate::image::Stamp;
use crate::pair::Differences;
use crate::regular;
use crate::shard::Shard;

/// Version of the format that this program writes. Version 1 had layers in place of values.
const FORMAT: u32 = 2;
/// Versions that it reads.
const FORMATS_READ: std::ops::RangeInclusive<u32> = 1..=FORMAT;
/// A longer line is damaged: what a power failure left, not an entry.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// At most this many rows that failed before they reached a batch are not yet durable.
const UNSYNCED_MAX: usize = 256;

/// The place of a journal among those of a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct JournalName {
    /// The shard.
    pub shard: Shard,
    /// Counts the attempts at the shard from 1.
    pub attempt: u32,
}

impl JournalName {
    /// Reads the name of a file; `None` if it is not a journal's.
    #[must_use]
    pub fn parse(name: &str) -> Option<JournalName> {
        let (shard, attempt) = name.split_once(".attempt-")?;
        let (index, count) = shard.split_once("-of-")?;
        let shard = Shard { index: index.parse().ok()?, count: count.parse().ok()? };
        let parsed = JournalName { shard, attempt: attempt.parse().ok()? };
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl std::fmt::Display for JournalName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let JournalName { shard, attempt } = self;
        write!(f, "{}-of-{}.attempt-{attempt}", shard.index, shard.count)
    }
}

/// What became of one row of the manifest.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The row.
    pub row: Row,
    /// [`super::plan::pair_hash`] of the plan and the pair; `None` until it is written, and in
    /// journals of version 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<Xxh3>,
    /// Width and height of the pair's images, if they have one size.
    pub size: Option<(usize, usize)>,
    /// The value of each column of the run, `None` where it could not be computed; empty if none
    /// could.
    #[serde(alias = "layers")]
    pub values: Vec<Option<Value>>,
    /// What the two files differ in without failing the pair.
    #[serde(default, skip_serializing_if = "Differences::is_empty")]
    pub differences: Differences,
    /// What reference, distorted and mask were when they were read, if all could be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stamps: Vec<Stamp>,
    /// The hash of the file of each column's spatial map, `None` where none was written; empty if
    /// the run has no maps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub maps: Vec<Option<Xxh3>>,
    /// Whether a lower precision overflowed in some metric, which was computed again in fp32.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rescored: bool,
    /// Why the pair failed; `None` if every metric was computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

impl Record {
    /// A pair without any score.
    #[must_use]
    pub fn failed(row: Row, failure: Failure) -> Record {
        Record {
            row,
            pair: None,
            size: None,
            values: Vec::new(),
            differences: Differences::default(),
            stamps: Vec::new(),
            maps: Vec::new(),
            rescored: false,
            failure: Some(failure),
        }
    }

    /// The value of column `column` of the run.
    #[must_use]
    pub fn value(&self, column: usize) -> Option<&Value> {
        self.values.get(column)?.as_ref()
    }

    /// The total of column `column` of the run.
    #[must_use]
    pub fn total(&self, column: usize) -> Option<f64> {
        self.value(column).map(|value| value.total)
    }
}

/// Which process writes a journal, and under which plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// Version of the format.
    pub format: u32,
    /// SHA-256 of the run's plan.
    pub plan_sha256: String,
    /// The shard.
    pub shard: Shard,
    /// The process.
    pub owner: Owner,
    /// What the evaluator runs on.
    pub device: String,
    /// Where the weights came from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<String>,
    /// Within it a pair's bits are equal.
    pub numerics_class: String,
    /// Version of this program.
    pub program_version: String,
    /// The commit that it was built from.
    pub program_commit: String,
    /// The arguments.
    pub command: Vec<String>,
    /// The batch script and its arguments, if it stated them in its environment.
    pub script: Option<String>,
    /// How its pairs came about.
    #[serde(default, skip_serializing_if = "InputNotes::is_empty")]
    pub inputs: InputNotes,
    /// What it was asked to make of the rows; the plan's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Outputs>,
    /// UTC.
    pub started: String,
}

/// Why an attempt ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndReason {
    /// Every row of the shard has an outcome.
    Finished,
    /// A signal stopped it.
    Stopped,
    /// An error ended it.
    Failed,
}

/// The last line.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct End {
    /// Why.
    pub how: EndReason,
    /// UTC.
    pub ended: String,
    /// Seconds from the first decoded image to the last score.
    pub elapsed_s: f64,
    /// Devices that failed while others continued.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Loss>,
}

/// One line.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Entry {
    /// The first line.
    Begin(Box<Header>),
    /// Where the rows that follow were taken from.
    Reused(Vec<Taken>),
    /// A finished row.
    Pair(Record),
    /// The last line.
    End(End),
}

impl Header {
    /// The version of the format that this program writes.
    #[must_use]
    pub fn format() -> u32 {
        FORMAT
    }
}

/// An entry as a line.
pub(super) fn line(entry: &Entry) -> anyhow::Result<String> {
    let json = serde_json::to_string(entry)?;
    Ok(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())))
}

/// The entry of a line; `None` if the line is torn or damaged.
fn parse(line: &[u8]) -> Option<Entry> {
    let (crc, json) = line.strip_suffix(b"\n")?.split_at_checked(9)?;
    let digits = crc.strip_suffix(b" ").filter(|crc| crc.iter().all(u8::is_ascii_hexdigit))?;
    let crc = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    (crc == crc32fast::hash(json)).then(|| serde_json::from_slice(json).ok())?
}

/// Reads a journal from its start: every good entry with its offset, and how many lines were torn
/// or damaged. The file may be growing.
///
/// # Errors
/// When the file cannot be read, is of another version, or `visit` fails.
pub fn scan(
    path: &Path,
    mut visit: impl FnMut(u64, Entry) -> anyhow::Result<()>,
) -> anyhow::Result<usize> {
    let mut file = BufReader::with_capacity(1 << 16, regular::open(path)?);
    let (mut offset, mut torn) = (0, 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let len = read_line(&mut file, &mut line)?;
        if len == 0 {
            return Ok(torn);
        }
        match parse(&line) {
            Some(Entry::Begin(header)) if !FORMATS_READ.contains(&header.format) => {
                let (path, found) = (path.display(), header.format);
                return Err(Refusal::inputs(format!(
                    "`{path}` has format {found}, this program reads formats 1 to {FORMAT}"
                ))
                .hint("use the version of lpips that wrote it, or name another folder with `-o`")
                .into());
            }
            Some(entry) => visit(offset, entry)?,
            None => torn += 1,
        }
        offset += len;
    }
}

/// Reads a line with its end into `line`, but of one that is too long only the start; returns the
/// length of the whole line.
fn read_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<u64> {
    let mut len = file.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', line)? as u64;
    if len == LINE_BYTES_MAX && !line.ends_with(b"\n") {
        loop {
            let buffer = file.fill_buf()?;
            let end = buffer.iter().position(|&byte| byte == b'\n').map(|end| end + 1);
            let (used, is_last) = (end.unwrap_or(buffer.len()), end.is_some() || buffer.is_empty());
            file.consume(used);
            len += used as u64;
            if is_last {
                break;
            }
        }
    }
    Ok(len)
}

/// Reads records by offset. Cheapest in the order of the file.
#[derive(Debug)]
pub(super) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    position: u64,
    line: Vec<u8>,
}

impl Reader {
    pub(super) fn open(path: &Path, buffer_bytes: usize) -> anyhow::Result<Reader> {
        let file = BufReader::with_capacity(buffer_bytes, regular::open(path)?);
        Ok(Reader { path: path.to_owned(), file, position: 0, line: Vec::new() })
    }

    /// The record at `offset`, which must be that of `row`.
    pub(super) fn read(&mut self, offset: u64, row: Row) -> anyhow::Result<Record> {
        let relative = i64::try_from(offset)? - i64::try_from(self.position)?;
        self.file.seek_relative(relative)?;
        self.line.clear();
        self.position = offset + read_line(&mut self.file, &mut self.line)?;
        match parse(&self.line) {
            Some(Entry::Pair(record)) if record.row == row => Ok(record),
            _ => anyhow::bail!("`{}` changed while it was read (row {row})", self.path.display()),
        }
    }
}

/// An open journal.
#[derive(Debug)]
pub struct Writer {
    disk: Disk,
    path: PathBuf,
    file: File,
    unsynced: usize,
    /// Nothing may follow a line that was not written completely.
    is_torn: bool,
}

impl Writer {
    /// Opens the journal that this process has created.
    pub(super) fn open(disk: Disk, path: &Path) -> anyhow::Result<Writer> {
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(Writer { disk, path: path.to_owned(), file, unsynced: 0, is_torn: false })
    }

    /// The file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Appends records, after a line that says what of them was taken from other runs. They are
    /// durable when this returns, except that rows which failed without any score (which are tried
    /// again anyway) may wait for the next ones.
    ///
    /// # Errors
    /// When they cannot be written, as on a full disk.
    pub fn append(&mut self, taken: &[Taken], records: &[Record]) -> anyhow::Result<()> {
        let mut lines = String::new();
        if !taken.is_empty() {
            lines.push_str(&line(&Entry::Reused(taken.to_vec()))?);
        }
        for record in records {
            lines.push_str(&line(&Entry::Pair(record.clone()))?);
        }
        self.unsynced += records.len();
        let has_scores = records.iter().any(|record| !record.values.is_empty());
        self.write(&lines, has_scores || self.unsynced >= UNSYNCED_MAX)
    }

    /// Records that the attempt ended. Does nothing after an error of this journal.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end(&mut self, end: End) -> anyhow::Result<()> {
        if self.is_torn { Ok(()) } else { self.write(&line(&Entry::End(end))?, true) }
    }

    /// # Errors
    /// When the file is no longer where it was created: what was written is lost.
    fn expect_in_place(&self) -> anyhow::Result<()> {
        let file = |of: std::fs::Metadata| (of.dev(), of.ino());
        let is_same = fs_err::metadata(&self.path)
            .and_then(|at| Ok(file(at) == file(self.file.metadata()?)))
            .unwrap_or(false);
        ensure!(
            is_same,
            Refusal::environment(format!(
                "`{}` was removed or replaced while the run wrote to it: its rows are lost",
                self.path.display()
            ))
            .hint(
                "run the same command again, which scores what is missing; change nothing in the \
                 run directory during a run"
            )
        );
        Ok(())
    }

    pub(super) fn write(&mut self, lines: &str, is_durable: bool) -> anyhow::Result<()> {
        ensure!(!self.is_torn, "the journal `{}` failed before", self.path.display());
        let written = self.disk.append(&mut self.file, lines.as_bytes(), is_durable);
        self.is_torn = written.is_err();
        if is_durable {
            self.unsynced = 0;
        }
        written.with_context(|| {
            let path = self.path.display();
            Refusal::environment(format!("cannot write finished rows to `{path}`")).hint(DISK_HINT)
        })?;
        self.expect_in_place()
    }
}

#[cfg(test)]
pub(crate) use self::tests::{header, record};

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use crate::code::Code;

    use super::*;

    pub(crate) fn header(shard: Shard, plan_sha256: &str) -> Header {
        Header {
            format: FORMAT,
            plan_sha256: plan_sha256.to_owned(),
            shard,
            owner: Owner::this_process(&|_: &str| None),
            device: "fake".to_owned(),
            weights: Vec::new(),
            numerics_class: "fake".to_owned(),
            program_version: "0".to_owned(),
            program_commit: "0".to_owned(),
            command: Vec::new(),
            script: None,
            inputs: InputNotes::default(),
            outputs: None,
            started: String::new(),
        }
    }

    pub(crate) fn record(row: Row, value: f64) -> Record {
        let stamp = Stamp { len: 7, mtime_ns: -3, xxh3: 0xabc };
        Record {
            row,
            pair: None,
            size: Some((4, 3)),
            values: vec![Some(Value::sum(vec![value, 0.1, 0.0, 0.0, 0.0]))],
            differences: Differences::default(),
            stamps: vec![stamp, stamp],
            maps: Vec::new(),
            rescored: false,
            failure: None,
        }
    }

    fn writer(path: &Path) -> Writer {
        let first = line(&Entry::Begin(Box::new(header(Shard::WHOLE, "p")))).unwrap();
        fs_err::write(path, first).unwrap();
        Writer::open(Disk::default(), path).unwrap()
    }

    fn rows(path: &Path) -> (Vec<Row>, usize) {
        let mut rows = Vec::new();
        let torn = scan(path, |_, entry| {
            if let Entry::Pair(record) = entry {
                rows.push(record.row);
            }
            Ok(())
        });
        (rows, torn.unwrap())
    }

    #[test]
    fn records_come_back_bit_for_bit_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let mut journal = writer(&path);
        let failed = Record::failed(0, Failure::new(Code::Decode, "a \"quoted\"\nreason"));
        journal.append(&[], &[record(2, 1.0 / 3.0), failed.clone()]).unwrap();
        journal.append(&[], &[record(1, 5e-324)]).unwrap();
        let mut found = Vec::new();
        let visit = |offset, entry| {
            if let Entry::Pair(record) = entry {
                found.push((offset, record));
            }
            Ok(())
        };
        assert_eq!(scan(&path, visit).unwrap(), 0);
        let records: Vec<&Record> = found.iter().map(|(_, record)| record).collect();
        assert_eq!(records, [&record(2, 1.0 / 3.0), &failed, &record(1, 5e-324)]);
        let mut reader = Reader::open(&path, 64).unwrap();
        for (offset, record) in found.iter().rev() {
            assert_eq!(&reader.read(*offset, record.row).unwrap(), record);
        }
        assert!(reader.read(found[0].0, 1).is_err(), "another row than expected");
        assert_eq!(record(2, 0.25).total(0), Some(0.35));
        assert_eq!(record(2, 0.25).total(1), None);
    }

    #[test]
    fn a_line_that_is_torn_anywhere_costs_its_own_row_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let mut journal = writer(&path);
        journal.append(&[], &[record(0, 0.5), record(1, 0.25)]).unwrap();
        let whole = fs_err::read(&path).unwrap();
        let last = whole[..whole.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
        for len in last..whole.len() {
            fs_err::write(&path, &whole[..len]).unwrap();
            assert_eq!(rows(&path), (vec![0], usize::from(len > last)), "cut at {len}");
        }
        // A block of zeros in the middle, as a power failure may leave it.
        let mut zeroed = whole.clone();
        zeroed[last - 40..last - 20].fill(0);
        fs_err::write(&path, &zeroed).unwrap();
        assert_eq!(rows(&path), (vec![1], 1));
        fs_err::write(&path, String::from_utf8(whole).unwrap().replace("0.25", "0.26")).unwrap();
        assert_eq!(rows(&path), (vec![0], 1));
    }

    #[test]
    fn nothing_follows_a_torn_line() {
        use crate::run::disk::faults::Fault;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        writer(&path);
        let mut journal = Writer::open(Disk::with_fault(Fault::Tear, 0), &path).unwrap();
        assert!(journal.append(&[], &[record(0, 0.5)]).is_err());
        assert!(journal.append(&[], &[record(1, 0.5)]).is_err());
        let end =
            End { how: EndReason::Failed, ended: String::new(), elapsed_s: 0.0, lost: Vec::new() };
        journal.end(end).unwrap();
        assert_eq!(rows(&path), (vec![], 1));
    }

    #[test]
    fn another_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let other = Header { format: 9, ..header(Shard::WHOLE, "p") };
        let mut file = fs_err::File::create(&path).unwrap();
        write!(file, "{}", line(&Entry::Begin(Box::new(other))).unwrap()).unwrap();
        let error = scan(&path, |_, _| Ok(())).unwrap_err();
        assert!(error.to_string().contains("has format 9"), "{error}");
    }
}
