//! JPEG through libjpeg's own code, with the settings of libjpeg-turbo's defaults: the accurate
//! integer DCT and fancy upsampling. PIL uses the same, so the pixels are the same.

use std::io::{Error, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mozjpeg::{ColorSpace, Decompress};

use super::{Image, Pixels, Reason, Rules, check_size};

pub(super) fn decode(bytes: &[u8], rules: &Rules) -> Result<Image, Reason> {
    if !has_end(bytes) {
        return Err(("E_DECODE", "JPEG: cut short, the end marker is missing".to_owned()));
    }
    // The library reports a fatal error by unwinding without calling the panic hook.
    match catch_unwind(AssertUnwindSafe(|| decompress(bytes, rules))) {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(damaged(&Error::new(ErrorKind::InvalidData, text.unwrap_or_default())))
        }
    }
}

fn damaged(error: &Error) -> Reason {
    ("E_DECODE", format!("JPEG: {error}"))
}

/// Whether the end marker is there, with whatever padding after it: without it libjpeg would fill
/// what is missing with grey and only warn.
fn has_end(bytes: &[u8]) -> bool {
    bytes.windows(2).rev().any(|pair| pair == [0xff, 0xd9])
}

fn decompress(bytes: &[u8], rules: &Rules) -> Result<Image, Reason> {
    let decompress = Decompress::new_mem(bytes).map_err(|error| damaged(&error))?;
    let (width, height) = decompress.size();
    let size = check_size(width as u64, height as u64, rules)?;
    if matches!(decompress.color_space(), ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK) {
        let text = "JPEG: CMYK has no agreed conversion to RGB; convert the file to RGB";
        return Err(("E_UNSUPPORTED", text.to_owned()));
    }
    let mut started = decompress.rgb().map_err(|error| damaged(&error))?;
    let samples: Vec<[u8; 3]> = started.read_scanlines().map_err(|error| damaged(&error))?;
    started.finish().map_err(|error| damaged(&error))?;
    Ok(Image::new(size, Pixels::U8(samples.into_flattened())))
}
