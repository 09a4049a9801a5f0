//! Exact decimals: limits of gates, levels of confidence, and scores that are compared with them.
//!
//! Scores are written with nine digits, so their differences are decimals too. In binary floating
//! point `0.3 - 0.295` is above `0.005`; as decimals the two are equal. [`settle`] removes that
//! error, so that a value and a limit that are printed alike compare as equal.

use std::sync::LazyLock;

/// Digits that [`settle`] keeps. Values with at most that many are exact afterwards.
const DIGITS: i32 = 15;
/// Exponents of the powers of ten that [`settle`] tries; all magnitudes that scores have.
const EXPONENTS: std::ops::RangeInclusive<i32> = -300..=300;
/// Digits after the decimal point that a [`Decimal`] may have, and digits in all.
const LENGTH_MAX: usize = 30;

/// `mantissa / 10^scale`, exactly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decimal {
    mantissa: i128,
    scale: u32,
}

impl Decimal {
    /// Parses `12`, `-0.05`, `.5`, `5e-3`. `None` for anything else, such as `inf`, and for more
    /// than 30 digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Decimal> {
        let (digits, exponent) = match text.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, digits) = match digits.as_bytes().first()? {
            b'-' => (true, &digits[1..]),
            b'+' => (false, &digits[1..]),
            _ => (false, digits),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || all.len() > LENGTH_MAX || !all.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let mut mantissa: i128 = all.parse().ok()?;
        let mut scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        if scale < 0 {
            let zeros = u32::try_from(-scale).ok()?;
            mantissa = mantissa.checked_mul(10i128.checked_pow(zeros)?)?;
            scale = 0;
        }
        let scale = u32::try_from(scale).ok().filter(|&scale| scale as usize <= LENGTH_MAX)?;
        Some(Decimal { mantissa: if negative { -mantissa } else { mantissa }, scale })
    }

    /// The nearest float64.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        let Decimal { mantissa, scale } = self;
        // The parser of the standard library rounds correctly.
        format!("{mantissa}e-{scale}").parse().unwrap_or(f64::NAN)
    }

    /// This, divided by 100.
    #[must_use]
    pub fn percent(self) -> Decimal {
        Decimal { scale: self.scale + 2, ..self }
    }

    /// Whether `count / total` is above this.
    #[must_use]
    pub fn is_below_share(self, count: u64, total: u64) -> bool {
        let power = 10i128.pow(self.scale);
        match (power.checked_mul(count.into()), self.mantissa.checked_mul(total.into())) {
            (Some(share), Some(limit)) => share > limit,
            _ => count as f64 / total as f64 > self.to_f64(),
        }
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Decimal { mantissa, scale } = *self;
        let sign = if mantissa < 0 { "-" } else { "" };
        let digits = format!("{:0width$}", mantissa.unsigned_abs(), width = scale as usize + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() { "" } else { "." };
        write!(f, "{sign}{whole}{point}{fraction}")
    }
}

/// A level of confidence in percent, above 0 and below 100.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Confidence(Decimal);

impl Confidence {
    /// 95 %.
    pub const USUAL: Confidence = Confidence(Decimal { mantissa: 95, scale: 0 });
    /// 90 %: two one-sided tests at 5 % each.
    pub const EQUIVALENCE: Confidence = Confidence(Decimal { mantissa: 90, scale: 0 });
    /// Digits after the decimal point.
    const SCALE_MAX: u32 = 6;

    /// The level of so many percent; `None` unless it is above 0 and below 100, with at most six
    /// digits after the decimal point.
    #[must_use]
    pub fn of_percent(percent: Decimal) -> Option<Confidence> {
        let Decimal { mantissa, scale } = percent;
        let fits = scale <= Confidence::SCALE_MAX
            && mantissa > 0
            && mantissa < 100 * 10i128.pow(scale.min(Confidence::SCALE_MAX));
        fits.then_some(Confidence(percent))
    }

    /// `1 - confidence` as a fraction of two whole numbers.
    fn alpha_ratio(self) -> (u128, u128) {
        let whole = 100 * 10u128.pow(self.0.scale);
        (whole - self.0.mantissa.unsigned_abs(), whole)
    }

    /// `1 - confidence`.
    #[must_use]
    pub fn alpha(self) -> f64 {
        let (alpha, whole) = self.alpha_ratio();
        alpha as f64 / whole as f64
    }

    /// The confidence as a fraction: 0.95.
    #[must_use]
    pub fn level(self) -> f64 {
        let (alpha, whole) = self.alpha_ratio();
        (whole - alpha) as f64 / whole as f64
    }

    /// `floor((1 - confidence) * total / 2)`: how many of `total` subset means lie beyond each end
    /// of the interval, counting the end itself.
    #[must_use]
    pub fn rank(self, total: u64) -> u64 {
        let (alpha, whole) = self.alpha_ratio();
        (alpha * u128::from(total) / (2 * whole)) as u64
    }

    /// The smallest `total` whose tests can reach `1 - confidence` among `tests` under Holm, with
    /// some precision: `4 * tests / (1 - confidence)`.
    #[must_use]
    pub fn draws_needed(self, tests: u64) -> u64 {
        let (alpha, whole) = self.alpha_ratio();
        (4 * u128::from(tests) * whole).div_ceil(alpha).min(u64::MAX.into()) as u64
    }
}

