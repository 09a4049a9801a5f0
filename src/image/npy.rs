//! Arrays that NumPy saved: (row, column), (row, column, channel) or (channel, row, column), with
//! or without a leading axis of length 1, of unsigned bytes, 16-bit words, or floats.

use std::io::Read;

use half::f16;

use super::fault::{self, Reason};
use super::samples::{Raster, Samples};
use super::{Header, Size, Traits};
use crate::code::Code;

const FORMAT: &str = "NumPy array";

/// How every file begins.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";
/// Longest header that is read.
const HEADER_BYTES_MAX: usize = 1 << 16;
/// No image that can be scored has a side as short as this, so that an axis of so few elements is
/// one of channels.
const CHANNELS_MAX: usize = 4;

/// Type of an element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    U8,
    U16,
    F16,
    F32,
    F64,
}

impl Kind {
    fn bytes(self) -> usize {
        match self {
            Kind::U8 => 1,
            Kind::U16 | Kind::F16 => 2,
            Kind::F32 => 4,
            Kind::F64 => 8,
        }
    }
}

/// What stands before the elements.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Start {
    kind: Kind,
    is_big_endian: bool,
    size: Size,
    channels: usize,
    /// Elements between rows, columns and channels.
    strides: [usize; 3],
    /// Where the elements begin.
    offset: usize,
}

pub(super) fn header(mut file: impl Read) -> Result<Header, Reason> {
    let mut bytes = Vec::new();
    let limit = (HEADER_BYTES_MAX + 12) as u64;
    file.by_ref()
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| damaged(&error.to_string()))?;
    let start = Start::parse(&bytes)?;
    Ok(Header { size: start.size, traits: start.traits() })
}

/// Whether the elements are bytes of (row, column, RGB), one after the other.
pub(super) fn is_rgb(bytes: &[u8]) -> bool {
    let is_rgb = |start: Start| {
        let strides = [3 * start.size.width, 3, 1];
        (start.kind, start.channels, start.strides) == (Kind::U8, 3, strides)
    };
    Start::parse(bytes).is_ok_and(is_rgb)
}

/// Copies the elements of an array of which [`is_rgb`] is true.
pub(super) fn decode_rgb(bytes: &[u8], _size: Size, to: &mut [u8]) -> Result<(), Reason> {
    to.copy_from_slice(Start::parse(bytes)?.elements(bytes)?);
    Ok(())
}

pub(super) fn decode(bytes: &[u8]) -> Result<Samples, Reason> {
    let start = Start::parse(bytes)?;
    let Start { kind, size, channels, .. } = start;
    let elements = start.elements(bytes)?;
    Ok(match kind {
        Kind::U8 => {
            let values = start.values(elements, |[byte]: [u8; 1]| byte);
            Samples::U8(Raster { size, channels, values })
        }
        Kind::U16 => {
            let read = start.order(u16::from_le_bytes, u16::from_be_bytes);
            let values = start.values(elements, read);
            Samples::U16(Raster { size, channels, values }, u16::MAX)
        }
        Kind::F16 => {
            let read = start.order(f16::from_le_bytes, f16::from_be_bytes);
            let values = start.values(elements, read).into_iter().map(f32::from).collect();
            Samples::F32(Raster { size, channels, values })
        }
        Kind::F32 => {
            let read = start.order(f32::from_le_bytes, f32::from_be_bytes);
            Samples::F32(Raster { size, channels, values: start.values(elements, read) })
        }
        Kind::F64 => {
            let read = start.order(f64::from_le_bytes, f64::from_be_bytes);
            let values = start.values(elements, read);
            // Beyond float32 is beyond any range.
            let values = values.into_iter().map(|value| value as f32).collect();
            Samples::F32(Raster { size, channels, values })
        }
    })
}

impl Start {
    fn parse(bytes: &[u8]) -> Result<Start, Reason> {
        let version = bytes.get(MAGIC.len()).copied().unwrap_or_default();
        let (at, len) = match (version, bytes.get(8..12)) {
            (1, Some(&[a, b, ..])) => (10, usize::from(u16::from_le_bytes([a, b]))),
            (2 | 3, Some(&[a, b, c, d])) => (12, u32::from_le_bytes([a, b, c, d]) as usize),
            _ => return Err(damaged("an unknown version")),
        };
        if len > HEADER_BYTES_MAX {
            return Err(damaged(&format!("a header of {len} bytes")));
        }
        let text = bytes.get(at..at + len).ok_or_else(|| damaged("cut short"))?;
        let text = std::str::from_utf8(text).map_err(|_| damaged("a header that is no text"))?;
        let descr = value_of(text, "descr")?;
        let is_fortran = match value_of(text, "fortran_order")? {
            order if order.starts_with("True") => true,
            order if order.starts_with("False") => false,
            _ => return Err(damaged("an unknown order of elements")),
        };
        let (kind, is_big_endian) = kind_of(descr)?;
        let shape = shape_of(value_of(text, "shape")?)?;
        let mut steps = vec![1; shape.len()];
        if is_fortran {
            (1..shape.len()).for_each(|axis| steps[axis] = steps[axis - 1] * shape[axis - 1]);
        } else {
            (1..shape.len()).rev().for_each(|axis| steps[axis - 1] = steps[axis] * shape[axis]);
        }
        let (rows, columns, channels) = axes(&shape)?;
        Ok(Start {
            kind,
            is_big_endian,
            size: Size { width: shape[columns], height: shape[rows] },
            channels: channels.map_or(1, |axis| shape[axis]),
            strides: [steps[rows], steps[columns], channels.map_or(0, |axis| steps[axis])],
            offset: at + len,
        })
    }

