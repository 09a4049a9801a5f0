//! What the references of a run contained when they were scored, from its journals.

use std::path::Path;

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::inputs::Input;
use crate::batch::Row;
use crate::run::finished::Stored;
use crate::run::names;

/// Hashes of the references of a run, row by row; nothing if they are not known.
#[derive(Debug, Default)]
pub(super) struct References(Vec<u32>);

impl References {
    /// The references of several runs, if they are known of all.
    ///
    /// # Errors
    /// When a journal cannot be read.
    pub(super) fn of_all(inputs: &[&Input]) -> anyhow::Result<Vec<References>> {
        let run_dirs = inputs.iter().map(|input| input.run_dir.as_deref());
        let folders: Option<Vec<&Path>> = run_dirs
            .map(|folder| folder.filter(|folder| folder.join(names::JOURNALS).is_dir()))
            .collect();
        match folders {
            Some(folders) if folders.iter().any(|folder| *folder != folders[0]) => {
                folders.par_iter().map(|folder| References::read(folder)).collect()
            }
            _ => Ok(inputs.iter().map(|_| References::default()).collect()),
        }
    }

    fn read(folder: &Path) -> anyhow::Result<References> {
        let Stored { manifest, records, .. } = Stored::open(folder)?;
        let mut records = records.reader(1);
        let mut hashes = Vec::with_capacity(manifest.len());
        for row in 0..manifest.len() as Row {
            let stamps = records.read(row)?.map(|record| record.stamps).unwrap_or_default();
            let hash = |content: u128| xxh3_64(&content.to_le_bytes()) as u32;
            hashes.push(stamps.first().map_or(0, |reference| hash(reference.xxh3)));
        }
        Ok(References(hashes))
    }

    /// A hash of the reference of this row.
    pub(super) fn of(&self, row: usize) -> Option<u32> {
        self.0.get(row).copied()
    }
}
