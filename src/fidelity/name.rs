//! The names of metrics, which are those of their columns.

use super::{Channels, Kind, Luma, Matrix, Metric};

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
mod tests {
    use super::*;

    #[test]
    fn a_name_holds_what_is_unusual() {
        let name = |kind, channels| Metric::new(kind, channels).to_string();
        let luma = |matrix, rounded| Channels::Luma(Luma { matrix, rounded });
        assert_eq!(name(Kind::Psnr { capped: true }, Channels::Rgb), "psnr_rgb");
        assert_eq!(name(Kind::Psnr { capped: false }, luma(Matrix::Bt601, true)), "psnr_y_rounded");
        assert_eq!(name(Kind::Ssim { clamped: false }, luma(Matrix::Bt601, false)), "ssim_y");
        let other = name(Kind::Ssim { clamped: true }, luma(Matrix::Yiq, true));
        assert_eq!(other, "ssim_yiq_rounded_clamped");
    }
}
