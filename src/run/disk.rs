//! Every change that a run makes to its directory, step by step.
//!
//! A step is one call of the system that writes, syncs, links or renames. They all go through
//! [`Disk`], so that tests can make any of them fail, tear, or be the last one of the process.

use std::io::{Error, ErrorKind, Result, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use fs_err::File;
use tempfile::NamedTempFile;

use crate::part_file;

/// The file system, or one with faults.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    #[cfg(test)]
    faults: Option<std::sync::Arc<faults::Faults>>,
}

/// A file under a temporary name.
#[derive(Debug)]
struct Part(NamedTempFile);

impl Disk {
    /// Asks before a step of `len` bytes: how many of them are written before the step fails;
    /// `None` if it does not.
    #[cfg(not(test))]
    #[allow(clippy::unused_self, reason = "the disk of the tests checks its faults here")]
    fn torn_at(&self, _len: usize) -> Option<usize> {
        None
    }

    #[cfg(test)]
    fn torn_at(&self, len: usize) -> Option<usize> {
        self.faults.as_ref()?.torn_at(len)
    }

    fn step(&self) -> Result<()> {
        self.torn_at(0).map_or(Ok(()), |_| Err(fault()))
    }

    /// Appends all of `bytes` and makes them durable if `is_durable`.
    pub(super) fn append(&self, file: &mut File, bytes: &[u8], is_durable: bool) -> Result<()> {
        self.write(file, bytes)?;
        if is_durable { self.sync(file) } else { Ok(()) }
    }

    fn write(&self, file: &mut impl Write, bytes: &[u8]) -> Result<()> {
        match self.torn_at(bytes.len()) {
            None => file.write_all(bytes),
            Some(len) => {
                file.write_all(&bytes[..len])?;
                Err(fault())
            }
        }
    }

    /// Hands a file's content to the disk. On network file systems this is where a full disk or a
    /// lost server shows; after it, closing has nothing left to fail at.
    pub(super) fn sync(&self, file: &File) -> Result<()> {
        self.step()?;
        file.sync_data()
    }

    /// Creates `path` with what `write` writes unless it exists; false if it does. No process ever
    /// reads a part of it, not even on network file systems: a link either names the whole file or
    /// fails.
    pub(super) fn create_once(
        &self,
        path: &Path,
        write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        if path.exists() {
            return Ok(false);
        }
        let part = self.written(path, write)?;
        self.step()?;
        let is_first = match part.link(path) {
            Err(error) if has_no_links(&error) => {
                // A rename instead. Two processes at the same moment may both find no file.
                if path.exists() {
                    return Ok(false);
                }
                part.0.persist(path).map_err(|error| error.error)?;
                true
            }
            linked => linked?,
        };
        self.sync_folder(path)?;
        Ok(is_first)
    }

    /// Writes `path` under a temporary name, makes it durable, then renames it: it is complete or
    /// absent. An existing file is replaced.
    pub(super) fn publish(
        &self,
        path: &Path,
        write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let part = self.written(path, write)?;
        self.step()?;
        part.0.persist(path).map_err(|error| error.error)?;
        Ok(self.sync_folder(path)?)
    }

    /// A durable file under a temporary name beside `path`.
    fn written(
        &self,
        path: &Path,
        write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
    ) -> anyhow::Result<Part> {
        let mut part = self.part(path)?;
        let file = Writing { disk: self, file: &mut part.0 };
        let mut out = std::io::BufWriter::with_capacity(1 << 16, file);
        write(&mut out)?;
        out.flush()?;
        drop(out);
        self.step()?;
        part.0.as_file().sync_all()?;
        Ok(part)
    }

    /// Removes a file that may not be there.
    pub(super) fn remove(&self, path: &Path) -> Result<()> {
        self.step()?;
        match fs_err::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn part(&self, path: &Path) -> Result<Part> {
        self.step()?;
        part_file::beside(path).map(Part)
    }

    /// Makes the name of a file durable. Some file systems do not support this.
    fn sync_folder(&self, path: &Path) -> Result<()> {
        self.step()?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        match File::open(folder.unwrap_or(Path::new(".")))?.sync_all() {
            Err(error)
                if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) =>
            {
                Ok(())
            }
            done => done,
        }
    }
}

