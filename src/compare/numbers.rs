//! Numbers as people read them: as few digits as asked for, and as many as agree with the verdict.

use super::assess::{Assessment, Settings};
use super::decimal::Decimal;
use super::gate::{Decision, Outcome};
use super::subsets::{Interval, Probability};
use super::verdict::Verdict;

/// No number needs more digits after the decimal point.
const DECIMALS_MAX: usize = 17;

/// How many digits after the decimal point the numbers of a row are printed with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decimals(usize);

impl Decimals {
    /// The fewest, and at least `digits`, with which the printed numbers agree with the verdict.
    pub fn for_row(
        statistics: &Assessment,
        verdict: Verdict,
        settings: &Settings,
        digits: usize,
    ) -> Decimals {
        let margin = settings.margin.map(Decimal::to_f64);
        let agrees = |&decimals: &usize| {
            let shown = |value: f64| rounded(value, decimals);
            let excludes_zero = |low: f64, high: f64| low > 0.0 || high < 0.0;
            let interval_agrees =
                statistics.interval.is_none_or(|Interval { low, high, .. }| {
                    excludes_zero(low, high) == excludes_zero(shown(low), shown(high))
                });
            let margin_agrees = margin.zip(statistics.equivalence).is_none_or(|(margin, of)| {
                let is_inside = |low: f64, high: f64| -margin < low && high < margin;
                is_inside(of.low, of.high) == is_inside(shown(of.low), shown(of.high))
            });
            let is_directed = matches!(verdict, Verdict::Better | Verdict::Worse);
            let difference = statistics.difference.unwrap_or_default();
            let means = statistics.base_mean.zip(statistics.new_mean);
            let direction_agrees = !is_directed
                || shown(difference) != 0.0
                    && means.is_none_or(|(base, new)| {
                        !base.is_finite() || (shown(new) > shown(base)) == (difference > 0.0)
                    });
            interval_agrees && margin_agrees && direction_agrees
        };
        Decimals((digits..DECIMALS_MAX).find(agrees).unwrap_or(DECIMALS_MAX))
    }

    /// Enough for a gate's value and limit to be on the same sides as printed.
    pub fn for_gate(decision: &Decision, digits: usize) -> Decimals {
        let Decision { outcome, value: Some(value), limit: Some(limit) } = *decision else {
            return Decimals(digits);
        };
        let agrees = |&decimals: &usize| {
            let [value_shown, limit_shown] = [value, limit].map(|one| rounded(one, decimals));
            outcome == Outcome::Undecided
                || (value_shown > limit_shown, value_shown < limit_shown)
                    == (value > limit, value < limit)
                    && (limit_shown - limit).abs() <= limit.abs() * 1e-9
        };
        Decimals((digits..DECIMALS_MAX).find(agrees).unwrap_or(DECIMALS_MAX))
    }

    /// Enough for an interval to exclude zero as printed if it does.
    pub fn for_interval(statistics: &Assessment, digits: usize) -> Decimals {
        let excludes_zero = |low: f64, high: f64| low > 0.0 || high < 0.0;
        let agrees = |&decimals: &usize| {
            statistics.interval.is_none_or(|Interval { low, high, .. }| {
                let [low_shown, high_shown] = [low, high].map(|end| rounded(end, decimals));
                excludes_zero(low, high) == excludes_zero(low_shown, high_shown)
            })
        };
        Decimals((digits..DECIMALS_MAX).find(agrees).unwrap_or(DECIMALS_MAX))
    }

    /// `0.2134`, or `-` without a number.
    pub fn plain(self, value: Option<f64>) -> String {
        value.map_or_else(|| "-".to_owned(), |value| fixed(value, self.0))
    }

    /// `+0.0031`.
    pub fn signed(self, value: f64) -> String {
        let text = fixed(value, self.0);
        let is_zero = !text.contains(|c: char| ('1'..='9').contains(&c) || c == 'i');
        match text.strip_prefix('-') {
            Some(zero) if is_zero => format!(" {zero}"),
            None if is_zero => format!(" {text}"),
            None => format!("+{text}"),
            Some(_) => text,
        }
    }

    /// `[+0.0012, +0.0050]`.
    pub fn interval(self, interval: Option<&Interval>) -> String {
        match interval {
            Some(Interval { low, high, .. }) => {
                let [low, high] = [low, high].map(|&end| self.signed(end).trim().to_owned());
                format!("[{low}, {high}]")
            }
            None => "(no interval)".to_owned(),
        }
    }
}

fn fixed(value: f64, decimals: usize) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(zero) if !zero.contains(|c: char| ('1'..='9').contains(&c)) => zero.to_owned(),
        _ => text,
    }
}

/// The number that is printed.
fn rounded(value: f64, decimals: usize) -> f64 {
    fixed(value, decimals).parse().unwrap_or(value)
}

/// Two significant digits, for quantities that are estimates.
pub fn rough(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return "0".to_owned();
    }
    let rounded: f64 = format!("{value:.1e}").parse().unwrap_or(value);
    rounded.to_string()
}

/// A p value with at least two significant digits, on the same side of the limit as unrounded.
pub fn p_value(p: Probability, limit: f64) -> String {
    let value = p.value();
    let agrees = |&digits: &usize| {
        let shown: f64 = significant(value, digits).parse().unwrap_or(value);
        (shown <= limit) == (value <= limit)
    };
    let digits = (2..17).find(agrees).unwrap_or(17);
    significant(value, digits)
}

fn significant(value: f64, digits: usize) -> String {
    let scientific = format!("{value:.0$e}", digits - 1);
    scientific.parse::<f64>().map_or(scientific, |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_p_value_stays_on_its_side_of_the_limit() {
        let shown = |numerator, limit| p_value(Probability::new(numerator, 100_000), limit);
        assert_eq!(shown(5_001, 0.05), "0.05001");
        assert_eq!(shown(4_999, 0.05), "0.05");
        assert_eq!(shown(5_000, 0.05), "0.05");
        assert_eq!(shown(12_345, 0.05), "0.12");
        assert_eq!(shown(100_000, 0.05), "1");
        assert_eq!(shown(2, 0.05), "0.00002");
    }

    #[test]
    fn no_number_is_minus_zero() {
        let four = Decimals(4);
        assert_eq!(four.plain(Some(-0.000_01)), "0.0000");
        assert_eq!(four.signed(-0.000_01).trim(), "0.0000");
        assert_eq!(
            (four.signed(0.0031), four.signed(-0.0031)),
            ("+0.0031".into(), "-0.0031".into())
        );
        assert_eq!(four.plain(Some(f64::INFINITY)), "inf");
        assert_eq!(four.plain(None), "-");
    }

    #[test]
    fn a_gate_is_printed_with_the_digits_that_decide_it() {
        let decision =
            |value, limit, outcome| Decision { outcome, value: Some(value), limit: Some(limit) };
        let decimals = |decision: &Decision| Decimals::for_gate(decision, 4);
        assert_eq!(decimals(&decision(0.005_001, 0.005, Outcome::Failed)), Decimals(6));
        assert_eq!(decimals(&decision(0.005, 0.005, Outcome::Held)), Decimals(4));
        assert_eq!(decimals(&decision(0.1, 0.000_25, Outcome::Failed)), Decimals(5));
    }

    #[test]
    fn estimates_have_two_digits() {
        assert_eq!(
            (rough(0.005_234), rough(12.34), rough(0.0)),
            ("0.0052".into(), "12".into(), "0".into())
        );
    }
}
