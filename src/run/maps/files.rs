//! Names of the files of maps, which any file system accepts and keeps apart.
//!
//! An id becomes a path below the folder of maps. Where that path would not do, or where two ids
//! would share one on a file system that ignores case, the name ends in a hash of the id.
//! index.csv lists which files are whose.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_64;

use crate::batch::Row;
use crate::hash::sha256_hex;
use crate::manifest::Manifest;

/// Longer parts of a path have no room for the column, the kind and a temporary name in the 255
/// bytes that file systems allow.
const PART_BYTES_MAX: usize = 160;
/// Longer paths may not be opened below every folder.
const PATH_BYTES_MAX: usize = 1000;
/// Bytes of an id that are in a name with a hash.
const READABLE_BYTES: usize = 80;
/// Hexadecimal digits of the hash.
const HASH_DIGITS: usize = 20;

/// Names of the maps of a manifest's rows.
#[derive(Debug)]
pub(super) struct Names {
    /// Rows whose paths other rows have, too, where case does not count.
    shared: HashSet<Row>,
}

impl Names {
    /// The names for all rows of a manifest.
    ///
    /// # Errors
    /// When the manifest cannot be read.
    pub(super) fn of(manifest: &Manifest) -> anyhow::Result<Names> {
        let mut rows = manifest.rows()?;
        let mut folded = Vec::with_capacity(manifest.len());
        for row in 0..manifest.len() as Row {
            let path = path(&rows.read(row)?.id).to_ascii_lowercase();
            folded.push((xxh3_64(path.as_bytes()), row));
        }
        folded.sort_unstable();
        // Two paths of one hash are taken for equal: both names then end in a hash.
        let same = folded.chunk_by(|a, b| a.0 == b.0).filter(|same| same.len() > 1);
        Ok(Names { shared: same.flatten().map(|&(_, row)| row).collect() })
    }

    /// The path of the map of `row` without column and kind, relative to the folder of maps.
    pub(super) fn stem(&self, row: Row, id: &str) -> String {
        let path = path(id);
        if self.shared.contains(&row) || !is_possible(&path) { hashed(id, &path) } else { path }
    }
}

/// A file in the folder of maps itself. No path of an id has a `~`, so it is no other's.
fn hashed(id: &str, path: &str) -> String {
    let readable = path.replace('/', "-");
    // All of it is ASCII.
    let readable = &readable[..readable.len().min(READABLE_BYTES)];
    format!("{readable}~{}", &sha256_hex(id.as_bytes())[..HASH_DIGITS])
}

/// Whether every part is short enough, and no folder has the name of a file of maps.
fn is_possible(path: &str) -> bool {
    let is_file = |folder: &str| {
        let folder = folder.to_ascii_lowercase();
        [".npy", ".png", ".csv", ".part"].iter().any(|kind| folder.ends_with(kind))
    };
    let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
    path.len() <= PATH_BYTES_MAX
        && path.split('/').all(|part| part.len() <= PART_BYTES_MAX)
        && !folders.split('/').any(is_file)
}

/// An id as a relative path: `/` makes folders; everything that is no letter, digit, `-`, `_` or an
/// inner `.` becomes `%` and two hexadecimal digits for each byte, so that two ids never meet.
fn path(id: &str) -> String {
    let part = |part: &str| -> String {
        let byte = |(index, byte): (usize, u8)| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
            b'.' if index > 0 => ".".to_owned(),
            _ => format!("%{byte:02x}"),
        };
        part.bytes().enumerate().map(byte).collect()
    };
    let parts: Vec<String> = id.split('/').map(part).collect();
    parts.iter().map(|part| if part.is_empty() { "%" } else { part }).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Location;

    #[test]
    fn ids_become_names_that_stay_within_the_folder_and_never_meet() {
        assert_eq!(path("swinir/0801"), "swinir/0801");
        assert_eq!(path("../a b/.c"), "%2e./a%20b/%2ec");
        assert_eq!(path("/abs//x\\y"), "%/abs/%/x%5cy");
        assert_eq!(path("é~"), "%c3%a9%7e");
    }

    #[test]
    fn a_hash_joins_where_names_are_too_long_or_equal_but_for_their_case() {
        let long = "é".repeat(90);
        let ids = ["x4/a", "x4/A", "X4/a", "X4/b", &long, "x.lpips_alex.npy/y", "x", "INDEX.csv/z"];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.csv");
        let rows: String = ids.iter().map(|id| format!("{id},r,d\n")).collect();
        fs_err::write(&path, format!("id,ref,dist\n{rows}")).unwrap();
        let names = Names::of(&Manifest::open(Location::of(&path)).unwrap()).unwrap();
        let stems: Vec<String> = ids.iter().zip(0..).map(|(id, row)| names.stem(row, id)).collect();
        let is_hashed: Vec<bool> = stems.iter().map(|stem| stem.contains('~')).collect();
        assert_eq!(is_hashed, [true, true, true, false, true, true, false, true]);
        let folded: HashSet<String> = stems.iter().map(|stem| stem.to_lowercase()).collect();
        assert_eq!(folded.len(), ids.len());
        assert!(stems[0].starts_with("x4-a~"), "{}", stems[0]);
        let longest = format!("{}.lpips_semantic2_squeeze.npy.12345678.part", stems[4]);
        assert!(longest.len() < 255, "{longest}");
    }
}
