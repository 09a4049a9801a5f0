//! Reads and judges single fields of the header.

use super::*;

pub(super) fn refused(field: &str, value: impl Display) -> Reason {
    unsupported(FORMAT, format_args!("{field} {value}"))
}

/// A width or height: TIFF's own limit is 32 bits.
pub(super) fn side(directory: &mut Directory<impl Read + Seek>, tag: u16) -> Result<usize, Reason> {
    let side = directory.number(tag)?;
    let side = side.filter(|&side| side > 0).and_then(|side| u32::try_from(side).ok());
    let side = side.ok_or_else(|| damaged(FORMAT, format_args!("tag {tag}, an extent")))?;
    Ok(side as usize)
}

pub(super) fn compression(
    directory: &mut Directory<impl Read + Seek>,
) -> Result<Compression, Reason> {
    let name = match directory.number(tag::COMPRESSION)?.unwrap_or(1) {
        1 => return Ok(Compression::None),
        5 => return Ok(Compression::Lzw),
        8 | 32946 => return Ok(Compression::Deflate),
        32773 => return Ok(Compression::PackBits),
        2 => "2 (CCITT)",
        3 => "3 (CCITT fax 3)",
        4 => "4 (CCITT fax 4)",
        6 => "6 (old JPEG)",
        7 => "7 (JPEG)",
        34661 => "34661 (JBIG)",
        34712 => "34712 (JPEG 2000)",
        34887 => "34887 (LERC)",
        34925 => "34925 (LZMA)",
        50000 => "50000 (Zstandard)",
        50001 => "50001 (WebP)",
        50002 => "50002 (JPEG XL)",
        other => return Err(refused("Compression", other)),
    };
    Err(refused("Compression", name))
}

/// Type and meaning of the samples, and how many a pixel has.
pub(super) fn pixels(
    directory: &mut Directory<impl Read + Seek>,
) -> Result<(Kind, Meaning, Extra, usize), Reason> {
    let samples = directory.number(tag::SAMPLES)?.unwrap_or(1);
    if !SAMPLES_MAX.contains(&samples) {
        return Err(refused("SamplesPerPixel", samples));
    }
    let one = |name: &str, values: Vec<u64>| match values.iter().min() == values.iter().max() {
        true => Ok(values[0]),
        false => Err(refused(name, format_args!("{values:?}"))),
    };
    let bits = directory.numbers(tag::BITS)?.unwrap_or(vec![1]);
    if bits.len() != 1 && (bits.len() as u64) < samples {
        return Err(damaged(FORMAT, "BitsPerSample has too few values"));
    }
    let bits = one("BitsPerSample", bits)?;
    let format = one("SampleFormat", directory.numbers(tag::FORMAT)?.unwrap_or(vec![1]))?;
    let mut extra = directory.numbers(tag::EXTRA)?.unwrap_or_default();
    let Some(photometric) = directory.number(tag::PHOTOMETRIC)? else {
        return Err(unsupported(FORMAT, "a file without PhotometricInterpretation"));
    };
    let name = match photometric {
        0..=3 => "",
        4 => " (mask)",
        5 => " (CMYK)",
        6 => " (YCbCr)",
        8..=10 => " (Lab)",
        32803 => " (colour filter array)",
        34892 => " (linear raw)",
        _ => " (unknown)",
    };
    if !name.is_empty() {
        return Err(refused("PhotometricInterpretation", format_args!("{photometric}{name}")));
    }
    let colors = if photometric == 2 { 3 } else { 1 };
    if photometric == 2 && samples == 4 && extra.is_empty() {
        // A fourth sample that is not declared is alpha, for PIL as for others.
        extra = vec![2];
    }
    if samples != colors + extra.len() as u64 {
        let text = format_args!("SamplesPerPixel {samples} with ExtraSamples {extra:?}");
        return Err(unsupported(FORMAT, text));
    }
    let is_known = PIXELS.iter().any(|known| {
        (known.photometric, known.sample_format) == (photometric, format)
            && known.bits.contains(&bits)
            && known.extra.contains(&&extra[..])
    });
    if !is_known {
        return Err(unknown_pixels(photometric, format, bits, &extra));
    }
    let kind = if format == 3 { Kind::Float } else { Kind::Unsigned(bits as u8) };
    let meaning = match photometric {
        0 => Meaning::WhiteIsZero,
        1 => Meaning::BlackIsZero,
        2 => Meaning::Rgb,
        _ => Meaning::Indexed(Box::new(palette(directory, bits)?)),
    };
    let extra = match extra.first() {
        Some(1) => Extra::AssociatedAlpha,
        Some(2) => Extra::Alpha,
        _ => Extra::None,
    };
    Ok((kind, meaning, extra, samples as usize))
}

/// Names the field that makes a combination unknown: the first without which it would be known.
pub(super) fn unknown_pixels(photometric: u64, format: u64, bits: u64, extra: &[u64]) -> Reason {
    let name = match format {
        2 => " (signed)",
        3 => " (float)",
        4 => " (undefined)",
        5 | 6 => " (complex)",
        _ => "",
    };
    let is_format =
        |known: &&Pixels| (known.photometric, known.sample_format) == (photometric, format);
    let mut of_format = PIXELS.iter().filter(is_format).peekable();
    if of_format.peek().is_none() {
        return refused("SampleFormat", format_args!("{format}{name}"));
    }
    if !of_format.any(|known| known.bits.contains(&bits)) {
        let text = format_args!("{bits} with PhotometricInterpretation {photometric}");
        return refused("BitsPerSample", text);
    }
    let text =
        format_args!("{extra:?} with PhotometricInterpretation {photometric} and {bits} bits");
    refused("ExtraSamples", text)
}

/// Three tables of 16-bit numbers, of which PIL takes the higher byte.
pub(super) fn palette(
    directory: &mut Directory<impl Read + Seek>,
    bits: u64,
) -> Result<Palette, Reason> {
    let colors = 1usize << bits;
    let map = directory.numbers(tag::COLOR_MAP)?.unwrap_or_default();
    if map.len() != 3 * colors {
        let text = format_args!("a ColorMap of {} values for {bits} bits", map.len());
        return Err(damaged(FORMAT, text));
    }
    let color = |index: usize| [0, 1, 2].map(|channel| (map[channel * colors + index] >> 8) as u8);
    Ok(Palette::new((0..colors).map(color)))
}
