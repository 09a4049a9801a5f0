//! A row of a manifest, and the hash that distinguishes it from other rows.

use xxhash_rust::xxh3::Xxh3;

/// A row of the manifest with its defaults filled in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Unique name of the pair.
    pub id: String,
    /// What is being reproduced.
    pub item: String,
    /// Who made the distorted image; may be empty.
    pub method: String,
    /// Path of the reference as written in the manifest.
    pub reference: String,
    /// Path of the distorted image as written in the manifest.
    pub distorted: String,
    /// Cells of the other columns, in the order of [`Manifest::carried`](super::Manifest::carried).
    pub carried: Vec<String>,
}

impl Entry {
    /// XXH3-64 of all cells, each followed by a NUL, which no cell holds.
    #[must_use]
    pub fn identity(&self) -> u64 {
        let Entry { id, item, method, reference, distorted, carried } = self;
        let mut hash = Xxh3::new();
        for cell in [id, reference, distorted, item, method].into_iter().chain(carried) {
            hash.update(cell.as_bytes());
            hash.update(b"\0");
        }
        hash.digest()
    }
}
