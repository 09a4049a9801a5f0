//! Arrays of NumPy (`.npy`) and TIFF files of 32-bit floats: samples with a range that people must
//! state, since a wrong one gives a plausible number.

use std::io::{Cursor, Read, Seek};

use clap::ValueEnum;
use serde::Serialize;
use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::{SampleFormat, Tag};

use super::Size;
use super::{Alpha, Header, Image, Pixels, Reason, Rules, Traits, check_size};
use crate::code::Code;

/// What float samples stand for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, ValueEnum)]
pub enum Range {
    /// 0 is black, 1 is white
    #[default]
    #[serde(rename = "0..1")]
    #[value(name = "0..1")]
    Unit,
    /// -1 is black, 1 is white
    #[serde(rename = "-1..1")]
    #[value(name = "-1..1")]
    Signed,
}

impl Range {
    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Range::Unit => "0..1",
            Range::Signed => "-1..1",
        }
    }

    fn black(self) -> f32 {
        match self {
            Range::Unit => 0.0,
            Range::Signed => -1.0,
        }
    }

    /// Samples of whole numbers as this range: those in 0 to 1 stay as they are unless the range
    /// is another one. The operations are those that an evaluator would do.
    pub(super) fn of_whole(self, pixels: Pixels) -> Pixels {
        match (self, pixels) {
            (Range::Unit, pixels) => pixels,
            (Range::Signed, Pixels::U8(samples)) => {
                let signed = |sample: u8| 2.0 * (f32::from(sample) / 255.0) - 1.0;
                Pixels::F32(samples.into_iter().map(signed).collect())
            }
            (Range::Signed, Pixels::F32(samples)) => {
                Pixels::F32(samples.into_iter().map(|x| 2.0 * x - 1.0).collect())
            }
        }
    }

    /// # Errors
    /// For a sample outside, with the extreme.
    fn check(self, samples: &[f32]) -> Result<(), Reason> {
        let is_number = samples.iter().all(|sample| sample.is_finite());
        let smallest = samples.iter().copied().fold(f32::INFINITY, f32::min);
        let largest = samples.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if is_number && smallest >= self.black() && largest <= 1.0 {
            return Ok(());
        }
        let name = self.name();
        let text = if !is_number {
            "a sample is infinite or not a number".to_owned()
        } else if smallest >= -1.0 && largest <= 1.0 {
            format!("the smallest sample is {smallest}, outside of {name}; is it --range=-1..1?")
        } else {
            let extreme = if largest > 1.0 { largest } else { smallest };
            let guess = if smallest >= 0.0 && largest <= 255.0 {
                "; for 0 to 255, store the array as uint8 or divide it by 255"
            } else {
                ""
            };
            format!("a sample is {extreme}, outside of {name} (see --range){guess}")
        };
        Err((Code::Range, text))
    }
}

/// Samples of an array, (row, column, channel), and their channels: 1, 2 (grey, alpha), 3 or 4.
pub(super) struct Samples {
    pub(super) size: Size,
    pub(super) channels: usize,
    pub(super) values: Vec<f32>,
    pub(super) depth_bits: u8,
}

impl Samples {
    /// RGB by the rules for images: grey is repeated, alpha is dropped or blended.
    pub(super) fn into_image(self, rules: &Rules) -> Result<Image, Reason> {
        let Samples { size, channels, values, depth_bits } = self;
        let has_alpha = channels.is_multiple_of(2);
        let colors = channels - usize::from(has_alpha);
        let background = match rules.alpha {
            Alpha::Drop => None,
            Alpha::Black => has_alpha.then(|| rules.range.black()),
            Alpha::White => has_alpha.then_some(1.0),
        };
        let color = |pixel: &[f32], channel: usize| {
            let value = pixel[if colors == 1 { 0 } else { channel }];
            match background {
                None => value,
                Some(background) => value * pixel[colors] + background * (1.0 - pixel[colors]),
            }
        };
        if background.is_some() {
            let alphas: Vec<f32> =
                values.chunks_exact(channels).map(|pixel| pixel[colors]).collect();
            Range::Unit.check(&alphas)?;
        }
        let pixels = values.chunks_exact(channels);
        let rgb: Vec<f32> =
            pixels.flat_map(|pixel| [0, 1, 2].map(|channel| color(pixel, channel))).collect();
        rules.range.check(&rgb)?;
        let traits = Traits { depth_bits, alpha: has_alpha, ..Traits::default() };
        Ok(Image { traits, ..Image::new(size, Pixels::F32(rgb)) })
    }
}

/// Decodes a TIFF file if its samples are 32-bit floats; `None` if they are not.
pub(super) fn decode_tiff(bytes: &[u8], rules: &Rules) -> Result<Option<Image>, Reason> {
    let Some((mut decoder, size, channels)) = start(Cursor::new(bytes))? else { return Ok(None) };
    check_size(size.width as u64, size.height as u64, rules)?;
    let mut limits = Limits::default();
    limits.decoding_buffer_size = 4 * channels * size.width * size.height;
    limits.intermediate_buffer_size = limits.decoding_buffer_size.max(1 << 20);
    decoder = decoder.with_limits(limits);
    match decoder.read_image().map_err(|error| damaged(&error))? {
        DecodingResult::F32(values) => {
            Samples { size, channels, values, depth_bits: 32 }.into_image(rules).map(Some)
        }
        _ => Err((
            Code::Decode,
            "TIFF: the samples are not the 32-bit floats it promises".to_owned(),
        )),
    }
}

