//! An image file decoded to RGB samples, exactly as PIL decodes it.
//!
//! The format is decided by content, never by a file's name. This module knows files and samples,
//! and refuses to know of pairs, batches of work and metrics.

mod jpeg;

use std::io::Cursor;
use std::path::Path;

use ::image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits};
use serde::Serialize;

use crate::batch::{Depth, Size};

/// Samples of an image: (row, column, RGB).
#[derive(Clone, PartialEq, Debug)]
pub enum Pixels {
    /// 0 to 255.
    U8(Vec<u8>),
    /// 0 to 1.
    F32(Vec<f32>),
}

/// A decoded image.
#[derive(Clone, PartialEq, Debug)]
pub struct Image {
    /// Extents.
    pub size: Size,
    /// Samples.
    pub pixels: Pixels,
}

/// How files become samples. Part of a run's fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Rules {
    /// What becomes of transparency: dropped unblended, as PIL does.
    alpha: &'static str,
    /// What becomes of EXIF orientation and of colour profiles.
    exif_and_icc: &'static str,
    /// What becomes of samples of 16 bits: divided by 65535, where PIL clips grey ones.
    depth_16: &'static str,
    /// Whose pixels the decoders give.
    decoders: &'static str,
    /// Largest image, in pixels, that is decoded.
    #[serde(skip)]
    pixels_max: u64,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            alpha: "drop",
            exif_and_icc: "ignore",
            depth_16: "scale",
            decoders: "libjpeg-turbo, libpng",
            pixels_max: 1 << 28,
        }
    }
}

/// Why a file is no image for us.
#[derive(Debug, thiserror::Error)]
#[error("`{path}`: {reason}")]
pub struct ImageError {
    path: String,
    code: &'static str,
    reason: String,
}

impl ImageError {
    /// A stable code such as `E_DECODE`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }
}

/// A code and a sentence, to which the path is added.
type Reason = (&'static str, String);

impl Image {
    /// # Panics
    /// When the number of samples is not that of an RGB image of `size`.
    #[must_use]
    pub fn new(size: Size, pixels: Pixels) -> Image {
        let len = match &pixels {
            Pixels::U8(samples) => samples.len(),
            Pixels::F32(samples) => samples.len(),
        };
        assert_eq!(len, size.samples(), "an image of {size} with {len} samples");
        Image { size, pixels }
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
/// short, or has more pixels than `rules` allow.
pub fn decode(path: &Path, rules: &Rules) -> Result<Image, ImageError> {
    let read = fs_err::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => ("E_MISSING", "no such file".to_owned()),
        _ => ("E_READ", error.to_string()),
    });
    read.and_then(|bytes| decode_bytes(&bytes, rules)).map_err(|(code, reason)| {
        let path = path.display().to_string();
        ImageError { path, code, reason }
    })
}

fn decode_bytes(bytes: &[u8], rules: &Rules) -> Result<Image, Reason> {
    if bytes.is_empty() {
        return Err(("E_EMPTY", "the file has no bytes".to_owned()));
    }
    match ::image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => jpeg::decode(bytes, rules),
        Ok(format @ (ImageFormat::Png | ImageFormat::Pnm)) => decode_other(bytes, format, rules),
        Ok(format) => Err((
            "E_UNSUPPORTED",
            format!("{} files are not supported; convert to PNG", format.to_mime_type()),
        )),
        Err(_) => Err(("E_NOT_IMAGE", "not an image: expected PNG, JPEG or PNM".to_owned())),
    }
}

fn check_size(width: u64, height: u64, rules: &Rules) -> Result<Size, Reason> {
    if width.saturating_mul(height) > rules.pixels_max {
        let limit = rules.pixels_max;
        return Err((
            "E_TOO_LARGE",
            format!(
                "{width}x{height} is more than {limit} pixels: refused as a decompression bomb"
            ),
        ));
    }
    // At most 2^28 pixels: both sides fit.
    Ok(Size { width: width as usize, height: height as usize })
}

fn decode_other(bytes: &[u8], format: ImageFormat, rules: &Rules) -> Result<Image, Reason> {
    let damaged = |error: ::image::ImageError| ("E_DECODE", error.to_string());
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.no_limits();
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    let size = check_size(width.into(), height.into(), rules)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(16 * rules.pixels_max);
    decoder.set_limits(limits).map_err(damaged)?;
    let pixels = match DynamicImage::from_decoder(decoder).map_err(damaged)? {
        image @ (DynamicImage::ImageLuma16(_)
        | DynamicImage::ImageLumaA16(_)
        | DynamicImage::ImageRgb16(_)
        | DynamicImage::ImageRgba16(_)) => {
            let samples = image.into_rgb16().into_raw();
            Pixels::F32(samples.into_iter().map(|sample| f32::from(sample) / 65535.0).collect())
        }
        image => Pixels::U8(image.into_rgb8().into_raw()),
    };
    Ok(Image::new(size, pixels))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(bytes: &[u8]) -> &'static str {
        decode_bytes(bytes, &Rules::default()).unwrap_err().0
    }

    #[test]
    fn each_fault_has_its_code() {
        assert_eq!(code(b""), "E_EMPTY");
        assert_eq!(code(b"hello, this is text"), "E_NOT_IMAGE");
        assert_eq!(code(b"GIF89a\x01\x00\x01\x00"), "E_UNSUPPORTED");
        assert_eq!(code(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), "E_DECODE");
        assert_eq!(code(b"\xff\xd8\xff\xe0\x00\x10JFIF"), "E_DECODE");
        assert_eq!(code(b"P5 100000 100000 255\n"), "E_TOO_LARGE");
        let error = decode(Path::new("gone.png"), &Rules::default()).unwrap_err();
        assert_eq!(
            (error.code(), error.to_string().as_str()),
            ("E_MISSING", "`gone.png`: no such file")
        );
    }

    #[test]
    fn sixteen_bits_are_scaled_and_grey_is_repeated() {
        let image = decode_bytes(b"P5 1 1 65535\n\x80\x00", &Rules::default()).unwrap();
        assert_eq!(image.pixels, Pixels::F32(vec![32768.0 / 65535.0; 3]));
        let image = decode_bytes(b"P5 1 1 255\n\x80", &Rules::default()).unwrap();
        assert_eq!(image.pixels, Pixels::U8(vec![128; 3]));
    }
}