    /// The elements of a file that holds as many as it states.
    fn elements<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], Reason> {
        let Start { kind, size, channels, .. } = self;
        let elements = &bytes[self.offset..];
        let expected = channels * size.width * size.height * kind.bytes();
        if elements.len() != expected {
            let found = elements.len();
            return Err(damaged(&format!("{found} bytes of elements, expected {expected}")));
        }
        Ok(elements)
    }

    fn traits(&self) -> Traits {
        let depth_bits = 8 * self.kind.bytes() as u8;
        Traits { depth_bits, alpha: self.channels.is_multiple_of(2), ..Traits::default() }
    }

    /// One of two ways to read an element.
    fn order<T, const N: usize>(
        &self,
        little: fn([u8; N]) -> T,
        big: fn([u8; N]) -> T,
    ) -> fn([u8; N]) -> T {
        if self.is_big_endian { big } else { little }
    }

    /// The elements in the order (row, column, channel).
    fn values<T: Copy, const N: usize>(&self, bytes: &[u8], read: fn([u8; N]) -> T) -> Vec<T> {
        let elements = bytes.as_chunks::<N>().0;
        let [row, column, channel] = self.strides;
        let (Size { width, height }, channels) = (self.size, self.channels);
        let mut values = Vec::with_capacity(elements.len());
        for y in 0..height {
            for x in 0..width {
                let at = y * row + x * column;
                values.extend((0..channels).map(|c| read(elements[at + c * channel])));
            }
        }
        values
    }
}

/// What follows a key of the header, which is a Python dictionary of three entries.
fn value_of<'a>(text: &'a str, key: &str) -> Result<&'a str, Reason> {
    let value = text.split_once(&format!("'{key}':")).map(|(_, value)| value.trim_start());
    value.ok_or_else(|| damaged(&format!("no `{key}` in its header")))
}

fn kind_of(descr: &str) -> Result<(Kind, bool), Reason> {
    let name =
        descr.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).map(|(name, _)| name);
    let unsupported = |found: &str| {
        let text = format!(
            "elements of type {found}: expected uint8, uint16, float16, float32 or float64; \
             convert the array with `astype`"
        );
        Err((Code::Unsupported, text))
    };
    let Some(name) = name else { return unsupported("of several fields") };
    match name {
        "|u1" | "<u1" | ">u1" => Ok((Kind::U8, false)),
        "<u2" => Ok((Kind::U16, false)),
        ">u2" => Ok((Kind::U16, true)),
        "<f2" => Ok((Kind::F16, false)),
        ">f2" => Ok((Kind::F16, true)),
        "<f4" => Ok((Kind::F32, false)),
        ">f4" => Ok((Kind::F32, true)),
        "<f8" => Ok((Kind::F64, false)),
        ">f8" => Ok((Kind::F64, true)),
        other => unsupported(other),
    }
}

/// The lengths of two or three axes. Their product fits into memory addresses.
fn shape_of(text: &str) -> Result<Vec<usize>, Reason> {
    let inner =
        text.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(inner, _)| inner);
    let inner = inner.ok_or_else(|| damaged("no shape in its header"))?;
    let lengths = inner.split(',').map(str::trim).filter(|length| !length.is_empty());
    // Python 2 marks long integers.
    let lengths = lengths.map(|length| length.strip_suffix('L').unwrap_or(length));
    let shape: Result<Vec<usize>, _> = lengths.map(str::parse).collect();
    let shape = shape.map_err(|_| damaged("a shape that is no list of numbers"))?;
    let product = shape.iter().try_fold(8usize, |product, &side| product.checked_mul(side));
    match (&shape[..], product) {
        ([1, image @ ..], Some(1..)) if image.len() == 3 => Ok(image.to_vec()),
        ([_, _] | [_, _, _], Some(1..)) => Ok(shape),
        _ => Err(no_image(&shape)),
    }
}

/// Which axes are rows, columns and channels.
fn axes(shape: &[usize]) -> Result<(usize, usize, Option<usize>), Reason> {
    let is_channels = |len: usize| matches!(len, 1 | 3 | CHANNELS_MAX);
    match *shape {
        [_, _] => Ok((0, 1, None)),
        [first, _, last] if is_channels(last) && first > CHANNELS_MAX => Ok((0, 1, Some(2))),
        [first, _, last] if is_channels(first) && last > CHANNELS_MAX => Ok((1, 2, Some(0))),
        _ => Err(no_image(shape)),
    }
}

