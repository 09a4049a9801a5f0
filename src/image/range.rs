//! The range of float samples, which people must state, since a wrong one gives a plausible number.

use serde::{Deserialize, Serialize};

use super::Pixels;
use crate::code::Code;

/// What float samples stand for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Range {
    /// 0 is black, 1 is white.
    #[default]
    #[serde(rename = "0..1")]
    Unit,
    /// -1 is black, 1 is white.
    #[serde(rename = "-1..1")]
    Signed,
}

/// A sample that is not further outside than this was probably not clipped after a computation.
const OVERSHOOT: f32 = 0.5;

impl Range {
    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Range::Unit => "0..1",
            Range::Signed => "-1..1",
        }
    }

    pub(super) fn black(self) -> f32 {
        match self {
            Range::Unit => 0.0,
            Range::Signed => -1.0,
        }
    }

    /// Samples of integers, scaled from 0..1 to this range. The operations are those that an
    /// evaluator would do.
    pub(crate) fn of_integers(self, pixels: Pixels) -> Pixels {
        match (self, pixels) {
            (Range::Unit, pixels) => pixels,
            (Range::Signed, Pixels::U8(samples)) => {
                let signed = |sample: u8| 2.0 * (f32::from(sample) / 255.0) - 1.0;
                Pixels::F32(samples.into_iter().map(signed).collect())
            }
            (Range::Signed, Pixels::F32(samples)) => {
                Pixels::F32(samples.into_iter().map(|x| 2.0 * x - 1.0).collect())
            }
        }
    }

    /// # Errors
    /// `E_RANGE` for a sample outside, with the extreme.
    pub(crate) fn check(
        self,
        samples: impl Iterator<Item = f32> + Clone,
    ) -> Result<(), (Code, String)> {
        let is_finite = samples.clone().all(f32::is_finite);
        let smallest = samples.clone().fold(f32::INFINITY, f32::min);
        let largest = samples.fold(f32::NEG_INFINITY, f32::max);
        if is_finite && smallest >= self.black() && largest <= 1.0 {
            return Ok(());
        }
        if !is_finite {
            return Err((Code::Range, "a sample is infinite or not a number".to_owned()));
        }
        let name = self.name();
        if self == Range::Unit && (-1.0..-OVERSHOOT).contains(&smallest) && largest <= 1.0 {
            let text = "the smallest sample is";
            let text = format!("{text} {smallest}, outside of {name}; is it --range=-1..1?");
            return Err((Code::Range, text));
        }
        let above = largest - 1.0;
        let below = self.black() - smallest;
        let extreme = if above >= below { largest } else { smallest };
        let remedy = if above.max(below) <= OVERSHOOT {
            format!("; clip the samples to {name}")
        } else if smallest >= 0.0 && largest <= 255.0 {
            "; for 0 to 255, store the array as uint8 or divide it by 255".to_owned()
        } else {
            String::new()
        };
        Err((
            Code::Range,
            format!("a sample is {extreme}, outside of {name} (see --range){remedy}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_range_names_the_extreme_and_the_likely_mistake() {
        let fault = |values: &[f32], range: Range| {
            let (code, text) = range.check(values.iter().copied()).unwrap_err();
            format!("{code}: {text}")
        };
        let bytes = fault(&[0.0, 254.0], Range::Unit);
        assert!(bytes.contains("a sample is 254, outside of 0..1"), "{bytes}");
        assert!(bytes.contains("divide it by 255"), "{bytes}");
        let signed = fault(&[-0.75, 0.5], Range::Unit);
        assert!(signed.contains("is -0.75, outside of 0..1; is it --range=-1..1?"), "{signed}");
        assert!(Range::Signed.check([-0.75, 0.5].into_iter()).is_ok());
        let far = fault(&[-3.5, 0.5], Range::Signed);
        assert!(far.contains("a sample is -3.5"), "{far}");
        let over = fault(&[0.0, 1.000_001], Range::Unit);
        assert!(over.ends_with("clip the samples to 0..1"), "{over}");
        let under = fault(&[-0.01, 1.0], Range::Unit);
        assert!(under.ends_with("clip the samples to 0..1"), "{under}");
        assert!(Range::Signed.check([f32::NAN].into_iter()).is_err());
    }

    #[test]
    fn integers_become_the_range_of_the_run() {
        let bytes = Pixels::U8(vec![0, 51, 255]);
        assert_eq!(Range::Unit.of_integers(bytes.clone()), bytes);
        let signed = Range::Signed.of_integers(bytes);
        assert_eq!(signed, Pixels::F32(vec![-1.0, 2.0 * 0.2 - 1.0, 1.0]));
    }
}
