//! PNM: bitmaps, grey maps and colour maps, as text or as bytes, and PAM.

use std::io::{Cursor, Read, Seek};

use super::fault::{Reason, damaged, unsupported};
use super::reader::Reader;
use super::samples::{Raster, Samples, unpack};
use super::{Header, Size, Traits};

const FORMAT: &str = "PNM";
/// Longest word of a header, as in PIL.
const WORD_LEN_MAX: usize = 10;
/// Longest header; comments may be long.
const HEADER_LEN_MAX: u64 = 1 << 20;
/// Tuple types of PAM, how many channels they have, and whether the samples are bits.
const TUPLE_TYPES: [(&str, usize, bool); 6] = [
    ("BLACKANDWHITE", 1, true),
    ("BLACKANDWHITE_ALPHA", 2, true),
    ("GRAYSCALE", 1, false),
    ("GRAYSCALE_ALPHA", 2, false),
    ("RGB", 3, false),
    ("RGB_ALPHA", 4, false),
];

/// How samples are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Coding {
    /// Characters 0 (white) and 1 (black), apart or not.
    TextBits,
    /// Bits, of which 0 is white, in rows of bytes.
    Bits,
    /// Decimal numbers.
    Text,
    /// Bytes, or pairs of bytes if a sample can be above 255.
    Bytes,
}

struct Start {
    size: Size,
    channels: usize,
    coding: Coding,
    /// The sample that is white.
    white: u16,
    /// Where the samples start.
    offset: u64,
}

