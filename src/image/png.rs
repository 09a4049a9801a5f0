//! PNG. The `png` crate inflates and filters; it is given the critical chunks alone, so that
//! metadata of any kind cannot fail an image. Colour types are expanded here as PIL expands them.

use std::collections::VecDeque;
use std::io::{self, BufRead, Cursor, Read as _, Seek, SeekFrom, Take};

use flate2::read::ZlibDecoder;
use png::{Decoder, Limits, Transformations};

use super::fault::{Reason, damaged, unsupported};
use super::reader::{Order, Reader};
use super::samples::{Palette, Samples, grey, raster, unpack};
use super::{Header, Size, Traits};

const FORMAT: &str = "PNG";
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Longest profile that is inflated, and longest chunk of metadata that is read.
const METADATA_BYTES_MAX: u64 = 16 << 20;
/// Memory that the decoder may use beside the pixels.
const DECODER_BYTES: usize = 64 << 20;

/// Colour types, how many samples a pixel has, and bits that a sample may have.
const COLOR_TYPES: [(u8, usize, &[u8]); 5] = [
    (0, 1, &[1, 2, 4, 8, 16]),
    (RGB, 3, &[8, 16]),
    (INDEXED, 1, &[1, 2, 4, 8]),
    (4, 2, &[8, 16]),
    (6, 4, &[8, 16]),
];
const RGB: u8 = 2;
const INDEXED: u8 = 3;

/// What stands before the first IDAT.
struct Start {
    size: Size,
    bits: u8,
    color: u8,
    channels: usize,
    palette: Option<Vec<u8>>,
    transparency: Option<Vec<u8>>,
    exif: Option<Vec<u8>>,
    profile: Option<Vec<u8>>,
}

