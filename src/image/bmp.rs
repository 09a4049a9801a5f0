//! BMP, read as PIL reads it: the same headers, layouts of masks and rules of run lengths.

use std::io::{Cursor, Read, Seek};

use super::fault::{Reason, damaged, unsupported};
use super::reader::{Order, Reader};
use super::samples::{Palette, Samples, raster, unpack};
use super::{Header, Size, Traits};

const FORMAT: &str = "BMP";
/// Lengths of the headers that have been in use, the oldest apart.
const HEADERS: [u64; 6] = [40, 52, 56, 64, 108, 124];
const OLDEST_HEADER: u64 = 12;
/// OS/2's header, which numbers compressions otherwise from 3 on.
const OS2_HEADER: u64 = 64;

const RAW: u32 = 0;
const RLE8: u32 = 1;
const RLE4: u32 = 2;
const BITFIELDS: u32 = 3;

/// How the bytes of a pixel become samples.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Layout {
    /// Indices of 1, 4 or 8 bits.
    Indexed { bits: u8, palette: Box<Palette> },
    /// Run lengths of indices of 8 bits, or of 4 if `is_half`.
    Runs { is_half: bool, palette: Box<Palette> },
    /// Five bits, five or six bits and five bits of a 16-bit number.
    Words { green_bits: u8 },
    /// Which bytes of so many are red, green, blue and alpha.
    Bytes { per_pixel: usize, order: &'static [usize] },
}

const BGR: Layout = Layout::Bytes { per_pixel: 3, order: &[2, 1, 0] };
const BGRX: Layout = Layout::Bytes { per_pixel: 4, order: &[2, 1, 0] };
const BGRA: Layout = Layout::Bytes { per_pixel: 4, order: &[2, 1, 0, 3] };

/// Masks of red, green, blue and alpha of 32 bits, and the layout that they mean.
static MASKS_32: [([u32; 4], Layout); 8] = [
    ([0x00ff_0000, 0x0000_ff00, 0x0000_00ff, 0], BGRX),
    ([0xff00_0000, 0x00ff_0000, 0x0000_ff00, 0], bytes(&[3, 2, 1])),
    ([0xff00_0000, 0x0000_ff00, 0x0000_00ff, 0], bytes(&[3, 1, 0])),
    ([0xff00_0000, 0x00ff_0000, 0x0000_ff00, 0x0000_00ff], bytes(&[3, 2, 1, 0])),
    ([0x0000_00ff, 0x0000_ff00, 0x00ff_0000, 0xff00_0000], bytes(&[0, 1, 2, 3])),
    ([0x00ff_0000, 0x0000_ff00, 0x0000_00ff, 0xff00_0000], BGRA),
    ([0xff00_0000, 0x0000_ff00, 0x0000_00ff, 0x00ff_0000], bytes(&[3, 1, 0, 2])),
    ([0, 0, 0, 0], BGRA),
];
const MASKS_24: [u32; 3] = [0x00ff_0000, 0x0000_ff00, 0x0000_00ff];
const MASKS_565: [u32; 3] = [0xf800, 0x07e0, 0x001f];
const MASKS_555: [u32; 3] = [0x7c00, 0x03e0, 0x001f];

const fn bytes(order: &'static [usize]) -> Layout {
    Layout::Bytes { per_pixel: 4, order }
}

struct Start {
    size: Size,
    is_top_down: bool,
    layout: Layout,
    /// Bytes from one row to the next.
    stride: usize,
    /// Where the pixels start.
    offset: u64,
}

