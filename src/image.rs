//! An image file decoded to RGB samples, exactly as PIL decodes it.
//!
//! The format follows from the content of a file, never from its name. Headers decide: each format
//! lists the fields and values of headers that tests show to decode as PIL decodes them, and
//! refuses all others, so that [`header()`] finds what [`decode`] would refuse. This module reads
//! files and gives samples; it does not depend on pairs, batches of work and metrics.

mod bmp;
mod crop;
mod ending;
mod fault;
mod file;
mod format;
mod gif;
mod guard;
mod header;
mod jpeg;
mod lent;
mod lzw;
mod npy;
mod pixels;
mod png;
mod pnm;
mod range;
mod reader;
mod samples;
mod size;
mod stamp;
mod tiff;
mod webp;

use std::fs::Metadata;
use std::io::{BufRead as _, BufReader, Cursor, Read, Seek};
use std::path::Path;

use self::fault::{BOMB_REMEDY, Fault, Reason};
use self::file::Watched;
use self::format::Format;
use self::samples::Samples;
use crate::code::Code;

pub use self::crop::SizePolicy;
pub use self::fault::ImageError;
pub use self::header::{Header, Traits};
pub use self::pixels::{AsPixels, PixelSlice, PixelStore, Pixels};
pub use self::range::Range;
pub use self::size::{Depth, Size};
pub use self::stamp::{Stamp, Verify};

/// A decoded image, whose samples are in memory of its own or of a caller.
#[derive(Clone, PartialEq, Debug)]
pub struct Image<P = Pixels> {
    /// Extents.
    pub size: Size,
    /// Samples.
    pub pixels: P,
    /// The integer that stands for white, if the samples are integers divided by it, rounded and
    /// brought to [`Rules::range`]: not for floats, and not for 16 bits that were blended.
    pub white: Option<u16>,
    /// What the file says beside its samples.
    pub traits: Traits,
    /// The file that it was read from.
    pub stamp: Stamp,
}

/// What becomes of transparency.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Alpha {
    /// Dropped unblended, as PIL's `convert("RGB")` does.
    #[default]
    Drop,
    /// Blended over black, as PIL's `paste` with a mask does.
    Black,
    /// Blended over white, as PIL's `paste` with a mask does.
    White,
}

impl Alpha {
    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Alpha::Drop => "drop",
            Alpha::Black => "black",
            Alpha::White => "white",
        }
    }
}

/// How files become samples. Part of the fingerprint of a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// What float samples stand for; integers are scaled to the same range.
    pub range: Range,
    /// What becomes of transparency.
    pub alpha: Alpha,
    /// Whether sides are cut to a multiple of a number, as `modcrop` does.
    pub size_policy: SizePolicy,
    /// Pixels that are cut off at each side, after `size_policy`.
    pub crop_border: usize,
    /// What becomes of EXIF orientation and of colour profiles.
    pub exif_and_icc: &'static str,
    /// What becomes of samples of 16 bits: divided by 65535, where PIL clips grey ones.
    pub depth_16: &'static str,
    /// Whose pixels the decoders give.
    pub decoders: &'static str,
    /// Largest image, in pixels, that is decoded.
    pub pixels_max: u64,
}

/// The default of [`Rules::pixels_max`]: three times what PIL warns of.
pub const PIXELS_MAX: u64 = 1 << 28;

/// Files up to this length may hold few pixels: what else is in them is skipped.
const LEN_UNCHECKED: u64 = 64 << 20;
/// More than any format takes for a pixel: text of four samples of 16 bits.
const LEN_PER_PIXEL: u64 = 32;

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            range: Range::Unit,
            alpha: Alpha::Drop,
            size_policy: SizePolicy::Error,
            crop_border: 0,
            exif_and_icc: "ignore",
            depth_16: "scale",
            decoders: "libjpeg-turbo, libpng, libwebp, libtiff",
            pixels_max: PIXELS_MAX,
        }
    }
}

impl Image {
    /// An image of which nothing else is known.
    ///
    /// # Panics
    /// When the number of samples is not that of an RGB image of `size`.
    #[must_use]
    pub fn new(size: Size, pixels: Pixels) -> Image {
        let len = match &pixels {
            Pixels::U8(samples) => samples.len(),
            Pixels::F32(samples) => samples.len(),
        };
        assert_eq!(len, size.samples(), "an image of {size} with {len} samples");
        let white = matches!(pixels, Pixels::U8(_)).then_some(255);
        Image { size, pixels, white, traits: Traits::default(), stamp: Stamp::default() }
    }
}

impl<P> Image<P> {
    /// The same image with its samples elsewhere.
    #[must_use]
    pub fn stored<Q>(self, store: impl FnOnce(P) -> Q) -> Image<Q> {
        let Image { size, pixels, white, traits, stamp } = self;
        Image { size, pixels: store(pixels), white, traits, stamp }
    }
}

