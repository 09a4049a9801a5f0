//! Samples as a file stores them, and how they become RGB.

use super::fault::{Reason, damaged};
use super::range::Range;
use super::{Alpha, Pixels, Rules, Size};

/// Samples (row, column, channel) of an image with 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB,
/// alpha) channels.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Raster<T> {
    pub(super) size: Size,
    pub(super) channels: usize,
    pub(super) values: Vec<T>,
}

/// What a decoder gives.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Samples {
    /// 255 is white.
    U8(Raster<u8>),
    /// The second value is white.
    U16(Raster<u16>, u16),
    /// In the range that the user states.
    F32(Raster<f32>),
}

impl Samples {
    /// Extents.
    pub(super) fn size(&self) -> Size {
        match self {
            Samples::U8(raster) => raster.size,
            Samples::U16(raster, _) => raster.size,
            Samples::F32(raster) => raster.size,
        }
    }

    /// The integer of which all samples are fractions; `None` for floats, and where blending them
    /// rounds otherwise.
    pub(super) fn white(&self, rules: &Rules) -> Option<u16> {
        match self {
            Samples::U8(_) => Some(255),
            Samples::U16(raster, white) => {
                let is_blended = rules.alpha != Alpha::Drop && raster.has_alpha();
                (!is_blended).then_some(*white)
            }
            Samples::F32(_) => None,
        }
    }

    /// RGB in the range of `rules`: grey is repeated, alpha is dropped or blended.
    ///
    /// # Errors
    /// `E_RANGE` when a float is outside of the range.
    pub(super) fn into_pixels(self, rules: &Rules) -> Result<Pixels, Reason> {
        match self {
            Samples::U8(raster) => Ok(rules.range.of_integers(bytes(raster, rules.alpha))),
            Samples::U16(raster, white) => {
                let white = f32::from(white);
                let unit = |sample: u16| f32::from(sample) / white;
                let pixels = blend(&raster, rules.alpha, Range::Unit, unit);
                Ok(rules.range.of_integers(Pixels::F32(pixels)))
            }
            Samples::F32(raster) => floats(&raster, rules).map(Pixels::F32),
        }
    }
}

impl<T: Copy> Raster<T> {
    pub(super) fn has_alpha(&self) -> bool {
        self.channels.is_multiple_of(2)
    }

    fn alphas(&self) -> impl Iterator<Item = T> + Clone {
        self.values.chunks_exact(self.channels).map(|pixel| pixel[pixel.len() - 1])
    }

    /// RGB without alpha.
    fn opaque(&self) -> Vec<T> {
        fn each<T: Copy, const N: usize>(values: &[T], of: fn([T; N]) -> [T; 3]) -> Vec<T> {
            values.as_chunks::<N>().0.iter().copied().flat_map(of).collect()
        }
        match self.channels {
            1 => each(&self.values, |[grey]| [grey; 3]),
            2 => each(&self.values, |[grey, _]| [grey; 3]),
            3 => self.values.clone(),
            _ => each(&self.values, |[red, green, blue, _]| [red, green, blue]),
        }
    }
}

fn bytes(raster: Raster<u8>, alpha: Alpha) -> Pixels {
    let background = match alpha {
        Alpha::Drop => None,
        Alpha::Black => Some(0),
        Alpha::White => Some(255),
    };
    let mut rgb = match raster.channels {
        3 => return Pixels::U8(raster.values),
        _ => raster.opaque(),
    };
    if let (Some(background), true) = (background, raster.has_alpha()) {
        for (pixel, alpha) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(raster.alphas()) {
            let alpha = u32::from(alpha);
            // Rounded to the nearest, as PIL's DIV255 does.
            let over = |c: u8| (u32::from(c) * alpha + background * (255 - alpha) + 127) / 255;
            *pixel = pixel.map(|channel| over(channel) as u8);
        }
    }
    Pixels::U8(rgb)
}

fn floats(raster: &Raster<f32>, rules: &Rules) -> Result<Vec<f32>, Reason> {
    if rules.alpha != Alpha::Drop && raster.has_alpha() {
        Range::Unit.check(raster.alphas())?;
    }
    let rgb = blend(raster, rules.alpha, rules.range, |sample| sample);
    rules.range.check(rgb.iter().copied())?;
    Ok(rgb)
}

