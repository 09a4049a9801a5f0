//! Images as callers hold them: decoded, cheap to clone, and aware of what their samples stand for.

use std::borrow::Borrow;
use std::path::Path;
use std::sync::Arc;

use super::Error;
use crate::image::{self, Pixels, Range, Rules, Size};

/// A decoded RGB image. [`Lpips::bytes`](crate::Lpips::bytes), [`floats`](crate::Lpips::floats)
/// and [`file`](crate::Lpips::file) make them. A clone shares the samples.
#[derive(Clone, Debug)]
pub struct Image {
    decoded: Arc<image::Image>,
    range: Range,
}

impl Image {
    /// Pixels in a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.decoded.size.width
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> usize {
        self.decoded.size.height
    }

    pub(super) fn size(&self) -> Size {
        self.decoded.size
    }

    /// The range of its samples: that of the scorer that made it.
    pub(super) fn range(&self) -> Range {
        self.range
    }

    pub(super) fn bytes(size: Size, samples: Vec<u8>, range: Range) -> Result<Image, Error> {
        check_count(size, samples.len())?;
        let pixels = range.of_integers(Pixels::U8(samples));
        Ok(Image::new(image::Image::new(size, pixels), range))
    }

    pub(super) fn floats(size: Size, samples: Vec<f32>, range: Range) -> Result<Image, Error> {
        check_count(size, samples.len())?;
        let is_inside = range.check(samples.iter().copied());
        is_inside.map_err(|(code, message)| Error::pair(code, message))?;
        Ok(Image::new(image::Image::new(size, Pixels::F32(samples)), range))
    }

    pub(super) fn decode(path: &Path, rules: &Rules) -> Result<Image, Error> {
        Ok(Image::new(image::decode(path, rules)?, rules.range))
    }

    fn new(decoded: image::Image, range: Range) -> Image {
        Image { decoded: Arc::new(decoded), range }
    }
}

impl Borrow<image::Image> for Image {
    fn borrow(&self) -> &image::Image {
        &self.decoded
    }
}

fn check_count(size: Size, found: usize) -> Result<(), Error> {
    let expected = size.width.checked_mul(size.height).and_then(|pixels| pixels.checked_mul(3));
    if expected != Some(found) || found == 0 {
        return Err(Error::usage(
            format!("{found} samples are not an RGB image of {size} pixels"),
            "pass 3 * width * height samples, (row, column, RGB), of at least one pixel",
        ));
    }
    Ok(())
}