pub(super) fn header(file: impl Read + Seek) -> Result<Header, Reason> {
    let start = Start::read(file)?;
    let alpha = matches!(start.layout, Layout::Bytes { order: [_, _, _, _], .. });
    Ok(Header { size: start.size, traits: Traits { alpha, ..Traits::default() } })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Samples, Reason> {
    let start = Start::read(Cursor::new(bytes))?;
    let Start { size, ref layout, .. } = start;
    let (values, channels) = match layout {
        Layout::Runs { is_half, palette } => {
            let indices = start.runs(bytes, *is_half)?;
            let rows = start.rows(&indices, size.width).flatten().copied();
            (palette.colors(&rows.collect::<Vec<u8>>()), 3)
        }
        Layout::Indexed { bits, palette } => {
            let rows = start.packed(bytes)?;
            let row = (size.width * usize::from(*bits)).div_ceil(8);
            let rows: Vec<u8> =
                start.rows(&rows, start.stride).flat_map(|line| &line[..row]).copied().collect();
            (palette.colors(&unpack(&rows, row, size.width, *bits)), 3)
        }
        Layout::Words { green_bits } => {
            let rows = start.packed(bytes)?;
            let words = start.rows(&rows, start.stride).flat_map(|line| {
                line.as_chunks::<2>().0[..size.width].iter().map(|&word| u16::from_le_bytes(word))
            });
            (words.flat_map(|word| rgb_of_word(word, *green_bits)).collect(), 3)
        }
        Layout::Bytes { per_pixel, order } => {
            let rows = start.packed(bytes)?;
            let pixels = start
                .rows(&rows, start.stride)
                .flat_map(|line| line.chunks_exact(*per_pixel).take(size.width));
            (pixels.flat_map(|pixel| order.iter().map(|&at| pixel[at])).collect(), order.len())
        }
    };
    Ok(Samples::U8(raster(FORMAT, size, channels, values)?))
}

/// Scaled to 0..255 and rounded down, as PIL does.
fn rgb_of_word(word: u16, green_bits: u8) -> [u8; 3] {
    let scaled = |shift: u8, bits: u8| {
        let max = (1u32 << bits) - 1;
        ((u32::from(word) >> shift & max) * 255 / max) as u8
    };
    [scaled(5 + green_bits, 5), scaled(5, green_bits), scaled(0, 5)]
}

impl Start {
    fn read(file: impl Read + Seek) -> Result<Start, Reason> {
        let mut reader = Reader::new(file, FORMAT)?;
        reader.skip(10)?;
        let mut offset = Order::Little.number(&reader.array::<4>()?);
        let header_len = Order::Little.number(&reader.array::<4>()?);
        let fields = match header_len {
            OLDEST_HEADER => Fields::oldest(&mut reader)?,
            len if HEADERS.contains(&len) => Fields::read(&mut reader, len)?,
            len => return Err(unsupported(FORMAT, format_args!("a header of {len} bytes"))),
        };
        let Fields { size, bits, compression, colors, entry, .. } = fields;
        if offset == 14 + header_len && bits <= 8 {
            offset += entry * colors;
        }
        let layout = fields.layout(&mut reader)?;
        if offset == 0 {
            offset = reader.position();
        }
        let is_top_down = fields.is_top_down;
        let stride =
            (size.width as u64).checked_mul(u64::from(bits)).map(|row| row.div_ceil(32) * 4);
        let stride = stride.and_then(|stride| usize::try_from(stride).ok());
        let stride = stride.ok_or_else(|| damaged(FORMAT, format_args!("a size of {size}")))?;
        let start = Start { size, is_top_down, layout, stride, offset };
        if compression == RAW || compression == BITFIELDS {
            start.check_len(bits, reader.len())?;
        }
        Ok(start)
    }

    /// The last row may lack the bytes that fill it up to a multiple of four.
    fn check_len(&self, bits: u16, len: u64) -> Result<(), Reason> {
        let last = (self.size.width as u64 * u64::from(bits)).div_ceil(8);
        let others = (self.stride as u64).saturating_mul(self.size.height.saturating_sub(1) as u64);
        if self.offset.saturating_add(others).saturating_add(last) > len {
            return Err(damaged(FORMAT, format_args!("the file ends at byte {len}")));
        }
        Ok(())
    }

    /// The rows, each of `stride` bytes.
    fn packed(&self, bytes: &[u8]) -> Result<Vec<u8>, Reason> {
        let rows = bytes.get(self.offset as usize..).unwrap_or_default();
        let len = self.stride * self.size.height;
        let mut rows = rows[..rows.len().min(len)].to_vec();
        rows.resize(len, 0);
        Ok(rows)
    }

    /// From the first row of the image to its last.
    fn rows<'a>(&self, rows: &'a [u8], stride: usize) -> impl Iterator<Item = &'a [u8]> {
        let height = self.size.height;
        let is_top_down = self.is_top_down;
        (0..height).map(move |y| {
            let row = if is_top_down { y } else { height - 1 - y };
            &rows[row * stride..][..stride]
        })
    }

    /// The indices of run lengths, which PIL refuses unless they fill the image. What is left out
    /// at the end of a row or by a move has index 0.
    fn runs(&self, bytes: &[u8], is_half: bool) -> Result<Vec<u8>, Reason> {
        let Size { width, height } = self.size;
        let len = width * height;
        let mut indices = Vec::with_capacity(len);
        let mut at = self.offset as usize;
        let mut column = 0usize;
        let mut next = |count: usize| {
            let found = bytes.get(at..).unwrap_or_default();
            at += count;
            (&found[..found.len().min(count)], at)
        };
        while indices.len() < len {
            let (&[count, value], _) = next(2) else { break };
            match (usize::from(count), value) {
                (0, 0) => {
                    indices.resize(indices.len().next_multiple_of(width), 0);
                    column = 0;
                }
                (0, 1) => break,
                (0, 2) => {
                    let (&[right, up], _) = next(2) else { break };
                    let skipped = usize::from(right) + usize::from(up) * width;
                    indices.resize(len.min(indices.len() + skipped), 0);
                    column = indices.len() % width;
                }
                (0, literal) => {
                    let count = usize::from(literal).min(len - indices.len());
                    let packed = if is_half { count.div_ceil(2) } else { count };
                    let (found, end) = next(packed);
                    match is_half {
                        true => indices.extend(found.iter().flat_map(|&two| [two >> 4, two & 15])),
                        false => indices.extend(found),
                    }
                    if is_half && !count.is_multiple_of(2) && found.len() == packed {
                        indices.pop();
                    }
                    if found.len() < packed || indices.len() == len {
                        break;
                    }
                    column += usize::from(literal);
                    if !end.is_multiple_of(2) {
                        next(1);
                    }
                }
                (count, value) => {
                    let count = count.min(width.saturating_sub(column));
                    let pair = if is_half { [value >> 4, value & 15] } else { [value; 2] };
                    indices.extend(pair.into_iter().cycle().take(count));
                    column += count;
                }
            }
        }
        if indices.len() < len {
            let text = format_args!("run lengths for {} pixels of {len}", indices.len());
            return Err(damaged(FORMAT, text));
        }
        indices.truncate(len);
        Ok(indices)
    }
}

