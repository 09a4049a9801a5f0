//! The fields of a TIFF header, which kinds of them are read, and how the samples are stored.

mod fields;

use std::fmt::Display;
use std::io::{Read, Seek};
use std::ops::RangeInclusive;

use super::super::Size;
use super::super::fault::{Reason, bomb, damaged, unsupported};
use super::super::reader::Order;
use super::super::samples::Palette;
use super::FORMAT;
use super::directory::Directory;

use self::fields::{compression, pixels, refused, side};

mod tag {
    pub(super) const WIDTH: u16 = 256;
    pub(super) const HEIGHT: u16 = 257;
    pub(super) const BITS: u16 = 258;
    pub(super) const COMPRESSION: u16 = 259;
    pub(super) const PHOTOMETRIC: u16 = 262;
    pub(super) const FILL_ORDER: u16 = 266;
    pub(super) const STRIP_OFFSETS: u16 = 273;
    pub(super) const ORIENTATION: u16 = 274;
    pub(super) const SAMPLES: u16 = 277;
    pub(super) const ROWS_PER_STRIP: u16 = 278;
    pub(super) const STRIP_BYTES: u16 = 279;
    pub(super) const PLANES: u16 = 284;
    pub(super) const PREDICTOR: u16 = 317;
    pub(super) const COLOR_MAP: u16 = 320;
    pub(super) const TILE_WIDTH: u16 = 322;
    pub(super) const TILE_HEIGHT: u16 = 323;
    pub(super) const TILE_OFFSETS: u16 = 324;
    pub(super) const TILE_BYTES: u16 = 325;
    pub(super) const EXTRA: u16 = 338;
    pub(super) const FORMAT: u16 = 339;
    pub(super) const PROFILE: u16 = 34675;

    /// Those that decide what the pixels are; the others are metadata, and may be broken.
    pub(super) const DECIDING: [u16; 19] = [
        WIDTH,
        HEIGHT,
        BITS,
        COMPRESSION,
        PHOTOMETRIC,
        FILL_ORDER,
        STRIP_OFFSETS,
        SAMPLES,
        ROWS_PER_STRIP,
        STRIP_BYTES,
        PLANES,
        PREDICTOR,
        COLOR_MAP,
        TILE_WIDTH,
        TILE_HEIGHT,
        TILE_OFFSETS,
        TILE_BYTES,
        EXTRA,
        FORMAT,
    ];
}

/// Longest colour profile that is read.
const PROFILE_BYTES_MAX: u64 = 16 << 20;
/// Bytes of a decompressed tile or strip, beside those of the image: tiles may reach beyond it.
const CHUNK_BYTES_MAX: u64 = 64 << 20;
/// Most samples of a pixel.
const SAMPLES_MAX: RangeInclusive<u64> = 1..=6;

/// How strips or tiles are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Compression {
    None,
    Lzw,
    Deflate,
    PackBits,
}

/// What the samples of a pixel mean.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    WhiteIsZero,
    BlackIsZero,
    Rgb,
    Indexed(Box<Palette>),
}

/// What the samples behind the colours mean. Only the first of them counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Extra {
    /// There are none, or they have no meaning.
    None,
    Alpha,
    /// The colours are multiplied by alpha.
    AssociatedAlpha,
}

/// Type of a sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// An unsigned integer of 1, 2, 4, 8 or 16 bits.
    Unsigned(u8),
    /// 32 bits.
    Float,
}

impl Kind {
    pub(super) fn bits(self) -> u8 {
        match self {
            Kind::Unsigned(bits) => bits,
            Kind::Float => 32,
        }
    }
}

/// A kind of pixels that is read, by the values of its fields.
struct Pixels {
    photometric: u64,
    sample_format: u64,
    bits: &'static [u64],
    extra: &'static [&'static [u64]],
}

