//! What the references of a run contained when they were scored, from its journals.

use xxhash_rust::xxh3::xxh3_64;

use super::inputs::Input;
use crate::run::finished::Finished;

/// Hashes of the references of a run, row by row; nothing if they are not known.
#[derive(Debug, Default)]
pub(super) struct References(Vec<u32>);

impl References {
    /// The references of two runs, if they are known of both.
    ///
    /// # Errors
    /// When a journal cannot be read.
    pub(super) fn of_both(base: &Input, new: &Input) -> anyhow::Result<[References; 2]> {
        let folders = base.run_dir.as_ref().zip(new.run_dir.as_ref());
        let has_journals =
            |folder: &std::path::Path| folder.join(crate::run::names::JOURNALS).is_dir();
        match folders {
            Some((base, new)) if base != new && has_journals(base) && has_journals(new) => {
                let (base, new) = rayon::join(|| References::read(base), || References::read(new));
                Ok([base?, new?])
            }
            _ => Ok([References::default(), References::default()]),
        }
    }

    fn read(folder: &std::path::Path) -> anyhow::Result<References> {
        let run = Finished::open(folder)?;
        let mut hashes = Vec::with_capacity(run.len());
        for row in run.rows()? {
            let stamps = row?.record.stamps;
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
