//! Numbers as they are written to tables and in sentences.

/// A value with nine significant digits, which distinguish any two float32. Infinite
/// values are `inf` and `-inf`.
#[must_use]
pub fn nine_digits(value: f64) -> String {
    if value == 0.0 {
        return "0.0".to_owned(); // Readers that guess types from the first rows see a float.
    }
    let scientific = format!("{value:.8e}");
    let exponent: i32 =
        scientific.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
    match usize::try_from(8 - exponent) {
        Ok(decimals) if exponent >= -5 => format!("{value:.decimals$}"),
        _ => scientific,
    }
}

/// A count with its noun: `1 pair`, `2 pairs`.
#[must_use]
pub fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// The verb behind such a count: `is` or `are`.
#[must_use]
pub fn are(count: usize) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_nine_significant_digits() {
        let cases = [
            (0.0, "0.0"),
            (0.439_394_180_234, "0.439394180"),
            (1.5, "1.50000000"),
            (123.456_789_012_3, "123.456789"),
            (1.234_567_891e-5, "0.0000123456789"),
            (1.234_567_891e-7, "1.23456789e-7"),
            (0.999_999_999_9, "1.00000000"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, expected) in cases {
            assert_eq!(nine_digits(value), expected);
        }
    }

    #[test]
    fn every_float32_survives_nine_digits() {
        let mut bits = 1u32;
        for _ in 0..100_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = f32::from_bits(bits & 0x7fff_ffff);
            if value.is_finite() {
                assert_eq!(nine_digits(f64::from(value)).parse::<f32>().unwrap(), value);
            }
        }
    }
}