/// Every kind of pixels that is read.
#[rustfmt::skip]
const PIXELS: [Pixels; 8] = [
    Pixels { photometric: 0, sample_format: 1, bits: &[1, 2, 4, 8], extra: &[&[]] },
    Pixels { photometric: 1, sample_format: 1, bits: &[1, 2, 4, 8, 16], extra: &[&[]] },
    Pixels { photometric: 1, sample_format: 1, bits: &[8], extra: &[&[0], &[2]] },
    Pixels { photometric: 1, sample_format: 3, bits: &[32], extra: &[&[]] },
    Pixels { photometric: 2, sample_format: 1, bits: &[8], extra: RGB_EXTRA },
    Pixels { photometric: 2, sample_format: 1, bits: &[16], extra: &[&[], &[0], &[2]] },
    Pixels { photometric: 2, sample_format: 3, bits: &[32], extra: &[&[], &[0], &[2]] },
    Pixels { photometric: 3, sample_format: 1, bits: &[1, 2, 4, 8], extra: &[&[]] },
];
/// Values of ExtraSamples: 0 is without meaning, 1 associated alpha, 2 alpha.
const RGB_EXTRA: &[&[u64]] =
    &[&[], &[0], &[1], &[2], &[0, 0], &[1, 0], &[2, 0], &[0, 0, 0], &[1, 0, 0], &[2, 0, 0]];

/// Everything that decides how the pixels are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    /// As stored, before it is turned.
    pub(super) size: Size,
    pub(super) kind: Kind,
    pub(super) meaning: Meaning,
    pub(super) extra: Extra,
    /// Samples of a pixel.
    pub(super) samples: usize,
    /// Whether each sample has strips or tiles of its own.
    pub(super) is_planar: bool,
    /// Extents of a strip or tile.
    pub(super) chunk: Size,
    pub(super) is_tiled: bool,
    pub(super) offsets: Vec<u64>,
    /// Compressed bytes of each strip or tile.
    pub(super) lens: Vec<u64>,
    pub(super) compression: Compression,
    /// 1: none, 2: differences, 3: differences of the bytes of floats.
    pub(super) predictor: u64,
    /// Whether the lowest bit of a byte is the first.
    pub(super) is_reversed: bool,
    pub(super) order: Order,
    /// 1 to 8, as in EXIF.
    pub(super) orientation: u8,
    pub(super) profile: Option<Vec<u8>>,
}

impl Layout {
    pub(super) fn read(file: impl Read + Seek) -> Result<Layout, Reason> {
        let mut directory = Directory::read(file)?;
        directory.expect_values(&tag::DECIDING)?;
        let size = Size {
            width: side(&mut directory, tag::WIDTH)?,
            height: side(&mut directory, tag::HEIGHT)?,
        };
        let compression = compression(&mut directory)?;
        let (kind, meaning, extra, samples) = pixels(&mut directory)?;
        let fill_order = directory.number(tag::FILL_ORDER)?.unwrap_or(1);
        let is_reversible = extra == Extra::None && kind.bits() <= 8 && matches!(samples, 1 | 3);
        if fill_order != 1 && !(fill_order == 2 && is_reversible) {
            return Err(refused("FillOrder", fill_order));
        }
        let is_planar = match directory.number(tag::PLANES)?.unwrap_or(1) {
            1 => false,
            // A plane of one sample is the image.
            2 => samples > 1,
            other => return Err(refused("PlanarConfiguration", other)),
        };
        // PIL divides the colours by it, unless nothing is compressed.
        if is_planar && extra != Extra::None && !directory.has(tag::EXTRA) {
            return Err(unsupported(FORMAT, "four planes without ExtraSamples"));
        }
        let predictor = directory.number(tag::PREDICTOR)?.unwrap_or(1);
        let has_predictor = matches!(compression, Compression::Lzw | Compression::Deflate);
        match (predictor, kind) {
            (1, _) => {}
            (2, Kind::Unsigned(8 | 16)) | (2 | 3, Kind::Float) if has_predictor => {}
            _ => return Err(refused("Predictor", predictor)),
        }
        let orientation = match directory.number(tag::ORIENTATION) {
            Ok(Some(orientation @ 1..=8)) => orientation as u8,
            _ => 1,
        };
        let profile = directory.bytes(tag::PROFILE, PROFILE_BYTES_MAX);
        let order = directory.order;
        let mut layout = Layout {
            size,
            kind,
            meaning,
            extra,
            samples,
            is_planar,
            chunk: size,
            is_tiled: directory.has(tag::TILE_OFFSETS) && !directory.has(tag::STRIP_OFFSETS),
            offsets: Vec::new(),
            lens: Vec::new(),
            compression,
            predictor,
            is_reversed: fill_order == 2,
            order,
            orientation,
            profile,
        };
        layout.read_chunks(&mut directory)?;
        Ok(layout)
    }