/// The fields that every header has.
struct Fields {
    size: Size,
    is_top_down: bool,
    bits: u16,
    compression: u32,
    /// Colours of the palette.
    colors: u64,
    /// Bytes of a colour.
    entry: u64,
    /// Red, green, blue and alpha.
    masks: [u32; 4],
    is_os2: bool,
}

impl Fields {
    fn oldest(reader: &mut Reader<impl Read + Seek>) -> Result<Fields, Reason> {
        let [w0, w1, h0, h1, _, _, b0, b1] = reader.array()?;
        let [width, height, bits] = [[w0, w1], [h0, h1], [b0, b1]].map(u16::from_le_bytes);
        Ok(Fields {
            size: Size { width: usize::from(width), height: usize::from(height) },
            is_top_down: false,
            bits,
            compression: RAW,
            colors: 1u64.checked_shl(bits.into()).unwrap_or(0),
            entry: 3,
            masks: [0; 4],
            is_os2: false,
        })
    }

    fn read(reader: &mut Reader<impl Read + Seek>, len: u64) -> Result<Fields, Reason> {
        let fields = reader.bytes(len - 4)?;
        let number = |at: usize| Order::Little.number(&fields[at..at + 4]) as u32;
        let bits = Order::Little.number(&fields[10..12]) as u16;
        // Top-down images have a negative height.
        let is_top_down = fields[7] == 0xff;
        let height = if is_top_down { number(4).wrapping_neg() } else { number(4) };
        let compression = number(12);
        let colors = match number(28) {
            0 => 1u64.checked_shl(bits.into()).unwrap_or(0),
            colors => u64::from(colors),
        };
        let mut masks = [0; 4];
        if compression == BITFIELDS {
            match len {
                40 => {
                    for mask in &mut masks[..3] {
                        *mask = u32::from_le_bytes(reader.array()?);
                    }
                }
                52 => masks[..3].copy_from_slice(&[36, 40, 44].map(number)),
                _ => masks = [36, 40, 44, 48].map(number),
            }
        }
        Ok(Fields {
            size: Size { width: number(0) as usize, height: height as usize },
            is_top_down,
            bits,
            compression,
            colors,
            entry: 4,
            masks,
            is_os2: len == OS2_HEADER,
        })
    }

