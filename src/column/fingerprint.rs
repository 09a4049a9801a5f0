//! The settings that decide a column's numbers, as JSON and as one line.

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::image::Rules;

/// Hexadecimal digits of a hash that a signature shows.
const HASH_DIGITS: usize = 8;
/// Length of a SHA-256 in hexadecimal digits.
const SHA256_DIGITS: usize = 64;
/// Key of the first field: which metric it is.
const METRIC: &str = "metric";

/// The settings that decide a column's numbers: keys and values in a fixed order, the metric first.
///
/// Two columns with equal fingerprints have equal numbers for equal files within a numerics class.
/// A setting that did not exist when a fingerprint was made is absent from it, and absent again
/// wherever it has the value that then was the only one: so fingerprints stay equal when settings
/// are added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fingerprint {
    fields: Vec<(String, String)>,
}

impl Fingerprint {
    /// The fingerprint of a metric without settings.
    #[must_use]
    pub fn new(metric: &str) -> Fingerprint {
        Fingerprint { fields: vec![(METRIC.to_owned(), metric.to_owned())] }
    }

    /// Adds a setting.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Fingerprint {
        self.fields.push((key.to_owned(), value.to_string()));
        self
    }

    /// Adds a setting unless it has the value `default`.
    #[must_use]
    pub fn with_unless<T: ToString + PartialEq>(
        self,
        key: &str,
        value: T,
        default: T,
    ) -> Fingerprint {
        if value == default { self } else { self.with(key, value) }
    }

    /// Adds several settings.
    #[must_use]
    pub fn with_all(self, fields: &[(&str, &str)]) -> Fingerprint {
        fields.iter().fold(self, |fingerprint, (key, value)| fingerprint.with(key, value))
    }

    /// Adds the rules by which files become samples, except for the range of float samples.
    #[must_use]
    pub fn with_pixel_rules(self, rules: &Rules) -> Fingerprint {
        let default = Rules::default();
        let decoders = if rules.decoders == default.decoders { "pil" } else { rules.decoders };
        self.with("pix", decoders)
            .with_unless("exif_icc", rules.exif_and_icc, default.exif_and_icc)
            .with_unless("depth16", rules.depth_16, default.depth_16)
            .with("alpha", rules.alpha.name())
            .with("crop", rules.crop_border)
            .with("size", rules.size_policy)
    }

    /// The settings by key, the metric first.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The value of a setting.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields().find(|&(one, _)| one == key).map(|(_, value)| value)
    }

    /// The fingerprint as one line for papers: the metric, then `key:value` in order, hashes cut to
    /// eight digits, the version of this program last, all joined by `|`.
    #[must_use]
    pub fn signature(&self) -> String {
        let field = |(key, value): (&str, &str)| match key {
            METRIC => value.to_owned(),
            key => {
                let hashes: Vec<&str> = value.split('+').map(shortened).collect();
                format!("{key}:{}", hashes.join("+"))
            }
        };
        let version = format!("lpips:{}", env!("CARGO_PKG_VERSION"));
        self.fields().map(field).chain([version]).collect::<Vec<_>>().join("|")
    }
}

/// The start of a hash; anything else unchanged.
fn shortened(value: &str) -> &str {
    let is_hash = value.len() == SHA256_DIGITS && value.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hash { &value[..HASH_DIGITS] } else { value }
}

/// An object in the order of the fields.
impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len()))?;
        for (key, value) in &self.fields {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fingerprint, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Fingerprint;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fingerprint, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fingerprint { fields })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_one_line_with_short_hashes() {
        let fingerprint = Fingerprint::new("lpips")
            .with("net", "alex")
            .with_unless("mask", "no", "no")
            .with("weights", format!("{}+random:7", "9f97fd31".repeat(8)));
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!("lpips|net:alex|weights:9f97fd31+random:7|lpips:{version}");
        assert_eq!(fingerprint.signature(), expected);
    }

    #[test]
    fn a_fingerprint_survives_json_in_its_order() {
        let fingerprint = Fingerprint::new("lpips").with("z", 1).with("a", 2);
        let json = serde_json::to_string(&fingerprint).unwrap();
        assert_eq!(json, r#"{"metric":"lpips","z":"1","a":"2"}"#);
        assert_eq!(serde_json::from_str::<Fingerprint>(&json).unwrap(), fingerprint);
    }

    #[test]
    fn every_rule_of_pixels_is_in_the_signature() {
        let signature = |rules: Rules| Fingerprint::new("m").with_pixel_rules(&rules).signature();
        let default = signature(Rules::default());
        assert!(default.starts_with("m|pix:pil|alpha:drop|crop:0|size:error|"), "{default}");
        let others = [
            Rules { exif_and_icc: "apply", ..Rules::default() },
            Rules { depth_16: "clip", ..Rules::default() },
            Rules { decoders: "others", ..Rules::default() },
            Rules { alpha: crate::image::Alpha::White, ..Rules::default() },
            Rules { crop_border: 4, ..Rules::default() },
            Rules { size_policy: crate::image::SizePolicy::ModCrop(4), ..Rules::default() },
        ];
        for rules in others {
            assert_ne!(signature(rules), default, "{rules:?}");
        }
    }
}
