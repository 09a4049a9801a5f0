//! JPEG through libjpeg's own code, with the settings of libjpeg-turbo's defaults: the accurate
//! integer DCT and fancy upsampling. PIL uses the same, so the pixels are the same. Where PIL
//! decodes whatever it can make of damaged data, we refuse the file.

mod markers;
mod strict;

use std::io::{Cursor, Read, Seek};

use mozjpeg::Decompress;

use self::markers::Start;
use super::fault::{Reason, damaged};
use super::guard::caught;
use super::samples::{Samples, raster};
use super::{Header, Size, Traits};

const FORMAT: &str = "JPEG";

pub(super) fn header(file: impl Read + Seek) -> Result<Header, Reason> {
    let start = Start::read(file)?;
    let profile = (!start.profile.is_empty()).then_some(start.profile.as_slice());
    let traits = Traits::default().with_exif(start.exif.as_deref()).with_profile(profile);
    Ok(Header { size: start.size, traits })
}

/// Position of the first scan: what stands before it may hold pictures of its own.
pub(super) fn first_scan(mut file: impl Read + Seek) -> Result<u64, Reason> {
    file.rewind().map_err(|error| damaged(FORMAT, error))?;
    Ok(Start::read(file)?.scans)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Samples, Reason> {
    let size = Start::read(Cursor::new(bytes))?.size;
    let mut samples = vec![0; size.samples()];
    decode_rgb(bytes, size, &mut samples)?;
    Ok(Samples::U8(raster(FORMAT, size, 3, samples)?))
}

/// Decodes an image of `size`, which its header states.
pub(super) fn decode_rgb(bytes: &[u8], size: Size, to: &mut [u8]) -> Result<(), Reason> {
    markers::check_scans(bytes)?;
    // libjpeg reports an error by unwinding.
    let decoded = caught(|| decompress(bytes, size, to));
    decoded.unwrap_or_else(|text| Err(damaged(FORMAT, text)))
}

fn decompress(bytes: &[u8], size: Size, to: &mut [u8]) -> Result<(), Reason> {
    let failed = |error| damaged(FORMAT, error);
    let builder = Decompress::builder().with_err(strict::error_manager());
    let decompress = builder.from_mem(bytes).map_err(failed)?;
    let mut started = decompress.rgb().map_err(failed)?;
    if (started.width(), started.height()) != (size.width, size.height) {
        return Err(damaged(FORMAT, "its size"));
    }
    started.read_scanlines_into(to).map_err(failed)?;
    started.finish().map_err(failed)
}
