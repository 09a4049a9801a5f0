//! What the decoders leave unsaid of a file: kinds of it whose samples they give otherwise than PIL
//! does, which are refused, and the scale and the profile that samples had.

use std::io::{BufRead, BufReader, Read as _, Seek, SeekFrom};

use ::image::ImageFormat;
use ::image::codecs::pnm::PnmDecoder;
use tiff::decoder::Decoder as TiffDecoder;
use tiff::tags::Tag;

use super::Reason;
use crate::code::Code;

/// Largest colour profile that is looked at.
const PROFILE_BYTES_MAX: usize = 16 << 20;

/// What is known of a file beside what its decoder tells.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Container {
    /// The sample that stands for 1, where it is not the largest of its type.
    pub(super) maximum: Option<u32>,
    /// The colour profile of a TIFF.
    pub(super) profile: Option<Vec<u8>>,
}

/// Looks at the start of a file and at its tags, and leaves it at its start.
pub(super) fn look(
    file: &mut (impl BufRead + Seek),
    format: ImageFormat,
) -> Result<Container, Reason> {
    let looked = match format {
        ImageFormat::Bmp => bmp(file),
        ImageFormat::Pnm => pnm(file),
        ImageFormat::Tiff => tiff(file),
        ImageFormat::WebP => webp(file),
        _ => Ok(Container::default()),
    };
    file.rewind().map_err(|error| damaged(&error))?;
    looked
}

fn damaged(error: &dyn std::fmt::Display) -> Reason {
    (Code::Decode, error.to_string())
}

fn unsupported(what: &str) -> Reason {
    (Code::Unsupported, format!("{what} are not supported; convert to PNG"))
}

/// The first bytes, as far as there are so many.
fn start<const N: usize>(file: &mut impl BufRead) -> Result<[u8; N], Reason> {
    let mut bytes = Vec::with_capacity(N);
    file.take(N as u64).read_to_end(&mut bytes).map_err(|error| damaged(&error))?;
    bytes.resize(N, 0);
    Ok(std::array::from_fn(|index| bytes[index]))
}

/// Samples of five or six bits are expanded by rules that differ.
fn bmp(file: &mut impl BufRead) -> Result<Container, Reason> {
    const BITFIELDS: [u32; 2] = [3, 6];
    let start: [u8; 66] = start(file)?;
    let number = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| start[at + byte]));
    let is_new = number(14) >= 40; // The older header has no such fields.
    let bits = u16::from_le_bytes([start[28], start[29]]);
    let is_byte = |mask: u32| [0xff, 0xff00, 0xff_0000, 0xff00_0000].contains(&mask);
    let masks = [54, 58, 62].map(number);
    let is_odd = BITFIELDS.contains(&number(30)) && !masks.into_iter().all(is_byte);
    if is_new && (bits == 16 || is_odd) {
        return Err(unsupported("BMP files whose samples are no bytes"));
    }
    Ok(Container::default())
}

fn pnm(file: &mut impl BufRead) -> Result<Container, Reason> {
    let decoder = PnmDecoder::new(file).map_err(|error| damaged(&error))?;
    let maximum = decoder.header().maximal_sample();
    let is_bitmap = decoder.header().as_bitmap().is_some();
    let is_full = is_bitmap || maximum == 255 || maximum == 65535;
    Ok(Container { maximum: (!is_full).then_some(maximum), ..Container::default() })
}

fn tiff(file: &mut (impl BufRead + Seek)) -> Result<Container, Reason> {
    const JPEG: [u32; 2] = [6, 7];
    const UNSIGNED: u32 = 1;
    let mut decoder = TiffDecoder::new(BufReader::new(file)).map_err(|error| damaged(&error))?;
    let mut numbers = |tag| -> Result<Vec<u32>, Reason> {
        let numbers = decoder.find_tag_unsigned_vec(tag).map_err(|error| damaged(&error))?;
        Ok(numbers.unwrap_or_default())
    };
    // Decoders of JPEG differ by a level here and there.
    if numbers(Tag::Compression)?.iter().any(|kind| JPEG.contains(kind)) {
        return Err(unsupported("TIFF files that are compressed as JPEG"));
    }
    if numbers(Tag::SampleFormat)?.iter().any(|&format| format != UNSIGNED) {
        return Err(unsupported("TIFF files with signed or float samples"));
    }
    let profile = decoder.get_tag_u8_vec(Tag::IccProfile).ok();
    let profile = profile.filter(|profile| profile.len() <= PROFILE_BYTES_MAX);
    Ok(Container { profile, ..Container::default() })
}

/// A file states its length first; what is shorter was cut.
fn webp(file: &mut (impl BufRead + Seek)) -> Result<Container, Reason> {
    let start: [u8; 8] = start(file)?;
    let stated = 8 + u64::from(u32::from_le_bytes([4, 5, 6, 7].map(|byte| start[byte])));
    let found = file.seek(SeekFrom::End(0)).map_err(|error| damaged(&error))?;
    if found < stated {
        let text = format!("WebP: cut short: {found} bytes of {stated}");
        return Err((Code::Decode, text));
    }
    Ok(Container::default())
}

/// Undoes the scaling of the decoder of PNM files, which rounds in a way of its own.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    bytes: Vec<u8>,
    maximum: u32,
}

impl Scale {
    /// Brings samples from 0 to `maximum` to 0 to 255, rounded as PIL does, and larger ones to 0 to
    /// 1.
    pub(super) fn new(maximum: u32) -> Scale {
        let mut bytes = vec![255; 256];
        for sample in 0..=maximum.min(255) {
            let given = (sample as f32 * (255.0 / maximum as f32)).round();
            let wanted = f64::from(sample) / f64::from(maximum) * 255.0;
            bytes[given as usize] = wanted.round_ties_even() as u8;
        }
        Scale { bytes, maximum }
    }

    pub(super) fn byte(&self, given: u8) -> u8 {
        self.bytes[usize::from(given)]
    }

    pub(super) fn unit(&self, given: u16) -> f32 {
        let maximum = f64::from(self.maximum);
        let sample = (f64::from(given) * maximum / 65535.0).round();
        sample as f32 / maximum as f32
    }
}