fn no_image(shape: &[usize]) -> Reason {
    let text = format!(
        "an array of shape {shape:?} is no image: expected (rows, columns), (rows, columns, \
         channels) or (channels, rows, columns) with 1, 3 or 4 channels"
    );
    (Code::Unsupported, text)
}

fn damaged(what: &str) -> Reason {
    fault::damaged(FORMAT, what)
}

#[cfg(test)]
mod tests {
    use super::super::{Pixels, Range, Rules, decode_bytes};
    use super::*;

    /// As NumPy writes it.
    fn npy(descr: &str, fortran: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
        let text =
            format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        let mut bytes = [MAGIC, &[1, 0], &(text.len() as u16).to_le_bytes()].concat();
        bytes.extend(text.bytes());
        bytes.extend(elements);
        bytes
    }

    fn samples(bytes: &[u8]) -> (Size, Pixels) {
        let image = decode_bytes(bytes, &Rules::default()).unwrap();
        (image.size, image.pixels)
    }

    #[test]
    fn rows_columns_and_channels_come_in_every_order() {
        // A ramp whose value is 100 row + 10 column + channel, 5 rows and 6 columns.
        let value = |y: u16, x: u16, c: u16| (100 * y + 10 * x + c).to_le_bytes();
        let expected: Vec<f32> = (0..5u16)
            .flat_map(|y| (0..6).flat_map(move |x| (0..3).map(move |c| 100 * y + 10 * x + c)))
            .map(|sample| f32::from(sample) / 65535.0)
            .collect();
        let hwc: Vec<u8> = (0..5)
            .flat_map(|y| (0..6).flat_map(move |x| (0..3).flat_map(move |c| value(y, x, c))))
            .collect();
        let chw: Vec<u8> = (0..3)
            .flat_map(|c| (0..5).flat_map(move |y| (0..6).flat_map(move |x| value(y, x, c))))
            .collect();
        let whc: Vec<u8> = (0..3)
            .flat_map(|c| (0..6).flat_map(move |x| (0..5).flat_map(move |y| value(y, x, c))))
            .collect();
        let size = Size { width: 6, height: 5 };
        for bytes in [
            npy("<u2", "False", "(5, 6, 3)", &hwc),
            npy("<u2", "False", "(3, 5, 6)", &chw),
            npy("<u2", "True", "(5, 6, 3)", &whc),
            npy("<u2", "False", "(1, 3, 5, 6)", &chw),
            npy("<u2", "False", "(5L, 6L, 3L)", &hwc),
        ] {
            assert_eq!(samples(&bytes), (size, Pixels::F32(expected.clone())));
        }
    }

    #[test]
    fn every_type_of_element_is_read() {
        let size = Size { width: 2, height: 1 };
        let bytes = npy("|u1", "False", "(1, 2)", &[7, 9]);
        assert_eq!(samples(&bytes), (size, Pixels::U8(vec![7, 7, 7, 9, 9, 9])));
        let halves = Pixels::F32(vec![0.5; 6]);
        let single = [0.5f32.to_be_bytes(); 2].concat();
        assert_eq!(samples(&npy(">f4", "False", "(1, 2)", &single)), (size, halves.clone()));
        let double = [0.5f64.to_le_bytes(); 2].concat();
        assert_eq!(samples(&npy("<f8", "False", "(1, 2)", &double)), (size, halves));
        let half = [f16::from_f32(0.5).to_be_bytes(); 2].concat();
        assert_eq!(
            samples(&npy(">f2", "False", "(1, 2)", &half)),
            (size, Pixels::F32(vec![0.5; 6]))
        );
        let signed = Rules { range: Range::Signed, ..Rules::default() };
        let image = decode_bytes(&npy("|u1", "False", "(1, 2)", &[0, 255]), &signed).unwrap();
        assert_eq!(image.pixels, Pixels::F32(vec![-1.0, -1.0, -1.0, 1.0, 1.0, 1.0]));
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let code = |bytes: &[u8]| decode_bytes(bytes, &Rules::default()).unwrap_err().code();
        let refused = [
            ("<c8", "(1, 2)"),
            ("|O", "(1, 2)"),
            ("<f4", "(2,)"),
            ("<f4", "(8, 8, 2)"),
            ("<f4", "(3, 8, 3)"),
            ("<f4", "(0, 8)"),
            ("<f4", "(99999999999, 99999999999)"),
        ];
        for (descr, shape) in refused {
            assert_eq!(
                code(&npy(descr, "False", shape, &[0; 8])),
                Code::Unsupported,
                "{descr} {shape}"
            );
        }
        assert_eq!(code(&npy("<f4", "False", "(9, 9)", &[0; 8])), Code::Decode);
        assert_eq!(code(&npy("<f4", "False", "(90000, 90000)", &[0; 8])), Code::TooLarge);
        assert_eq!(code(&npy("<f4", "Maybe", "(1, 2)", &[0; 8])), Code::Decode);
        assert_eq!(code(b"\x93NUMPY\x01\x00\xff\xff{"), Code::Decode);
    }
}
