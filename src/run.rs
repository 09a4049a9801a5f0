//! The run directory: what a run is called, what decides its numbers, and where they are.
//!
//! A run directory holds `plan.json`, on which all processes of the run have agreed, a copy of the
//! manifest, a journal per attempt at a shard, and in the end `pairs.csv`, `summary.csv` and
//! `run.json`, which appear by rename. This module knows files and columns, and refuses to know how
//! scores are made.

pub mod attempt;
pub mod counts;
pub mod disk;
pub mod journal;
pub mod maps;
pub mod owner;
pub mod plan;
pub mod records;
pub mod resume;
pub mod tables;
pub mod twoafc;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use tempfile::TempDir;

use self::attempt::JournalName;
use self::disk::Disk;
use crate::error::{DISK_HINT, Refusal};
use crate::eval::{Affine, Epsilon, Loss};
use crate::metric::Reduction;
use crate::net::Net;
use crate::net::weights::Version;

/// Names of the files of a run directory.
pub mod names {
    /// A row per pair, in manifest order.
    pub const PAIRS: &str = "pairs.csv";
    /// A row per group and metric.
    pub const SUMMARY: &str = "summary.csv";
    /// How often metrics agree with people, for triplets.
    pub const TWO_AFC: &str = "twoafc.csv";
    /// The fingerprint and the provenance. Written last, so that where it is, the tables are whole.
    pub const RUN: &str = "run.json";
    /// The three.
    pub const RESULTS: [&str; 3] = [RUN, PAIRS, SUMMARY];
    /// What all processes of the run have agreed on.
    pub const PLAN: &str = "plan.json";
    /// The folder of finished rows.
    pub const JOURNALS: &str = "journal";
    /// The copy of the manifest, without its extension.
    pub const MANIFEST: &str = "manifest";
    /// The folder of spatial maps.
    pub const MAPS: &str = "maps";
}

/// Whether the taps are weighted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// With the learned lin weights.
    Lpips,
    /// Plain sums over channels.
    Baseline,
}

/// One metric column of the run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Metric {
    /// The column, such as `lpips_alex`.
    pub name: String,
    /// The trunk.
    pub net: Net,
    /// SHA-256 of the trunk's weights file.
    pub trunk_sha256: String,
    /// SHA-256 of the lin weights file; none in baseline mode.
    pub lin_sha256: Option<String>,
    /// What becomes of the maps of its layers.
    pub reduction: Reduction,
}

impl Metric {
    /// The column of `net` in `mode`.
    #[must_use]
    pub fn column(mode: Mode, reduction: Reduction, net: Net) -> String {
        let mode = match mode {
            Mode::Lpips => "lpips",
            Mode::Baseline => "baseline",
        };
        match reduction {
            Reduction::Mean => format!("{mode}_{net}"),
            reduction => format!("{mode}_{reduction}_{net}"),
        }
    }

    /// Number of layers.
    #[must_use]
    pub fn layer_count(&self) -> usize {
        self.net.spec().tap_channels().len()
    }
}

/// Everything that decides the numbers. Runs may be joined only where all of this agrees.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Fingerprint {
    /// The metrics, in column order.
    pub metrics: Vec<Metric>,
    /// `0.1` or `0.0`.
    pub lpips_version: Version,
    /// With or without lin weights.
    pub mode: Mode,
    /// What input samples stand for.
    pub input_range: &'static str,
    /// What is done to them first.
    pub input: Affine,
    /// What keeps the norms of features from being 0.
    pub epsilon: Epsilon,
    /// How files become samples.
    pub pixel_rules: crate::image::Rules,
    /// Arithmetic of the trunk.
    pub precision: &'static str,
    /// Where bits agree.
    pub numerics_class: String,
    /// SHA-256 of the manifest.
    pub manifest_sha256: String,
}

/// Where the numbers come from; it decides nothing.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Provenance {
    /// Version of the program that wrote the tables.
    pub program_version: &'static str,
    /// The commit that it was built from.
    pub program_commit: &'static str,
    /// What the evaluators ran on.
    pub device: String,
    /// Names of the machines.
    pub host: String,
    /// The arguments that began the run.
    pub command: Vec<String>,
    /// UTC, of the first attempt.
    pub started: String,
    /// UTC.
    pub finished: String,
    /// Seconds from the first decoded image to the last score, summed over the attempts that told.
    pub elapsed_s: f64,
    /// Rows of the manifest.
    pub expected: usize,
    /// Rows with every metric.
    pub scored: usize,
    /// Rows without.
    pub failed: usize,
    /// Rows without, by the code of their reason.
    pub failures: BTreeMap<String, usize>,
    /// Rows whose two images differ in something that does not fail them, by code.
    pub warnings: BTreeMap<&'static str, usize>,
    /// Every process that worked on the run, by shard and in order.
    pub attempts: Vec<AttemptFacts>,
}

/// One process that worked on the run.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AttemptFacts {
    /// Such as `0/8`.
    pub shard: String,
    /// What it ran on.
    pub device: String,
    /// Name of the machine.
    pub host: String,
    /// The scheduler's name of the job.
    pub job: Option<String>,
    /// Version of the program.
    pub program_version: String,
    /// The commit that it was built from.
    pub program_commit: String,
    /// UTC.
    pub started: String,
    /// UTC; `None` for a process that was killed.
    pub ended: Option<String>,
    /// How it ended; `None` for a process that was killed.
    pub how: Option<journal::How>,
    /// Devices that were given up on the way, while others went on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Loss>,
}

