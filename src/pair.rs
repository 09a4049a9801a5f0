//! The two images of a pair: in what they may differ, and the shape of the batch that holds them.

use serde::{Deserialize, Serialize};

use crate::batch::BatchShape;
use crate::code::Code;
use crate::image::{Depth, Header, Image, Rules, Size, SizePolicy, Stamp, Traits};

/// The shape of the batch that holds two images of `size`: the deeper of the two decides.
#[must_use]
pub fn shape(size: Size, reference: Depth, distorted: Depth) -> BatchShape {
    BatchShape { size, depth: reference.max(distorted) }
}

/// What the journal records about the two files of a pair.
#[derive(Clone, Copy, Debug)]
pub struct Files {
    /// In what they differ without failing the pair.
    pub differences: Differences,
    /// Reference, distorted.
    pub stamps: [Stamp; 2],
}

impl Files {
    /// Those of two decoded images.
    #[must_use]
    pub fn of<P>(reference: &Image<P>, distorted: &Image<P>) -> Files {
        let differences = Differences::between(reference.traits, distorted.traits);
        Files { differences, stamps: [reference.stamp, distorted.stamp] }
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
    /// All of them, in the order in which they are reported.
    pub const ALL: [Difference; 4] =
        [Difference::Depth, Difference::Alpha, Difference::Orientation, Difference::Profile];

    /// Its code.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Difference::Depth => Code::Depth,
            Difference::Alpha => Code::Alpha,
            Difference::Orientation => Code::Orientation,
            Difference::Profile => Code::Profile,
        }
    }

    /// The values of the two headers that differ.
    #[must_use]
    pub fn describe(self, reference: Header, distorted: Header) -> String {
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
    /// In what a reference and its distorted image differ.
    #[must_use]
    pub fn between(reference: Traits, distorted: Traits) -> Differences {
        let of = |differs: bool, difference: Difference| if differs { difference as u8 } else { 0 };
        Differences(
            of(reference.depth_bits != distorted.depth_bits, Difference::Depth)
                | of(reference.alpha != distorted.alpha, Difference::Alpha)
                | of(reference.orientation != distorted.orientation, Difference::Orientation)
                | of(reference.profile != distorted.profile, Difference::Profile),
        )
    }

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

/// Factors that are tried as a remedy: those of super-resolution and of common networks.
const FACTORS: [usize; 5] = [2, 3, 4, 8, 16];

/// The message that the sizes of a reference and its distorted image differ, with a remedy if
/// cropping to a multiple makes them equal.
#[must_use]
pub fn sizes_differ(rules: &Rules, reference: Size, distorted: Size) -> String {
    let wider = reference.width.abs_diff(distorted.width);
    let higher = reference.height.abs_diff(distorted.height);
    let remedy = equalising(rules, reference, distorted);
    let remedy = remedy.map(|policy| format!("; --size-policy {policy} would make them equal"));
    format!(
        "ref is {reference}, dist is {distorted}: they differ by {wider}x{higher} pixels{}",
        remedy.unwrap_or_default()
    )
}

/// The policy that gives two images of different sizes one size.
fn equalising(rules: &Rules, a: Size, b: Size) -> Option<SizePolicy> {
    if rules.size_policy != SizePolicy::Error || rules.crop_border > 0 {
        return None;
    }
    let cut = |size: Size, n: usize| (size.width / n * n, size.height / n * n);
    let helps = |&n: &usize| cut(a, n) == cut(b, n) && cut(a, n).0 > 0 && cut(a, n).1 > 0;
    let factor = FACTORS.into_iter().find(helps)?;
    Some(SizePolicy::ModCrop(factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_those_of_the_traits() {
        let plain = Traits::default();
        assert!(Differences::between(plain, plain).is_empty());
        let other = Traits { depth_bits: 16, profile: 7, ..plain };
        let found = Differences::between(plain, other);
        let expected = [true, false, false, true];
        assert_eq!(Difference::ALL.map(|one| found.contains(one)), expected);
        assert_eq!(found, Differences::between(other, plain));
    }

    #[test]
    fn the_offered_remedy_makes_sizes_equal() {
        let size = |width, height| Size { width, height };
        let rules = Rules::default();
        assert_eq!(
            equalising(&rules, size(2040, 1357), size(2040, 1356)),
            Some(SizePolicy::ModCrop(2))
        );
        assert_eq!(equalising(&rules, size(67, 65), size(64, 64)), Some(SizePolicy::ModCrop(4)));
        assert_eq!(equalising(&rules, size(100, 100), size(25, 25)), None);
    }
}
