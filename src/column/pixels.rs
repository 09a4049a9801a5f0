//! The columns of PSNR and SSIM.

use super::{Better, Column, Fingerprint, Origin};
use crate::fidelity::{Channels, Kind, Luma, Matrix, Metric};
use crate::image::{Range, Rules};

impl Column {
    /// The column of a metric for images that are read by `rules`.
    #[must_use]
    pub fn of_pixels(metric: Metric, rules: &Rules) -> Column {
        Column {
            name: metric.to_string(),
            parts: 0,
            better: Better::Higher,
            from: Origin::Pixels(metric),
            fingerprint: fingerprint(&metric, rules),
        }
    }
}

/// What the name holds is repeated, so that every setting can be found under its key.
fn fingerprint(metric: &Metric, rules: &Rules) -> Fingerprint {
    let mut fingerprint = Fingerprint::new(&metric.to_string());
    if let Channels::Luma(Luma { matrix, rounded }) = metric.channels {
        let matrix = match matrix {
            Matrix::Bt601 => "bt601",
            Matrix::Yiq => "yiq",
        };
        fingerprint = fingerprint.with("luma", matrix).with("round", yes_no(rounded));
    }
    fingerprint = match metric.kind {
        Kind::Psnr { capped } => {
            fingerprint.with_unless("eps", if capped { "1e-8" } else { "none" }, "none")
        }
        Kind::Ssim { clamped } => {
            fingerprint.with("window", "gauss11").with_unless("clamp", yes_no(clamped), "no")
        }
    };
    // Either all columns are cut, or this one is.
    let rules = Rules { crop_border: rules.crop_border + metric.border, ..*rules };
    fingerprint
        .with("peak", 255)
        .with_unless("range", metric.range.name(), Range::Unit.name())
        .with_pixel_rules(&rules)
}

fn yes_no(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}
