//! Gates: conditions such as `lpips_alex[scale=x4]: mean > 0.005 @ 95%`, under which a job fails.
//!
//! A condition is about a comparison ([`About::Worsening`]: how much worse the new scores are), or
//! about the scores of one run ([`About::Scores`]). Values and limits are compared as decimals.

mod parse;

use serde::Serialize;

use super::assess::{Assessment, magnitude};
use super::decimal::{Confidence, Decimal, settle};
use crate::column::Better;
use crate::stats;

use self::parse::Spans;
pub use self::parse::SyntaxError;

/// A condition under which a job fails.
#[derive(Clone, PartialEq, Debug)]
pub struct Gate {
    /// As it was typed.
    pub text: String,
    /// Which rows it is about; `None`: the total row of the only metric.
    pub scope: Option<Scope>,
    /// What is computed of each item.
    pub statistic: Statistic,
    operator: Operator,
    limit: Limit,
    /// The lower end of the interval at this level is compared instead of the mean.
    pub level: Option<Confidence>,
    spans: Spans,
}

/// The part of a condition before the colon.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scope {
    /// The metric.
    pub column: String,
    /// Names and values of group columns.
    pub groups: Vec<(String, String)>,
}

/// What is computed from the values of all items. The larger, the worse.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Statistic {
    /// The arithmetic mean.
    Mean,
    /// The quantile of so many percent: 50, 90, 95 or 99.
    Quantile(u8),
    /// The worst item.
    Max,
    /// The share of items beyond a value.
    Share(Decimal),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operator {
    Above,
    Below,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Limit {
    Number(Decimal),
    Percent(Decimal),
}

/// What a condition is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum About {
    /// How much worse each item is than in the baseline. The operator is `>`.
    Worsening,
    /// The score of each item. The operator is `<` where higher scores are better.
    Scores,
}

/// Whether the job may pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The condition does not hold: all is well.
    Held,
    /// The condition holds.
    Failed,
    /// Pairs are missing, or there are too few items for an interval.
    Undecided,
}

impl Outcome {
    /// The word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Held => "held",
            Outcome::Failed => "failed",
            Outcome::Undecided => "undecided",
        }
    }
}

/// What a gate is applied to: one row.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Differences (new - base) or scores of the items.
    pub values: &'a [f64],
    /// The statistics of these values.
    pub row: &'a Assessment,
    /// What the values are.
    pub about: About,
    /// Of the metric.
    pub better: Better,
    /// Whether no pair is missing or failed, or the user said to leave such pairs out.
    pub is_complete: bool,
}

/// A gate's outcome with the numbers that decided it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Decision {
    /// Whether the job may pass.
    pub outcome: Outcome,
    /// The statistic of the items that are there; `None` if it cannot be computed.
    pub value: Option<f64>,
    /// What it was compared with; `None` if it is relative to a mean that does not exist.
    pub limit: Option<f64>,
}

impl Gate {
    /// Parses a condition.
    ///
    /// # Errors
    /// Points to what cannot be read.
    pub fn parse(text: &str) -> Result<Gate, SyntaxError> {
        parse::gate(text)
    }

    /// Whether the operator and the limit have a meaning for a column.
    ///
    /// # Errors
    /// Points to the part that has none.
    pub fn check(&self, about: About, better: Better) -> Result<(), SyntaxError> {
        let is_share = matches!(self.statistic, Statistic::Share(_));
        let expected = match (about, better) {
            (About::Scores, Better::Higher) if !is_share => Operator::Below,
            _ => Operator::Above,
        };
        if self.operator != expected {
            let message = match (expected, about) {
                (Operator::Below, _) => "expected `<`: higher is better in this column".to_owned(),
                (Operator::Above, About::Worsening) => {
                    "expected `>`: a gate of a comparison is about how much worse the new scores \
                     are, whether lower or higher is better"
                        .to_owned()
                }
                (Operator::Above, About::Scores) if is_share => {
                    "expected `>`: the share of items that are worse than a value".to_owned()
                }
                (Operator::Above, About::Scores) => {
                    "expected `>`: lower is better in this column".to_owned()
                }
            };
            return Err(self.spans.operator(&self.text, message));
        }
        if about == About::Scores && !is_share && matches!(self.limit, Limit::Percent(_)) {
            let message = "expected a number: there is no baseline to take a percentage of";
            return Err(self.spans.limit(&self.text, message.to_owned()));
        }
        Ok(())
    }

