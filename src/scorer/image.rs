//! Images as callers hold them: cheap to clone, and aware of what their samples stand for.

use std::path::Path;
use std::sync::Arc;

use super::Error;
use crate::image::{self, AsPixels, PixelSlice, Pixels, Range, Rules, Size};

/// An RGB image. Functions of this type make one without a scorer, as in an iterator whose pairs
/// are being scored; [`Lpips::bytes`](crate::Lpips::bytes), [`floats`](crate::Lpips::floats) and
/// [`file`](crate::Lpips::file) make one in the range of a scorer. A clone shares the samples.
#[derive(Clone)]
pub struct Image {
    samples: Samples,
    size: Size,
    range: Range,
}

/// Memory that this library or its caller allocated.
#[derive(Clone)]
enum Samples {
    U8(Arc<dyn AsRef<[u8]> + Send + Sync>),
    F32(Arc<dyn AsRef<[f32]> + Send + Sync>),
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({}, {:?})", self.size, self.pixels().depth())
    }
}

impl Image {
    /// Pixels in a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.size.width
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> usize {
        self.size.height
    }

    /// The range of its samples, which is that of the scorer that takes it.
    #[must_use]
    pub fn range(&self) -> Range {
        self.range
    }

    /// An image of bytes, (row, column, RGB), 0 to 255, for a scorer whose
    /// [`Options::range`](crate::Options::range) is `range`. The samples are not copied if it is
    /// [`Range::Unit`]: `Vec<u8>`, `Arc<[u8]>` and owners of other memory can be passed.
    ///
    /// # Errors
    /// [`Error::Usage`] when there are not `3 * width * height` samples.
    pub fn bytes(
        width: usize,
        height: usize,
        samples: impl AsRef<[u8]> + Send + Sync + 'static,
        range: Range,
    ) -> Result<Image, Error> {
        let size = checked_size(width, height, samples.as_ref().len())?;
        if range == Range::Unit {
            return Ok(Image { samples: Samples::U8(Arc::new(samples)), size, range });
        }
        let pixels = range.of_integers(Pixels::U8(samples.as_ref().to_vec()));
        Ok(Image::new(size, pixels, range))
    }

    /// An image of floats, (row, column, RGB), in `range`. The samples are not copied.
    ///
    /// # Errors
    /// - [`Error::Usage`] when there are not `3 * width * height` samples.
    /// - [`Error::Pair`] when a sample is outside of the range.
    pub fn floats(
        width: usize,
        height: usize,
        samples: impl AsRef<[f32]> + Send + Sync + 'static,
        range: Range,
    ) -> Result<Image, Error> {
        let size = checked_size(width, height, samples.as_ref().len())?;
        let is_inside = range.check(samples.as_ref().iter().copied());
        is_inside.map_err(|(code, message)| Error::pair(code, message))?;
        Ok(Image { samples: Samples::F32(Arc::new(samples)), size, range })
    }

    /// An image of a file, decoded as `lpips eval` decodes it. Floats in it must be in `range`.
    ///
    /// # Errors
    /// - [`Error::Pair`] when the file is missing, damaged or not supported.
    /// - [`Error::Io`] when the system refuses to read it.
    pub fn file(path: impl AsRef<Path>, range: Range) -> Result<Image, Error> {
        Image::decode(path.as_ref(), &Rules { range, ..Rules::default() })
    }

    pub(super) fn decode(path: &Path, rules: &Rules) -> Result<Image, Error> {
        let image = image::decode(path, rules)?;
        Ok(Image::new(image.size, image.pixels, rules.range))
    }

    fn new(size: Size, pixels: Pixels, range: Range) -> Image {
        let samples = match pixels {
            Pixels::U8(samples) => Samples::U8(Arc::new(samples)),
            Pixels::F32(samples) => Samples::F32(Arc::new(samples)),
        };
        Image { samples, size, range }
    }
}

impl AsPixels for Image {
    fn size(&self) -> Size {
        self.size
    }

    fn pixels(&self) -> PixelSlice<'_> {
        // Memory that a caller lengthens later keeps the samples that were checked.
        let count = self.size.samples();
        match &self.samples {
            Samples::U8(samples) => PixelSlice::U8(&(**samples).as_ref()[..count]),
            Samples::F32(samples) => PixelSlice::F32(&(**samples).as_ref()[..count]),
        }
    }
}

fn checked_size(width: usize, height: usize, found: usize) -> Result<Size, Error> {
    let size = Size { width, height };
    let expected = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(3));
    if expected != Some(found) || found == 0 {
        return Err(Error::usage(
            format!("{found} samples are not an RGB image of {size} pixels"),
            "pass 3 * width * height samples, (row, column, RGB), of at least one pixel",
        ));
    }
    Ok(size)
}
