//! What an image file states beside its samples.

use std::io::Cursor;

use xxhash_rust::xxh3::xxh3_64;

use super::tiff::Directory;
use super::{Depth, Size};

/// The tag of the orientation in EXIF data, which are a TIFF directory.
const ORIENTATION: u16 = 0x0112;

/// What a file says before its samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Extents as the file states them.
    pub size: Size,
    /// Everything else.
    pub traits: Traits,
}

impl Header {
    /// How the samples are kept.
    #[must_use]
    pub fn depth(self) -> Depth {
        if self.traits.depth_bits > 8 { Depth::F32 } else { Depth::U8 }
    }
}

/// Properties of a file that change what its samples mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Traits {
    /// Bits of a sample, at least 8.
    pub depth_bits: u8,
    /// Whether there is transparency.
    pub alpha: bool,
    /// EXIF orientation from 1 to 8 that is not applied. (A TIFF's own orientation is.)
    pub orientation: u8,
    /// Hash of the colour profile; 0 if there is none.
    pub profile: u64,
}

impl Default for Traits {
    fn default() -> Traits {
        Traits { depth_bits: 8, alpha: false, orientation: 1, profile: 0 }
    }
}

impl Traits {
    pub(super) fn with_exif(mut self, exif: Option<&[u8]>) -> Traits {
        self.orientation = exif.and_then(orientation_of).unwrap_or(1);
        self
    }

    pub(super) fn with_profile(mut self, profile: Option<&[u8]>) -> Traits {
        self.profile = profile.map_or(0, xxh3_64);
        self
    }
}

/// The orientation that EXIF data state; nothing if they are damaged. WebP files may hold the
/// prefix that JPEG files need.
fn orientation_of(exif: &[u8]) -> Option<u8> {
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let orientation = Directory::read(Cursor::new(exif)).ok()?.number(ORIENTATION).ok()??;
    u8::try_from(orientation).ok().filter(|orientation| (1..=8).contains(orientation))
}
