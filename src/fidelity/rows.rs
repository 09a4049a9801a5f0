//! Rows of an image as float64 of 0 to 255, without its border.

use super::Luma;
use crate::image::{Image, PixelSlice, Range, Size};

/// Samples that are computed at once. Buffers of so many stay in the first level of the cache, and
/// memory depends on no image.
pub(super) const STRIP: usize = 64;

/// What is taken of each pixel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plane {
    /// Red, green or blue: 0, 1, 2.
    Channel(usize),
    Luma(Luma),
}

/// An image without its border.
#[derive(Clone, Debug)]
pub(super) struct Rows<'a> {
    image: Image<PixelSlice<'a>>,
    border: usize,
    scale: Scale,
    /// What is left.
    pub(super) size: Size,
}

/// How a float sample becomes 0 to 255: `(sample + offset) * gain`.
#[derive(Clone, Copy, Debug)]
struct Scale {
    offset: f64,
    gain: f64,
    /// The integer that is white in the file, if its samples are integers. A float32 is the nearest
    /// to a sample of 16 bits, and not equal to it: rounding gives back the integer.
    white: Option<f64>,
}

impl<'a> Rows<'a> {
    /// `border` is less than half of each side.
    pub(super) fn new(image: Image<PixelSlice<'a>>, border: usize, range: Range) -> Rows<'a> {
        let (offset, gain) = match range {
            Range::Unit => (0.0, 1.0),
            Range::Signed => (1.0, 0.5),
        };
        let scale = Scale { offset, gain, white: image.white.map(f64::from) };
        let Size { width, height } = image.size;
        let size = Size { width: width - 2 * border, height: height - 2 * border };
        Rows { image, border, scale, size }
    }

    /// Reads `to.len()` values of a plane from column `x` of row `y`.
    #[inline(always)]
    pub(super) fn read(&self, plane: Plane, y: usize, x: usize, to: &mut [f64]) {
        let at = 3 * ((y + self.border) * self.image.size.width + x + self.border);
        let samples = at..at + 3 * to.len();
        match self.image.pixels {
            PixelSlice::U8(all) => pixels(&all[samples], Whole, plane, to),
            PixelSlice::F32(all) => pixels(&all[samples], self.scale, plane, to),
        }
    }
}

/// A sample as float64 of 0 to 255. (A closure would be compiled for the baseline.)
trait Value<T>: Copy {
    fn of(self, sample: T) -> f64;
}

/// Bytes are what they say.
#[derive(Clone, Copy)]
struct Whole;

impl Value<u8> for Whole {
    #[inline(always)]
    fn of(self, sample: u8) -> f64 {
        f64::from(sample)
    }
}

impl Value<f32> for Scale {
    #[inline(always)]
    fn of(self, sample: f32) -> f64 {
        let unit = (f64::from(sample) + self.offset) * self.gain;
        match self.white {
            Some(white) => (unit * white).round_ties_even() * 255.0 / white,
            None => unit * 255.0,
        }
    }
}

#[inline(always)]
fn pixels<T: Copy>(samples: &[T], value: impl Value<T>, plane: Plane, to: &mut [f64]) {
    let pixels = to.iter_mut().zip(samples.as_chunks::<3>().0);
    match plane {
        Plane::Channel(channel) => {
            for (to, pixel) in pixels {
                *to = value.of(pixel[channel]);
            }
        }
        Plane::Luma(Luma { matrix, rounded }) => {
            for (to, &[red, green, blue]) in pixels {
                *to = matrix.luma([value.of(red), value.of(green), value.of(blue)]);
            }
            // Apart: without an instruction for it, rounding is a call that prevents vectors.
            if rounded {
                for to in to {
                    *to = to.round_ties_even();
                }
            }
        }
    }
}
