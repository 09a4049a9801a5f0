//! The run directory as a folder: which files it has, and how they appear in it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::disk::Disk;
use super::journal::JournalName;
use crate::error::{DISK_HINT, Refusal};
use crate::regular;
use crate::spool::Spool;

/// Names of the files of a run directory.
pub mod names {
    /// A row per pair, in manifest order.
    pub const PAIRS: &str = "pairs.csv";
    /// A row per group and metric.
    pub const SUMMARY: &str = "summary.csv";
    /// How often metrics agree with people, for triplets.
    pub const TWO_AFC: &str = "twoafc.csv";
    /// The fingerprint and the provenance. It is written last, so a run that has it has its tables.
    pub const RUN: &str = "run.json";
    /// These three.
    pub const RESULTS: [&str; 3] = [RUN, PAIRS, SUMMARY];
    /// What all processes of the run have agreed on.
    pub const PLAN: &str = "plan.json";
    /// The folder of finished rows.
    pub const JOURNALS: &str = "journal";
    /// The copy of the manifest, without its extension.
    pub const MANIFEST: &str = "manifest";
    /// The folder of spatial maps.
    pub const MAPS: &str = "maps";
    /// The values of columns that others computed, by row.
    pub const JOINED: &str = "joined.csv";
}

/// A run directory.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Whether this process created it.
    is_new: bool,
    /// Removed with everything in it at the end.
    temporary: Option<Spool>,
    pub(super) disk: Disk,
}

impl RunDir {
    /// Creates the directory, or opens one that is empty or holds a run.
    ///
    /// # Errors
    /// A [`Refusal`] when it holds results without a plan, or cannot be created.
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

    /// A directory for a run that is not kept.
    ///
    /// # Errors
    /// A [`Refusal`] when it cannot be created.
    pub fn temporary() -> anyhow::Result<RunDir> {
        let temporary = Spool::create()?;
        let path = temporary.path().to_owned();
        let disk = Disk::default();
        let run_dir = RunDir { path, is_new: true, temporary: Some(temporary), disk };
        run_dir.make()?;
        Ok(run_dir)
    }

    /// An existing run, for reading: nothing is created.
    ///
    /// # Errors
    /// A [`Refusal`] when there is no run in `path`.
    pub fn existing(path: &Path) -> Result<RunDir, Refusal> {
        let plan = path.join(names::PLAN);
        if !plan.exists() {
            let why = match path.exists() {
                true => format!("no `{}`", names::PLAN),
                false => "there is no such folder".to_owned(),
            };
            let text = format!("`{}` holds no run: {why}", path.display());
            return Err(Refusal::inputs(text)
                .hint("name the folder that was given to `lpips eval` with `-o`"));
        }
        let (path, disk) = (path.to_owned(), Disk::default());
        Ok(RunDir { path, is_new: false, temporary: None, disk })
    }

    fn make(&self) -> anyhow::Result<()> {
        fs_err::create_dir_all(self.journals()).with_context(|| {
            let shown = self.path.display();
            Refusal::environment(format!("cannot create the run directory `{shown}`"))
                .hint("name a folder that can be written with `-o`")
        })
    }

    /// Whether the directory is kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.temporary.is_none()
    }

    /// Removes the directory of a run that was refused before it started, if this process created
    /// it and it is empty.
    pub fn discard(self) {
        // A folder that is not empty is not removed.
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
        let entries = fs_err::read_dir(self.journals()).with_context(|| {
            Refusal::environment(format!("`{}` holds no journals", self.path.display()))
                .hint("restore the run directory, or run the command again to score what is lost")
        })?;
        for entry in entries {
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
        let mut original = regular::open(original)?;
        self.create_once(&path, |file| {
            std::io::copy(&mut original, file)?;
            Ok(())
        })?;
        Ok(path)
    }

    /// Creates a file of the run directory unless it exists; false if it does.
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

    /// Writes a file under a temporary name, makes it durable, then renames it: it is complete or
    /// absent.
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

    /// Removes run.json, because rows are scored that the tables do not have.
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
        assert!(folder.path().exists(), "it existed before");
    }
}
