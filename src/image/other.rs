//! PNG, WebP, BMP, TIFF and PNM through the `image` crate, brought to what PIL gives.

use std::io::{BufRead, Cursor, Seek};

use ::image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits,
};

use super::Size;
use super::container::{self, Container, Scale};
use super::{Alpha, Header, Image, Pixels, Reason, Rules, Traits, check_size};
use crate::code::Code;

/// Memory that a decoder may use beside its pixels.
const DECODER_BYTES: u64 = 64 << 20;

pub(super) fn header(mut file: impl BufRead + Seek, format: ImageFormat) -> Result<Header, Reason> {
    let container = container::look(&mut file, format)?;
    let mut decoder = start(file, format)?;
    let (width, height) = decoder.dimensions();
    let size = Size { width: width as usize, height: height as usize };
    let traits = traits_of(&mut decoder, format, &container).map_err(|error| damaged(&error))?;
    let size = if is_turned(&mut decoder, format) {
        Size { width: size.height, height: size.width }
    } else {
        size
    };
    Ok(Header { size, traits })
}

pub(super) fn decode(bytes: &[u8], format: ImageFormat, rules: &Rules) -> Result<Image, Reason> {
    let mut file = Cursor::new(bytes);
    let container = container::look(&mut file, format)?;
    let mut decoder = start(file, format)?;
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into(), rules)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODER_BYTES + 16 * u64::from(width) * u64::from(height));
    decoder.set_limits(limits).map_err(|error| damaged(&error))?;
    let traits = traits_of(&mut decoder, format, &container).map_err(|error| damaged(&error))?;
    let orientation = decoder.orientation().map_err(|error| damaged(&error))?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| damaged(&error))?;
    if format == ImageFormat::Tiff {
        // PIL applies the orientation of a TIFF, and of nothing else.
        image.apply_orientation(orientation);
    }
    let size = Size { width: image.width() as usize, height: image.height() as usize };
    Ok(Image { traits, ..Image::new(size, samples_of(image, rules.alpha, &container)) })
}

/// A decoder that has read the header.
fn start<'a>(
    file: impl BufRead + Seek + 'a,
    format: ImageFormat,
) -> Result<impl ImageDecoder + 'a, Reason> {
    let mut reader = ImageReader::with_format(file, format);
    // Of what precedes the samples, such as profiles; `decode` makes room for these.
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(DECODER_BYTES);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|error| damaged(&error))?;
    match decoder.original_color_type() {
        ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16 => Err((
            Code::Unsupported,
            "CMYK has no agreed conversion to RGB; convert the file to RGB".to_owned(),
        )),
        ExtendedColorType::Rgb32F | ExtendedColorType::Rgba32F => Err((
            Code::Unsupported,
            "float samples have no agreed range; convert the file to 8 or 16 bits".to_owned(),
        )),
        _ => Ok(decoder),
    }
}

fn damaged(error: &ImageError) -> Reason {
    match error {
        ImageError::Unsupported(_) => (Code::Unsupported, format!("{error}; convert to PNG")),
        ImageError::IoError(error) => (Code::Decode, format!("cut short or damaged: {error}")),
        _ => (Code::Decode, format!("damaged: {error}")),
    }
}

fn traits_of(
    decoder: &mut impl ImageDecoder,
    format: ImageFormat,
    container: &Container,
) -> Result<Traits, ImageError> {
    let color = decoder.color_type();
    let depth_bits = 8 * color.bytes_per_pixel() / color.channel_count();
    let traits = Traits { depth_bits, alpha: color.has_alpha(), ..Traits::default() };
    let (exif, profile) = match format {
        ImageFormat::Tiff => (None, container.profile.clone()),
        _ => (decoder.exif_metadata()?, decoder.icc_profile()?),
    };
    Ok(traits.with_exif(exif.as_deref()).with_profile(profile.as_deref()))
}

/// Whether the orientation of a TIFF exchanges width and height.
fn is_turned(decoder: &mut impl ImageDecoder, format: ImageFormat) -> bool {
    let orientation = (format == ImageFormat::Tiff).then(|| decoder.orientation().ok()).flatten();
    orientation.is_some_and(|orientation| orientation.to_exif() >= 5)
}

pub(super) fn samples_of(image: DynamicImage, alpha: Alpha, container: &Container) -> Pixels {
    let background = match alpha {
        Alpha::Black if image.color().has_alpha() => Some(0),
        Alpha::White if image.color().has_alpha() => Some(1),
        _ => None,
    };
    let scale = container.maximum.map(Scale::new);
    let byte = |sample: u8| scale.as_ref().map_or(sample, |scale| scale.byte(sample));
    let unit = |sample: u16| {
        scale.as_ref().map_or(f32::from(sample) / 65535.0, |scale| scale.unit(sample))
    };
    let is_deep = image.color().bytes_per_pixel() / image.color().channel_count() == 2;
    match (is_deep, background) {
        (false, None) => {
            let mut samples = image.into_rgb8().into_raw();
            if scale.is_some() {
                samples.iter_mut().for_each(|sample| *sample = byte(*sample));
            }
            Pixels::U8(samples)
        }
        (false, Some(background)) => {
            let blend = |pixel: &[u8]| {
                let alpha = u32::from(byte(pixel[3]));
                // Rounded to the nearest, as PIL's DIV255 does.
                let over = |c: u8| u32::from(byte(c)) * alpha + 255 * background * (255 - alpha);
                [0, 1, 2].map(|channel| ((over(pixel[channel]) + 127) / 255) as u8)
            };
            Pixels::U8(image.into_rgba8().as_raw().chunks_exact(4).flat_map(blend).collect())
        }
        (true, None) => Pixels::F32(image.into_rgb16().into_raw().into_iter().map(unit).collect()),
        (true, Some(background)) => {
            let blend = |pixel: &[u16]| {
                let alpha = unit(pixel[3]);
                let over = |c: u16| unit(c) * alpha + background as f32 * (1.0 - alpha);
                [0, 1, 2].map(|channel| over(pixel[channel]))
            };
            Pixels::F32(image.into_rgba16().as_raw().chunks_exact(4).flat_map(blend).collect())
        }
    }
}
