//! A temporary folder of this process, removed at its end.
//!
//! A process that is killed leaves its folder behind. The next one that needs a folder removes it:
//! a folder is in use as long as its lock is held, and the system releases the locks of a process
//! however it ends.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Context as _;
use fs_err::File;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tempfile::TempDir;

use crate::error::Refusal;

/// Their names begin with it.
const PREFIX: &str = "lpips-spool-";
/// Attempts to create a folder before another process takes it for abandoned.
const ATTEMPTS_MAX: usize = 100;

/// The folder.
#[derive(Debug)]
pub struct Spool {
    folder: TempDir,
    /// Holds the lock.
    _open: File,
}

impl Spool {
    /// Creates it in TMPDIR, and removes those that killed processes have left there.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create() -> anyhow::Result<Spool> {
        let parent = std::env::temp_dir();
        Spool::create_in(&parent).with_context(|| {
            Refusal::environment(format!("cannot create a folder in `{}`", parent.display()))
                .hint("free space there, or name a folder that can be written in TMPDIR")
        })
    }

    fn create_in(parent: &Path) -> anyhow::Result<Spool> {
        remove_abandoned(parent)?;
        for _ in 0..ATTEMPTS_MAX {
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
            // Between these two lines it may be taken for abandoned, and removed.
            let Ok(open) = File::open(folder.path()) else { continue };
            let is_locked = match lock(&open) {
                Err(Errno::WOULDBLOCK) => false,
                // Without locks nothing is taken for abandoned.
                Ok(()) | Err(_) => true,
            };
            let inode = |of: std::io::Result<std::fs::Metadata>| of.ok().map(|of| of.ino());
            let there = inode(fs_err::metadata(folder.path()));
            if is_locked && there.is_some() && there == inode(open.metadata()) {
                return Ok(Spool { folder, _open: open });
            }
        }
        anyhow::bail!("other processes remove each new folder")
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn lock(folder: &File) -> Result<(), Errno> {
    flock(folder, FlockOperation::NonBlockingLockExclusive)
}

/// Removes the folders of this user that no process holds.
fn remove_abandoned(parent: &Path) -> std::io::Result<()> {
    let user = rustix::process::getuid().as_raw();
    for entry in fs_err::read_dir(parent)? {
        let Ok(entry) = entry else { continue };
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.metadata().is_ok_and(|of| of.is_dir() && of.uid() == user);
        if !is_ours {
            continue;
        }
        let path = entry.path();
        let Ok(open) = File::open(&path) else { continue };
        if lock(&open).is_ok() {
            // What cannot be removed now is removed by a later process.
            drop(fs_err::remove_dir_all(&path));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_in_use_stays() {
        let parent = tempfile::tempdir().unwrap();
        let used = Spool::create_in(parent.path()).unwrap();
        fs_err::write(used.path().join("pairs"), "ref,dist").unwrap();
        let abandoned = parent.path().join("lpips-spool-killed");
        fs_err::create_dir(&abandoned).unwrap();
        fs_err::write(abandoned.join("pairs"), "ref,dist").unwrap();
        let other = parent.path().join("of-others");
        fs_err::create_dir(&other).unwrap();

        let spool = Spool::create_in(parent.path()).unwrap();
        assert!(!abandoned.exists());
        assert!(used.path().join("pairs").exists() && other.exists() && spool.path().exists());
        let path = spool.path().to_owned();
        drop(spool);
        assert!(!path.exists());
    }
}
