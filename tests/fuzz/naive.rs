//! Slow readers of the image formats that carry no checksums, written from their specifications and
//! apart from the program's: a byte at a time, a pixel at a time. They judge what the program reads
//! of damaged files.

use std::collections::HashMap;

/// What a naive reader makes of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It does not know this format, or this kind of it.
    Unknown,
    /// The file is damaged.
    Refused,
    /// Width, height and RGB.
    Pixels(usize, usize, Vec<u8>),
}

/// Reads BMP, GIF, PNM of bytes, and TIFF without compression.
pub(crate) fn read(bytes: &[u8]) -> Verdict {
    let file = File(bytes);
    let pixels = match bytes {
        [b'B', b'M', ..] => bmp(&file),
        [b'G', b'I', b'F', ..] => gif(&file),
        [b'P', b'1'..=b'6', ..] => match pnm(bytes) {
            Some(Some(pixels)) => Some(pixels),
            Some(None) => return Verdict::Unknown,
            None => None,
        },
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => match tiff(&file) {
            Some(pixels) => Some(pixels),
            None => return Verdict::Unknown,
        },
        _ => return Verdict::Unknown,
    };
    match pixels {
        Some((width, height, rgb)) => Verdict::Pixels(width, height, rgb),
        None => Verdict::Refused,
    }
}

type Pixels = (usize, usize, Vec<u8>);

struct File<'a>(&'a [u8]);

impl File<'_> {
    fn byte(&self, at: usize) -> Option<usize> {
        self.0.get(at).copied().map(usize::from)
    }

    fn two(&self, at: usize) -> Option<usize> {
        Some(self.byte(at)? + 256 * self.byte(at + 1)?)
    }

    fn four(&self, at: usize) -> Option<usize> {
        Some(self.two(at)? + 65536 * self.two(at + 2)?)
    }

    /// The number of `bits` bits at bit `at`, the highest bit first.
    fn bits(&self, at: usize, bits: usize) -> Option<usize> {
        (at..at + bits)
            .try_fold(0, |number, at| Some(2 * number + (self.byte(at / 8)? >> (7 - at % 8) & 1)))
    }
}

fn bmp(file: &File) -> Option<Pixels> {
    let header = file.four(14)?;
    let is_old = header == 12;
    let (width, mut height, bits) = match is_old {
        true => (file.two(18)?, file.two(20)?, file.two(24)?),
        false => (file.four(18)?, file.four(22)?, file.two(28)?),
    };
    let is_down = !is_old && height >= 0xff00_0000;
    if is_down {
        height = (1 << 32) - height;
    }
    let compression = if is_old { 0 } else { file.four(30)? };
    let entry = if is_old { 3 } else { 4 };
    let colors = match if is_old { 0 } else { file.four(46)? } {
        0 => 1 << bits.min(9),
        colors => colors,
    };
    let palette_at = 14 + header;
    let mut start = file.four(10)?;
    if start == palette_at && bits <= 8 {
        start += entry * colors;
    }
    if start == 0 {
        start = match (bits, compression, header) {
            (1..=8, ..) => palette_at + entry * colors,
            (_, 3, 40) => palette_at + 12,
            _ => palette_at,
        };
    }
    let color = |index: usize| -> Option<[u8; 3]> {
        if index >= colors {
            return Some([0; 3]);
        }
        let at = palette_at + entry * index;
        Some([2, 1, 0].map(|channel| file.byte(at + channel).unwrap_or(0) as u8))
    };
    let is_indexed = bits <= 8;
    // Of a grey palette that PIL drops, indices beyond it are greys; of two greys, all but 0 is white.
    let is_ramp = (0..colors).all(|index| {
        let grey = if colors == 2 { 255 * index } else { index } as u8;
        color(index) == Some([grey; 3])
    });
    let color = |index: usize| match (is_ramp, colors) {
        (true, 1 | 2) => Some([255 * index.min(1) as u8; 3]),
        (true, _) => Some([index as u8; 3]),
        _ => color(index),
    };
    let runs = match compression {
        1 | 2 => Some(bmp_runs(file, start, width, height, compression == 2)?),
        _ => None,
    };
    let stride = (width * bits).div_ceil(32) * 4;
    let masks = [54, 58, 62, 66].map(|at| file.four(at).unwrap_or(0));
    let mut rgb = Vec::new();
    for y in 0..height {
        let row = if is_down { y } else { height - 1 - y };
        for x in 0..width {
            let at = start + row * stride + x * bits / 8;
            let pixel = match (is_indexed, &runs, bits) {
                (_, Some(runs), _) => color(runs[row * width + x])?,
                (true, ..) => color(file.bits(8 * (start + row * stride) + x * bits, bits)?)?,
                (_, _, 16) => {
                    let green = if compression == 3 && masks[1] == 0x7e0 { 6 } else { 5 };
                    let word = file.two(at)?;
                    let part = |shift: usize, bits: usize| {
                        let max = (1 << bits) - 1;
                        ((word >> shift & max) * 255 / max) as u8
                    };
                    [part(5 + green, 5), part(5, green), part(0, 5)]
                }
                (_, _, 24) => [2, 1, 0].map(|byte| file.byte(at + byte).unwrap_or(0) as u8),
                (_, _, _) => {
                    let is_masked = compression == 3 && masks[..3] != [0; 3];
                    let masks = if is_masked { masks } else { [0xff_0000, 0xff00, 0xff, 0] };
                    let word = file.four(at)?;
                    [0, 1, 2].map(|channel| {
                        (word >> masks[channel].trailing_zeros().min(24) & 255) as u8
                    })
                }
            };
            if bits == 24 {
                file.byte(at + 2)?;
            }
            rgb.extend(pixel);
        }
    }
    Some((width, height, rgb))
}

