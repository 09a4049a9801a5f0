//! Fidelity metrics, PSNR and SSIM, of two decoded images, in float64.
//!
//! A metric says what is compared: the three channels or a luma, after a border is cut. Every sum
//! has one order, which depends on the size of the images alone, and no operation is fused. So the
//! same bits come out on every processor. This module depends on samples, and not on files,
//! columns and devices.

mod luma;
mod psnr;
mod rows;
mod ssim;

use serde::{Deserialize, Serialize};

pub use self::luma::{Luma, Matrix};
use self::rows::{Plane, Rows};
use crate::image::{Image, PixelStore, Range, Size};
use crate::isa::{Isa, Plain, dispatch_plain};

/// One metric with everything that decides its numbers, beside the samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Metric {
    /// What is computed.
    pub kind: Kind,
    /// What it is computed from.
    pub channels: Channels,
    /// Pixels that are cut off at each side first.
    pub border: usize,
    /// What float samples stand for.
    pub range: Range,
}

/// What is computed. The peak is 255 for samples of every depth.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `-10 log10(MSE / 255^2)` in dB, with the mean squared error over all samples. That of
    /// identical images is infinite.
    Psnr {
        /// Whether 1e-8 is added under the logarithm, so that no value exceeds 80 dB.
        capped: bool,
    },
    /// The mean structural similarity (Wang, Bovik, Sheikh and Simoncelli, 2004): a Gaussian window
    /// of 11x11 with sigma 1.5, where it lies within the image; biased local variances; constants
    /// 0.01 and 0.03. Of several channels the mean.
    Ssim {
        /// Whether a contrast term below 0 counts as 0.
        clamped: bool,
    },
}

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// Red, green and blue.
    Rgb,
    /// One weighted sum of them.
    Luma(Luma),
}

/// The images are too small for the metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{name} needs at least {min} pixels on each side{}, found {size}",
    after_border(*border)
)]
pub struct TooSmall {
    /// `PSNR` or `SSIM`.
    name: &'static str,
    /// The sides that it needs, before the border is cut.
    min: usize,
    border: usize,
    size: Size,
}

fn after_border(border: usize) -> String {
    if border == 0 { String::new() } else { format!(" with a border of {border} to cut") }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Psnr { .. } => "PSNR",
            Kind::Ssim { .. } => "SSIM",
        }
    }
}

impl Metric {
    /// The smallest side of an image that it accepts.
    #[must_use]
    pub fn min_side(&self) -> usize {
        let inner = match self.kind {
            Kind::Psnr { .. } => 1,
            Kind::Ssim { .. } => ssim::TAPS,
        };
        inner + 2 * self.border
    }

    /// Whether images of `size` are large enough.
    ///
    /// # Errors
    /// When they are not.
    pub fn accepts(&self, size: Size) -> Result<(), TooSmall> {
        let min = self.min_side();
        if size.width.min(size.height) >= min {
            return Ok(());
        }
        Err(TooSmall { name: self.kind.name(), min, border: self.border, size })
    }

    /// The value of two images of one size: finite, or infinite for the PSNR of identical images.
    ///
    /// # Errors
    /// When they are too small.
    pub fn measure<P: PixelStore>(
        &self,
        reference: &Image<P>,
        distorted: &Image<P>,
    ) -> Result<f64, TooSmall> {
        self.measure_with(Isa::best(), reference, distorted)
    }

    /// As [`Self::measure`], with the instructions of `isa`: the bits are the same.
    ///
    /// # Errors
    /// As [`Self::measure`].
    ///
    /// # Panics
    /// When the images have different sizes, or the processor lacks `isa`.
    pub fn measure_with<P: PixelStore>(
        &self,
        isa: Isa,
        reference: &Image<P>,
        distorted: &Image<P>,
    ) -> Result<f64, TooSmall> {
        assert_eq!(reference.size, distorted.size, "images of different sizes");
        self.accepts(reference.size)?;
        let rows =
            [reference, distorted].map(|image| Rows::new(image.view(), self.border, self.range));
        let mut value = f64::NAN;
        dispatch_plain(isa, Measured { metric: self, rows: &rows, value: &mut value });
        Ok(value)
    }

    #[inline(always)]
    fn of(&self, rows: &[Rows<'_>; 2]) -> f64 {
        let planes: &[Plane] = match self.channels {
            Channels::Rgb => &[Plane::Channel(0), Plane::Channel(1), Plane::Channel(2)],
            Channels::Luma(luma) => &[Plane::Luma(luma)],
        };
        // Loops, since a closure around so much code would be compiled for the baseline.
        match self.kind {
            Kind::Psnr { capped } => psnr::psnr(rows, planes, capped),
            Kind::Ssim { clamped } => {
                let mut sum = 0.0;
                for &plane in planes {
                    sum += ssim::ssim(rows, plane, clamped);
                }
                sum / planes.len() as f64
            }
        }
    }
}

struct Measured<'a> {
    metric: &'a Metric,
    rows: &'a [Rows<'a>; 2],
    value: &'a mut f64,
}

impl Plain for Measured<'_> {
    #[inline(always)]
    fn run(self) {
        *self.value = self.metric.of(self.rows);
    }
}

/// `psnr_rgb`, `psnr_y`, `ssim_yiq_rounded_clamped`: what is computed, what from, and every luma,
/// rounding and clamp that is not the usual one.
impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.kind {
            Kind::Psnr { .. } => "psnr",
            Kind::Ssim { .. } => "ssim",
        })?;
        f.write_str(match self.channels {
            Channels::Rgb => "_rgb",
            Channels::Luma(Luma { matrix: Matrix::Bt601, .. }) => "_y",
            Channels::Luma(Luma { matrix: Matrix::Yiq, .. }) => "_yiq",
        })?;
        if let Channels::Luma(Luma { rounded: true, .. }) = self.channels {
            f.write_str("_rounded")?;
        }
        if self.kind == (Kind::Ssim { clamped: true }) {
            f.write_str("_clamped")?;
        }
        Ok(())
    }
}

impl Metric {
    /// A metric without a border, for samples of 0 to 1.
    #[must_use]
    pub fn new(kind: Kind, channels: Channels) -> Metric {
        Metric { kind, channels, border: 0, range: crate::image::Range::Unit }
    }
}

#[cfg(test)]
mod tests;
