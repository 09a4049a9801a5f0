//! Which rows of a shard are still to be scored.
//!
//! A finished row counts if it has every metric and its files are what they were. Everything
//! else is scored again: pairs that failed, since somebody may have mended them, and pairs whose
//! files have changed.

use std::path::PathBuf;

use super::records::{Outcome, Records};
use crate::batch::Row;
use crate::image::{Stamp, Verify};
use crate::manifest::{Entry, Manifest};
use crate::shard::Shard;

/// What is left to do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rest {
    /// Rows to score, in scoring order.
    pub rows: Vec<Row>,
    /// Rows that need not be.
    pub kept: usize,
    /// Rows among `rows` that had failed.
    pub failed: usize,
    /// Rows among `rows` whose files have changed.
    pub changed: usize,
}

/// The files that a row is made from: reference, distorted, and mask if there is one.
pub type FilesOf<'a> = &'a (dyn Fn(&Entry) -> Vec<PathBuf> + Sync);

/// How rows are examined.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// All rows.
    pub manifest: &'a Manifest,
    /// Those that are asked for.
    pub shard: Shard,
    /// What is there of them.
    pub records: &'a Records,
    /// What is asked of a file to be called unchanged.
    pub verify: Verify,
    /// Threads, since file servers are slow to answer and can answer many at a time.
    pub threads: usize,
}

impl Rest {
    /// Looks at every row of the shard.
    ///
    /// # Errors
    /// When the manifest or a journal cannot be read.
    pub fn of(question: Question<'_>, files_of: FilesOf<'_>) -> anyhow::Result<Rest> {
        let Question { manifest, shard, records, threads, .. } = question;
        let order = manifest.order();
        if shard == Shard::WHOLE && records.is_empty() {
            return Ok(Rest { rows: order.to_vec(), ..Rest::default() });
        }
        let share = order.len().div_ceil(threads).max(1);
        let parts: Vec<anyhow::Result<Rest>> = std::thread::scope(|scope| {
            let examine = |order| scope.spawn(move || examine(question, files_of, order));
            let workers: Vec<_> = order.chunks(share).map(examine).collect();
            let done = workers.into_iter().map(std::thread::ScopedJoinHandle::join);
            done.map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        let mut rest = Rest::default();
        for part in parts {
            let Rest { rows, kept, failed, changed } = part?;
            rest.rows.extend(rows);
            rest.kept += kept;
            rest.failed += failed;
            rest.changed += changed;
        }
        Ok(rest)
    }

    /// Adds rows that were to be kept, but lack something.
    pub fn add(&mut self, rows: &[Row], manifest: &Manifest) {
        if rows.is_empty() {
            return;
        }
        let mut is_in = vec![false; manifest.len()];
        self.rows.iter().chain(rows).for_each(|&row| is_in[row as usize] = true);
        self.rows = manifest.order().iter().copied().filter(|&row| is_in[row as usize]).collect();
        self.kept -= rows.len();
        self.changed += rows.len();
    }
}

fn examine(question: Question<'_>, files_of: FilesOf<'_>, order: &[Row]) -> anyhow::Result<Rest> {
    let Question { manifest, shard, records, verify, threads } = question;
    let mut rows = manifest.rows()?;
    let mut reader = records.reader(threads);
    let mut files = Files { verify, last: None };
    let mut rest = Rest::default();
    for &row in order {
        let entry = rows.read(row)?;
        if !shard.holds(&entry.reference) {
            continue;
        }
        match records.outcome(row) {
            None => {}
            Some(Outcome::Failed) => rest.failed += 1,
            Some(Outcome::Scored) => {
                let stamps = reader.read(row)?.map(|record| record.stamps).unwrap_or_default();
                if files.are_unchanged(files_of(&entry), &stamps) {
                    rest.kept += 1;
                    continue;
                }
                rest.changed += 1;
            }
        }
        rest.rows.push(row);
    }
    Ok(rest)
}

/// Asks the file system, and remembers the answer of the last reference.
struct Files {
    verify: Verify,
    last: Option<(PathBuf, Stamp, bool)>,
}

impl Files {
    fn are_unchanged(&mut self, paths: Vec<PathBuf>, stamps: &[Stamp]) -> bool {
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
