//! Opens regular files and nothing else, so that neither opening nor reading can block or be
//! endless.

use std::fs::FileType;
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use fs_err::{File, OpenOptions};
use rustix::fs::OFlags;

use crate::error::Refusal;

/// Opens a file for reading.
///
/// # Errors
/// A [`Refusal`] when it is a folder, a FIFO, a socket or a device; else what the system reports.
pub fn open(path: &Path) -> anyhow::Result<File> {
    // Asked before opening, which for some devices has effects, and after it, in case that the
    // path was replaced. A FIFO that comes between must not block, hence the flag. What cannot be
    // asked cannot be opened, and opening has the plainer message.
    if let Ok(of) = fs_err::metadata(path) {
        expect(path, of.file_type())?;
    }
    let file = open_without_blocking(path)?;
    expect(path, file.metadata()?.file_type())?;
    Ok(file)
}

/// Reads a file of at most `bytes_max` bytes.
///
/// # Errors
/// As [`open`], and a [`Refusal`] when the file is longer.
pub fn read(path: &Path, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let text = format!("`{}` has more than {bytes_max} bytes", path.display());
        return Err(Refusal::inputs(text).hint(HINT).into());
    }
    Ok(bytes)
}

/// Opens whatever `path` is, and waits for nothing.
///
/// # Errors
/// What the system reports.
pub(crate) fn open_without_blocking(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)
}

/// What a file is instead of a regular one; `None` if it is one.
pub(crate) fn other_kind(kind: FileType) -> Option<&'static str> {
    match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("a folder"),
        () if kind.is_fifo() => Some("a FIFO"),
        () if kind.is_socket() => Some("a socket"),
        () => Some("a device"),
    }
}

const HINT: &str = "put the file there that is expected, or name another one";

fn expect(path: &Path, kind: FileType) -> Result<(), Refusal> {
    let Some(kind) = other_kind(kind) else { return Ok(()) };
    let text = format!("`{}` is {kind}, expected a regular file", path.display());
    Err(Refusal::inputs(text).hint(HINT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Exit, exit_of};

    #[test]
    fn only_regular_files_of_a_limited_length_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs_err::write(&file, "12345").unwrap();
        assert_eq!(read(&file, 5).unwrap(), b"12345");
        let error = read(&file, 4).unwrap_err();
        assert!(error.to_string().ends_with("has more than 4 bytes"), "{error}");
        for (path, kind) in [(folder.path(), "a folder"), (Path::new("/dev/zero"), "a device")] {
            let error = read(path, 4).unwrap_err();
            assert!(error.to_string().contains(kind), "{error}");
            assert_eq!(exit_of(&error), Exit::Inputs);
        }
        assert_eq!(exit_of(&open(Path::new("/nowhere")).unwrap_err()), Exit::Environment);
    }
}