    fn read_chunks(&mut self, directory: &mut Directory<impl Read + Seek>) -> Result<(), Reason> {
        let (offsets, lens) = if self.is_tiled {
            self.chunk.width = side(directory, tag::TILE_WIDTH)?;
            self.chunk.height = side(directory, tag::TILE_HEIGHT)?;
            (tag::TILE_OFFSETS, tag::TILE_BYTES)
        } else {
            let rows = directory.number(tag::ROWS_PER_STRIP)?.unwrap_or(u64::MAX);
            if rows == 0 {
                return Err(damaged(FORMAT, "RowsPerStrip is 0"));
            }
            self.chunk.height = usize::try_from(rows).unwrap_or(usize::MAX).min(self.size.height);
            (tag::STRIP_OFFSETS, tag::STRIP_BYTES)
        };
        let chunk_bytes = (self.row_bytes() as u64).saturating_mul(self.chunk.height as u64);
        if chunk_bytes > self.image_bytes().saturating_add(CHUNK_BYTES_MAX) {
            let text = format_args!("tiles of {} for {}", self.chunk, self.size);
            return Err(bomb(FORMAT, text));
        }
        self.offsets = directory.numbers(offsets)?.unwrap_or_default();
        let in_plane = self.chunks_across().saturating_mul(self.chunks_down());
        let expected = in_plane.saturating_mul(self.planes());
        if self.offsets.len() != expected {
            let text = format_args!("{} strips or tiles, expected {expected}", self.offsets.len());
            return Err(damaged(FORMAT, text));
        }
        self.lens = match self.compression {
            // PIL does not look at their lengths.
            Compression::None => (0..expected).map(|index| self.raw_len(index) as u64).collect(),
            _ => directory.numbers(lens)?.unwrap_or_default(),
        };
        if self.lens.len() != expected {
            return Err(damaged(FORMAT, "the lengths of strips or tiles"));
        }
        let ends = self.offsets.iter().zip(&self.lens).map(|(at, len)| at.saturating_add(*len));
        let end = ends.max().unwrap_or(0);
        if end > directory.file_len() {
            let text = format_args!("pixels up to byte {end} of {}", directory.file_len());
            return Err(damaged(FORMAT, text));
        }
        self.check_lzw(directory)
    }

    /// Early writers of LZW put the lowest bit first.
    fn check_lzw(&self, directory: &mut Directory<impl Read + Seek>) -> Result<(), Reason> {
        if self.compression == Compression::Lzw && self.lens[0] >= 2 {
            let [first, second] = directory.at(self.offsets[0])?;
            if first == 0 && second & 1 == 1 {
                return Err(unsupported(FORMAT, "Compression 5 of the old kind (bits reversed)"));
            }
        }
        Ok(())
    }

    /// Samples of a pixel in a strip or tile.
    pub(super) fn samples_per_chunk(&self) -> usize {
        if self.is_planar { 1 } else { self.samples }
    }

    pub(super) fn planes(&self) -> usize {
        if self.is_planar { self.samples } else { 1 }
    }

    /// Bytes of a row of a strip or tile.
    pub(super) fn row_bytes(&self) -> usize {
        let bits = self.samples_per_chunk() * usize::from(self.kind.bits());
        self.chunk.width.saturating_mul(bits).div_ceil(8)
    }

    fn image_bytes(&self) -> u64 {
        let bits = self.samples as u64 * u64::from(self.kind.bits());
        (self.size.width as u64 * bits).div_ceil(8).saturating_mul(self.size.height as u64)
    }

    pub(super) fn chunks_across(&self) -> usize {
        self.size.width.div_ceil(self.chunk.width)
    }

    pub(super) fn chunks_down(&self) -> usize {
        self.size.height.div_ceil(self.chunk.height)
    }

    /// Bytes of a strip or tile without compression. The last strip ends with the image.
    pub(super) fn raw_len(&self, index: usize) -> usize {
        let top = index / self.chunks_across() % self.chunks_down() * self.chunk.height;
        let rows = if self.is_tiled { self.chunk.height } else { self.size.height - top };
        self.row_bytes().saturating_mul(rows.min(self.chunk.height))
    }
}