pub(super) fn header(file: impl io::Read + Seek) -> Result<Header, Reason> {
    let start = Start::read(file)?;
    let alpha = start.channels.is_multiple_of(2) || start.transparency.is_some();
    let traits = Traits { depth_bits: start.bits.max(8), alpha, ..Traits::default() };
    let traits = traits.with_exif(start.exif.as_deref()).with_profile(start.profile.as_deref());
    Ok(Header { size: start.size, traits })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Samples, Reason> {
    let start = Start::read(Cursor::new(bytes))?;
    let packed = inflate(bytes)?;
    let Start { size, bits, channels, .. } = start;
    if bits == 16 {
        let pairs = packed.as_chunks::<2>().0;
        let values: Vec<u16> = pairs.iter().map(|&pair| u16::from_be_bytes(pair)).collect();
        let (values, channels) = match start.transparent() {
            None => (values, channels),
            Some(key) => (with_key(&values, channels, &key, u16::MAX), channels + 1),
        };
        return Ok(Samples::U16(raster(FORMAT, size, channels, values)?, u16::MAX));
    }
    let stride = (size.width * channels * usize::from(bits)).div_ceil(8);
    let numbers = if bits == 8 { packed } else { unpack(&packed, stride, size.width, bits) };
    let (values, channels) = match (start.color, start.transparent()) {
        (INDEXED, _) => start.colors(&numbers)?,
        (_, None) => (scaled(numbers, bits), channels),
        // The standard compares the samples of the file; PIL does so from 8 bits on.
        (_, Some(key)) => {
            let key: Vec<u8> = key.iter().map(|&sample| sample as u8).collect();
            let mut values = with_key(&numbers, channels, &key, u8::MAX);
            for pixel in values.chunks_exact_mut(channels + 1) {
                pixel[..channels].iter_mut().for_each(|sample| *sample = grey(*sample, bits));
            }
            (values, channels + 1)
        }
    };
    Ok(Samples::U8(raster(FORMAT, size, channels, values)?))
}

/// Whether the samples are bytes of red, green and blue without transparency. The header was read
/// before, so IHDR is where it belongs.
pub(super) fn is_rgb(bytes: &[u8], traits: Traits) -> bool {
    bytes.get(24..26) == Some(&[8, RGB]) && !traits.alpha
}

/// Decodes an image of which [`is_rgb`] is true.
pub(super) fn decode_rgb(bytes: &[u8], _size: Size, to: &mut [u8]) -> Result<(), Reason> {
    let mut reader = reader(bytes)?;
    if reader.output_buffer_size() != Some(to.len()) {
        return Err(damaged(FORMAT, "its size"));
    }
    reader.next_frame(to).map_err(failed)?;
    Ok(())
}

fn scaled(mut numbers: Vec<u8>, bits: u8) -> Vec<u8> {
    if bits < 8 {
        numbers.iter_mut().for_each(|number| *number = grey(*number, bits));
    }
    numbers
}

/// Samples with an alpha that is 0 for pixels equal to `key` and `opaque` for others.
fn with_key<T: Copy + PartialEq + Default>(
    values: &[T],
    channels: usize,
    key: &[T],
    opaque: T,
) -> Vec<T> {
    let alpha = |pixel: &[T]| if pixel == key { T::default() } else { opaque };
    let pixels = values.chunks_exact(channels);
    pixels.flat_map(|pixel| pixel.iter().copied().chain([alpha(pixel)])).collect()
}

impl Start {
    fn read(file: impl io::Read + Seek) -> Result<Start, Reason> {
        let mut reader = Reader::new(file, FORMAT)?;
        reader.skip(SIGNATURE.len() as u64)?;
        let mut start = Start::of_header(&mut reader)?;
        loop {
            let [a, b, c, d, kind @ ..] = reader.array::<8>()?;
            let len = u64::from(u32::from_be_bytes([a, b, c, d]));
            let is_short = len <= METADATA_BYTES_MAX;
            match &kind {
                b"IDAT" => break,
                b"PLTE" | b"tRNS" if !is_short => return Err(damaged(FORMAT, "a long palette")),
                b"PLTE" => start.palette = Some(reader.bytes(len)?),
                b"tRNS" => start.transparency = Some(reader.bytes(len)?),
                b"eXIf" if is_short => start.exif = Some(reader.bytes(len)?),
                b"iCCP" if is_short => start.profile = profile(&reader.bytes(len)?),
                _ if is_critical(kind) => return Err(critical(kind)),
                _ => reader.skip(len)?,
            }
            reader.skip(4)?;
        }
        start.check()?;
        Ok(start)
    }

    fn of_header(reader: &mut Reader<impl io::Read + Seek>) -> Result<Start, Reason> {
        let [len @ .., b'I', b'H', b'D', b'R'] = reader.array::<8>()? else {
            return Err(damaged(FORMAT, "it does not start with IHDR"));
        };
        let fields: [u8; 13] = reader.array()?;
        let sum = crc32fast::hash(&[b"IHDR", &fields[..]].concat());
        if u32::from_be_bytes(len) != 13 || reader.array()? != sum.to_be_bytes() {
            return Err(damaged(FORMAT, "the checksum or the length of IHDR"));
        }
        let [sides @ .., bits, color, compression, filter, interlace] = fields;
        let side = |bytes: &[u8]| Order::Big.number(bytes) as usize;
        let size = Size { width: side(&sides[..4]), height: side(&sides[4..]) };
        let kind =
            COLOR_TYPES.iter().find(|&&(name, _, depths)| name == color && depths.contains(&bits));
        let Some(&(_, channels, _)) = kind else {
            return Err(unsupported(FORMAT, format_args!("colour type {color} of {bits} bits")));
        };
        for (field, value, max) in [
            ("compression method", compression, 0),
            ("filter method", filter, 0),
            ("interlace method", interlace, 1),
        ] {
            if value > max {
                return Err(unsupported(FORMAT, format_args!("{field} {value}")));
            }
        }
        let (palette, transparency, exif, profile) = (None, None, None, None);
        Ok(Start { size, bits, color, channels, palette, transparency, exif, profile })
    }

    /// Palette and transparency must fit to the colour type; transparency of images that have
    /// alpha is ignored.
    fn check(&mut self) -> Result<(), Reason> {
        let entries = self.palette.as_ref().map(Vec::len);
        if self.color == INDEXED && !entries.is_some_and(|len| len > 0 && len.is_multiple_of(3)) {
            return Err(damaged(FORMAT, "an indexed image without a palette"));
        }
        if self.channels.is_multiple_of(2) {
            self.transparency = None;
        }
        let is_short = |len: usize| self.color != INDEXED && len < 2 * self.channels;
        if self.transparency.as_ref().map(Vec::len).is_some_and(is_short) {
            return Err(damaged(FORMAT, "tRNS is too short"));
        }
        Ok(())
    }

    /// The samples of the colour that is transparent.
    fn transparent(&self) -> Option<Vec<u16>> {
        let samples = self.transparency.as_ref()?.as_chunks::<2>().0;
        let samples = samples.iter().take(self.channels);
        Some(samples.map(|&sample| u16::from_be_bytes(sample)).collect())
    }

    /// RGB, or RGB and alpha, of the indices of an indexed image.
    fn colors(&self, indices: &[u8]) -> Result<(Vec<u8>, usize), Reason> {
        let colors = self.palette.as_ref().ok_or_else(|| damaged(FORMAT, "no palette"))?;
        let palette = Palette::new(colors.as_chunks::<3>().0.iter().copied());
        let Some(alphas) = &self.transparency else { return Ok((palette.colors(indices), 3)) };
        let color = |&index: &u8| {
            let [red, green, blue] = palette.0[usize::from(index)];
            [red, green, blue, alphas.get(usize::from(index)).copied().unwrap_or(u8::MAX)]
        };
        Ok((indices.iter().flat_map(color).collect(), 4))
    }
}

/// Whether a decoder that does not know a chunk cannot show the image.
fn is_critical(kind: [u8; 4]) -> bool {
    kind[0].is_ascii_uppercase()
}

fn critical(kind: [u8; 4]) -> Reason {
    unsupported(FORMAT, format_args!("the critical chunk `{}`", kind.escape_ascii()))
}

/// The profile of an iCCP chunk; nothing if the chunk is damaged or the profile is too long.
fn profile(chunk: &[u8]) -> Option<Vec<u8>> {
    let name = chunk.iter().position(|&byte| byte == 0)?;
    let compressed = chunk.get(name + 2..)?;
    let mut profile = Vec::new();
    let mut inflated: Take<_> = ZlibDecoder::new(compressed).take(METADATA_BYTES_MAX + 1);
    inflated.read_to_end(&mut profile).ok()?;
    (profile.len() as u64 <= METADATA_BYTES_MAX).then_some(profile)
}

/// The packed samples of the image, row by row.
fn inflate(bytes: &[u8]) -> Result<Vec<u8>, Reason> {
    let mut reader = reader(bytes)?;
    let len = reader.output_buffer_size().ok_or_else(|| damaged(FORMAT, "its size"))?;
    let mut packed = vec![0; len];
    reader.next_frame(&mut packed).map_err(failed)?;
    Ok(packed)
}

fn reader(bytes: &[u8]) -> Result<png::Reader<Critical<'_>>, Reason> {
    let mut decoder =
        Decoder::new_with_limits(Critical::of(bytes)?, Limits { bytes: DECODER_BYTES });
    decoder.set_transformations(Transformations::IDENTITY);
    decoder.read_info().map_err(failed)
}