pub(super) fn header(file: impl Read + Seek) -> Result<Header, Reason> {
    let start = Start::read(file)?;
    let depth_bits = if start.white > 255 { 16 } else { 8 };
    let alpha = start.channels.is_multiple_of(2);
    Ok(Header { size: start.size, traits: Traits { depth_bits, alpha, ..Traits::default() } })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Samples, Reason> {
    let start = Start::read(Cursor::new(bytes))?;
    let Start { size, channels, coding, white, .. } = start;
    let content = &bytes[start.offset as usize..];
    let count = size.width * size.height * channels;
    let ends_early = || damaged(FORMAT, format_args!("the file ends at byte {}", bytes.len()));
    let samples: Vec<u16> = match coding {
        Coding::TextBits => text_bits(content, count)?,
        Coding::Text => numbers(content, count, white)?,
        Coding::Bits => {
            let stride = size.width.div_ceil(8);
            let rows = content.get(..stride * size.height).ok_or_else(ends_early)?;
            unpack(rows, stride, size.width, 1).into_iter().map(|bit| u16::from(1 - bit)).collect()
        }
        Coding::Bytes if white > 255 => {
            let pairs = content.get(..2 * count).ok_or_else(ends_early)?.as_chunks::<2>().0;
            pairs.iter().map(|&pair| u16::from_be_bytes(pair).min(white)).collect()
        }
        Coding::Bytes if white == 255 => {
            let values = content.get(..count).ok_or_else(ends_early)?.to_vec();
            return Ok(Samples::U8(Raster { size, channels, values }));
        }
        Coding::Bytes => {
            let values = content.get(..count).ok_or_else(ends_early)?;
            values.iter().map(|&byte| u16::from(byte).min(white)).collect()
        }
    };
    if white > 255 {
        return Ok(Samples::U16(Raster { size, channels, values: samples }, white));
    }
    // The operations are those of PIL.
    let scale = |sample| (f64::from(sample) / f64::from(white) * 255.0).round_ties_even() as u8;
    let scaled: Vec<u8> = (0..=white).map(scale).collect();
    let values = samples.into_iter().map(|sample| scaled[usize::from(sample)]).collect();
    Ok(Samples::U8(Raster { size, channels, values }))
}

impl Start {
    fn read(file: impl Read + Seek) -> Result<Start, Reason> {
        let mut reader = Reader::new(file, FORMAT)?;
        let [_, kind, _] = reader.array()?;
        let (channels, coding) = match kind {
            b'1' => (1, Coding::TextBits),
            b'2' => (1, Coding::Text),
            b'3' => (3, Coding::Text),
            b'4' => (1, Coding::Bits),
            b'5' => (1, Coding::Bytes),
            b'6' => (3, Coding::Bytes),
            _ => return Start::read_pam(reader),
        };
        let (width, height) = (number(&mut reader)?, number(&mut reader)?);
        let is_bits = matches!(coding, Coding::TextBits | Coding::Bits);
        let white = if is_bits { 1 } else { white(number(&mut reader)?)? };
        let size = Size { width, height };
        Ok(Start { size, channels, coding, white, offset: reader.position() })
    }

    /// PAM names its fields, one in a line.
    fn read_pam(mut reader: Reader<impl Read + Seek>) -> Result<Start, Reason> {
        let [mut width, mut height, mut depth, mut maximum] = [None; 4];
        let mut tuple_type = None;
        loop {
            let line = line(&mut reader)?;
            let (key, value) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
            let number = || decimal(value.trim().as_bytes()).map(Some);
            match key {
                "ENDHDR" => break,
                "" | "#" => {}
                comment if comment.starts_with('#') => {}
                "WIDTH" => width = number()?,
                "HEIGHT" => height = number()?,
                "DEPTH" => depth = number()?,
                "MAXVAL" => maximum = number()?,
                "TUPLTYPE" => tuple_type = Some(value.trim().to_owned()),
                other => return Err(damaged(FORMAT, format_args!("the field `{other}`"))),
            }
        }
        let (Some(width), Some(height), Some(depth), Some(maximum)) =
            (width, height, depth, maximum)
        else {
            return Err(damaged(FORMAT, "a field is missing"));
        };
        let name = tuple_type.unwrap_or_default();
        let found = TUPLE_TYPES.iter().find(|(known, ..)| *known == name);
        let Some(&(_, channels, is_bits)) = found.filter(|(_, channels, _)| *channels == depth)
        else {
            let text = format_args!("TUPLTYPE `{name}` of DEPTH {depth}");
            return Err(unsupported(FORMAT, text));
        };
        let white = white(maximum)?;
        if is_bits && white != 1 {
            return Err(damaged(FORMAT, format_args!("MAXVAL {white} of bits")));
        }
        let size = Size { width, height };
        Ok(Start { size, channels, coding: Coding::Bytes, white, offset: reader.position() })
    }
}

fn white(maximum: usize) -> Result<u16, Reason> {
    match u16::try_from(maximum) {
        Ok(white @ 1..) => Ok(white),
        _ => Err(damaged(FORMAT, format_args!("a largest sample of {maximum}"))),
    }
}

/// The next number of a header. One character of white space follows it; comments are left out.
fn number(reader: &mut Reader<impl Read + Seek>) -> Result<usize, Reason> {
    let mut word = Vec::new();
    while word.len() <= WORD_LEN_MAX {
        match byte(reader)? {
            b'#' => while !matches!(byte(reader)?, b'\r' | b'\n') {},
            byte if is_space(byte) => {
                if !word.is_empty() {
                    return decimal(&word);
                }
            }
            byte => word.push(byte),
        }
    }
    Err(damaged(FORMAT, format_args!("`{}` in its header", word.escape_ascii())))
}

fn line(reader: &mut Reader<impl Read + Seek>) -> Result<String, Reason> {
    let mut line = Vec::new();
    loop {
        match byte(reader)? {
            b'\n' => return Ok(String::from_utf8_lossy(&line).trim().to_owned()),
            byte => line.push(byte),
        }
    }
}

/// The next byte of a header, which must end somewhere.
fn byte(reader: &mut Reader<impl Read + Seek>) -> Result<u8, Reason> {
    if reader.position() > HEADER_LEN_MAX {
        return Err(damaged(FORMAT, format_args!("a header above {HEADER_LEN_MAX} bytes")));
    }
    reader.byte()
}

fn decimal(word: &[u8]) -> Result<usize, Reason> {
    let is_decimal = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    let number =
        str::from_utf8(word).ok().filter(|_| is_decimal).and_then(|text| text.parse().ok());
    number.ok_or_else(|| damaged(FORMAT, format_args!("`{}` is no number", word.escape_ascii())))
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ')
}

/// Text without comments, which reach from `#` to the end of their line.
fn without_comments(text: &[u8]) -> impl Iterator<Item = u8> {
    let mut is_comment = false;
    text.iter().copied().filter(move |&byte| {
        let was_comment = is_comment;
        is_comment = match byte {
            b'\r' | b'\n' => false,
            b'#' => true,
            _ => is_comment,
        };
        !was_comment && !is_comment
    })
}

fn text_bits(text: &[u8], count: usize) -> Result<Vec<u16>, Reason> {
    let digits = without_comments(text).filter(|&byte| !is_space(byte)).take(count);
    let bits = digits.map(|digit| match digit {
        b'0' => Ok(1),
        b'1' => Ok(0),
        other => Err(damaged(FORMAT, format_args!("`{}` among bits", other.escape_ascii()))),
    });
    let bits = bits.collect::<Result<Vec<u16>, Reason>>()?;
    require(bits, count)
}

fn numbers(text: &[u8], count: usize, white: u16) -> Result<Vec<u16>, Reason> {
    // Every number takes two bytes at least, except the last.
    let mut numbers = Vec::with_capacity(count.min(text.len() / 2 + 1));
    let mut word = Vec::with_capacity(WORD_LEN_MAX);
    for byte in without_comments(text).chain([b' ']) {
        if !is_space(byte) {
            if word.len() == WORD_LEN_MAX {
                return Err(damaged(FORMAT, format_args!("`{}` is too long", word.escape_ascii())));
            }
            word.push(byte);
        } else if !word.is_empty() && numbers.len() < count {
            let number = decimal(&word)?;
            let sample = u16::try_from(number).ok().filter(|&sample| sample <= white);
            let fault = || damaged(FORMAT, format_args!("a sample is {number}, above {white}"));
            numbers.push(sample.ok_or_else(fault)?);
            word.clear();
        }
        if numbers.len() == count {
            break;
        }
    }
    require(numbers, count)
}

fn require(samples: Vec<u16>, count: usize) -> Result<Vec<u16>, Reason> {
    match samples.len() {
        len if len == count => Ok(samples),
        len => Err(damaged(FORMAT, format_args!("{len} samples of {count}"))),
    }
}
