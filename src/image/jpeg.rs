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
use super::{Header, Traits};

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
    let start = Start::read(Cursor::new(bytes))?;
    markers::check_scans(bytes)?;
    // libjpeg reports an error by unwinding.
    let samples = caught(|| decompress(bytes));
    let samples = samples.unwrap_or_else(|text| Err(damaged(FORMAT, text)))?;
    Ok(Samples::U8(raster(FORMAT, start.size, 3, samples)?))
}

fn decompress(bytes: &[u8]) -> Result<Vec<u8>, Reason> {
    let failed = |error| damaged(FORMAT, error);
    let builder = Decompress::builder().with_err(strict::error_manager());
    let decompress = builder.from_mem(bytes).map_err(failed)?;
    let mut started = decompress.rgb().map_err(failed)?;
    let samples: Vec<[u8; 3]> = started.read_scanlines().map_err(failed)?;
    started.finish().map_err(failed)?;
    Ok(samples.into_flattened())
}