/// The indices of run lengths: all of them, or none.
fn bmp_runs(
    file: &File,
    start: usize,
    width: usize,
    height: usize,
    is_half: bool,
) -> Option<Vec<usize>> {
    let mut pixels = Vec::new();
    let (mut at, mut column) = (start, 0);
    while pixels.len() < width * height {
        let (count, value) = (file.byte(at)?, file.byte(at + 1)?);
        at += 2;
        match (count, value) {
            (0, 0) => {
                while !pixels.len().is_multiple_of(width) {
                    pixels.push(0);
                }
                column = 0;
            }
            (0, 1) => return None,
            (0, 2) => {
                let skipped = file.byte(at)? + file.byte(at + 1)? * width;
                pixels.extend(std::iter::repeat_n(0, skipped));
                at += 2;
                column = pixels.len().min(width * height) % width;
            }
            (0, literal) => {
                for pixel in 0..literal.min(width * height - pixels.len()) {
                    let bit = if is_half { 4 * pixel } else { 8 * pixel };
                    pixels.push(file.bits(8 * at + bit, if is_half { 4 } else { 8 })?);
                }
                at += if is_half { literal.div_ceil(2) } else { literal };
                at += at % 2;
                column += literal;
            }
            (count, value) => {
                for pixel in 0..count {
                    if column < width {
                        let half = if pixel % 2 == 0 { value / 16 } else { value % 16 };
                        pixels.push(if is_half { half } else { value });
                        column += 1;
                    }
                }
            }
        }
    }
    Some(pixels)
}

fn gif(file: &File) -> Option<Pixels> {
    let (mut width, mut height) = (file.two(6)?, file.two(8)?);
    let table = |at: usize, flags: usize| -> Option<(Vec<[u8; 3]>, usize)> {
        let count = if flags & 128 != 0 { 2 << (flags & 7) } else { 0 };
        file.0.get(at..at + 3 * count)?;
        let color = |index: usize| [0, 1, 2].map(|channel| file.0[at + 3 * index + channel]);
        Some(((0..count).map(color).collect(), at + 3 * count))
    };
    let (global, mut at) = table(13, file.byte(10)?)?;
    let mut transparent = 0;
    loop {
        match file.byte(at)? {
            0x21 => {
                let label = file.byte(at + 1)?;
                if label == 0xf9 && file.byte(at + 2)? >= 4 && file.byte(at + 3)? & 1 != 0 {
                    transparent = file.byte(at + 6)?;
                }
                at += 2;
                while file.byte(at)? != 0 {
                    at += 1 + file.byte(at)?;
                }
                at += 1;
            }
            0x2c => break,
            0x3b => return None,
            _ => at += 1,
        }
    }
    let place = [1, 3, 5, 7].map(|offset| file.two(at + offset));
    let (left, top, w, h) = (place[0]?, place[1]?, place[2]?, place[3]?);
    let flags = file.byte(at + 9)?;
    (width, height) = (width.max(left + w), height.max(top + h));
    let (local, codes) = table(at + 10, flags)?;
    let palette = if local.is_empty() { global } else { local };
    let is_ramp = palette.iter().enumerate().all(|(grey, color)| *color == [grey as u8; 3]);
    let mut canvas = vec![transparent; width * height];
    let pixels = gif_codes(file, codes, w * h)?;
    let rows: Vec<usize> = match flags & 64 {
        0 => (0..h).collect(),
        _ => [(0, 8), (4, 8), (2, 4), (1, 2)]
            .into_iter()
            .flat_map(|(first, step)| (first..h).step_by(step))
            .collect(),
    };
    for (index, pixel) in pixels.into_iter().enumerate() {
        canvas[(top + rows[index / w]) * width + left + index % w] = pixel;
    }
    let color = |index: usize| match is_ramp {
        true => [index as u8; 3],
        false => palette.get(index).copied().unwrap_or([0; 3]),
    };
    Some((width, height, canvas.into_iter().flat_map(color).collect()))
}