/// `95%`.
impl std::fmt::Display for Confidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl std::str::FromStr for Confidence {
    type Err = String;

    fn from_str(text: &str) -> Result<Confidence, String> {
        let percent = Decimal::parse(text.strip_suffix('%').unwrap_or(text));
        // 0.95 was meant as a share, and would be an interval that is almost always wrong.
        let percent = percent.filter(|percent| percent.to_f64() > 1.0);
        percent.and_then(Confidence::of_percent).ok_or_else(|| {
            "expected percent, above 1 and below 100, with at most 6 decimals: `95`".to_owned()
        })
    }
}

static POWERS: LazyLock<Vec<f64>> = LazyLock::new(|| {
    EXPONENTS.map(|exponent| format!("1e{exponent}").parse().unwrap_or(f64::NAN)).collect()
});

fn power(exponent: i32) -> f64 {
    POWERS[(exponent - EXPONENTS.start()) as usize]
}

/// `value`, a sum or difference of scores as large as `magnitude`, without the error of binary
/// arithmetic: rounded to 15 significant decimal digits of `magnitude`.
#[must_use]
pub fn settle(value: f64, magnitude: f64) -> f64 {
    let magnitude = magnitude.abs().max(value.abs());
    if value == 0.0 || !magnitude.is_finite() {
        return value;
    }
    // The exponent of the first digit, by comparison: logarithms differ between machines.
    let above = POWERS.partition_point(|&power| power <= magnitude) as i32;
    let decimals = DIGITS - (EXPONENTS.start() + above);
    match decimals {
        // Products of up to 15 digits and these powers are exact, so one rounding remains.
        0..=22 => (value * power(decimals)).round() / power(decimals),
        -22..0 => (value / power(-decimals)).round() * power(-decimals),
        // Rare: magnitudes below 1e-7.
        23.. => format!("{value:.0$}", decimals as usize).parse().unwrap_or(value),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn decimals_are_read_and_written_exactly() {
        let cases = [
            ("0.005", "0.005"),
            ("5e-3", "0.005"),
            (".5", "0.5"),
            ("5.", "5"),
            ("+1.50", "1.5"),
            ("-0.010", "-0.01"),
            ("2E2", "200"),
            ("0", "0"),
        ];
        for (text, expected) in cases {
            assert_eq!(decimal(text).to_string(), expected, "{text}");
            assert_eq!(decimal(text).to_f64(), expected.parse::<f64>().unwrap(), "{text}");
        }
        for text in ["", ".", "-", "1e", "inf", "nan", "0x1", "1 2", "1e99", "1e-99", "--1", "1_0"]
        {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn ranks_are_exact() {
        let rank = |confidence: &str, total| confidence.parse::<Confidence>().unwrap().rank(total);
        assert_eq!(rank("95", 1 << 8), 6);
        assert_eq!(rank("90", 1 << 8), 12);
        assert_eq!(rank("93.75", 1 << 5), 1);
        assert_eq!(rank("95", 1 << 5), 0);
        // Binary floats make these 499, 49 and 4.
        assert_eq!(rank("90", 10_000), 500);
        assert_eq!(rank("99%", 10_000), 50);
        assert_eq!(rank("99.9", 10_000), 5);
        assert_eq!(rank("95", 10_000), 250);
        for text in ["0", "0.95", "1", "100", "-5", "101", "x", "95.1234567", ""] {
            assert!(text.parse::<Confidence>().is_err(), "{text}");
        }
        assert_eq!(Confidence::USUAL.alpha(), 0.05);
        assert_eq!(Confidence::USUAL.draws_needed(3), 240);
        assert_eq!("99.9".parse::<Confidence>().unwrap().draws_needed(1), 4000);
    }

    #[test]
    fn differences_of_decimals_are_decimals() {
        let [low, high] = std::hint::black_box([0.295, 0.3]);
        assert!(high - low > 0.005, "which is why they are settled");
        assert_eq!(settle(0.3 - 0.295, 0.3), 0.005);
        assert_eq!(settle(0.303 - 0.3, 0.303), 0.003);
        assert_eq!(settle(30.1 - 30.0, 30.1), 0.1);
        assert_eq!(settle(-(1.1 - 1.0), 1.1), -0.1);
        assert_eq!(settle(2.0e-8 - 1.9e-8, 2.0e-8), 1e-9);
        assert_eq!(settle(123_456.7 - 123_456.0, 123_456.7), 0.7);
        assert_eq!(settle(3.0e17, 3.0e17), 3.0e17);
        assert_eq!(settle(f64::INFINITY, 1.0), f64::INFINITY);
        assert_eq!(settle(0.0, 1.0), 0.0);
        // Nothing that has at most fifteen digits is changed.
        let mut state = 1u64;
        for _ in 0..10_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let value: f64 = format!("{}e-15", state >> 16).parse().unwrap();
            assert_eq!(settle(value, value), value);
        }
    }

    #[test]
    fn shares_are_compared_as_fractions() {
        assert!(!decimal("0.1").is_below_share(1, 10));
        assert!(decimal("0.1").is_below_share(2, 10));
        assert!(!decimal("10").percent().is_below_share(100, 1000));
        assert!(decimal("0").is_below_share(1, 1_000_000));
    }
}