/// RGB as floats over the background, which is the black or the white of `range`.
fn blend<T: Copy>(
    raster: &Raster<T>,
    alpha: Alpha,
    range: Range,
    value: impl Fn(T) -> f32,
) -> Vec<f32> {
    let mut rgb: Vec<f32> = raster.opaque().into_iter().map(&value).collect();
    let background = match alpha {
        Alpha::Drop => return rgb,
        Alpha::Black => range.black(),
        Alpha::White => 1.0,
    };
    if raster.has_alpha() {
        for (pixel, alpha) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(raster.alphas()) {
            let alpha = value(alpha);
            *pixel = pixel.map(|channel| channel * alpha + background * (1.0 - alpha));
        }
    }
    rgb
}

/// The colours of an indexed image. PIL takes an index without a colour as black.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Palette(pub(super) [[u8; 3]; 256]);

impl Palette {
    pub(super) fn new(colors: impl IntoIterator<Item = [u8; 3]>) -> Palette {
        let mut palette = Palette([[0; 3]; 256]);
        for (entry, color) in palette.0.iter_mut().zip(colors) {
            *entry = color;
        }
        palette
    }

    /// The colours of indices.
    pub(super) fn colors(&self, indices: &[u8]) -> Vec<u8> {
        indices.iter().flat_map(|&index| self.0[usize::from(index)]).collect()
    }
}

/// Rows of numbers of 1, 2, 4 or 8 bits, of which the first is in the highest bits, and each row
/// starts with a byte of its own.
pub(super) fn unpack(rows: &[u8], stride: usize, width: usize, bits: u8) -> Vec<u8> {
    let per_byte = usize::from(8 / bits);
    let mask = (0xff_u16 >> (8 - bits)) as u8;
    let number = |row: &[u8], x: usize| {
        let shift = 8 - bits as usize * (x % per_byte + 1);
        row[x / per_byte] >> shift & mask
    };
    rows.chunks_exact(stride).flat_map(|row| (0..width).map(move |x| number(row, x))).collect()
}

/// The grey of a number of `bits` bits, of which the largest is white.
pub(super) fn grey(number: u8, bits: u8) -> u8 {
    number * (255 / (0xff_u16 >> (8 - bits)) as u8)
}

/// A raster of a length that the decoder promised.
pub(super) fn raster<T>(
    format: &str,
    size: Size,
    channels: usize,
    values: Vec<T>,
) -> Result<Raster<T>, Reason> {
    let expected = size.width * size.height * channels;
    if values.len() != expected {
        return Err(damaged(format, format_args!("{} samples of {expected}", values.len())));
    }
    Ok(Raster { size, channels, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(channels: usize, values: &[f32], rules: Rules) -> Result<Vec<f32>, Reason> {
        let size = Size { width: values.len() / channels, height: 1 };
        floats(&Raster { size, channels, values: values.to_vec() }, &rules)
    }

    #[test]
    fn grey_and_alpha_follow_the_rules_for_images() {
        let plain = Rules::default();
        assert_eq!(decoded(1, &[0.25, 1.0], plain), Ok(vec![0.25, 0.25, 0.25, 1.0, 1.0, 1.0]));
        assert_eq!(decoded(4, &[0.1, 0.2, 0.3, 0.5], plain), Ok(vec![0.1, 0.2, 0.3]));
        let black = Rules { alpha: Alpha::Black, ..plain };
        assert_eq!(decoded(2, &[0.5, 0.5], black), Ok(vec![0.25; 3]));
        // Black is -1 in the other range.
        let signed = Rules { range: Range::Signed, ..black };
        assert_eq!(decoded(2, &[1.0, 0.25], signed), Ok(vec![-0.5; 3]));
    }

    #[test]
    fn numbers_of_few_bits_are_unpacked_and_scaled() {
        assert_eq!(unpack(&[0b1010_0000, 0b0110_0000], 1, 3, 1), [1, 0, 1, 0, 1, 1]);
        assert_eq!(unpack(&[0b0001_1011], 1, 4, 2), [0, 1, 2, 3]);
        assert_eq!(unpack(&[0x5a, 0x70], 2, 3, 4), [5, 10, 7]);
        assert_eq!([grey(1, 1), grey(2, 2), grey(15, 4), grey(77, 8)], [255, 170, 255, 77]);
    }
}
