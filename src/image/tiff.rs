//! TIFF and BigTIFF: strips or tiles, chunky or planar, of the kinds of pixels that
//! [`layout`] lists. The first image of the file counts, turned by its orientation as PIL turns it.

mod chunks;
mod directory;
mod layout;

use std::io::{Cursor, Read, Seek};

pub(super) use self::directory::Directory;
use self::layout::{Extra, Kind, Layout, Meaning};
use super::fault::Reason;
use super::samples::{Raster, Samples, grey, unpack};
use super::{Header, Size, Traits};

const FORMAT: &str = "TIFF";

pub(super) fn header(file: impl Read + Seek) -> Result<Header, Reason> {
    let layout = Layout::read(file)?;
    let traits = Traits {
        depth_bits: layout.kind.bits().max(8),
        alpha: layout.extra != Extra::None,
        ..Traits::default()
    };
    let size = turned(layout.size, layout.orientation);
    Ok(Header { size, traits: traits.with_profile(layout.profile.as_deref()) })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Samples, Reason> {
    let layout = Layout::read(Cursor::new(bytes))?;
    let image = chunks::image(bytes, &layout)?;
    let orientation = layout.orientation;
    Ok(match layout.kind {
        Kind::Unsigned(16) => {
            let pairs = image.as_chunks::<2>().0;
            let values = pairs.iter().map(|&pair| u16::from_be_bytes(pair)).collect();
            Samples::U16(turn(without_extra(values, &layout), orientation), u16::MAX)
        }
        Kind::Float => {
            let quads = image.as_chunks::<4>().0;
            let values = quads.iter().map(|&quad| f32::from_be_bytes(quad)).collect();
            Samples::F32(turn(without_extra(values, &layout), orientation))
        }
        Kind::Unsigned(bits) => Samples::U8(turn(bytes_of(image, bits, &layout), orientation)),
    })
}

fn bytes_of(image: Vec<u8>, bits: u8, layout: &Layout) -> Raster<u8> {
    let size = layout.size;
    let stride = (size.width * layout.samples * usize::from(bits)).div_ceil(8);
    // Samples of less than a byte come one to a pixel.
    let mut values = if bits < 8 { unpack(&image, stride, size.width, bits) } else { image };
    match &layout.meaning {
        Meaning::Indexed(palette) => {
            return Raster { size, channels: 3, values: palette.colors(&values) };
        }
        Meaning::WhiteIsZero => {
            values.iter_mut().for_each(|value| *value = u8::MAX - grey(*value, bits));
        }
        Meaning::BlackIsZero if bits < 8 => {
            values.iter_mut().for_each(|value| *value = grey(*value, bits));
        }
        Meaning::BlackIsZero | Meaning::Rgb => {}
    }
    let mut raster = without_extra(values, layout);
    if layout.extra == Extra::AssociatedAlpha {
        raster.values.as_chunks_mut::<4>().0.iter_mut().for_each(divide_by_alpha);
    }
    raster
}

/// Divides colours by alpha as PIL does: rounded down, at most 255, and black if alpha is 0.
fn divide_by_alpha([colors @ .., alpha]: &mut [u8; 4]) {
    for color in colors {
        let divided = (u32::from(*color) * 255).checked_div(u32::from(*alpha)).unwrap_or(0);
        *color = divided.min(255) as u8;
    }
}

/// Pixels of colours and, if there is one, alpha.
fn without_extra<T: Copy>(values: Vec<T>, layout: &Layout) -> Raster<T> {
    let colors = if layout.meaning == Meaning::Rgb { 3 } else { 1 };
    let channels = colors + usize::from(layout.extra != Extra::None);
    let size = layout.size;
    if channels == layout.samples {
        return Raster { size, channels, values };
    }
    let kept = values.chunks_exact(layout.samples).flat_map(|pixel| &pixel[..channels]);
    Raster { size, channels, values: kept.copied().collect() }
}

/// Extents after turning.
fn turned(size: Size, orientation: u8) -> Size {
    if orientation >= 5 { Size { width: size.height, height: size.width } } else { size }
}

/// The image as it is meant to be seen.
fn turn<T: Copy>(raster: Raster<T>, orientation: u8) -> Raster<T> {
    if orientation == 1 {
        return raster;
    }
    let Raster { size: stored, channels, values } = raster;
    let size = turned(stored, orientation);
    let (right, bottom) = (stored.width - 1, stored.height - 1);
    // Column and row in the file of a pixel of the image.
    let source = |x: usize, y: usize| match orientation {
        2 => (right - x, y),
        3 => (right - x, bottom - y),
        4 => (x, bottom - y),
        5 => (y, x),
        6 => (y, bottom - x),
        7 => (right - y, bottom - x),
        _ => (right - y, x),
    };
    let mut result = Vec::with_capacity(values.len());
    for y in 0..size.height {
        for x in 0..size.width {
            let (column, row) = source(x, y);
            let at = (row * stored.width + column) * channels;
            result.extend_from_slice(&values[at..at + channels]);
        }
    }
    Raster { size, channels, values: result }
}