    /// Applies the gate, which [`Gate::check`] has accepted.
    #[must_use]
    pub fn decide(&self, evidence: &Evidence<'_>) -> Decision {
        let value = self.value(evidence);
        let limit = self.limit_for(evidence);
        let is_beyond = match (self.statistic, value, limit) {
            (Statistic::Share(bound), Some(_), _) => {
                let count = count_beyond(bound, evidence) as u64;
                let total = evidence.values.len() as u64;
                let limit = match self.limit {
                    Limit::Number(share) => share,
                    Limit::Percent(percent) => percent.percent(),
                };
                Some(limit.is_below_share(count, total))
            }
            (_, Some(value), Some(limit)) => match self.operator {
                Operator::Above => Some(value > limit),
                Operator::Below => Some(value < limit),
            },
            _ => None,
        };
        let outcome = match is_beyond.filter(|_| evidence.is_complete) {
            None => Outcome::Undecided,
            Some(true) => Outcome::Failed,
            Some(false) => Outcome::Held,
        };
        Decision { outcome, value, limit }
    }

    /// The statistic: of worsenings in a comparison, of the scores themselves otherwise.
    #[must_use]
    pub fn value(&self, evidence: &Evidence<'_>) -> Option<f64> {
        let Evidence { values, row, better, .. } = *evidence;
        if values.is_empty() {
            return None;
        }
        let magnitude = magnitude(row.base_mean, row.new_mean);
        let oriented = match self.statistic {
            Statistic::Mean => match self.level {
                None => better.worsening(row.difference?),
                Some(level) => {
                    let (_, interval) = row.at_levels.iter().find(|(at, _)| *at == level)?;
                    let interval = interval.as_ref()?;
                    match better {
                        Better::Lower => interval.low,
                        Better::Higher => -interval.high,
                    }
                }
            },
            Statistic::Quantile(percent) => quantile(&worsenings(evidence), percent),
            Statistic::Max => worsenings(evidence).into_iter().fold(f64::NEG_INFINITY, f64::max),
            Statistic::Share(bound) => {
                return Some(count_beyond(bound, evidence) as f64 / values.len() as f64);
            }
        };
        let value = match evidence.about {
            About::Worsening => oriented,
            // As a score again.
            About::Scores => better.worsening(oriented),
        };
        // Minus zero would be printed as such.
        Some(settle(value, magnitude) + 0.0)
    }

    fn limit_for(&self, evidence: &Evidence<'_>) -> Option<f64> {
        match (self.limit, self.statistic) {
            (Limit::Number(limit), _) => Some(limit.to_f64()),
            (Limit::Percent(percent), Statistic::Share(_)) => Some(percent.percent().to_f64()),
            (Limit::Percent(percent), _) => {
                let mean = evidence.row.base_mean?.abs();
                Some(settle(percent.to_f64() * mean / 100.0, mean))
            }
        }
    }
}

/// Values as they get worse: positive and larger means worse.
fn worsenings(evidence: &Evidence<'_>) -> Vec<f64> {
    evidence.values.iter().map(|&value| evidence.better.worsening(value)).collect()
}

fn count_beyond(bound: Decimal, evidence: &Evidence<'_>) -> usize {
    let bound = match evidence.about {
        About::Worsening => bound.to_f64(),
        About::Scores => evidence.better.worsening(bound.to_f64()),
    };
    evidence.values.iter().filter(|&&value| evidence.better.worsening(value) > bound).count()
}

fn quantile(values: &[f64], percent: u8) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    stats::quantile(&sorted, f64::from(percent) / 100.0)
}

#[cfg(test)]
mod tests;
