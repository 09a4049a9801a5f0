//! Words for what a comparison proves, and in which order they are chosen.

use serde::Serialize;

use super::assess::Assessment;
use super::decimal::Confidence;
use super::subsets::Probability;
use crate::column::Better;

/// What the differences of a row prove. The worst comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The new scores are worse.
    Worse,
    /// The data do not decide. It does not mean that both are equal.
    Undecided,
    /// The difference is smaller than the margin.
    Equivalent,
    /// Every item has the same score.
    Identical,
    /// The new scores are better.
    Better,
}

impl Verdict {
    /// The word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Worse => "worse",
            Verdict::Undecided => "undecided",
            Verdict::Equivalent => "equivalent",
            Verdict::Identical => "identical",
            Verdict::Better => "better",
        }
    }

    /// The verdict on one row. `adjusted` is its p value after [`holm`].
    #[must_use]
    pub fn on(
        row: &Assessment,
        adjusted: Option<Probability>,
        confidence: Confidence,
        better: Better,
    ) -> Verdict {
        if row.is_identical() {
            return Verdict::Identical;
        }
        if row.is_equivalent {
            return Verdict::Equivalent;
        }
        let is_significant = adjusted.is_some_and(|p| p.value() <= confidence.alpha());
        match row.difference.map(|difference| better.worsening(difference)) {
            Some(worsening) if is_significant && worsening > 0.0 => Verdict::Worse,
            Some(worsening) if is_significant && worsening < 0.0 => Verdict::Better,
            _ => Verdict::Undecided,
        }
    }
}

/// p values of one family, adjusted by Holm's step-down method: their family-wise error is that of
/// one test. Rows without a test take no part.
#[must_use]
pub fn holm(family: &[Option<Probability>]) -> Vec<Option<Probability>> {
    let mut tests: Vec<(usize, Probability)> =
        family.iter().enumerate().filter_map(|(row, p)| Some((row, (*p)?))).collect();
    tests.sort_by(|(_, a), (_, b)| a.value().total_cmp(&b.value()));
    let mut adjusted = vec![None; family.len()];
    let mut largest: Option<Probability> = None;
    for (place, &(row, p)) in tests.iter().enumerate() {
        let factor = (tests.len() - place) as u64;
        let own = p.times(factor);
        let p = largest.filter(|largest| largest.value() > own.value()).unwrap_or(own);
        largest = Some(p);
        adjusted[row] = Some(p);
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::assess::{Sample, Settings};
    use crate::compare::decimal::Decimal;

    fn probability(numerator: u64) -> Option<Probability> {
        Some(Probability::new(numerator, 1000))
    }

    #[test]
    fn holm_multiplies_and_keeps_the_order() {
        // statsmodels: multipletests([.01, .04, .03, .005], method="holm") = .03 .06 .06 .02
        let family = [probability(10), probability(40), None, probability(30), probability(5)];
        let adjusted: Vec<Option<f64>> =
            holm(&family).into_iter().map(|p| p.map(Probability::value)).collect();
        assert_eq!(adjusted, [Some(0.03), Some(0.06), None, Some(0.06), Some(0.02)]);
        assert_eq!(holm(&[probability(600), probability(700)])[1].unwrap().value(), 1.0);
        assert!(holm(&[]).is_empty());
    }

    fn verdict(differences: &[f64], margin: Option<&str>, better: Better) -> Verdict {
        let margin = margin.map(|margin| Decimal::parse(margin).unwrap());
        let settings = Settings { margin, ..Settings::default() };
        let row = Sample::of_differences(differences).assess(&settings);
        Verdict::on(&row, row.p, settings.confidence, better)
    }

    #[test]
    fn the_precedence_is_identical_equivalent_better_or_worse_undecided() {
        let up = [0.01; 6];
        assert_eq!(verdict(&[0.0; 4], Some("1"), Better::Lower), Verdict::Identical);
        assert_eq!(verdict(&up, None, Better::Lower), Verdict::Worse);
        assert_eq!(verdict(&up, None, Better::Higher), Verdict::Better);
        assert_eq!(verdict(&up.map(|d| -d), None, Better::Lower), Verdict::Better);
        assert_eq!(verdict(&up, Some("0.011"), Better::Lower), Verdict::Equivalent);
        assert_eq!(verdict(&up, Some("0.01"), Better::Lower), Verdict::Worse, "not inside");
        assert_eq!(verdict(&[0.01; 5], None, Better::Lower), Verdict::Undecided);
        assert_eq!(verdict(&[0.01], Some("1"), Better::Lower), Verdict::Undecided);
        assert_eq!(verdict(&[0.0], None, Better::Lower), Verdict::Identical);
        assert_eq!(verdict(&[], None, Better::Lower), Verdict::Undecided);
    }

    #[test]
    fn the_worst_comes_first() {
        use Verdict::{Better, Equivalent, Identical, Undecided, Worse};
        assert_eq!([Better, Identical, Undecided].into_iter().min(), Some(Undecided));
        assert_eq!([Better, Identical].into_iter().min(), Some(Identical));
        assert_eq!([Identical, Equivalent, Worse].into_iter().min(), Some(Worse));
    }
}
