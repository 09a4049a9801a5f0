//! The columns of LPIPS.

use super::{Better, Column, Fingerprint, Origin};
use crate::eval::{Affine, Epsilon, Precision};
use crate::image::Rules;
use crate::metric::Reduction;
use crate::net::Net;
use crate::net::weights::Version;

/// Whether the taps are weighted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// With the learned lin weights.
    Lpips,
    /// Plain sums over channels.
    Baseline,
}

/// Everything that decides the numbers of a column of LPIPS.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Lpips<'a> {
    /// The trunk.
    pub net: Net,
    /// Version of the published metric.
    pub version: Version,
    /// With or without lin weights.
    pub mode: Mode,
    /// How maps become values.
    pub reduction: Reduction,
    /// What is done to samples first.
    pub input: Affine,
    /// What keeps the norms of features from being 0.
    pub epsilon: Epsilon,
    /// How files become samples.
    pub rules: &'a Rules,
    /// Arithmetic of the trunk.
    pub precision: Precision,
    /// SHA-256 of the trunk's weights file, or how the weights were made.
    pub trunk_sha256: &'a str,
    /// As `trunk_sha256`, for the lin weights; none in baseline mode.
    pub lin_sha256: Option<&'a str>,
}

impl Lpips<'_> {
    /// The column, computed by the evaluator's model `index`.
    #[must_use]
    pub fn column(&self, index: usize) -> Column {
        Column {
            name: self.name(),
            parts: self.net.spec().tap_channels().len(),
            better: Better::Lower,
            from: Origin::Model { index, reduction: self.reduction },
            fingerprint: self.fingerprint(),
        }
    }

    /// `lpips_alex`, `baseline_vgg`, `lpips_semantic2_alex`.
    fn name(&self) -> String {
        let Lpips { net, mode, reduction, .. } = self;
        let mode = match mode {
            Mode::Lpips => "lpips",
            Mode::Baseline => "baseline",
        };
        match reduction {
            Reduction::Mean => format!("{mode}_{net}"),
            reduction => format!("{mode}_{reduction}_{net}"),
        }
    }

    fn fingerprint(&self) -> Fingerprint {
        let mode = match self.mode {
            Mode::Lpips => "lin",
            Mode::Baseline => "baseline",
        };
        let weights = match self.lin_sha256 {
            Some(lin) => format!("{}+{lin}", self.trunk_sha256),
            None => self.trunk_sha256.to_owned(),
        };
        Fingerprint::new("lpips")
            .with("net", self.net)
            .with("v", self.version.name())
            .with("mode", mode)
            .with_unless("reduction", self.reduction.to_string(), Reduction::Mean.to_string())
            .with("range", self.rules.range.name())
            .with_unless("scale", scale(self.input), scale(Affine::published(self.rules.range)))
            .with("eps", epsilon(self.epsilon))
            .with_pixel_rules(self.rules)
            .with("prec", self.precision)
            .with("weights", weights)
    }
}

fn scale(Affine { gain, bias }: Affine) -> String {
    if bias == 0.0 { format!("{gain}x") } else { format!("{gain}x{bias:+}") }
}

/// What is added to the root of the squares, and, in front of it, under the root.
fn epsilon(Epsilon { inside, outside }: Epsilon) -> String {
    match (inside, outside) {
        (0.0, outside) => format!("{outside:e}"),
        (inside, 0.0) => format!("sqrt({inside:e})"),
        (inside, outside) => format!("sqrt({inside:e})+{outside:e}"),
    }
}
