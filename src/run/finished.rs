//! Runs opened for reading, as merge, report and compare do. Nothing is created or changed.

use std::collections::BTreeMap;
use std::path::Path;

use super::RunDir;
use super::facts::RunFingerprint;
use super::joined::Joined;
use super::journal::{Header, Record};
use super::outputs::{Noted, Outputs};
use super::plan::{Frozen, Plan};
use super::records::{RecordReader, Records};
use crate::batch::Row;
use crate::column::Column;
use crate::decimal::counted;
use crate::error::Refusal;
use crate::manifest::{Entry, Location, Manifest, Rows};
use crate::shard::Shard;

/// A run as its directory holds it, finished or not: plan, manifest and journals agree.
#[derive(Debug)]
pub struct Stored {
    /// The plan.
    pub frozen: Frozen,
    /// The run's own copy of the manifest. The folder that its paths are relative to is not known.
    pub manifest: Manifest,
    /// The rows that have an outcome.
    pub records: Records,
    /// The columns of pairs.csv: those of the plan, then those that others computed.
    pub columns: Vec<Column>,
}

impl Stored {
    /// Opens the run in `path`, written by this version or by version 0.1.
    ///
    /// # Errors
    /// A [`Refusal`] when there is no run, its manifest has changed, or journals and plan do not
    /// belong together.
    pub fn open(path: &Path) -> anyhow::Result<Stored> {
        Stored::read(&RunDir::existing(path)?, None)
    }

    /// Reads plan, manifest and journals of a run, or of one shard of it, from its directory, and
    /// nothing from memory: what is there is what counts.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn read(run_dir: &RunDir, of: Option<Shard>) -> anyhow::Result<Stored> {
        let frozen = Plan::of(run_dir)?;
        let manifest = manifest(run_dir, &frozen.plan)?;
        let records = Records::open(run_dir, &frozen, &manifest, of)?;
        let columns = frozen.plan.columns.clone();
        let mut stored = Stored { frozen, manifest, records, columns };
        if let Some(noted) = stored.joined()? {
            let joined = Joined::open(run_dir, &noted, stored.manifest.len())?;
            stored.records.join(stored.columns.len(), joined.clone());
            stored.columns.extend(joined.columns);
        }
        Ok(stored)
    }

    /// What the last process was asked to make of the rows.
    #[must_use]
    pub fn outputs(&self) -> Outputs {
        // Shards agree; the attempts at one are in order.
        let mut last_first = self.records.journals().iter().rev();
        let last = last_first.find_map(|journal| journal.header.as_ref());
        let asked = last.and_then(|last| last.outputs.clone());
        asked.unwrap_or_else(|| self.frozen.plan.outputs())
    }

    /// The columns that the last processes of all shards were given.
    fn joined(&self) -> Result<Option<Noted>, Refusal> {
        let mut last: BTreeMap<u32, Option<&Noted>> = BTreeMap::new();
        for journal in self.records.journals() {
            if let Some(Header { outputs: Some(outputs), shard, .. }) = &journal.header {
                last.insert(shard.index, outputs.joined.as_ref());
            }
        }
        let mut given = last.into_values();
        let first = given.next().flatten();
        if given.all(|other| other == first) {
            return Ok(first.cloned());
        }
        Err(Refusal::inputs("shards of this run were given different columns by `--join`").hint(
            "run the command of every shard again with the same `--join`; no pair is scored again",
        ))
    }

    /// Number of rows without an outcome.
    #[must_use]
    pub fn missing(&self) -> usize {
        let rows = 0..self.manifest.len() as Row;
        rows.filter(|&row| self.records.outcome(row).is_none()).count()
    }
}

/// The run's own copy, whose hash is the plan's.
fn manifest(run_dir: &RunDir, plan: &Plan) -> anyhow::Result<Manifest> {
    let path = run_dir.file(&plan.manifest);
    let manifest = Manifest::open(Location::of(&path))?;
    if plan.manifest_sha256 != manifest.sha256() {
        let shown = path.display();
        return Err(Refusal::inputs(format!("`{shown}` has changed since the run started"))
            .hint("restore the manifest that the run was started with")
            .into());
    }
    Ok(manifest)
}

/// A run in which every row has an outcome.
///
/// In memory are 8 bytes a row for the place of its record and 12 for its place in the manifest;
/// rows are read from the files as they are asked for.
#[derive(Debug)]
pub struct Finished(Stored);

/// A row of a finished run.
#[derive(Clone, PartialEq, Debug)]
pub struct FinishedRow {
    /// Id, item, method, paths and carried columns.
    pub entry: Entry,
    /// Its values in the order of [`Finished::columns`], its failure, the size of its images and
    /// the stamps of its files.
    pub record: Record,
}

impl Finished {
    /// Opens the finished run in `path`.
    ///
    /// # Errors
    /// As [`Stored::open`], and a [`Refusal`] when rows are missing.
    pub fn open(path: &Path) -> anyhow::Result<Finished> {
        let stored = Stored::open(path)?;
        match stored.missing() {
            0 => Ok(Finished(stored)),
            missing => {
                let (shown, pairs) = (path.display(), counted(stored.manifest.len(), "pair"));
                let text =
                    format!("the run `{shown}` is not finished: it lacks {missing} of {pairs}");
                Err(Refusal::inputs(text)
                    .hint(format!("`lpips merge {shown}` lists them and prints how to score them"))
                    .into())
            }
        }
    }

    /// The metric columns.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.0.columns
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.0.frozen.plan
    }

    /// Names of the carried columns, in the order of [`Entry::carried`].
    #[must_use]
    pub fn carried(&self) -> &[String] {
        self.0.manifest.carried()
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.manifest.len()
    }

    /// Whether there are no rows, which no run has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What decides the numbers: the manifest, the numerics classes of all attempts, the settings
    /// of each column.
    #[must_use]
    pub fn fingerprint(&self) -> RunFingerprint {
        RunFingerprint::new(self.plan(), self.columns(), self.0.records.journals())
    }

    /// The rows, in the order of the manifest.
    ///
    /// # Errors
    /// When the manifest cannot be opened again. An item is an error when its row cannot be read.
    pub fn rows(&self) -> anyhow::Result<FinishedRows<'_>> {
        let Stored { manifest, records, .. } = &self.0;
        let rows = 0..manifest.len() as Row;
        Ok(FinishedRows { rows, entries: manifest.rows()?, records: records.reader(1) })
    }
}

/// See [`Finished::rows`].
#[derive(Debug)]
pub struct FinishedRows<'a> {
    rows: std::ops::Range<Row>,
    entries: Rows<'a>,
    records: RecordReader<'a>,
}

impl Iterator for FinishedRows<'_> {
    type Item = anyhow::Result<FinishedRow>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next()?;
        let mut read = || {
            let entry = self.entries.read(row)?;
            let record = self.records.read(row)?;
            let record = record.ok_or_else(|| anyhow::anyhow!("row {row} has no outcome"))?;
            Ok(FinishedRow { entry, record })
        };
        Some(read())
    }
}
