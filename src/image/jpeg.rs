//! JPEG through libjpeg's own code, with the settings of libjpeg-turbo's defaults: the accurate
//! integer DCT and fancy upsampling. PIL uses the same, so the pixels are the same. Where PIL goes
//! on with whatever it could make of damaged data, we refuse the file.

mod strict;

use std::io::BufRead;

use mozjpeg::{ColorSpace, Decompress, Marker};

use super::Size;
use super::{Header, Image, Pixels, Reason, Rules, Traits, caught, check_size};
use crate::code::Code;

const EXIF: Marker = Marker::APP(1);
const ICC: Marker = Marker::APP(2);

pub(super) fn header(file: impl BufRead) -> Result<Header, Reason> {
    guarded(|| {
        let decompress = start(file)?;
        let (width, height) = decompress.size();
        Ok(Header { size: Size { width, height }, traits: traits_of(&decompress) })
    })
}

pub(super) fn decode(bytes: &[u8], rules: &Rules) -> Result<Image, Reason> {
    guarded(|| {
        let decompress = start(bytes)?;
        let (width, height) = decompress.size();
        let size = check_size(width as u64, height as u64, rules)?;
        let traits = traits_of(&decompress);
        let mut started = decompress.rgb().map_err(|error| damaged(&error))?;
        let samples: Vec<[u8; 3]> = started.read_scanlines().map_err(|error| damaged(&error))?;
        started.finish().map_err(|error| damaged(&error))?;
        let pixels = Pixels::U8(samples.into_flattened());
        Ok(Image { traits, ..Image::new(size, pixels) })
    })
}

/// A decompressor that has read the header.
fn start<R: BufRead>(file: R) -> Result<Decompress<R>, Reason> {
    let markers = [EXIF, ICC];
    let builder = Decompress::builder().with_err(strict::error_manager());
    let decompress = builder.with_markers(&markers).from_reader(file);
    let decompress = decompress.map_err(|error| damaged(&error))?;
    if matches!(decompress.color_space(), ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK) {
        let text = "JPEG: CMYK has no agreed conversion to RGB; convert the file to RGB";
        return Err((Code::Unsupported, text.to_owned()));
    }
    Ok(decompress)
}

/// The library reports an error by unwinding, for which the panic hook is not called.
fn guarded<T>(read: impl FnOnce() -> Result<T, Reason>) -> Result<T, Reason> {
    caught(read).unwrap_or_else(|text| Err(damaged(&text)))
}

fn damaged(error: &dyn std::fmt::Display) -> Reason {
    (Code::Decode, format!("JPEG: {error}"))
}

fn traits_of<R>(decompress: &Decompress<R>) -> Traits {
    let mut exif = None;
    let mut profile = Vec::new();
    for marker in decompress.markers() {
        if marker.marker == EXIF {
            exif = exif.or(marker.data.strip_prefix(b"Exif\0\0"));
        } else if let Some(part) = marker.data.strip_prefix(b"ICC_PROFILE\0") {
            // Two bytes number the parts, which stand in order.
            profile.extend_from_slice(part.get(2..).unwrap_or_default());
        }
    }
    let profile = (!profile.is_empty()).then_some(profile.as_slice());
    Traits::default().with_exif(exif).with_profile(profile)
}
