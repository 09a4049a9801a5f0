//! The column of DISTS.

use super::{Better, Column, Fingerprint, Origin};
use crate::eval::Precision;
use crate::image::{Range, Rules};
use crate::metric::Reduction;
use crate::net;

/// Everything that decides the numbers of the column.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Dists<'a> {
    /// How files become samples.
    pub rules: &'a Rules,
    /// Arithmetic of the trunk.
    pub precision: Precision,
    /// SHA-256 of VGG16's weights file.
    pub trunk_sha256: &'a str,
    /// SHA-256 of the file of alpha and beta.
    pub weights_sha256: &'a str,
}

impl Dists<'_> {
    /// The column, computed by the evaluator's model `index`. Its parts are the image and five
    /// taps.
    #[must_use]
    pub fn column(&self, index: usize) -> Column {
        let name = net::DISTS.name;
        let weights = format!("{}+{}", self.trunk_sha256, self.weights_sha256);
        let fingerprint = Fingerprint::new(name)
            .with("resize", "no")
            .with_unless("range", self.rules.range.name(), Range::Unit.name())
            .with_pixel_rules(self.rules)
            .with("prec", self.precision)
            .with("weights", weights);
        Column {
            name: name.to_owned(),
            parts: net::DISTS.tap_channels().len(),
            better: Better::Lower,
            from: Origin::Model { index, reduction: Reduction::Statistics },
            fingerprint,
        }
    }
}
