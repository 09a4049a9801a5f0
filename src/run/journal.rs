//! The journal: finished rows, in the order in which they were finished.
//!
//! One line a row: the CRC-32 of the rest in eight hexadecimal digits, a space, the record as JSON.
//! Lines are only ever appended. The journal knows where each row's record starts (8 bytes a row),
//! so that the tables can be written in manifest order without holding the records in memory.

use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use fs_err::{File, OpenOptions};
use serde::{Deserialize, Serialize};

use crate::batch::Row;
use crate::error::{Failure, Refusal};
use crate::image::Differences;

/// What became of one row of the manifest.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The row.
    pub row: Row,
    /// Width and height of the pair's images, if they have one size.
    pub size: Option<(usize, usize)>,
    /// Distances per layer, for each metric of the run that could be computed; empty if none could.
    pub layers: Vec<Option<Vec<f64>>>,
    /// What the two files differ in without failing the pair.
    #[serde(default, skip_serializing_if = "Differences::is_empty")]
    pub differences: Differences,
    /// Why the pair failed; `None` if every metric was computed.
    pub failure: Option<Failure>,
}

impl Record {
    /// A pair without any score.
    #[must_use]
    pub fn failed(row: Row, failure: Failure) -> Record {
        let differences = Differences::default();
        Record { row, size: None, layers: Vec::new(), differences, failure: Some(failure) }
    }

    /// The total of metric `metric`: the sum of its layers, in order.
    #[must_use]
    pub fn total(&self, metric: usize) -> Option<f64> {
        Some(self.layers.get(metric)?.as_ref()?.iter().sum())
    }
}

/// Marks a row without a record.
const ABSENT: u64 = u64::MAX;

/// The open journal of a run.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
    len_bytes: u64,
    offsets: Vec<u64>,
}

impl Journal {
    /// Starts a journal for `row_count` rows.
    ///
    /// # Errors
    /// When the file exists or cannot be made.
    pub fn create(path: &Path, row_count: usize) -> anyhow::Result<Journal> {
        let file = OpenOptions::new().read(true).append(true).create_new(true).open(path)?;
        Ok(Journal {
            path: path.to_owned(),
            file: BufWriter::new(file),
            len_bytes: 0,
            offsets: vec![ABSENT; row_count],
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends records and hands them to the operating system.
    ///
    /// # Errors
    /// When they cannot be written, as on a full disk.
    pub fn append(&mut self, records: &[Record]) -> anyhow::Result<()> {
        for record in records {
            let json = serde_json::to_string(record)?;
            let line = format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()));
            self.file.write_all(line.as_bytes()).with_context(|| self.cannot_write())?;
            self.offsets[record.row as usize] = self.len_bytes;
            self.len_bytes += line.len() as u64;
        }
        self.file.flush().with_context(|| self.cannot_write())
    }

    /// A reader of the records that were appended.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn records(&mut self) -> anyhow::Result<Records<'_>> {
        self.file.flush().with_context(|| self.cannot_write())?;
        let file = BufReader::with_capacity(1 << 16, File::open(&self.path)?);
        Ok(Records { offsets: &self.offsets, file, position: 0, line: Vec::new() })
    }

    fn cannot_write(&self) -> Refusal {
        let path = self.path.display();
        Refusal::environment(format!("cannot write finished rows to `{path}`"))
            .hint("see whether the disk is full or over quota")
    }
}

/// Records by row. Cheapest in the order in which rows were finished.
#[derive(Debug)]
pub struct Records<'a> {
    offsets: &'a [u64],
    file: BufReader<File>,
    position: u64,
    line: Vec<u8>,
}

impl Records<'_> {
    /// The record of `row`, or `None` if the row is not finished.
    ///
    /// # Errors
    /// When the journal cannot be read or the record is damaged.
    pub fn read(&mut self, row: Row) -> anyhow::Result<Option<Record>> {
        let offset = self.offsets[row as usize];
        if offset == ABSENT {
            return Ok(None);
        }
        if offset != self.position {
            let relative = i64::try_from(offset)? - i64::try_from(self.position)?;
            self.file.seek_relative(relative)?;
        }
        self.line.clear();
        let len = self.file.read_until(b'\n', &mut self.line)?;
        self.position = offset + len as u64;
        let record = parse(&self.line).with_context(|| format!("the journal, row {row}"))?;
        ensure!(record.row == row, "the journal holds row {} in place of row {row}", record.row);
        Ok(Some(record))
    }
}

fn parse(line: &[u8]) -> anyhow::Result<Record> {
    let line = std::str::from_utf8(line)?.trim_end_matches('\n');
    let (crc, json) = line.split_once(' ').context("a damaged record")?;
    let crc = u32::from_str_radix(crc, 16).context("a damaged record")?;
    ensure!(crc == crc32fast::hash(json.as_bytes()), "a damaged record");
    Ok(serde_json::from_str(json)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(row: Row, value: f64) -> Record {
        let layers = vec![Some(vec![value, 0.1]), None];
        let differences = Differences::default();
        Record { row, size: Some((4, 3)), layers, differences, failure: None }
    }

    #[test]
    fn records_come_back_bit_for_bit_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(&folder.path().join("j"), 4).unwrap();
        let failed = Record::failed(0, Failure::new("E_DECODE", "a \"quoted\"\nreason"));
        journal.append(&[record(2, 1.0 / 3.0), failed.clone()]).unwrap();
        journal.append(&[record(1, 5e-324)]).unwrap();
        let mut records = journal.records().unwrap();
        assert_eq!(records.read(0).unwrap().unwrap(), failed);
        assert_eq!(records.read(1).unwrap().unwrap(), record(1, 5e-324));
        assert_eq!(records.read(2).unwrap().unwrap(), record(2, 1.0 / 3.0));
        assert_eq!(records.read(3).unwrap(), None);
        assert_eq!(record(2, 0.25).total(0), Some(0.35));
        assert_eq!(record(2, 0.25).total(1), None);
    }

    #[test]
    fn a_damaged_record_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let mut journal = Journal::create(&path, 1).unwrap();
        journal.append(&[record(0, 0.5)]).unwrap();
        let text = fs_err::read_to_string(&path).unwrap().replace("0.5", "0.6");
        fs_err::write(&path, text).unwrap();
        let error = journal.records().unwrap().read(0).unwrap_err();
        assert!(format!("{error:#}").contains("a damaged record"), "{error:#}");
    }
}