/// The content of run.json.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RunFile {
    /// What decides the numbers: a [`Fingerprint`].
    pub fingerprint: serde_json::Value,
    /// Where they come from.
    pub provenance: Provenance,
}

/// A run directory.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Whether it was not there before.
    is_new: bool,
    /// Removed with everything in it when the process ends well.
    temporary: Option<TempDir>,
    disk: Disk,
}

impl RunDir {
    /// Makes the directory, or takes one that is empty or holds a run.
    ///
    /// # Errors
    /// A [`Refusal`] when it holds results without a plan, or cannot be made.
    pub fn open(path: &Path) -> anyhow::Result<RunDir> {
        RunDir::open_on(path, Disk::default())
    }

    pub(crate) fn open_on(path: &Path, disk: Disk) -> anyhow::Result<RunDir> {
        let shown = path.display();
        let held = names::RESULTS.into_iter().find(|name| path.join(name).exists());
        if let Some(name) = held.filter(|_| !path.join(names::PLAN).exists()) {
            return Err(Refusal::inputs(format!(
                "`{shown}` holds results of something else: found `{name}` without `{}`",
                names::PLAN
            ))
            .hint("name another folder with `-o`")
            .into());
        }
        let is_new = !path.exists();
        let run_dir = RunDir { path: path.to_owned(), is_new, temporary: None, disk };
        run_dir.make()?;
        Ok(run_dir)
    }

    /// A directory for a run that nobody wants to keep.
    ///
    /// # Errors
    /// A [`Refusal`] when it cannot be made.
    pub fn temporary() -> anyhow::Result<RunDir> {
        let temporary = tempfile::tempdir().with_context(|| {
            Refusal::environment("cannot make a temporary folder")
                .hint("name a folder that can be written with `-o`, or in TMPDIR")
        })?;
        let path = temporary.path().to_owned();
        let disk = Disk::default();
        let run_dir = RunDir { path, is_new: true, temporary: Some(temporary), disk };
        run_dir.make()?;
        Ok(run_dir)
    }

    fn make(&self) -> anyhow::Result<()> {
        fs_err::create_dir_all(self.journals()).with_context(|| {
            let shown = self.path.display();
            Refusal::environment(format!("cannot make the run directory `{shown}`"))
                .hint("name a folder that can be written with `-o`")
        })
    }

    /// Whether the directory is kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.temporary.is_none()
    }

    /// Leaves no trace of a run that was refused before it began: removes the directory if this
    /// process made it and nothing is in it.
    pub fn discard(self) {
        // With something in it, it stays.
        let is_ours = self.is_new && self.is_kept();
        if is_ours && fs_err::remove_dir(self.journals()).is_ok() {
            drop(fs_err::remove_dir(&self.path));
        }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of one of its files.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder of the journals.
    #[must_use]
    pub fn journals(&self) -> PathBuf {
        self.path.join(names::JOURNALS)
    }

    /// The journals, by shard and attempt.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn journal_names(&self) -> anyhow::Result<Vec<JournalName>> {
        let mut found = Vec::new();
        for entry in fs_err::read_dir(self.journals())? {
            found.extend(entry?.file_name().to_str().and_then(JournalName::parse));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Keeps a copy of the manifest, whose name is in the plan.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_manifest(&self, name: &str, original: &Path) -> anyhow::Result<PathBuf> {
        let path = self.file(name);
        let mut original = fs_err::File::open(original)?;
        self.create_once(&path, |file| {
            std::io::copy(&mut original, file)?;
            Ok(())
        })?;
        Ok(path)
    }

    /// Creates a file of the run directory if it is not there; false if it is.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create_once(
        &self,
        path: &Path,
        write: impl FnOnce(&mut dyn std::io::Write) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        self.disk.create_once(path, write).with_context(|| cannot_write(path))
    }

    /// Writes a file under a temporary name, makes it durable, then gives it its name: it is whole
    /// or it is not there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn publish(
        &self,
        name: &str,
        write: impl FnOnce(&mut dyn std::io::Write) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let path = self.file(name);
        self.disk.publish(&path, write).with_context(|| cannot_write(&path))
    }

    /// Writes run.json: the tables are those of all rows.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(&self, run: &RunFile) -> anyhow::Result<()> {
        self.publish(names::RUN, |file| {
            serde_json::to_writer_pretty(&mut *file, run)?;
            Ok(writeln!(file)?)
        })
    }

    /// Removes run.json: rows are being scored that the tables do not have.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn unfinish(&self) -> anyhow::Result<()> {
        let path = self.file(names::RUN);
        self.disk.remove(&path).with_context(|| cannot_write(&path))
    }
}

fn cannot_write(path: &Path) -> Refusal {
    Refusal::environment(format!("cannot write `{}`", path.display())).hint(DISK_HINT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_results_of_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join(names::PAIRS), "").unwrap();
        let error = RunDir::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("found `pairs.csv` without `plan.json`"), "{error}");
    }

    #[test]
    fn a_run_that_was_refused_leaves_no_directory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        RunDir::open(&path).unwrap().discard();
        assert!(!path.exists());
        RunDir::open(folder.path()).unwrap().discard();
        assert!(folder.path().exists(), "somebody else made it");
    }
}
