//! Files that several reads of one run found with different contents, by the stamps of its rows.
//!
//! In memory are 8 bytes a read: most of them the hash of the path, the rest of the content. Equal
//! hashes are only a suspicion, so the files under suspicion are looked up once more by name.

use std::collections::{BTreeSet, HashMap};

use xxhash_rust::xxh3::xxh3_64;

use super::records::Records;
use crate::batch::Row;
use crate::image::Stamp;
use crate::manifest::{Entry, Manifest};

/// Bits of a read that are those of the content.
const CONTENT_BITS: u32 = 24;

/// The files of rows with their stamps: reference, distorted, and the mask of an item.
fn files<'a>(
    entry: &'a Entry,
    stamps: &'a [Stamp],
) -> impl Iterator<Item = ((Kind, &'a str), &'a Stamp)> {
    let Entry { reference, distorted, item, .. } = entry;
    let names = [(Kind::Image, reference), (Kind::Image, distorted), (Kind::MaskOf, item)];
    names.map(|(kind, name)| (kind, name.as_str())).into_iter().zip(stamps)
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Kind {
    Image,
    MaskOf,
}

/// The hash of a file's name, without the bits of its content.
fn name_bits((kind, name): (Kind, &str)) -> u64 {
    let hash = xxh3_64(name.as_bytes()) ^ u64::from(kind == Kind::MaskOf);
    xxh3_64(&hash.to_le_bytes()) >> CONTENT_BITS << CONTENT_BITS
}

/// Files that changed between two reads.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changed {
    /// How many files.
    pub files: usize,
    /// How many rows were scored with one of them.
    pub pairs: usize,
    /// The first of them, as the manifest names it.
    pub first: String,
}

/// What the rows of a run have read.
#[derive(Debug)]
pub(super) struct Reads(Vec<u64>);

impl Reads {
    /// For so many rows; those with masks take more memory.
    pub(super) fn of_rows(rows: usize) -> Reads {
        Reads(Vec::with_capacity(2 * rows))
    }

    /// Adds what a row has read.
    pub(super) fn add(&mut self, entry: &Entry, stamps: &[Stamp]) {
        let content = |stamp: &Stamp| stamp.xxh3 as u64 & ((1 << CONTENT_BITS) - 1);
        self.0.extend(files(entry, stamps).map(|(name, stamp)| name_bits(name) | content(stamp)));
    }

    /// The files that were read with different contents.
    ///
    /// # Errors
    /// When the manifest or a journal cannot be read again.
    pub(super) fn changed(
        mut self,
        manifest: &Manifest,
        records: &Records,
    ) -> anyhow::Result<Changed> {
        self.0.sort_unstable();
        self.0.dedup();
        let same = self.0.chunk_by(|a, b| a >> CONTENT_BITS == b >> CONTENT_BITS);
        let suspects: BTreeSet<u64> = same
            .filter(|same| same.len() > 1)
            .map(|same| same[0] >> CONTENT_BITS << CONTENT_BITS)
            .collect();
        drop(self);
        if suspects.is_empty() {
            return Ok(Changed::default());
        }
        // The rows that read each suspect, and its contents.
        let mut found: HashMap<(Kind, String), (Vec<Row>, BTreeSet<u128>)> = HashMap::new();
        let (mut rows, mut reader) = (manifest.rows()?, records.reader(1));
        for row in 0..manifest.len() as Row {
            let entry = rows.read(row)?;
            let Some(record) = reader.read(row)? else { continue };
            for ((kind, name), stamp) in files(&entry, &record.stamps) {
                if suspects.contains(&name_bits((kind, name))) {
                    let of = found.entry((kind, name.to_owned())).or_default();
                    of.0.push(row);
                    of.1.insert(stamp.xxh3);
                }
            }
        }
        found.retain(|_, (_, contents)| contents.len() > 1);
        let first = found.iter().min_by_key(|(_, (rows, _))| rows[0]);
        let first = first.map(|((kind, name), _)| match kind {
            Kind::Image => format!("`{name}`"),
            Kind::MaskOf => format!("the mask of item `{name}`"),
        });
        let affected: BTreeSet<Row> =
            found.values().flat_map(|(rows, _)| rows.iter().copied()).collect();
        let (files, pairs, first) = (found.len(), affected.len(), first.unwrap_or_default());
        Ok(Changed { files, pairs, first })
    }
}
