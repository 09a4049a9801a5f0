//! The metrics that can be asked for, by the names of `--metrics` and by presets.

use crate::fidelity::{Channels, Kind, Luma, Matrix, Metric};

/// A metric that can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Requested {
    /// A column of LPIPS for each net.
    Lpips,
    /// A column of DISTS.
    Dists,
    /// A column of PSNR or SSIM.
    Fidelity(Metric),
}

const PSNR: Kind = Kind::Psnr { capped: false };
const SSIM: Kind = Kind::Ssim { clamped: false };

/// A luma that is compared.
pub(super) fn luma(matrix: Matrix, rounded: bool) -> Channels {
    Channels::Luma(Luma { matrix, rounded })
}

impl Requested {
    /// Those that need no preset.
    #[must_use]
    pub fn usual() -> [Requested; 6] {
        let y = luma(Matrix::Bt601, false);
        let of = |kind, channels| Requested::Fidelity(Metric::new(kind, channels));
        [
            Requested::Lpips,
            of(PSNR, Channels::Rgb),
            of(PSNR, y),
            of(SSIM, Channels::Rgb),
            of(SSIM, y),
            Requested::Dists,
        ]
    }
}

/// The name in `--metrics`.
impl std::fmt::Display for Requested {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Requested::Lpips => f.write_str("lpips"),
            Requested::Dists => f.write_str("dists"),
            Requested::Fidelity(metric) => metric.fmt(f),
        }
    }
}

/// What `--crop-border` cuts off each side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CropBorder {
    /// So many pixels, for all columns.
    All(usize),
    /// So many pixels, for the columns that are named, or whose names begin so: `psnr`, `ssim_y`.
    Of(Vec<String>, usize),
}

impl std::str::FromStr for CropBorder {
    type Err = String;

    fn from_str(text: &str) -> Result<CropBorder, String> {
        let (names, pixels) = match text.rsplit_once(':') {
            Some((names, pixels)) => (Some(names), pixels),
            None => (None, text),
        };
        let wrong = || "expected a number of pixels, or metrics and a number: `psnr,ssim:4`";
        let pixels = pixels.parse().map_err(|_| wrong())?;
        let Some(names) = names else { return Ok(CropBorder::All(pixels)) };
        let names: Vec<String> = names.split(',').map(canonical).collect();
        if names.iter().any(String::is_empty) {
            return Err(wrong().to_owned());
        }
        Ok(CropBorder::Of(names, pixels))
    }
}

/// A name with `_` for each `-`.
#[must_use]
pub fn canonical(name: &str) -> String {
    name.trim().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_are_of_all_columns_or_of_some() {
        assert_eq!("4".parse(), Ok(CropBorder::All(4)));
        let some = CropBorder::Of(vec!["psnr".to_owned(), "ssim_y".to_owned()], 4);
        assert_eq!("psnr,ssim-y:4".parse(), Ok(some));
        for text in ["", "psnr", "psnr:", ":4", "psnr,:4", "-1", "psnr:4:5x"] {
            assert!(text.parse::<CropBorder>().is_err(), "{text}");
        }
    }
}
