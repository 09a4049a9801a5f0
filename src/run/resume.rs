//! Which rows of a shard remain to be scored, and which of their columns.
//!
//! A finished row is kept if it has a value in every column and its files are unchanged. All other
//! rows are scored again: pairs that failed, since their files may have been fixed, and pairs whose
//! files have changed. Other runs may have some columns of a row ([`super::reuse`]), and a kept row
//! may lack its spatial map: of these rows some columns are computed, and the others are known.

use std::path::PathBuf;

use rayon::prelude::*;

use super::records::{Outcome, Records};
use crate::batch::Row;
use crate::image::{Stamp, Verify};
use crate::manifest::{Entry, Manifest};
use crate::shard::Shard;

/// The work that remains. Rows are in scoring order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Remaining {
    /// Rows of which every column is computed.
    pub rows: Vec<Row>,
    /// Rows of which other runs have some columns.
    pub partial: Vec<Partial>,
    /// Finished rows that are kept, except for their spatial maps, which are made again.
    pub unmapped: Vec<Row>,
    /// Whether the run had finished rows when this process began.
    pub is_resumed: bool,
    /// Number of finished rows that are kept as they are, and of those taken from other runs.
    pub kept: usize,
    /// Number of rows that were taken from other runs.
    pub reused: usize,
    /// Number of rows that had failed.
    pub failed: usize,
    /// Number of rows whose files have changed.
    pub changed: usize,
}

/// Rows of which the same columns are computed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partial {
    /// For each column of the run whether it is computed. Other runs have the others.
    pub is_computed: Vec<bool>,
    /// The rows.
    pub rows: Vec<Row>,
}

/// The files that a row is made from: reference, distorted, and mask if there is one.
pub type FilesOf<'a> = &'a (dyn Fn(&Entry) -> Vec<PathBuf> + Sync);

/// A shard whose rows are examined.
#[derive(Clone, Copy, Debug)]
pub struct Examined<'a> {
    /// All rows.
    pub manifest: &'a Manifest,
    /// The shard.
    pub shard: Shard,
    /// The finished rows.
    pub records: &'a Records,
    /// How a file is compared with what it was.
    pub verify: Verify,
    /// Number of threads: file servers have a high latency and serve many requests at a time.
    pub threads: usize,
}

impl Remaining {
    /// Examines every row of the shard.
    ///
    /// # Errors
    /// When the manifest or a journal cannot be read.
    pub fn of(examined: Examined<'_>, files_of: FilesOf<'_>) -> anyhow::Result<Remaining> {
        let Examined { manifest, shard, records, threads, .. } = examined;
        let order = manifest.order();
        if shard == Shard::WHOLE && records.is_empty() {
            return Ok(Remaining { rows: order.to_vec(), ..Remaining::default() });
        }
        let share = order.len().div_ceil(threads).max(1);
        let parts = order.par_chunks(share).map(|order| examine(examined, files_of, order));
        let parts: Vec<anyhow::Result<Remaining>> = parts.collect();
        let mut remaining = Remaining::default();
        for part in parts {
            let Remaining { rows, kept, failed, changed, .. } = part?;
            remaining.rows.extend(rows);
            remaining.kept += kept;
            remaining.failed += failed;
            remaining.changed += changed;
        }
        remaining.is_resumed = remaining.kept + remaining.failed + remaining.changed > 0;
        Ok(remaining)
    }

    /// Number of rows that are scored, completely or in part.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all().count()
    }

    /// Whether nothing remains.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    /// All rows that are scored, completely or in part.
    pub fn all(&self) -> impl Iterator<Item = Row> {
        let partial = self.partial.iter().flat_map(|partial| &partial.rows);
        self.rows.iter().chain(partial).chain(&self.unmapped).copied()
    }

    /// Adds a row of which other runs have the columns that are not computed.
    pub(super) fn add_partial(&mut self, is_computed: Vec<bool>, row: Row) {
        match self.partial.iter_mut().find(|partial| partial.is_computed == is_computed) {
            Some(partial) => partial.rows.push(row),
            None => self.partial.push(Partial { is_computed, rows: vec![row] }),
        }
    }

    /// Sets aside rows that would be kept, but whose spatial maps are missing.
    pub fn make_maps(&mut self, rows: &[Row], manifest: &Manifest) {
        self.unmapped = in_scoring_order(rows, manifest);
        self.kept -= rows.len();
    }
}

/// Rows in the order in which they are scored.
#[must_use]
pub fn in_scoring_order(rows: &[Row], manifest: &Manifest) -> Vec<Row> {
    if rows.is_empty() {
        return Vec::new();
    }
    let mut is_in = vec![false; manifest.len()];
    rows.iter().for_each(|&row| is_in[row as usize] = true);
    manifest.order().iter().copied().filter(|&row| is_in[row as usize]).collect()
}

fn examine(
    examined: Examined<'_>,
    files_of: FilesOf<'_>,
    order: &[Row],
) -> anyhow::Result<Remaining> {
    let Examined { manifest, shard, records, verify, threads } = examined;
    let mut rows = manifest.rows()?;
    let mut reader = records.reader(threads);
    let mut files = Files::new(verify);
    let mut remaining = Remaining::default();
    for &row in order {
        let entry = rows.read(row)?;
        if !shard.holds(&entry.reference) {
            continue;
        }
        match records.outcome(row) {
            None => {}
            Some(Outcome::Failed) => remaining.failed += 1,
            Some(Outcome::Scored) => {
                let stamps = reader.read(row)?.map(|record| record.stamps).unwrap_or_default();
                if files.are_unchanged(files_of(&entry), &stamps) {
                    remaining.kept += 1;
                    continue;
                }
                remaining.changed += 1;
            }
        }
        remaining.rows.push(row);
    }
    Ok(remaining)
}

/// Compares files with their stamps, and caches the answer for the last reference.
#[derive(Debug)]
pub(super) struct Files {
    verify: Verify,
    last: Option<(PathBuf, Stamp, bool)>,
}

impl Files {
    pub(super) fn new(verify: Verify) -> Files {
        Files { verify, last: None }
    }

    /// Whether the files are there and as their stamps say.
    pub(super) fn are_unchanged(&mut self, paths: Vec<PathBuf>, stamps: &[Stamp]) -> bool {
        if paths.len() != stamps.len() {
            return false;
        }
        let mut pairs = paths.into_iter().zip(stamps);
        let Some((reference, stamp)) = pairs.next() else { return false };
        let is_reference = match &self.last {
            Some((path, of, is_unchanged)) if *path == reference && of == stamp => *is_unchanged,
            _ => {
                let is_unchanged = stamp.is_of(&reference, self.verify);
                self.last = Some((reference, *stamp, is_unchanged));
                is_unchanged
            }
        };
        is_reference && pairs.all(|(path, stamp)| stamp.is_of(&path, self.verify))
    }
}