    fn layout(&self, reader: &mut Reader<impl Read + Seek>) -> Result<Layout, Reason> {
        let Fields { bits, compression, masks, .. } = *self;
        let masks_rgb = [masks[0], masks[1], masks[2]];
        let unknown =
            || unsupported(FORMAT, format_args!("compression {compression} of {bits} bits"));
        let unknown_masks = || {
            let [red, green, blue, alpha] = masks;
            let text = format_args!("masks {red:08x} {green:08x} {blue:08x} {alpha:08x}");
            unsupported(FORMAT, format!("{text} of {bits} bits"))
        };
        if self.is_os2 && compression == BITFIELDS {
            return Err(unsupported(FORMAT, "compression 3 of OS/2"));
        }
        match (compression, bits) {
            (RAW, 1 | 4 | 8) => {
                let palette = Box::new(self.palette(reader)?);
                Ok(Layout::Indexed { bits: bits as u8, palette })
            }
            (RLE8, 8) | (RLE4, 4) => {
                let palette = Box::new(self.palette(reader)?);
                Ok(Layout::Runs { is_half: compression == RLE4, palette })
            }
            (RAW, 16) => Ok(Layout::Words { green_bits: 5 }),
            (RAW, 24) => Ok(BGR),
            (RAW, 32) => Ok(BGRX),
            (BITFIELDS, 16) if masks_rgb == MASKS_565 => Ok(Layout::Words { green_bits: 6 }),
            (BITFIELDS, 16) if masks_rgb == MASKS_555 => Ok(Layout::Words { green_bits: 5 }),
            (BITFIELDS, 24) if masks_rgb == MASKS_24 => Ok(BGR),
            (BITFIELDS, 32) => {
                let layout = MASKS_32.iter().find(|(known, _)| *known == masks);
                layout.map(|(_, layout)| layout.clone()).ok_or_else(unknown_masks)
            }
            (BITFIELDS, 16 | 24) => Err(unknown_masks()),
            _ => Err(unknown()),
        }
    }

    /// The palette. PIL drops one that is a ramp of greys, and then takes the pixels for bytes, or
    /// for bits if there are at most two colours: files whose pixels are neither are refused.
    fn palette(&self, reader: &mut Reader<impl Read + Seek>) -> Result<Palette, Reason> {
        let Fields { bits, colors, entry, compression, .. } = *self;
        if !(1..=256).contains(&colors) {
            return Err(unsupported(FORMAT, format_args!("a palette of {colors} colours")));
        }
        let table = reader.bytes(entry * colors)?;
        let table: Vec<[u8; 3]> = table
            .chunks_exact(entry as usize)
            .map(|color| [color[2], color[1], color[0]])
            .collect();
        let ramp: Vec<[u8; 3]> = match colors {
            2 => vec![[0; 3], [255; 3]],
            _ => (0..=255).map(|grey| [grey; 3]).collect(),
        };
        if !ramp.starts_with(&table) {
            return Ok(Palette::new(table));
        }
        match (colors, bits, compression) {
            (1 | 2, 1, _) => Ok(Palette::new([[0; 3], [255; 3]])),
            (3.., 8, _) | (3.., _, RLE4) => Ok(Palette::new((0..=255).map(|grey| [grey; 3]))),
            _ => {
                let text = format_args!("a palette of {colors} greys for {bits} bits");
                Err(unsupported(FORMAT, text))
            }
        }
    }
}
