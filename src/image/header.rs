//! What an image file says beside its samples, and how two files can differ in it.

use ::image::metadata::Orientation;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::batch::{Depth, Size};

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
        let orientation = exif.and_then(Orientation::from_exif_chunk);
        self.orientation = orientation.map_or(1, Orientation::to_exif);
        self
    }

    pub(super) fn with_profile(mut self, profile: Option<&[u8]>) -> Traits {
        self.profile = profile.map_or(0, xxh3_64);
        self
    }

    /// In what a reference and its distorted image differ.
    #[must_use]
    pub fn differences(self, other: Traits) -> Differences {
        let of = |differs: bool, difference: Difference| if differs { difference as u8 } else { 0 };
        Differences(
            of(self.depth_bits != other.depth_bits, Difference::Depth)
                | of(self.alpha != other.alpha, Difference::Alpha)
                | of(self.orientation != other.orientation, Difference::Orientation)
                | of(self.profile != other.profile, Difference::Profile),
        )
    }
}

/// A way in which the two images of a pair can differ without failing it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Difference {
    /// Bits of a sample.
    Depth = 1,
    /// Transparency in one of the two only.
    Alpha = 2,
    /// EXIF orientation.
    Orientation = 4,
    /// Colour profile.
    Profile = 8,
}

impl Difference {
    /// All of them, in the order in which they are told.
    pub const ALL: [Difference; 4] =
        [Difference::Depth, Difference::Alpha, Difference::Orientation, Difference::Profile];

    /// A stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Difference::Depth => "W_DEPTH",
            Difference::Alpha => "W_ALPHA",
            Difference::Orientation => "W_EXIF",
            Difference::Profile => "W_PROFILE",
        }
    }

    /// What the two images differ in, and what is done about it.
    #[must_use]
    pub fn explanation(self) -> &'static str {
        match self {
            Difference::Depth => {
                "ref and dist differ in bit depth; 16 bits are scaled to 0..1, not clipped"
            }
            Difference::Alpha => "only one of ref and dist has alpha; see --alpha",
            Difference::Orientation => {
                "ref and dist differ in EXIF orientation, which is ignored as PIL does"
            }
            Difference::Profile => {
                "ref and dist differ in their colour profile, which is ignored as PIL does"
            }
        }
    }

    /// What two headers that differ in this say of it.
    #[must_use]
    pub fn told(self, reference: Header, distorted: Header) -> String {
        let [reference, distorted] = [reference, distorted].map(|header| header.traits);
        let each =
            |of: fn(Traits) -> String| format!("ref: {}; dist: {}", of(reference), of(distorted));
        match self {
            Difference::Depth => each(|traits| format!("{} bits", traits.depth_bits)),
            Difference::Alpha => {
                each(|traits| if traits.alpha { "alpha" } else { "no alpha" }.to_owned())
            }
            Difference::Orientation => each(|traits| format!("orientation {}", traits.orientation)),
            Difference::Profile => each(|traits| match traits.profile {
                0 => "no profile".to_owned(),
                hash => format!("profile {hash:016x}"),
            }),
        }
    }
}

/// A set of [`Difference`]s.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Differences(u8);

impl Differences {
    /// Whether the images differ in nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// Whether `difference` is among them.
    #[must_use]
    pub fn contains(self, difference: Difference) -> bool {
        self.0 & difference as u8 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_those_of_the_traits() {
        let plain = Traits::default();
        assert!(plain.differences(plain).is_empty());
        let other = Traits { depth_bits: 16, profile: 7, ..plain };
        let found = plain.differences(other);
        let expected = [true, false, false, true];
        assert_eq!(Difference::ALL.map(|one| found.contains(one)), expected);
        assert_eq!(found, other.differences(plain));
    }
}