/// `count` indices from codes of growing length.
fn gif_codes(file: &File, at: usize, count: usize) -> Option<Vec<usize>> {
    let first_bits = file.byte(at)?;
    let mut data: Vec<u8> = Vec::new();
    let mut block = at + 1;
    while let Some(len @ 1..) = file.byte(block) {
        data.extend(file.0[block + 1..].iter().take(len));
        block += 1 + len;
    }
    let (clear, end) = (1 << first_bits, (1 << first_bits) + 1);
    let (mut bits, mut position) = (first_bits + 1, 0);
    let fresh = || -> Vec<Vec<usize>> {
        (0..end + 1).map(|code| if code < clear { vec![code] } else { vec![] }).collect()
    };
    let (mut words, mut previous) = (fresh(), Vec::new());
    let mut pixels = Vec::new();
    while pixels.len() < count {
        let bit = |at: usize| Some(usize::from(*data.get(at / 8)?) >> (at % 8) & 1);
        let code =
            (0..bits).try_fold(0, |code, shift| Some(code + (bit(position + shift)? << shift)))?;
        position += bits;
        if code == clear {
            (words, previous, bits) = (fresh(), Vec::new(), first_bits + 1);
            continue;
        }
        let word: Vec<usize> = match words.get(code) {
            Some(word) if code != end => word.clone(),
            None if code == words.len() && !previous.is_empty() => {
                [&previous[..], &previous[..1]].concat()
            }
            _ => return None,
        };
        if !previous.is_empty() && words.len() < 4096 {
            words.push([&previous[..], &word[..1]].concat());
            if words.len() == 1 << bits && bits < 12 {
                bits += 1;
            }
        }
        pixels.extend(&word);
        previous = word;
    }
    pixels.truncate(count);
    Some(pixels)
}