impl Part {
    /// Links the file to another name; false if that name exists.
    fn link(&self, path: &Path) -> Result<bool> {
        match fs_err::hard_link(self.0.path(), path) {
            Ok(()) => Ok(true),
            // A server that answers a repeated request says so although the first one was done.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Ok(self.0.as_file().metadata()?.nlink() == 2)
            }
            Err(error) => Err(error),
        }
    }
}

fn has_no_links(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied)
}

fn fault() -> Error {
    Error::new(ErrorKind::StorageFull, "a fault of the test's disk")
}

/// A file whose writes are steps.
struct Writing<'a> {
    disk: &'a Disk,
    file: &'a mut NamedTempFile,
}

impl Write for Writing<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.disk.write(self.file, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
pub(crate) mod faults {
    //! A disk on which one step goes wrong.

    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::Disk;

    /// What goes wrong.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) enum Fault {
        /// The step does nothing and fails; later ones work.
        Fail,
        /// Half of what the step writes is written, then it fails; later ones work.
        Tear,
        /// As [`Fault::Fail`], and no later step does anything, as after `kill -9`.
        Kill,
        /// As [`Fault::Tear`], and no later step does anything.
        TearAndKill,
    }

    #[derive(Debug)]
    pub(crate) struct Faults {
        fault: Fault,
        at: usize,
        taken: AtomicUsize,
    }

    impl Faults {
        pub(super) fn torn_at(&self, len: usize) -> Option<usize> {
            let step = self.taken.fetch_add(1, Ordering::Relaxed);
            let tears = matches!(self.fault, Fault::Tear | Fault::TearAndKill);
            let kills = matches!(self.fault, Fault::Kill | Fault::TearAndKill);
            match step.cmp(&self.at) {
                std::cmp::Ordering::Less => None,
                std::cmp::Ordering::Equal => Some(if tears { len / 2 } else { 0 }),
                std::cmp::Ordering::Greater => kills.then_some(0),
            }
        }
    }

    impl Disk {
        /// A disk on which step `at`, counted from 0, goes wrong.
        pub(crate) fn with_fault(fault: Fault, at: usize) -> Disk {
            let taken = AtomicUsize::new(0);
            Disk { faults: Some(Arc::new(Faults { fault, at, taken })) }
        }

        /// Whether the step was reached.
        pub(crate) fn is_broken(&self) -> bool {
            let past = |faults: &Arc<Faults>| faults.taken.load(Ordering::Relaxed) > faults.at;
            self.faults.as_ref().is_some_and(past)
        }
    }
}

#[cfg(test)]
mod tests {
    use fs_err::OpenOptions;

    use super::*;

    #[test]
    fn only_the_first_comer_creates() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let disk = Disk::default();
        let create = |text: &str| {
            disk.create_once(&path, |file| Ok(file.write_all(text.as_bytes())?)).unwrap()
        };
        assert!(create("first"));
        assert!(!create("second"));
        assert_eq!(fs_err::read(&path).unwrap(), b"first");
        // Nothing is left of the loser's attempt.
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_could_not_be_written_does_not_appear_and_the_old_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        fs_err::write(&path, "old").unwrap();
        let written = Disk::default().publish(&path, |file| {
            writeln!(file, "half")?;
            anyhow::bail!("disk full")
        });
        assert!(written.is_err());
        assert_eq!(fs_err::read(&path).unwrap(), b"old");
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_faults_are_where_they_should_be() {
        use super::faults::Fault;
        let folder = tempfile::tempdir().unwrap();
        let mut lengths = Vec::new();
        for fault in [Fault::Fail, Fault::Tear, Fault::Kill, Fault::TearAndKill] {
            let path = folder.path().join(format!("{fault:?}"));
            let mut file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
            let disk = Disk::with_fault(fault, 1);
            let done: Vec<bool> =
                (0..3).map(|_| disk.append(&mut file, b"1234", false).is_ok()).collect();
            assert!(disk.is_broken());
            lengths.push((done, fs_err::metadata(&path).unwrap().len()));
        }
        let expected = [
            (vec![true, false, true], 8),
            (vec![true, false, true], 10),
            (vec![true, false, false], 4),
            (vec![true, false, false], 6),
        ];
        assert_eq!(lengths, expected);
    }
}
