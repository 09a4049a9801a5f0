//! The segments of a JPEG file: what decides how it is decoded, and its metadata.

use std::io::{Read, Seek};

use super::super::Size;
use super::super::fault::{Reason, bomb, damaged, unsupported};
use super::super::reader::Reader;
use super::FORMAT;

/// Scans of a file that are decoded. Encoders write about ten for a progressive image; each makes
/// the decoder go through all coefficients again.
const SCANS_MAX: usize = 200;

/// What precedes the first scan.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Start {
    pub(super) size: Size,
    pub(super) components: u8,
    /// The payload of the first APP1 with EXIF data.
    pub(super) exif: Option<Vec<u8>>,
    /// The parts of the colour profile, in the order of the file.
    pub(super) profile: Vec<u8>,
    /// Position of the first scan.
    pub(super) scans: u64,
}

const SOF: std::ops::RangeInclusive<u8> = 0xc0..=0xcf;
const DHT: u8 = 0xc4;
const JPG: u8 = 0xc8;
const DAC: u8 = 0xcc;
const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const APP1: u8 = 0xe1;
const APP2: u8 = 0xe2;
const TEM: u8 = 0x01;
const RESTARTS: std::ops::RangeInclusive<u8> = 0xd0..=0xd7;

/// Coding processes that are decoded: Huffman or arithmetic coding, sequential or progressive.
const PROCESSES: [u8; 5] = [0xc0, 0xc1, 0xc2, 0xc9, 0xca];

impl Start {
    pub(super) fn read(file: impl Read + Seek) -> Result<Start, Reason> {
        let mut reader = Reader::new(file, FORMAT)?;
        reader.skip(2)?;
        let mut start = Start::default();
        let mut has_frame = false;
        loop {
            let marker = next_marker(&mut reader)?;
            match marker {
                SOI | EOI => return Err(damaged(FORMAT, "no image before its end")),
                TEM => continue,
                marker if RESTARTS.contains(&marker) => continue,
                _ => {}
            }
            let len = u64::from(u16::from_be_bytes(reader.array()?));
            // The length counts its own two bytes; libjpeg takes less as none.
            let len = len.saturating_sub(2);
            match marker {
                SOS if has_frame => {
                    start.scans = reader.position();
                    return Ok(start);
                }
                SOS => return Err(damaged(FORMAT, "a scan without a frame")),
                DHT | JPG | DAC => reader.skip(len)?,
                marker if SOF.contains(&marker) => {
                    if has_frame {
                        return Err(damaged(FORMAT, "two frames"));
                    }
                    has_frame = true;
                    start.read_frame(marker, &reader.bytes(len)?)?;
                }
                APP1 => start.read_exif(&reader.bytes(len)?),
                APP2 => start.read_profile(&reader.bytes(len)?),
                _ => reader.skip(len)?,
            }
        }
    }

    fn read_frame(&mut self, marker: u8, frame: &[u8]) -> Result<(), Reason> {
        let &[bits, h0, h1, w0, w1, components, ref specs @ ..] = frame else {
            return Err(damaged(FORMAT, "a frame that is too short"));
        };
        if !PROCESSES.contains(&marker) {
            let text = format_args!("{} (SOF{})", process(marker), marker - SOF.start());
            return Err(unsupported(FORMAT, text));
        }
        if bits != 8 {
            return Err(unsupported(FORMAT, format_args!("a precision of {bits} bits")));
        }
        let [height, width] =
            [[h0, h1], [w0, w1]].map(|side| usize::from(u16::from_be_bytes(side)));
        if height == 0 {
            return Err(unsupported(FORMAT, "a height that follows the first scan (DNL)"));
        }
        match components {
            1 | 3 => {}
            4 => {
                let text = "CMYK, for which there is no agreed conversion to RGB,";
                return Err(unsupported(FORMAT, text));
            }
            other => return Err(unsupported(FORMAT, format_args!("{other} components"))),
        }
        let factors: Vec<(u8, u8)> =
            specs.as_chunks::<3>().0.iter().map(|spec| (spec[1] >> 4, spec[1] & 15)).collect();
        if factors.len() != usize::from(components) || specs.len() != 3 * factors.len() {
            return Err(damaged(FORMAT, "the components of its frame"));
        }
        check_sampling(&factors)?;
        self.size = Size { width, height };
        self.components = components;
        Ok(())
    }

    fn read_exif(&mut self, segment: &[u8]) {
        let exif = segment.strip_prefix(b"Exif\0\0").map(<[u8]>::to_vec);
        self.exif = self.exif.take().or(exif);
    }

    fn read_profile(&mut self, segment: &[u8]) {
        if let Some(part) = segment.strip_prefix(b"ICC_PROFILE\0") {
            // Two bytes number the parts.
            self.profile.extend_from_slice(part.get(2..).unwrap_or_default());
        }
    }
}

/// Sampling factors (horizontal, vertical) of the components. One component is never subsampled,
/// whatever its factors are.
fn check_sampling(factors: &[(u8, u8)]) -> Result<(), Reason> {
    if factors.len() == 1 || SAMPLINGS.iter().any(|known| known == factors) {
        return Ok(());
    }
    let names: Vec<String> = factors.iter().map(|(h, v)| format!("{h}x{v}")).collect();
    Err(unsupported(FORMAT, format_args!("sampling {}", names.join(","))))
}

/// Sampling factors of which tests show that all decoders upsample them as PIL's does.
const SAMPLINGS: [[(u8, u8); 3]; 9] = [
    [(1, 1), (1, 1), (1, 1)],
    [(2, 1), (1, 1), (1, 1)],
    [(1, 2), (1, 1), (1, 1)],
    [(2, 2), (1, 1), (1, 1)],
    [(4, 1), (1, 1), (1, 1)],
    [(1, 4), (1, 1), (1, 1)],
    [(4, 2), (1, 1), (1, 1)],
    [(2, 2), (2, 1), (2, 1)],
    [(2, 2), (1, 2), (1, 2)],
];

fn process(marker: u8) -> &'static str {
    match marker {
        0xc3 | 0xcb => "lossless coding",
        0xc5..=0xc7 | 0xcd..=0xcf => "hierarchical coding",
        _ => "a reserved coding",
    }
}

/// The code of the next marker; what stands before it is left out, as libjpeg does.
fn next_marker(reader: &mut Reader<impl Read + Seek>) -> Result<u8, Reason> {
    loop {
        while reader.byte()? != 0xff {}
        let code = loop {
            match reader.byte()? {
                0xff => {}
                code => break code,
            }
        };
        if code != 0 {
            return Ok(code);
        }
    }
}

/// # Errors
/// When there are more scans than any encoder writes.
pub(super) fn check_scans(bytes: &[u8]) -> Result<(), Reason> {
    // Within the data of a scan, 0xff is followed by 0 or by the code of a restart.
    let scans = bytes.windows(2).filter(|pair| *pair == [0xff, SOS]).count();
    if scans > SCANS_MAX {
        return Err(bomb(FORMAT, format_args!("more than {SCANS_MAX} scans")));
    }
    Ok(())
}