impl<P: PixelStore> Image<P> {
    /// The same image, whose samples are borrowed.
    #[must_use]
    pub fn view(&self) -> Image<PixelSlice<'_>> {
        let Image { size, white, traits, stamp, .. } = *self;
        Image { size, pixels: self.pixels(), white, traits, stamp }
    }

    /// How a batch must store it.
    #[must_use]
    pub fn depth(&self) -> Depth {
        self.pixels().depth()
    }
}

impl<P: PixelStore> AsPixels for Image<P> {
    fn size(&self) -> Size {
        self.size
    }

    fn pixels(&self) -> PixelSlice<'_> {
        self.pixels.slice()
    }
}

/// Reads and decodes a file.
///
/// # Errors
/// When the file is missing or cannot be read, is not a regular file, is not an image of a format
/// that is read, is damaged or cut short, has more pixels than `rules` allow, or nothing of it is
/// left after cropping.
pub fn decode(path: &Path, rules: &Rules) -> Result<Image, ImageError> {
    decode_with(path, rules, |_| Ok(()), |format, bytes| decode_as(format, bytes, rules))
}

/// As [`decode`], into memory that `lend` gives for samples of a size and depth, if `admit` agrees
/// to the header before the content is read. PNG, JPEG and NumPy files of three bytes a pixel are
/// decoded there at once; others are copied there.
///
/// # Errors
/// As [`decode`], and `E_TOO_LARGE` with the reason that `admit` gives.
///
/// # Panics
/// When the memory has another length.
pub fn decode_into<M: AsMut<[u8]>>(
    path: &Path,
    rules: &Rules,
    admit: impl FnOnce(&Header) -> Result<(), String>,
    lend: impl FnOnce(Size, Depth) -> M,
) -> Result<Image<M>, ImageError> {
    decode_with(path, rules, admit, |format, bytes| lent::decode(format, bytes, rules, lend))
}

/// What `decode` makes of a file, if `admit` agrees to its header before the content is read.
fn decode_with<P>(
    path: &Path,
    rules: &Rules,
    admit: impl FnOnce(&Header) -> Result<(), String>,
    decode: impl FnOnce(Format, &[u8]) -> Result<Image<P>, Reason>,
) -> Result<Image<P>, ImageError> {
    reading(path, |file, metadata| {
        let format = format_of(file)?;
        let header = header_as(format, &mut *file)?;
        refuse_oversized(header.size, metadata.len(), rules)?;
        admit(&header).map_err(|reason| (Code::TooLarge, reason))?;
        file.rewind()?;
        let bytes = file::read(file, metadata)?;
        let image = decode(format, &bytes)?;
        Ok(Image { stamp: Stamp::of(metadata, &bytes), ..image })
    })
}

/// Decodes the content of a file.
///
/// # Errors
/// As [`decode`], except for what concerns files.
pub fn decode_bytes(bytes: &[u8], rules: &Rules) -> Result<Image, ImageError> {
    format::of(bytes)
        .and_then(|format| decode_as(format, bytes, rules))
        .map_err(|reason| located(Path::new("(bytes)"), reason.into()))
}

/// Reads what a file states before its samples, and nothing else.
///
/// # Errors
/// When the file is missing or cannot be read, is not a regular file, is not an image of a format
/// that is read, its header is damaged, or it ends before its image does. Sizes are given as the
/// file states them; see [`Rules::scored`].
pub fn header(path: &Path) -> Result<Header, ImageError> {
    reading(path, |file, _| {
        let format = format_of(file)?;
        let header = header_as(format, &mut *file)?;
        ending::check(format, file)?;
        Ok(header)
    })
}

/// What `read` makes of a file, or why it makes nothing of it.
fn reading<T>(
    path: &Path,
    read: impl FnOnce(&mut BufReader<Watched>, &Metadata) -> Result<T, Fault>,
) -> Result<T, ImageError> {
    let of_file = || {
        let (mut file, metadata) = file::open(path)?;
        read(&mut file, &metadata).map_err(|fault| file.get_mut().cause(fault))
    };
    of_file().map_err(|fault| located(path, fault))
}

/// The format of a file, of which nothing is consumed.
fn format_of(file: &mut BufReader<Watched>) -> Result<Format, Fault> {
    Ok(format::of(file.fill_buf()?)?)
}

fn header_as(format: Format, file: impl Read + Seek) -> Result<Header, Reason> {
    guarded(|| match format {
        Format::Png => png::header(file),
        Format::Jpeg => jpeg::header(file),
        Format::WebP => webp::header(file),
        Format::Gif => gif::header(file),
        Format::Bmp => bmp::header(file),
        Format::Tiff => tiff::header(file),
        Format::Pnm => pnm::header(file),
        Format::Npy => npy::header(file),
    })
}

fn samples_as(format: Format, bytes: &[u8]) -> Result<Samples, Reason> {
    guarded(|| match format {
        Format::Png => png::decode(bytes),
        Format::Jpeg => jpeg::decode(bytes),
        Format::WebP => webp::decode(bytes),
        Format::Gif => gif::decode(bytes),
        Format::Bmp => bmp::decode(bytes),
        Format::Tiff => tiff::decode(bytes),
        Format::Pnm => pnm::decode(bytes),
        Format::Npy => npy::decode(bytes),
    })
}