/// What a TIFF file of 32-bit floats says before its samples; `None` if it is another kind.
pub(super) fn tiff_header(file: impl Read + Seek) -> Result<Option<Header>, Reason> {
    let Some((_, size, channels)) = start(file)? else { return Ok(None) };
    let alpha = channels.is_multiple_of(2);
    Ok(Some(Header { size, traits: Traits { depth_bits: 32, alpha, ..Traits::default() } }))
}

/// A decoder at an image of 32-bit floats, its size and its channels.
fn start<R: Read + Seek>(file: R) -> Result<Option<(Decoder<R>, Size, usize)>, Reason> {
    let Ok(mut decoder) = Decoder::new(file) else { return Ok(None) };
    let formats = decoder.find_tag_unsigned_vec::<u16>(Tag::SampleFormat);
    let formats = formats.ok().flatten().unwrap_or_default();
    let is_float = formats.first() == Some(&SampleFormat::IEEEFP.to_u16());
    let channels = match decoder.colortype() {
        Ok(ColorType::Gray(32)) => 1,
        Ok(ColorType::GrayA(32)) => 2,
        Ok(ColorType::RGB(32)) => 3,
        Ok(ColorType::RGBA(32)) => 4,
        _ => return Ok(None),
    };
    if !is_float {
        return Ok(None);
    }
    let orientation = decoder.find_tag_unsigned::<u16>(Tag::Orientation).ok().flatten();
    if orientation.is_some_and(|orientation| orientation != 1) {
        let text = "TIFF: float samples with an orientation; turn the samples instead";
        return Err((Code::Unsupported, text.to_owned()));
    }
    let (width, height) = decoder.dimensions().map_err(|error| damaged(&error))?;
    let size = Size { width: width as usize, height: height as usize };
    Ok(Some((decoder, size, channels)))
}

fn damaged(error: &tiff::TiffError) -> Reason {
    (Code::Decode, format!("TIFF: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(channels: usize, values: &[f32]) -> Samples {
        let size = Size { width: values.len() / channels, height: 1 };
        Samples { size, channels, values: values.to_vec(), depth_bits: 32 }
    }

    fn decoded(channels: usize, values: &[f32], rules: Rules) -> Result<Vec<f32>, Reason> {
        match samples(channels, values).into_image(&rules)?.pixels {
            Pixels::F32(samples) => Ok(samples),
            Pixels::U8(_) => panic!("floats became bytes"),
        }
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
    fn a_wrong_range_names_the_extreme_and_the_likely_mistake() {
        let told = |values: &[f32], range| {
            let rules = Rules { range, ..Rules::default() };
            decoded(1, values, rules).map_err(|(code, text)| {
                assert_eq!(code, Code::Range);
                text
            })
        };
        let bytes = told(&[0.0, 254.0], Range::Unit).unwrap_err();
        assert!(bytes.contains("a sample is 254, outside of 0..1"), "{bytes}");
        assert!(bytes.contains("divide it by 255"), "{bytes}");
        let signed = told(&[-0.5, 0.5], Range::Unit).unwrap_err();
        assert!(signed.contains("is -0.5, outside of 0..1; is it --range=-1..1?"), "{signed}");
        assert!(told(&[-0.5, 0.5], Range::Signed).is_ok());
        let far = told(&[-3.5, 0.5], Range::Signed).unwrap_err();
        assert!(far.starts_with("a sample is -3.5"), "{far}");
        assert!(told(&[f32::NAN], Range::Signed).is_err());
    }

    #[test]
    fn whole_numbers_become_the_range_of_the_run() {
        let bytes = Pixels::U8(vec![0, 51, 255]);
        assert_eq!(Range::Unit.of_whole(bytes.clone()), bytes);
        let signed = Range::Signed.of_whole(bytes);
        assert_eq!(signed, Pixels::F32(vec![-1.0, 2.0 * 0.2 - 1.0, 1.0]));
    }

    #[test]
    fn float_tiffs_are_read_grey_or_coloured() {
        use tiff::encoder::{TiffEncoder, colortype};
        let mut grey = Cursor::new(Vec::new());
        let mut encoder = TiffEncoder::new(&mut grey).unwrap();
        encoder.write_image::<colortype::Gray32Float>(2, 1, &[0.25, 0.5]).unwrap();
        let image = super::super::decode_bytes(grey.get_ref(), &Rules::default()).unwrap();
        assert_eq!(image.pixels, Pixels::F32(vec![0.25, 0.25, 0.25, 0.5, 0.5, 0.5]));
        let mut colour = Cursor::new(Vec::new());
        let mut encoder = TiffEncoder::new(&mut colour).unwrap();
        encoder.write_image::<colortype::RGB32Float>(1, 1, &[0.25, 0.5, 2.0]).unwrap();
        let error = super::super::decode_bytes(colour.get_ref(), &Rules::default()).unwrap_err();
        assert_eq!(error.code(), Code::Range);
        let header = tiff_header(Cursor::new(colour.get_ref())).unwrap().unwrap();
        assert_eq!((header.size, header.traits.depth_bits), (Size { width: 1, height: 1 }, 32));
    }
}
