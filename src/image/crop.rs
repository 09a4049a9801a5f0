//! The part of an image that is scored: all of it, unless the rules cut sides or borders.

use serde::{Serialize, Serializer};

use super::fault::Reason;
use super::{Image, Pixels, Rules, Size};
use crate::code::Code;

/// What is done about sides that are no multiple of a super-resolution factor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SizePolicy {
    /// Nothing: images of different sizes fail their pair.
    Error,
    /// Every image is cut at the right and at the bottom to a multiple of so many pixels, as
    /// `modcrop` in super-resolution code does. Images that still differ fail their pair.
    ModCrop(usize),
}

impl std::str::FromStr for SizePolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<SizePolicy, String> {
        let factor = text.strip_prefix("modcrop:").map(str::parse::<usize>);
        match (text, factor) {
            ("error", _) => Ok(SizePolicy::Error),
            (_, Some(Ok(factor @ 1..))) => Ok(SizePolicy::ModCrop(factor)),
            _ => Err("expected `error` or `modcrop:N` with N of at least 1".to_owned()),
        }
    }
}

impl std::fmt::Display for SizePolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SizePolicy::Error => f.write_str("error"),
            SizePolicy::ModCrop(factor) => write!(f, "modcrop:{factor}"),
        }
    }
}

impl Serialize for SizePolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A rectangle of an image; `offset` pixels are cut off at the left and at the top.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Window {
    pub(super) offset: usize,
    pub(super) size: Size,
}

/// What the rules leave of an image of `size`.
pub(super) fn window(size: Size, rules: &Rules) -> Result<Window, Reason> {
    let left = |side: usize| {
        let side = match rules.size_policy {
            SizePolicy::Error => side,
            SizePolicy::ModCrop(factor) => side - side % factor,
        };
        side.checked_sub(rules.crop_border.saturating_mul(2)).filter(|&side| side > 0)
    };
    match (left(size.width), left(size.height)) {
        (Some(width), Some(height)) => {
            Ok(Window { offset: rules.crop_border, size: Size { width, height } })
        }
        _ => {
            let border = format!("--crop-border {}", rules.crop_border);
            let cut = match rules.size_policy {
                SizePolicy::Error => border,
                policy => format!("--size-policy {policy} and {border}"),
            };
            Err((Code::TooSmall, format!("nothing is left of {size} after {cut}")))
        }
    }
}

pub(super) fn crop(image: Image, rules: &Rules) -> Result<Image, Reason> {
    let window = window(image.size, rules)?;
    if window.size == image.size {
        return Ok(image);
    }
    let width = image.size.width;
    let pixels = match &image.pixels {
        Pixels::U8(samples) => Pixels::U8(cut(samples, width, window)),
        Pixels::F32(samples) => Pixels::F32(cut(samples, width, window)),
    };
    Ok(Image { size: window.size, pixels, ..image })
}

fn cut<T: Copy>(samples: &[T], width: usize, window: Window) -> Vec<T> {
    let Window { offset, size } = window;
    let rows = samples.chunks_exact(3 * width).skip(offset).take(size.height);
    rows.flat_map(|row| &row[3 * offset..][..3 * size.width]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(width: usize, height: usize) -> Image {
        let size = Size { width, height };
        Image::new(size, Pixels::U8((0..size.samples()).map(|i| (i / 3) as u8).collect()))
    }

    fn cropped(image: Image, size_policy: SizePolicy, crop_border: usize) -> Image {
        crop(image, &Rules { size_policy, crop_border, ..Rules::default() }).unwrap()
    }

    fn pixels(image: &Image) -> Vec<u8> {
        let Pixels::U8(samples) = &image.pixels else { unreachable!() };
        samples.chunks_exact(3).map(|pixel| pixel[0]).collect()
    }

    #[test]
    fn modcrop_cuts_right_and_bottom_and_the_border_all_sides() {
        let image = cropped(numbered(5, 5), SizePolicy::ModCrop(2), 0);
        assert_eq!(image.size, Size { width: 4, height: 4 });
        assert_eq!(pixels(&image)[..5], [0, 1, 2, 3, 5]);
        let image = cropped(numbered(5, 5), SizePolicy::ModCrop(2), 1);
        assert_eq!(pixels(&image), [6, 7, 11, 12]);
        let image = cropped(numbered(5, 5), SizePolicy::Error, 2);
        assert_eq!(pixels(&image), [12]);
        assert_eq!(cropped(numbered(4, 3), SizePolicy::ModCrop(1), 0), numbered(4, 3));
    }

    #[test]
    fn nothing_left_is_an_error() {
        let rules =
            Rules { size_policy: SizePolicy::ModCrop(8), crop_border: 4, ..Rules::default() };
        let (code, text) = crop(numbered(15, 20), &rules).unwrap_err();
        assert_eq!(code, Code::TooSmall);
        assert!(text.contains("15x20 after --size-policy modcrop:8 and --crop-border 4"), "{text}");
        let rules = Rules { size_policy: SizePolicy::Error, crop_border: 8, ..Rules::default() };
        let (_, text) = crop(numbered(15, 20), &rules).unwrap_err();
        assert!(text.ends_with("of 15x20 after --crop-border 8"), "{text}");
    }

    #[test]
    fn policies_are_written_as_they_are_read() {
        for text in ["error", "modcrop:4"] {
            assert_eq!(text.parse::<SizePolicy>().unwrap().to_string(), text);
        }
        for text in ["modcrop", "modcrop:0", "modcrop:-4", "resize"] {
            assert!(text.parse::<SizePolicy>().is_err(), "{text}");
        }
    }
}
