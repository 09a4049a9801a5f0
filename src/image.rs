//! An image file decoded to RGB samples, exactly as PIL decodes it.
//!
//! The format is decided by content, never by a file's name. This module knows files and samples,
//! and refuses to know of pairs, batches of work and metrics.

mod container;
mod crop;
mod float;
mod header;
mod jpeg;
mod npy;
mod other;
mod size;
mod stamp;

use std::fs::Metadata;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ::image::ImageFormat;
use clap::ValueEnum;
use fs_err::File;

use crate::code::Code;
use crate::suggest::nearest_file;

pub use self::crop::SizePolicy;
pub use self::float::Range;
pub use self::header::{Header, Traits};
pub use self::size::{Depth, Size};
pub use self::stamp::{Stamp, Verify};

/// Samples of an image: (row, column, RGB).
#[derive(Clone, PartialEq, Debug)]
pub enum Pixels {
    /// 0 to 255.
    U8(Vec<u8>),
    /// 0 to 1, or -1 to 1; see [`Rules::range`].
    F32(Vec<f32>),
}

/// A decoded image.
#[derive(Clone, PartialEq, Debug)]
pub struct Image {
    /// Extents.
    pub size: Size,
    /// Samples.
    pub pixels: Pixels,
    /// What the file says beside its samples.
    pub traits: Traits,
    /// The file that it was read from.
    pub stamp: Stamp,
}

/// What becomes of transparency.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Alpha {
    /// Dropped unblended, as PIL's `convert("RGB")` does
    #[default]
    Drop,
    /// Blended over black, as PIL's `paste` with a mask does
    Black,
    /// Blended over white, as PIL's `paste` with a mask does
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
    /// What float samples stand for; samples of whole numbers are brought to the same range.
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

/// Files up to this length are read without a look at their extents first.
const LEN_UNASKED: u64 = 64 << 20;
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

/// Why a file is no image for us.
#[derive(Debug, thiserror::Error)]
#[error("`{path}`: {reason}")]
pub struct ImageError {
    path: String,
    code: Code,
    reason: String,
}

impl ImageError {
    /// A stable code such as `E_DECODE`.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// What is wrong, without the path.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// A code and a sentence, to which the path is added.
type Reason = (Code, String);

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
        Image { size, pixels, traits: Traits::default(), stamp: Stamp::default() }
    }

    /// How a batch must store it.
    #[must_use]
    pub fn depth(&self) -> Depth {
        match self.pixels {
            Pixels::U8(_) => Depth::U8,
            Pixels::F32(_) => Depth::F32,
        }
    }
}

/// Reads and decodes a file.
///
/// # Errors
/// When the file is missing, cannot be read, is no image of a known format, is damaged or cut
/// short, has more pixels than `rules` allow, or is nothing after cropping.
pub fn decode(path: &Path, rules: &Rules) -> Result<Image, ImageError> {
    let decoded = || {
        let Opened { mut file, format, metadata } = open(path)?;
        if metadata.len() > LEN_UNASKED {
            refuse_oversized(path, metadata.len(), rules)?;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
        let image = decode_as(format, &bytes, rules)?;
        Ok(Image { stamp: Stamp::of(&metadata, &bytes), ..image })
    };
    decoded().map_err(|reason| located(path, reason))
}

/// Decodes the content of a file.
///
/// # Errors
/// As [`decode`], less what concerns files.
pub fn decode_bytes(bytes: &[u8], rules: &Rules) -> Result<Image, ImageError> {
    format_of(bytes)
        .and_then(|format| decode_as(format, bytes, rules))
        .map_err(|reason| located(Path::new("(bytes)"), reason))
}

/// Reads what a file says of itself before its samples, and nothing else.
///
/// # Errors
/// When the file is missing, cannot be read, is no image of a known format, or its header is
/// damaged. Sizes are told as the file states them; see [`Rules::scored`].
pub fn header(path: &Path) -> Result<Header, ImageError> {
    header_of(path).map_err(|reason| located(path, reason))
}

fn header_of(path: &Path) -> Result<Header, Reason> {
    let Opened { mut file, format, .. } = open(path)?;
    guarded(|| match format {
        Format::Npy => npy::header(file),
        Format::Image(ImageFormat::Jpeg) => jpeg::header(file),
        Format::Image(ImageFormat::Tiff) => match float::tiff_header(&mut file)? {
            Some(header) => Ok(header),
            None => {
                file.rewind().map_err(|error| unreadable(&error))?;
                other::header(file, ImageFormat::Tiff)
            }
        },
        Format::Image(format) => other::header(file, format),
    })
}

/// A file must not be longer than its pixels can explain: it is read into memory as a whole.
fn refuse_oversized(path: &Path, len: u64, rules: &Rules) -> Result<(), Reason> {
    let Size { width, height } = header_of(path)?.size;
    check_size(width as u64, height as u64, rules)?;
    if len > LEN_UNASKED + LEN_PER_PIXEL * (width as u64 * height as u64) {
        let text = format!("{len} bytes for {width}x{height} pixels: refused as a bomb");
        return Err((Code::TooLarge, text));
    }
    Ok(())
}

/// A decoder that panics has met a file that it cannot read, and no more than that.
fn guarded<T>(read: impl FnOnce() -> Result<T, Reason>) -> Result<T, Reason> {
    caught(read).unwrap_or_else(|text| Err((Code::Decode, format!("the decoder gave up: {text}"))))
}

/// What `read` returns, or the text of its panic.
fn caught<T>(read: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(read)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        text.unwrap_or_default()
    })
}