fn failed(error: png::DecodingError) -> Reason {
    match error {
        png::DecodingError::IoError(_) => damaged(FORMAT, "the image data ends too early"),
        error => damaged(FORMAT, error),
    }
}

/// The bytes of a file without its ancillary chunks. Nothing is copied: the file of a large image
/// is large.
struct Critical<'a> {
    /// What is not read yet. Every part but the first is whole.
    parts: VecDeque<&'a [u8]>,
}

impl Critical<'_> {
    fn of(bytes: &[u8]) -> Result<Critical<'_>, Reason> {
        let (signature, mut rest) = bytes.split_at(SIGNATURE.len());
        let mut parts = VecDeque::from([signature]);
        loop {
            let ends_early =
                || damaged(FORMAT, format_args!("the file ends at byte {}", bytes.len()));
            let (&[a, b, c, d, kind @ ..], _) =
                rest.split_first_chunk::<8>().ok_or_else(ends_early)?;
            let len = u32::from_be_bytes([a, b, c, d]) as usize;
            let chunk = rest.get(..len.saturating_add(12)).ok_or_else(ends_early)?;
            match &kind {
                b"IHDR" | b"PLTE" | b"IDAT" => parts.push_back(chunk),
                b"IEND" => {
                    parts.push_back(chunk);
                    return Ok(Critical { parts });
                }
                _ if is_critical(kind) => return Err(critical(kind)),
                _ => {}
            }
            rest = &rest[chunk.len()..];
        }
    }
}

impl io::Read for Critical<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let part = self.fill_buf()?;
        let len = part.len().min(bytes.len());
        bytes[..len].copy_from_slice(&part[..len]);
        self.consume(len);
        Ok(len)
    }
}

impl BufRead for Critical<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.parts.front().copied().unwrap_or_default())
    }

    fn consume(&mut self, len: usize) {
        let Some(part) = self.parts.front_mut() else { return };
        *part = &part[len..];
        if part.is_empty() {
            self.parts.pop_front();
        }
    }
}

/// The decoder asks for it, and reads in order.
impl Seek for Critical<'_> {
    fn seek(&mut self, _to: SeekFrom) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
