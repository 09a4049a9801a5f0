//! Metrics that are computed from the samples of two images, without a model.
//!
//! To add one: a file that computes it in float64, and an entry of [`PixelMetric::ALL`]. Everything
//! else follows from its column.

#[cfg(test)]
mod mad;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Better, Value};
use crate::error::Failure;
use crate::image::Image;

/// A metric of the samples of two images of one size.
#[derive(Clone, Copy, Debug)]
pub struct PixelMetric {
    /// The name of its column.
    pub name: &'static str,
    /// Which direction is better.
    pub better: Better,
    /// The settings that decide its numbers, beside the rules of pixels: keys and values.
    pub settings: &'static [(&'static str, &'static str)],
    /// Its value, or why the two images have none.
    pub measure: fn(&Image, &Image) -> Result<Value, Failure>,
}

impl PixelMetric {
    /// All that can be asked for.
    pub const ALL: &[PixelMetric] = &[
        #[cfg(test)]
        mad::MAD_RGB,
    ];

    /// The metric whose column is called `name`.
    #[must_use]
    pub fn find(name: &str) -> Option<PixelMetric> {
        PixelMetric::ALL.iter().find(|metric| metric.name == name).copied()
    }
}

/// Names are unique.
impl PartialEq for PixelMetric {
    fn eq(&self, other: &PixelMetric) -> bool {
        self.name == other.name
    }
}

impl Eq for PixelMetric {}

/// The name.
impl Serialize for PixelMetric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl<'de> Deserialize<'de> for PixelMetric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PixelMetric, D::Error> {
        let name = String::deserialize(deserializer)?;
        PixelMetric::find(&name)
            .ok_or_else(|| D::Error::custom(format!("`{name}` is no metric of this program")))
    }
}
