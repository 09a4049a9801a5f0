//! Opens files of images: regular files only, so that opening and reading cannot block or be
//! endless.

use std::fs::{FileType, Metadata};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use fs_err::File;

use super::fault::{Fault, Reason};
use crate::code::Code;
use crate::regular::{open_without_blocking, other_kind};
use crate::suggest::{nearest_file, unusual_spelling};

/// A file that keeps the last error of the system. A reader of headers may take it for damage.
#[derive(Debug)]
pub(super) struct Watched {
    file: File,
    error: Option<io::Error>,
}

impl Watched {
    fn noted<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let kind = error.kind();
            self.error = Some(error);
            kind.into()
        })
    }

    /// The error that `fault` stands for: the system's if there was one.
    pub(super) fn cause(&mut self, fault: Fault) -> Fault {
        self.error.take().map_or(fault, Fault::System)
    }
}

impl Read for Watched {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let result = self.file.read(bytes);
        self.noted(result)
    }
}

impl Seek for Watched {
    /// An error here is one of the offset, which the file states.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// A regular file, and what it was before anything was read, so that a change during reading is
/// noticed later.
///
/// # Errors
/// `E_MISSING`, `E_NOT_FILE` for anything but a regular file, and what the system reports.
pub(super) fn open(path: &Path) -> Result<(BufReader<Watched>, Metadata), Fault> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Fault::Content((Code::Missing, missing(path))),
        _ => Fault::System(error),
    };
    // In this order for the reasons that `regular::open` gives.
    require_regular(fs_err::metadata(path).map_err(failed)?.file_type())?;
    let file = open_without_blocking(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    require_regular(metadata.file_type())?;
    Ok((BufReader::new(Watched { file, error: None }), metadata))
}

/// The content, as far as the file was long when it was opened.
pub(super) fn read(file: impl Read, metadata: &Metadata) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let len = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    bytes
        .try_reserve_exact(len)
        .map_err(|_| (Code::TooLarge, format!("{len} bytes are more than there is memory for")))?;
    file.take(metadata.len()).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn require_regular(kind: FileType) -> Result<(), Reason> {
    let expected = |kind| (Code::NotFile, format!("{kind}, expected a regular file"));
    other_kind(kind).map_or(Ok(()), |kind| Err(expected(kind)))
}

fn missing(path: &Path) -> String {
    let hint = unusual_spelling(path)
        .map(str::to_owned)
        .or_else(|| nearest_file(path).map(|near| format!("nearest name in its folder: `{near}`")));
    format!("no such file{}", hint.map(|hint| format!("; {hint}")).unwrap_or_default())
}
