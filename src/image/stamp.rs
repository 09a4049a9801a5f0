//! Size, time and hash of a file when it was read, to find out later whether it has changed.

use std::fs::Metadata;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use crate::regular;

/// Size, time of change and hash of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stamp {
    /// Bytes.
    pub len: u64,
    /// Time of the last change, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// XXH3-128 of the content: it finds changed files, but is no protection against forgery.
    #[serde(with = "hexadecimal")]
    pub xxh3: u128,
}

/// What must be equal for a file to count as unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verify {
    /// Size and time of change.
    Times,
    /// The content.
    Content,
}

impl Stamp {
    /// The stamp of a file with this content.
    #[must_use]
    pub fn of(metadata: &Metadata, content: &[u8]) -> Stamp {
        Stamp { len: metadata.len(), mtime_ns: mtime_ns(metadata), xxh3: xxh3_128(content) }
    }

    /// Whether both files had the same content.
    #[must_use]
    pub fn has_content_of(&self, other: &Stamp) -> bool {
        (self.len, self.xxh3) == (other.len, other.xxh3)
    }

    /// Whether the file at `path` is unchanged since it was read. A file that cannot be read has
    /// changed.
    #[must_use]
    pub fn is_of(&self, path: &Path, verify: Verify) -> bool {
        let Ok(metadata) = fs_err::metadata(path) else { return false };
        if metadata.len() != self.len {
            return false;
        }
        match verify {
            Verify::Times => mtime_ns(&metadata) == self.mtime_ns,
            Verify::Content => hash(path).is_ok_and(|hash| hash == self.xxh3),
        }
    }
}

fn mtime_ns(metadata: &Metadata) -> i64 {
    let Ok(modified) = metadata.modified() else { return 0 };
    let nanoseconds = |since: std::time::Duration| i64::try_from(since.as_nanos()).unwrap_or(0);
    match modified.duration_since(UNIX_EPOCH) {
        Ok(after) => nanoseconds(after),
        Err(before) => -nanoseconds(before.duration()),
    }
}

fn hash(path: &Path) -> anyhow::Result<u128> {
    let mut hasher = Xxh3Default::new();
    std::io::copy(&mut regular::open(path)?, &mut hasher)?;
    Ok(hasher.digest128())
}

mod hexadecimal {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{value:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_same_by_size_and_time_or_by_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs_err::write(&path, "content").unwrap();
        let file = fs_err::File::open(&path).unwrap();
        let stamp = Stamp::of(&file.metadata().unwrap(), b"content");
        let is_same = || [Verify::Times, Verify::Content].map(|verify| stamp.is_of(&path, verify));
        assert_eq!(is_same(), [true, true]);

        // Copied again: another time, the same content.
        let modified = file.metadata().unwrap().modified().unwrap();
        let set = |time| {
            let file = fs_err::OpenOptions::new().write(true).open(&path).unwrap();
            file.set_modified(time).unwrap();
        };
        set(modified + std::time::Duration::from_secs(5));
        assert_eq!(is_same(), [false, true]);

        // Changed without a new time: only the content shows it.
        fs_err::write(&path, "CONTENT").unwrap();
        set(modified);
        assert_eq!(is_same(), [true, false]);

        fs_err::write(&path, "longer content").unwrap();
        assert_eq!(is_same(), [false, false]);
        fs_err::remove_file(&path).unwrap();
        assert_eq!(is_same(), [false, false]);
    }

    #[test]
    fn a_stamp_survives_json() {
        let stamp = Stamp { len: u64::MAX, mtime_ns: -1, xxh3: u128::MAX - 1 };
        let json = serde_json::to_string(&stamp).unwrap();
        assert_eq!(serde_json::from_str::<Stamp>(&json).unwrap(), stamp);
    }
}
