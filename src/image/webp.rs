//! WebP through libwebp, which PIL uses: the first frame of an animation, on its canvas.

mod canvas;

use std::io::{Cursor, Read, Seek};

use super::fault::{Reason, damaged};
use super::reader::{Order, Reader};
use super::samples::{Raster, Samples, raster};
use super::{Header, Size, Traits};

const FORMAT: &str = "WebP";
/// Longest metadata that is read.
const METADATA_BYTES_MAX: u64 = 16 << 20;
/// Bits of the flags of an extended file.
const PROFILE: u8 = 0x20;
const ALPHA: u8 = 0x10;
const EXIF: u8 = 0x08;
const ANIMATION: u8 = 0x02;

/// What the chunks say, up to the image of the first frame.
#[derive(Default)]
struct Start {
    size: Size,
    alpha: bool,
    exif: Option<Vec<u8>>,
    profile: Option<Vec<u8>>,
}

pub(super) fn header(file: impl Read + Seek) -> Result<Header, Reason> {
    let start = Start::read(file)?;
    let traits = Traits { alpha: start.alpha, ..Traits::default() };
    let traits = traits.with_exif(start.exif.as_deref()).with_profile(start.profile.as_deref());
    Ok(Header { size: start.size, traits })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Samples, Reason> {
    let Start { size, alpha, .. } = Start::read(Cursor::new(bytes))?;
    let (canvas, rgba) = canvas::first_frame(bytes).map_err(|what| damaged(FORMAT, what))?;
    if canvas != size {
        return Err(damaged(FORMAT, format_args!("a canvas of {canvas}, expected {size}")));
    }
    let rgba = raster(FORMAT, size, 4, rgba)?;
    // As in PIL, alpha counts only if the header announces it.
    Ok(Samples::U8(if alpha { rgba } else { Raster { channels: 3, values: opaque(&rgba), size } }))
}

fn opaque(rgba: &Raster<u8>) -> Vec<u8> {
    rgba.values
        .as_chunks::<4>()
        .0
        .iter()
        .flat_map(|&[red, green, blue, _]| [red, green, blue])
        .collect()
}

impl Start {
    fn read(file: impl Read + Seek) -> Result<Start, Reason> {
        let mut reader = Reader::new(file, FORMAT)?;
        reader.skip(4)?;
        let stated = 8 + u64::from(u32::from_le_bytes(reader.array()?));
        if reader.len() < stated {
            let text = format_args!("{} bytes of {stated}", reader.len());
            return Err(damaged(FORMAT, text));
        }
        reader.skip(4)?;
        let mut start = Start::default();
        match &reader.array()? {
            b"VP8X" => start.read_extended(&mut reader, stated)?,
            b"VP8 " => start.read_lossy(&mut reader)?,
            b"VP8L" => start.read_lossless(&mut reader)?,
            kind => {
                let text = format_args!("a first chunk `{}`", kind.escape_ascii());
                return Err(damaged(FORMAT, text));
            }
        }
        Ok(start)
    }

    /// Canvas and flags, then chunks in any order. Metadata count if there is a flag and a chunk.
    fn read_extended(
        &mut self,
        reader: &mut Reader<impl Read + Seek>,
        end: u64,
    ) -> Result<(), Reason> {
        let len = u64::from(u32::from_le_bytes(reader.array()?));
        let [flags, _, _, _, sides @ ..] = reader.array::<10>()?;
        let side = |bytes: &[u8]| Order::Little.number(bytes) as usize + 1;
        let canvas = Size { width: side(&sides[..3]), height: side(&sides[3..]) };
        reader.skip(padded(len).saturating_sub(10))?;
        let is_animated = flags & ANIMATION != 0;
        let mut has_image = false;
        let mut has_alpha = flags & ALPHA != 0;
        while reader.position() + 8 <= end {
            let kind: [u8; 4] = reader.array()?;
            let len = u64::from(u32::from_le_bytes(reader.array()?));
            let next = reader.position() + padded(len);
            let is_metadata = len <= METADATA_BYTES_MAX;
            match &kind {
                b"ICCP" if is_metadata && flags & PROFILE != 0 && self.profile.is_none() => {
                    self.profile = Some(reader.bytes(len)?);
                }
                b"EXIF" if is_metadata && flags & EXIF != 0 && self.exif.is_none() => {
                    self.exif = Some(reader.bytes(len)?);
                }
                b"ANMF" => has_image = true,
                b"ALPH" if !is_animated && !has_image => has_alpha = true,
                b"VP8 " => has_image = true,
                b"VP8L" if !is_animated && !has_image => {
                    has_image = true;
                    reader.skip(4)?;
                    has_alpha = reader.byte()? & ALPHA != 0;
                }
                _ => {}
            }
            reader.seek(next.min(end))?;
        }
        if !has_image {
            return Err(damaged(FORMAT, "it holds no image"));
        }
        (self.size, self.alpha) = (canvas, has_alpha);
        Ok(())
    }

    fn read_lossy(&mut self, reader: &mut Reader<impl Read + Seek>) -> Result<(), Reason> {
        reader.skip(4)?;
        let [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1] = reader.array()? else {
            return Err(damaged(FORMAT, "a lossy image that does not start with a key frame"));
        };
        // The highest two bits ask for scaling, which no decoder does.
        let side = |low, high| usize::from(u16::from_le_bytes([low, high]) & 0x3fff);
        self.size = Size { width: side(w0, w1), height: side(h0, h1) };
        Ok(())
    }

    fn read_lossless(&mut self, reader: &mut Reader<impl Read + Seek>) -> Result<(), Reason> {
        reader.skip(4)?;
        let [0x2f, bits @ ..] = reader.array::<5>()? else {
            return Err(damaged(FORMAT, "a lossless image without its signature"));
        };
        let bits = u32::from_le_bytes(bits);
        let side = |shift: u32| (bits >> shift & 0x3fff) as usize + 1;
        self.size = Size { width: side(0), height: side(14) };
        self.alpha = bits >> 28 & 1 != 0;
        Ok(())
    }
}

/// Chunks have an even number of bytes.
fn padded(len: u64) -> u64 {
    len + len % 2
}
