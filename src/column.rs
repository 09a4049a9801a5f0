//! A metric column of pairs.csv: its name, its parts, which direction is better, what it is
//! computed from, and the settings that decide its numbers.
//!
//! The run directory, the tables and the ranking need nothing else of a metric. This module refuses
//! to know of files, devices and tables.

mod dists;
mod fingerprint;
mod lpips;
mod pixels;

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

pub use self::dists::Dists;
pub use self::fingerprint::Fingerprint;
pub use self::lpips::{Lpips, Mode};
use crate::code::Code;
use crate::error::Failure;
use crate::fidelity;
use crate::image::{Image, PixelStore};
use crate::metric::Reduction;

/// One metric column of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Column {
    /// The header in pairs.csv, such as `lpips_alex`.
    pub name: String,
    /// Number of the parts of a [`Value`]: the layers of LPIPS. 0 if the metric has none.
    pub parts: usize,
    /// Which direction is better.
    pub better: Better,
    /// What it is computed from.
    pub from: Origin,
    /// The settings that decide its numbers.
    pub fingerprint: Fingerprint,
}

/// Which values of a column are better.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// A distance.
    Lower,
    /// A similarity.
    Higher,
}

/// What a column is computed from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The distance of a model that the evaluator computes.
    Model {
        /// Index among the models that the evaluator was given.
        index: usize,
        /// How the maps of its layers become values.
        reduction: Reduction,
    },
    /// The samples of the two images.
    Pixels(fidelity::Metric),
    /// Others computed it: the values are joined by id.
    Joined {
        /// Whether it is known which direction is better. Otherwise values are summarised, and
        /// neither ranked nor gated.
        is_ranked: bool,
    },
}

/// What a column holds of one pair.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(from = "StoredValue")]
pub struct Value {
    /// The cell of the column. It may be infinite, and is never NaN.
    #[serde(with = "infinite")]
    pub total: f64,
    /// The parts, finite, as many as [`Column::parts`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<f64>,
}

/// A value as journals hold it.
#[derive(Deserialize)]
#[serde(untagged)]
enum StoredValue {
    /// Format 1: the layers of LPIPS, whose sum is the total.
    Layers(Vec<f64>),
    Value {
        #[serde(with = "infinite")]
        total: f64,
        #[serde(default)]
        parts: Vec<f64>,
    },
}

impl From<StoredValue> for Value {
    fn from(stored: StoredValue) -> Value {
        match stored {
            StoredValue::Layers(layers) => Value::sum(layers),
            StoredValue::Value { total, parts } => Value { total, parts },
        }
    }
}

impl Value {
    /// A value without parts.
    #[must_use]
    pub fn whole(total: f64) -> Value {
        Value { total, parts: Vec::new() }
    }

    /// A value that is the sum of its parts, added in order: LPIPS.
    #[must_use]
    pub fn sum(parts: Vec<f64>) -> Value {
        Value { total: parts.iter().sum(), parts }
    }
}

impl Column {
    /// The header of a part, counted from 0, in pairs.csv.
    #[must_use]
    pub fn part_name(&self, part: usize) -> String {
        format!("{}_layer{part}", self.name)
    }

    /// Whether both have the same values for the same files within a numerics class, in rows that
    /// state the same size.
    #[must_use]
    pub fn agrees_with(&self, other: &Column) -> bool {
        // What is cut off for every column is no part of a pair's size; what is cut off for this
        // one alone is. The fingerprint holds their sum.
        let border = |column: &Column| match column.from {
            Origin::Model { .. } | Origin::Joined { .. } => 0,
            Origin::Pixels(metric) => metric.border,
        };
        let is_same = self.fingerprint == other.fingerprint && self.parts == other.parts;
        is_same && border(self) == border(other)
    }

    /// Whether others computed it.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        matches!(self.from, Origin::Joined { .. })
    }

    /// Whether it is known which direction is better.
    #[must_use]
    pub fn is_ranked(&self) -> bool {
        self.from != Origin::Joined { is_ranked: false }
    }

    /// The model whose spatial map explains the total, if there is one.
    #[must_use]
    pub fn mapped_model(&self) -> Option<usize> {
        match self.from {
            Origin::Model { index, reduction: Reduction::Mean } => Some(index),
            _ => None,
        }
    }

    /// The value of two decoded images of one size; `None` if it takes more than their samples.
    ///
    /// # Errors
    /// The error of the inner result says why the pair has no value, such as images that are too
    /// small for the metric.
    #[must_use]
    pub fn measure<P: PixelStore>(
        &self,
        reference: &Image<P>,
        distorted: &Image<P>,
    ) -> Option<Result<Value, Failure>> {
        match &self.from {
            Origin::Model { .. } | Origin::Joined { .. } => None,
            Origin::Pixels(metric) => {
                let value = metric.measure(reference, distorted).map(Value::whole);
                Some(value.map_err(|small| Failure::new(Code::TooSmall, small.to_string())))
            }
        }
    }
}

impl Better {
    /// Orders two values, the better one first.
    #[must_use]
    pub fn order(self, a: f64, b: f64) -> Ordering {
        match self {
            Better::Lower => a.total_cmp(&b),
            Better::Higher => b.total_cmp(&a),
        }
    }

    /// A difference (new - base) as a worsening: positive if the new value is worse.
    #[must_use]
    pub fn worsening(self, difference: f64) -> f64 {
        match self {
            Better::Lower => difference,
            Better::Higher => -difference,
        }
    }

    /// The word for people: `lower` or `higher`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Better::Lower => "lower",
            Better::Higher => "higher",
        }
    }
}

/// JSON has no infinite numbers: they are strings.
mod infinite {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Number(f64),
        Text(String),
    }

    pub(super) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() {
            to.serialize_f64(*value)
        } else {
            to.serialize_str(&value.to_string())
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        match Stored::deserialize(from)? {
            Stored::Number(value) => Ok(value),
            Stored::Text(text) if text == "inf" => Ok(f64::INFINITY),
            Stored::Text(text) if text == "-inf" => Ok(f64::NEG_INFINITY),
            Stored::Text(text) => Err(D::Error::custom(format!("`{text}` is no number"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(value: &Value) -> Value {
        serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
    }

    #[test]
    fn values_survive_json_bit_for_bit() {
        let values = [
            Value::whole(f64::INFINITY),
            Value::whole(f64::NEG_INFINITY),
            Value::whole(-0.0),
            Value::sum(vec![1.0 / 3.0, 5e-324, 0.1]),
            Value { total: 7.0, parts: vec![1.0, 2.0] },
        ];
        for value in values {
            assert_eq!(back(&value), value);
            assert_eq!(back(&value).total.to_bits(), value.total.to_bits());
        }
        assert!(serde_json::from_str::<Value>(r#"{"total":"nan"}"#).is_err());
    }

    #[test]
    fn values_of_format_1_are_layers() {
        let value: Value = serde_json::from_str("[0.1,0.2,0.3]").unwrap();
        assert_eq!(value, Value::sum(vec![0.1, 0.2, 0.3]));
    }

    #[test]
    fn the_better_value_comes_first() {
        assert_eq!(Better::Lower.order(0.1, 0.2), Ordering::Less);
        assert_eq!(Better::Higher.order(0.1, 0.2), Ordering::Greater);
        assert_eq!(Better::Higher.order(f64::INFINITY, 0.2), Ordering::Less);
    }
}
