//! The format of a file, decided by its first bytes and never by its name.

use super::fault::Reason;
use crate::code::Code;

/// A format that is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    Png,
    Jpeg,
    WebP,
    Gif,
    Bmp,
    Tiff,
    Pnm,
    Npy,
}

/// First bytes of the formats that are read.
const READ: [(&[u8], Format); 10] = [
    (b"\x89PNG\r\n\x1a\n", Format::Png),
    (b"\xff\xd8\xff", Format::Jpeg),
    (b"GIF87a", Format::Gif),
    (b"GIF89a", Format::Gif),
    (b"BM", Format::Bmp),
    (b"II*\0", Format::Tiff),
    (b"MM\0*", Format::Tiff),
    (b"II+\0", Format::Tiff),
    (b"MM\0+", Format::Tiff),
    (super::npy::MAGIC, Format::Npy),
];

/// Position, bytes and name of formats that are images, or hold them, and are not read. The first
/// that fits counts.
const KNOWN: [(usize, &[u8], &str); 58] = [
    (0, b"II\xbc\x01", "JPEG XR"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftyphe", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftypmsf1", "HEIF"),
    (4, b"ftypcrx", "Canon CR3"),
    (4, b"ftypjp", "JPEG 2000"),
    (4, b"ftyp", "MP4"),
    (0, b"\0\0\x01\0", "ICO"),
    (0, b"\0\0\x02\0", "CUR"),
    (0, b"\x0a\0\x01", "PCX"),
    (0, b"\x0a\x02\x01", "PCX"),
    (0, b"\x0a\x03\x01", "PCX"),
    (0, b"\x0a\x04\x01", "PCX"),
    (0, b"\x0a\x05\x01", "PCX"),
    (0, b"\xb1\x68\xde\x3a", "DCX"),
    (0, b"\x01\xda", "SGI"),
    (0, b"DDS ", "DDS"),
    (0, b"qoif", "QOI"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"#?RGBE", "Radiance HDR"),
    (0, b"farbfeld", "farbfeld"),
    (0, b"icns", "ICNS"),
    (0, b"BPG\xfb", "BPG"),
    (0, b"FLIF", "FLIF"),
    (0, b"\x8aMNG", "MNG"),
    (0, b"\x8bJNG", "JNG"),
    (0, b"\x59\xa6\x6a\x95", "Sun raster"),
    (0, b"gimp xcf", "GIMP XCF"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"\xabKTX", "KTX"),
    (0, b"BLP1", "BLP"),
    (0, b"BLP2", "BLP"),
    (0, b"/* XPM */", "XPM"),
    (0, b"#define ", "XBM"),
    (0, b"FUJIFILM", "Fujifilm RAF"),
    (0, b"FOVb", "Sigma X3F"),
    (128, b"DICM", "DICOM"),
    (0, b"\x89HDF", "HDF5"),
    (0, b"MATLAB 5.0", "MATLAB"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS"),
    (0, b"<svg", "SVG"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (0, b"\xd7\xcd\xc6\x9a", "WMF"),
    (0, b"\x01\0\0\0\x58\0\0\0", "EMF"),
    (0, b"PF\n", "PFM"),
    (0, b"Pf\n", "PFM"),
    (0, b"AT&TFORM", "DjVu"),
];

/// First bytes of files that are no images but often stand where one should be, what they are,
/// and what helps.
const OTHERS: [(&[u8], &str); 8] = [
    (b"version https://git-lfs", "a Git LFS pointer: fetch its content with `git lfs pull`"),
    (b"<!doctype html", "a web page: the download of the image failed"),
    (b"<html", "a web page: the download of the image failed"),
    (b"<?xml", "an XML document"),
    (b"{", "JSON or other text"),
    (b"PK\x03\x04", "a ZIP archive: unpack it (of an .npz file, save each array as .npy)"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive: unpack it"),
];

/// The format of a file that starts so.
///
/// # Errors
/// `E_EMPTY`; `E_UNSUPPORTED` for known formats that are not read; `E_NOT_IMAGE`.
pub(super) fn of(start: &[u8]) -> Result<Format, Reason> {
    if start.is_empty() {
        return Err((Code::Empty, "the file has no bytes".to_owned()));
    }
    let has = |at: usize, magic: &[u8]| start.get(at..).is_some_and(|tail| tail.starts_with(magic));
    if has(0, b"RIFF") && has(8, b"WEBP") {
        return Ok(Format::WebP);
    }
    if let [b'P', b'1'..=b'7', b'\t'..=b'\r' | b' ', ..] = start {
        return Ok(Format::Pnm);
    }
    if let Some(&(_, format)) = READ.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Ok(format);
    }
    let known = KNOWN.iter().find(|&&(at, magic, _)| has(at, magic)).map(|&(.., name)| name);
    if let Some(name) = is_tga(start).then_some("TGA").or(known) {
        return Err((Code::Unsupported, format!("{name} files are not supported; convert to PNG")));
    }
    let expected = "expected PNG, JPEG, WebP, GIF, BMP, TIFF, PNM or .npy";
    let lower = start[..start.len().min(32)].to_ascii_lowercase();
    let other = OTHERS.iter().find(|(magic, _)| lower.starts_with(&magic.to_ascii_lowercase()));
    let found = match other {
        Some((_, what)) => format!("not an image but {what}"),
        None => "not an image".to_owned(),
    };
    Err((Code::NotImage, format!("{found}; {expected}")))
}

/// Whether the header is one of Truevision's format, which has no magic number: kind of image,
/// palette, extents and bits of a pixel must be possible.
fn is_tga(start: &[u8]) -> bool {
    let Some(&[_, palettes, kind, .., w0, w1, h0, h1, bits, flags]) = start.first_chunk::<18>()
    else {
        return false;
    };
    let is_kind = match kind {
        1 | 9 => palettes == 1 && bits == 8,
        2 | 10 => palettes <= 1 && [15, 16, 24, 32].contains(&bits),
        3 | 11 => palettes == 0 && [8, 16].contains(&bits),
        _ => false,
    };
    is_kind && (w0, w1) != (0, 0) && (h0, h1) != (0, 0) && flags & 0xc0 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(start: &[u8]) -> String {
        let (code, text) = of(start).unwrap_err();
        format!("{code}: {text}")
    }

    #[test]
    fn formats_are_known_by_their_first_bytes() {
        assert_eq!(of(b"\x89PNG\r\n\x1a\n"), Ok(Format::Png));
        assert_eq!(of(b"RIFF\x10\0\0\0WEBPVP8 "), Ok(Format::WebP));
        assert_eq!(of(b"P6\n1 1"), Ok(Format::Pnm));
        assert_eq!(of(b"II+\0"), Ok(Format::Tiff));
        assert!(of(b"RIFF\x10\0\0\0WAVE").is_err());
    }

    #[test]
    fn containers_that_are_not_read_are_named() {
        for (start, name) in [
            (&b"\0\0\0\x0cjP  \r\n"[..], "JPEG 2000"),
            (b"\xff\x0a\xfa\x7f", "JPEG XL"),
            (b"\0\0\0\x18ftypheic", "HEIC"),
            (b"\0\0\0\x1cftypavif", "AVIF"),
            (b"\x01\xda\x01\x01", "SGI"),
            (b"\0\0\x02\0\x01\0\x20\x20\0\0", "CUR"),
            (b"\0\0\x02\0\0\0\0\0\0\0\0\0\x3f\0\x2f\0\x18\0", "TGA"),
            (b"\x12\0\x02\0\0\0\0\0\0\0\0\0\x3f\0\x2f\0\x18\x20", "TGA"),
            (b"\0\0\x0a\0\0\0\0\0\0\0\0\0\x3f\0\x2f\0\x18\0", "TGA"),
        ] {
            let expected = format!(
                "{}: {name} files are not supported; convert to PNG",
                Code::Unsupported.as_str()
            );
            assert_eq!(fault(start), expected);
        }
    }

    #[test]
    fn what_is_no_image_is_described() {
        assert!(fault(b"hello").contains("not an image; expected PNG, "));
        assert!(fault(b"version https://git-lfs.github.com/spec/v1").contains("git lfs pull"));
        assert!(fault(b"<!DOCTYPE html><html>").contains("not an image but a web page"));
        assert!(fault(b"PK\x03\x04").contains(".npz"));
        assert!(fault(b"").starts_with(Code::Empty.as_str()));
    }
}
