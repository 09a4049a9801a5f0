//! An image file decoded to RGB samples, exactly as PIL decodes it.

use crate::batch::{Depth, Size};

/// Samples of an image: (row, column, RGB).
#[derive(Clone, PartialEq, Debug)]
pub enum Pixels {
    /// 0 to 255.
    U8(Vec<u8>),
    /// 0 to 1.
    F32(Vec<f32>),
}

/// A decoded image.
#[derive(Clone, PartialEq, Debug)]
pub struct Image {
    /// Extents.
    pub size: Size,
    /// Samples.
    pub pixels: Pixels,
}

impl Image {
    /// # Panics
    /// When the number of samples is not that of an RGB image of `size`.
    #[must_use]
    pub fn new(size: Size, pixels: Pixels) -> Image {
        let len = match &pixels {
            Pixels::U8(samples) => samples.len(),
            Pixels::F32(samples) => samples.len(),
        };
        assert_eq!(len, size.samples(), "an image of {size} with {len} samples");
        Image { size, pixels }
    }

    /// How a batch must store it.
    #[must_use]
    pub fn depth(&self) -> Depth {
        match self.pixels {
            Pixels::U8(_) => Depth::U8,
            Pixels::F32(_) => Depth::F32,
        }
    }
}