/// The pixels; `Some(None)` if samples have more than 8 bits.
#[allow(clippy::option_option, reason = "damaged and unknown are two things")]
fn pnm(bytes: &[u8]) -> Option<Option<Pixels>> {
    let is_space = |byte: u8| matches!(byte, 9..=13 | 32);
    let mut at = 2;
    let mut number = || -> Option<usize> {
        let mut word = String::new();
        loop {
            let byte = *bytes.get(at)?;
            at += 1;
            match byte {
                b'#' => {
                    while !matches!(*bytes.get(at)?, b'\r' | b'\n') {
                        at += 1;
                    }
                    at += 1;
                }
                byte if is_space(byte) && word.is_empty() => {}
                byte if is_space(byte) => return word.parse().ok(),
                b'0'..=b'9' => word.push(char::from(byte)),
                _ => return None,
            }
        }
    };
    let (width, height) = (number()?, number()?);
    let kind = bytes[1] - b'0';
    let is_bits = kind == 1 || kind == 4;
    let white = if is_bits { 1 } else { number()? };
    if white > 255 {
        return Some(None);
    }
    let channels = if kind == 3 || kind == 6 { 3 } else { 1 };
    let data = &bytes[at..];
    let count = width * height * channels;
    let mut samples: Vec<usize> = Vec::new();
    if kind <= 3 {
        // A comment goes with the end of its line, so that what stands around it is one word.
        let mut text = String::from_utf8_lossy(data).into_owned();
        while let Some(start) = text.find('#') {
            let end = text[start..].find(['\r', '\n']).map_or(text.len(), |len| start + len + 1);
            text.replace_range(start..end, "");
        }
        let is_break = |character: char| character.is_ascii() && is_space(character as u8);
        for word in text.split(is_break).filter(|word| !word.is_empty()) {
            if samples.len() >= count {
                break;
            }
            match kind {
                1 => samples.extend(word.bytes().map(|byte| usize::from(b'1' != byte))),
                _ => samples.push(word.parse().ok().filter(|sample| *sample <= white)?),
            }
        }
        samples.truncate(count);
    } else if kind == 4 {
        for pixel in 0..count {
            let bit = pixel / width * width.div_ceil(8) * 8 + pixel % width;
            samples.push(1 - File(data).bits(bit, 1)?);
        }
    } else {
        samples = data.iter().take(count).map(|&byte| usize::from(byte).min(white)).collect();
    }
    if samples.len() < count {
        return None;
    }
    let scaled = |sample: usize| (sample as f64 / white as f64 * 255.0).round_ties_even() as u8;
    let rgb = samples
        .chunks(channels)
        .flat_map(|pixel| [0, 1, 2].map(|channel| scaled(pixel[channel % pixel.len()])));
    Some(Some((width, height, rgb.collect())))
}

/// Grey and RGB of 8 bits, in strips or tiles that are not compressed. `None` is anything else.
fn tiff(file: &File) -> Option<Pixels> {
    let is_big = file.byte(0)? == usize::from(b'M');
    let number = |at: usize, len: usize| -> Option<usize> {
        (0..len).try_fold(0, |sum, index| {
            let weight = if is_big { len - 1 - index } else { index };
            Some(sum + (file.byte(at + index)? << (8 * weight)))
        })
    };
    let directory = number(4, 4)?;
    let mut tags = HashMap::new();
    for entry in 0..number(directory, 2)?.min(100) {
        let at = directory + 2 + 12 * entry;
        let (tag, kind, count) = (number(at, 2)?, number(at + 2, 2)?, number(at + 4, 4)?);
        let len = match kind {
            1 => 1,
            3 => 2,
            4 => 4,
            _ => continue,
        };
        let from = if len * count <= 4 { at + 8 } else { number(at + 8, 4)? };
        let values = (0..count.min(10_000)).map_while(|index| number(from + len * index, len));
        tags.insert(tag, values.collect::<Vec<usize>>());
    }
    let one = |tag: usize, default: usize| {
        tags.get(&tag).map_or(Some(default), |values| values.first().copied())
    };
    let (width, height) = (one(256, 0)?, one(257, 0)?);
    let (photometric, samples) = (one(262, 9)?, one(277, 1)?);
    let is_known = matches!((photometric, samples), (0 | 1, 1) | (2, 3))
        && tags.get(&258)?.iter().all(|&bits| bits == 8)
        && [259, 266, 274, 317, 339].iter().all(|&tag| one(tag, 1) == Some(1))
        && one(338, 0) == Some(0)
        && width > 0
        && height > 0;
    if !is_known {
        return None;
    }
    let is_planar = samples > 1 && one(284, 1)? == 2;
    let (offsets, w, h) = match tags.get(&273) {
        Some(offsets) => (offsets, width, one(278, height)?),
        None => (tags.get(&324)?, one(322, 0)?, one(323, 0)?),
    };
    let (across, down) = (width.div_ceil(w.max(1)), height.div_ceil(h.max(1)));
    let mut rgb = Vec::new();
    for pixel in 0..width * height {
        let (x, y) = (pixel % width, pixel / width);
        for channel in 0..3 {
            let sample = channel.min(samples - 1);
            let plane = if is_planar { sample * across * down } else { 0 };
            let chunk = *offsets.get(plane + y / h * across + x / w)?;
            let inner = y % h * w + x % w;
            let at = if is_planar { inner } else { inner * samples + sample };
            let value = file.byte(chunk + at)? as u8;
            rgb.push(if photometric == 0 { 255 - value } else { value });
        }
    }
    Some((width, height, rgb))
}
