//! The run directory: what a run is called, what decides its numbers, and where they are.
//!
//! A run directory holds `pairs.csv`, `summary.csv` and `run.json` once the run is finished, and a
//! journal while it is not. Each of the three appears by rename when it is complete. This module
//! knows files and columns, and refuses to know how scores are made.

pub mod journal;
pub mod maps;
pub mod tables;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use tempfile::TempDir;

use crate::error::Refusal;
use crate::eval::{Affine, Epsilon};
use crate::metric::Reduction;
use crate::net::Net;
use crate::net::weights::Version;

/// Names of the files of a run directory.
pub mod names {
    /// A row per pair, in manifest order.
    pub const PAIRS: &str = "pairs.csv";
    /// A row per group and metric.
    pub const SUMMARY: &str = "summary.csv";
    /// The fingerprint and the provenance.
    pub const RUN: &str = "run.json";
    /// Finished rows of a run that is not finished.
    pub const JOURNAL: &str = "journal";
    /// The folder of spatial maps.
    pub const MAPS: &str = "maps";
    /// All of them.
    pub const ALL: [&str; 5] = [RUN, PAIRS, SUMMARY, JOURNAL, MAPS];
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
    /// Version of this program.
    pub program_version: &'static str,
    /// The commit that it was built from.
    pub program_commit: &'static str,
    /// What the evaluator ran on.
    pub device: String,
    /// Name of the machine.
    pub host: String,
    /// The arguments.
    pub command: Vec<String>,
    /// Path of the manifest.
    pub manifest: String,
    /// UTC.
    pub started: String,
    /// UTC.
    pub finished: String,
    /// Seconds from the first decoded image to the last score.
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
}

/// The content of run.json.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RunFile {
    /// What decides the numbers.
    pub fingerprint: Fingerprint,
    /// Where they come from.
    pub provenance: Provenance,
}

/// A run directory that this process writes.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Whether it was not there before.
    is_new: bool,
    /// Removed with everything in it when the process ends well.
    temporary: Option<TempDir>,
}

impl RunDir {
    /// Makes the directory, or takes one that holds no run.
    ///
    /// # Errors
    /// A [`Refusal`] when it holds a run, or cannot be made.
    pub fn create(path: &Path) -> anyhow::Result<RunDir> {
        let shown = path.display();
        let held = names::ALL.into_iter().find(|name| path.join(name).exists());
        if let Some(name) = held {
            return Err(Refusal::inputs(format!("`{shown}` already holds a run: found `{name}`"))
                .hint("name another folder with `-o`, or remove this one")
                .into());
        }
        let is_new = !path.exists();
        fs_err::create_dir_all(path).with_context(|| {
            Refusal::environment(format!("cannot make the run directory `{shown}`"))
                .hint("name a folder that can be written with `-o`")
        })?;
        Ok(RunDir { path: path.to_owned(), is_new, temporary: None })
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
        Ok(RunDir { path, is_new: true, temporary: Some(temporary) })
    }

    /// Whether the directory is kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.temporary.is_none()
    }

    /// Leaves no trace of a run that was refused before it began: removes the directory if this
    /// process made it and nothing is in it.
    pub fn discard(self) {
        if self.is_new && self.is_kept() {
            // With something in it, it stays.
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
        let temporary = self.file(&format!("{name}.part"));
        let written = || -> anyhow::Result<()> {
            let mut file = std::io::BufWriter::new(fs_err::File::create(&temporary)?);
            write(&mut file)?;
            file.flush()?;
            file.get_ref().sync_all()?;
            Ok(fs_err::rename(&temporary, &path)?)
        };
        written().with_context(|| {
            Refusal::environment(format!("cannot write `{}`", path.display()))
                .hint("see whether the disk is full or over quota")
        })
    }

    /// Writes run.json and removes the journal: the run is finished.
    ///
    /// # Errors
    /// When run.json cannot be written.
    pub fn finish(&self, run: &RunFile) -> anyhow::Result<()> {
        self.publish(names::RUN, |file| {
            serde_json::to_writer_pretty(&mut *file, run)?;
            Ok(writeln!(file)?)
        })?;
        Ok(fs_err::remove_file(self.file(names::JOURNAL))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_holds_a_run_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let run = RunDir::create(&path).unwrap();
        fs_err::write(run.file(names::JOURNAL), "").unwrap();
        let error = RunDir::create(&path).unwrap_err();
        assert!(error.to_string().ends_with("already holds a run: found `journal`"), "{error}");
    }

    #[test]
    fn a_file_that_could_not_be_written_does_not_appear() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(folder.path()).unwrap();
        let error = run.publish("x.csv", |file| {
            writeln!(file, "half")?;
            anyhow::bail!("disk full")
        });
        assert!(error.is_err());
        assert!(!run.file("x.csv").exists());
    }
}
