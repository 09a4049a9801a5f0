//! GIF: the first frame, on a canvas as PIL lays it.

use std::io::{Cursor, Read, Seek};

use weezl::BitOrder;
use weezl::decode::Decoder;

use super::fault::{Reason, damaged, unsupported};
use super::lzw;
use super::reader::Reader;
use super::samples::{Palette, Samples, raster};
use super::{Header, Size, Traits};

const FORMAT: &str = "GIF";
/// Rows that the passes of an interlaced image start with, and how far the rows are apart.
const PASSES: [(usize, usize); 4] = [(0, 8), (4, 8), (2, 4), (1, 2)];
/// Bits of a code that images use: more than a byte has no meaning.
const CODE_BITS: std::ops::RangeInclusive<u8> = 1..=8;

/// Everything before the codes of the first frame.
struct Start {
    /// The screen, or more if the frame reaches beyond it.
    canvas: Size,
    left: usize,
    top: usize,
    frame: Size,
    is_interlaced: bool,
    palette: Palette,
    transparent: Option<u8>,
    code_bits: u8,
    offset: u64,
}

pub(super) fn header(file: impl Read + Seek) -> Result<Header, Reason> {
    let start = Start::read(file)?;
    let alpha = start.transparent.is_some();
    Ok(Header { size: start.canvas, traits: Traits { alpha, ..Traits::default() } })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Samples, Reason> {
    let start = Start::read(Cursor::new(bytes))?;
    let Start { canvas, left, top, frame, ref palette, transparent, .. } = start;
    let pixels = start.indices(bytes)?;
    let mut indices = vec![transparent.unwrap_or(0); canvas.width * canvas.height];
    for (y, row) in start.row_order().zip(pixels.chunks_exact(frame.width)) {
        indices[(top + y) * canvas.width + left..][..frame.width].copy_from_slice(row);
    }
    let (values, channels) = match transparent {
        None => (palette.colors(&indices), 3),
        Some(transparent) => {
            let color = |&index: &u8| {
                let [red, green, blue] = palette.0[usize::from(index)];
                [red, green, blue, if index == transparent { 0 } else { u8::MAX }]
            };
            (indices.iter().flat_map(color).collect(), 4)
        }
    };
    Ok(Samples::U8(raster(FORMAT, canvas, channels, values)?))
}

impl Start {
    fn read(file: impl Read + Seek) -> Result<Start, Reason> {
        let mut reader = Reader::new(file, FORMAT)?;
        reader.skip(6)?;
        let [w0, w1, h0, h1, flags, _, _] = reader.array()?;
        let mut canvas = size(w0, w1, h0, h1);
        let global = colors(&mut reader, flags)?;
        let mut transparent = None;
        loop {
            match reader.byte()? {
                b'!' => extension(&mut reader, &mut transparent)?,
                b',' => break,
                b';' => return Err(damaged(FORMAT, "it holds no image")),
                // PIL leaves out what stands between blocks.
                _ => {}
            }
        }
        let [l0, l1, t0, t1, w0, w1, h0, h1, flags] = reader.array()?;
        let (left, top) =
            (u16::from_le_bytes([l0, l1]).into(), u16::from_le_bytes([t0, t1]).into());
        let frame = size(w0, w1, h0, h1);
        canvas.width = canvas.width.max(left + frame.width);
        canvas.height = canvas.height.max(top + frame.height);
        let local = colors(&mut reader, flags)?;
        let code_bits = reader.byte()?;
        if !CODE_BITS.contains(&code_bits) {
            return Err(unsupported(FORMAT, format_args!("a code size of {code_bits} bits")));
        }
        if global.is_some() && local.as_deref().is_some_and(is_grey_ramp) {
            return Err(unsupported(FORMAT, "a local palette of greys beside a global palette"));
        }
        let palette = match local.or(global) {
            Some(colors) if !is_grey_ramp(&colors) => Palette::new(colors),
            // PIL takes indices for greys if there is no palette, or if the palette says the same.
            _ => Palette::new((0..=255).map(|grey| [grey; 3])),
        };
        let is_interlaced = flags & 0x40 != 0;
        let offset = reader.position();
        Ok(Start {
            canvas,
            left,
            top,
            frame,
            is_interlaced,
            palette,
            transparent,
            code_bits,
            offset,
        })
    }

    /// The rows of the frame in the order of the file.
    fn row_order(&self) -> impl Iterator<Item = usize> {
        let height = self.frame.height;
        let passes: &[(usize, usize)] = if self.is_interlaced { &PASSES } else { &[(0, 1)] };
        passes.iter().flat_map(move |&(first, step)| (first..height).step_by(step))
    }

    /// The indices of the frame, row by row as they are stored.
    fn indices(&self, bytes: &[u8]) -> Result<Vec<u8>, Reason> {
        let codes: Vec<u8> = Blocks(&bytes[self.offset as usize..]).flatten().copied().collect();
        let len = self.frame.width * self.frame.height;
        let indices = lzw::decode(Decoder::new(BitOrder::Lsb, self.code_bits), &codes, len);
        if indices.len() < len {
            let text = format_args!("codes for {} pixels of {len}", indices.len());
            return Err(damaged(FORMAT, text));
        }
        Ok(indices)
    }
}

/// Blocks of at most 255 bytes, up to an empty one or to the end of the file.
struct Blocks<'a>(&'a [u8]);

impl<'a> Iterator for Blocks<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&len, rest) = self.0.split_first()?;
        let (block, rest) = rest.split_at(rest.len().min(len.into()));
        self.0 = rest;
        (len > 0).then_some(block)
    }
}

fn size(w0: u8, w1: u8, h0: u8, h1: u8) -> Size {
    let [width, height] = [[w0, w1], [h0, h1]].map(|side| u16::from_le_bytes(side).into());
    Size { width, height }
}

/// The table of colours that `flags` announces.
fn colors(
    reader: &mut Reader<impl Read + Seek>,
    flags: u8,
) -> Result<Option<Vec<[u8; 3]>>, Reason> {
    if flags & 0x80 == 0 {
        return Ok(None);
    }
    let table = reader.bytes(3 << ((flags & 7) + 1))?;
    Ok(Some(table.as_chunks::<3>().0.to_vec()))
}

fn is_grey_ramp(colors: &[[u8; 3]]) -> bool {
    colors.iter().zip(0..=255).all(|(&color, grey)| color == [grey; 3])
}

/// Reads an extension; the one for control of graphics may state a transparent index.
fn extension(
    reader: &mut Reader<impl Read + Seek>,
    transparent: &mut Option<u8>,
) -> Result<(), Reason> {
    const GRAPHIC_CONTROL: u8 = 0xf9;
    let is_control = reader.byte()? == GRAPHIC_CONTROL;
    let mut is_first = true;
    loop {
        let len = reader.byte()?;
        if len == 0 {
            return Ok(());
        }
        let block = reader.bytes(len.into())?;
        if is_control && is_first && block.len() >= 4 && block[0] & 1 != 0 {
            *transparent = Some(block[3]);
        }
        is_first = false;
    }
}
