//! Where a manifest is, how it is read, and what messages call it.

use std::path::{Path, PathBuf};

use super::Format;
use crate::error::Refusal;

/// Where a manifest is and how it is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Location {
    /// The file.
    pub file: PathBuf,
    /// How it is written.
    pub format: Format,
    /// The folder that its paths are relative to.
    pub folder: PathBuf,
    /// What messages call it: the path that was typed, or what the rows were made from.
    pub name: String,
    /// How the rows were written before they came into this file, in the sentences of
    /// [`Manifest::dialect`](super::Manifest::dialect).
    pub dialect: Vec<String>,
}

impl Location {
    /// A manifest that people wrote: its paths are relative to its own folder.
    #[must_use]
    pub fn of(file: &Path) -> Location {
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        let name = file.display().to_string();
        let (file, format) = (file.to_owned(), Format::of(file));
        Location { file, format, folder, name, dialect: Vec::new() }
    }

    pub(super) fn located(&self, refusal: Refusal) -> Refusal {
        refusal.prefixed(&format!("manifest `{}`: ", self.name))
    }
}