/// The header decides what is decoded, and bounds what a decoder may allocate.
fn decode_as(format: Format, bytes: &[u8], rules: &Rules) -> Result<Image, Reason> {
    let Header { size, traits } = header_as(format, Cursor::new(bytes))?;
    check_size(size, rules)?;
    let samples = samples_as(format, bytes)?;
    if samples.size() != size {
        let text = format!("{} pixels, where the header states {size}", samples.size());
        return Err((Code::Decode, text));
    }
    let white = samples.white(rules);
    let pixels = samples.into_pixels(rules)?;
    crop::crop(Image { white, traits, ..Image::new(size, pixels) }, rules)
}

/// A file must not be longer than its pixels can explain: it is read into memory as a whole.
fn refuse_oversized(size: Size, len: u64, rules: &Rules) -> Result<(), Reason> {
    check_size(size, rules)?;
    let pixels = size.width as u64 * size.height as u64;
    if len > LEN_UNCHECKED + LEN_PER_PIXEL * pixels {
        let text = format!(
            "{len} bytes for {size} pixels: refused as a decompression bomb; {BOMB_REMEDY}"
        );
        return Err((Code::TooLarge, text));
    }
    Ok(())
}

/// A decoder that panics cannot read the file; the pair fails, and the run does not.
fn guarded<T>(read: impl FnOnce() -> Result<T, Reason>) -> Result<T, Reason> {
    let failed = |text| Err((Code::Decode, format!("the decoder failed: {text}")));
    guard::caught(read).unwrap_or_else(failed)
}

impl Rules {
    /// The extents that are left to score of an image of `size`.
    ///
    /// # Errors
    /// When there are more pixels than allowed, or none left.
    pub fn scored(&self, size: Size) -> Result<Size, ImageError> {
        let window = check_size(size, self).and_then(|()| crop::window(size, self));
        let scored = window.map(|window| window.size);
        scored.map_err(|reason| located(Path::new("image"), reason.into()))
    }
}

fn located(path: &Path, fault: Fault) -> ImageError {
    ImageError::new(path.display().to_string(), fault)
}

fn check_size(size: Size, rules: &Rules) -> Result<(), Reason> {
    let Size { width, height } = size;
    if width == 0 || height == 0 {
        return Err((Code::Decode, format!("an image of {size} has no pixels")));
    }
    let limit = rules.pixels_max;
    if (width as u64).saturating_mul(height as u64) > limit {
        let text = format!(
            "{size} is more than {limit} pixels: refused as a decompression bomb; raise the \
             limit with --max-pixels if it is none"
        );
        return Err((Code::TooLarge, text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(bytes: &[u8]) -> Code {
        decode_bytes(bytes, &Rules::default()).unwrap_err().code()
    }

    #[test]
    fn each_fault_has_its_code() {
        assert_eq!(code(b""), Code::Empty);
        assert_eq!(code(b"hello, this is text"), Code::NotImage);
        assert_eq!(code(b"GIF89a\x01\x00\x01\x00"), Code::Decode);
        assert_eq!(code(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), Code::Decode);
        assert_eq!(code(b"\xff\xd8\xff\xe0\x00\x10JFIF"), Code::Decode);
        assert_eq!(code(b"P5 100000 100000 255\n"), Code::TooLarge);
        let error = decode(Path::new("gone.png"), &Rules::default()).unwrap_err();
        assert_eq!(
            (error.code(), error.to_string().as_str()),
            (Code::Missing, "`gone.png`: no such file")
        );
        let error = decode(Path::new("."), &Rules::default()).unwrap_err();
        assert_eq!(
            (error.code(), error.to_string().as_str()),
            (Code::NotFile, "`.`: a folder, expected a regular file")
        );
    }

    #[test]
    fn the_limit_of_pixels_can_be_raised_and_lowered() {
        let bytes = b"P5 2 2 255\n\x01\x02\x03\x04";
        let lowered = Rules { pixels_max: 3, ..Rules::default() };
        assert_eq!(decode_bytes(bytes, &lowered).unwrap_err().code(), Code::TooLarge);
        let raised = Rules { pixels_max: 4, ..Rules::default() };
        assert!(decode_bytes(bytes, &raised).is_ok());
    }

    #[test]
    fn sixteen_bits_are_scaled_and_grey_is_repeated() {
        let image = decode_bytes(b"P5 1 1 65535\n\x80\x00", &Rules::default()).unwrap();
        assert_eq!(image.pixels, Pixels::F32(vec![32768.0 / 65535.0; 3]));
        assert_eq!(image.traits.depth_bits, 16);
        let image = decode_bytes(b"P5 1 1 255\n\x80", &Rules::default()).unwrap();
        assert_eq!(image.pixels, Pixels::U8(vec![128; 3]));
    }
}