impl Rules {
    /// The extents that are left to score of an image of `size`.
    ///
    /// # Errors
    /// When there are more pixels than allowed, or none left.
    pub fn scored(&self, size: Size) -> Result<Size, ImageError> {
        let checked = check_size(size.width as u64, size.height as u64, self);
        let window = checked.and_then(|size| crop::window(size, self));
        window.map(|window| window.size).map_err(|reason| located(Path::new("image"), reason))
    }
}

fn decode_as(format: Format, bytes: &[u8], rules: &Rules) -> Result<Image, Reason> {
    let whole = |image: Image| Image { pixels: rules.range.of_whole(image.pixels), ..image };
    let image = guarded(|| match format {
        Format::Npy => npy::decode(bytes, rules),
        Format::Image(ImageFormat::Jpeg) => jpeg::decode(bytes, rules).map(whole),
        Format::Image(format) => {
            let is_tiff = format == ImageFormat::Tiff;
            let float = if is_tiff { float::decode_tiff(bytes, rules)? } else { None };
            match float {
                Some(image) => Ok(image),
                None => other::decode(bytes, format, rules).map(whole),
            }
        }
    })?;
    crop::crop(image, rules)
}

/// What decodes a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    Npy,
    Image(ImageFormat),
}

/// A file that starts as an image does, at its start.
struct Opened {
    file: BufReader<File>,
    format: Format,
    /// Taken before anything was read, so that a change during reading is noticed later.
    metadata: Metadata,
}

fn open(path: &Path) -> Result<Opened, Reason> {
    let file = File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => (Code::Missing, missing(path)),
        _ => unreadable(&error),
    })?;
    let metadata = file.metadata().map_err(|error| unreadable(&error))?;
    let mut file = BufReader::new(file);
    let start = file.fill_buf().map_err(|error| unreadable(&error))?;
    let format = format_of(start)?;
    Ok(Opened { file, format, metadata })
}

fn missing(path: &Path) -> String {
    let near = nearest_file(path).map(|near| format!("; nearest name in its folder: `{near}`"));
    format!("no such file{}", near.unwrap_or_default())
}

fn unreadable(error: &std::io::Error) -> Reason {
    match error.kind() {
        std::io::ErrorKind::IsADirectory => (Code::Read, "a folder, not a file".to_owned()),
        _ => (Code::Read, error.to_string()),
    }
}

fn located(path: &Path, (code, reason): Reason) -> ImageError {
    ImageError { path: path.display().to_string(), code, reason }
}

fn format_of(start: &[u8]) -> Result<Format, Reason> {
    if start.is_empty() {
        return Err((Code::Empty, "the file has no bytes".to_owned()));
    }
    if start.starts_with(npy::MAGIC) {
        return Ok(Format::Npy);
    }
    match ::image::guess_format(start) {
        Ok(
            format @ (ImageFormat::Jpeg
            | ImageFormat::Png
            | ImageFormat::Pnm
            | ImageFormat::WebP
            | ImageFormat::Bmp
            | ImageFormat::Tiff),
        ) => Ok(Format::Image(format)),
        Ok(format) => Err((
            Code::Unsupported,
            format!("{} files are not supported; convert to PNG", format.to_mime_type()),
        )),
        Err(_) => Err((
            Code::NotImage,
            "not an image: expected PNG, JPEG, WebP, BMP, TIFF, PNM or .npy".to_owned(),
        )),
    }
}

fn check_size(width: u64, height: u64, rules: &Rules) -> Result<Size, Reason> {
    if width == 0 || height == 0 {
        return Err((Code::Decode, format!("an image of {width}x{height} has no pixels")));
    }
    if width.saturating_mul(height) > rules.pixels_max {
        let limit = rules.pixels_max;
        let text = format!(
            "{width}x{height} is more than {limit} pixels: refused as a decompression bomb; \
             raise the limit with --max-pixels if it is none"
        );
        return Err((Code::TooLarge, text));
    }
    // No more pixels than allowed, so each side fits wherever the image does.
    Ok(Size { width: width as usize, height: height as usize })
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
        assert_eq!(code(b"GIF89a\x01\x00\x01\x00"), Code::Unsupported);
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
            (Code::Read, "`.`: a folder, not a file")
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
