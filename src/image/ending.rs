//! Whether a file is whole, as far as its last bytes show: a check of headers finds what was cut
//! short without decoding it.
//!
//! Other formats state their length at the start, and their headers check it.

use std::io::{Read, Seek};

use super::fault::{Reason, damaged};
use super::format::Format;
use super::jpeg;
use super::reader::Reader;

/// The last chunk of a PNG: no content, and the checksum of its name.
const PNG_END: &[u8; 12] = b"\0\0\0\0IEND\xae\x42\x60\x82";
/// The last marker of a JPEG.
const JPEG_END: &[u8; 2] = b"\xff\xd9";
/// Bytes that are searched together.
const BLOCK_BYTES: u64 = 1 << 16;

/// Checks the end of a file of which the header was read.
///
/// # Errors
/// `E_DECODE` when the file ends before its image does.
pub(super) fn check(format: Format, file: impl Read + Seek) -> Result<(), Reason> {
    match format {
        Format::Png => check_png(Reader::new(file, "PNG")?),
        Format::Jpeg => check_jpeg(file),
        _ => Ok(()),
    }
}

fn check_png(mut reader: Reader<impl Read + Seek>) -> Result<(), Reason> {
    let len = PNG_END.len() as u64;
    reader.seek(reader.len().saturating_sub(len))?;
    if reader.array()? == *PNG_END {
        return Ok(());
    }
    // Something may follow the last chunk: then the chunks lead to it.
    reader.seek(8)?;
    loop {
        let [a, b, c, d, kind @ ..] = reader.array::<8>()?;
        reader.skip(u64::from(u32::from_be_bytes([a, b, c, d])) + 4)?;
        if &kind == b"IEND" {
            return Ok(());
        }
    }
}

fn check_jpeg(mut file: impl Read + Seek) -> Result<(), Reason> {
    let mut reader = Reader::new(&mut file, "JPEG")?;
    let mut end = reader.len();
    reader.seek(end.saturating_sub(JPEG_END.len() as u64))?;
    if reader.array()? == *JPEG_END {
        return Ok(());
    }
    // Something may follow the last marker. What stands before the scans may hold a picture with an
    // end of its own.
    let scans = jpeg::first_scan(&mut file)?;
    let mut reader = Reader::new(file, "JPEG")?;
    while end > scans {
        let start = end.saturating_sub(BLOCK_BYTES).max(scans);
        reader.seek(start)?;
        // Blocks overlap by a byte.
        let block = reader.bytes((end - start + 1).min(reader.len() - start))?;
        if block.windows(2).any(|pair| pair == JPEG_END) {
            return Ok(());
        }
        end = start;
    }
    Err(damaged("JPEG", format_args!("no end of the image in {} bytes", reader.len())))
}
