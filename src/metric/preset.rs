//! Named protocols: what other programs compute under the names of the metrics.

use super::requested::{Requested, luma};
use crate::eval::{Affine, Epsilon};
use crate::fidelity::{Channels, Kind, Matrix, Metric};
use crate::image::SizePolicy;
use crate::net::Net;
use crate::suggest::nearest;

/// Whose numbers are to be computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preset {
    /// The published package, which is what is computed without a preset.
    Lpips,
    /// pyiqa's `lpips`: the same numbers as lpips-0.1.4.
    Pyiqa,
    /// pyiqa's `lpips+`: layers weighted by tap 2 of the reference.
    LpipsPlus,
    /// torchmetrics, which adds 1e-8 under the root of the norms instead of 1e-10 outside.
    Torchmetrics,
    /// The script of 3D Gaussian splatting, with vgg: FEEDS 0..1 WHERE -1..1 IS EXPECTED; compare
    /// with papers that print its numbers, and with nothing else.
    GaussianSplatting,
    /// BasicSR's PSNR and SSIM of Y for images that were enlarged by a factor, whose number of
    /// pixels is cut off each side. So do the scripts of RCAN and of most papers.
    BasicSr(usize),
    /// The evaluation of NTIRE's restoration track for the factor 4.
    NtireX4,
    /// KAIR's PSNR and SSIM of the rounded Y, as of many scripts that work on bytes.
    Kair(usize),
    /// The scripts of super-resolution by diffusion (OSEDiff, AdcSR, PiSA-SR).
    SrDiffusion,
    /// What pyiqa computes unless it is configured.
    PyiqaDefault,
}

impl Preset {
    /// Those without a factor.
    const PLAIN: [(&'static str, Preset); 8] = [
        ("lpips-0.1.4", Preset::Lpips),
        ("pyiqa", Preset::Pyiqa),
        ("lpips+", Preset::LpipsPlus),
        ("torchmetrics", Preset::Torchmetrics),
        ("3dgs", Preset::GaussianSplatting),
        ("ntire-x4", Preset::NtireX4),
        ("sr-diffusion", Preset::SrDiffusion),
        ("pyiqa-default", Preset::PyiqaDefault),
    ];

    /// The trunk that it uses unless `--net` names another.
    #[must_use]
    pub fn net(self) -> Net {
        match self {
            Preset::GaussianSplatting => Net::Vgg,
            _ => Net::Alex,
        }
    }

    /// The tap of the reference that it weights by.
    #[must_use]
    pub fn semantic_layer(self) -> Option<usize> {
        (self == Preset::LpipsPlus).then_some(2)
    }

    /// What keeps its norms from being 0. (torchmetrics: `_normalize_tensor` of
    /// functional/image/lpips.py; the script of 3D Gaussian splatting: `normalize_activation` of
    /// lpipsPyTorch/modules/utils.py, as published.)
    #[doc(hidden)]
    #[must_use]
    pub fn epsilon(self) -> Epsilon {
        match self {
            Preset::Torchmetrics => Epsilon { inside: 1e-8, outside: 0.0 },
            _ => Epsilon::LPIPS,
        }
    }

    /// What it makes of samples in [0, 1].
    #[doc(hidden)]
    #[must_use]
    pub fn input(self) -> Affine {
        match self {
            Preset::GaussianSplatting => Affine::NONE,
            _ => Affine::UNIT,
        }
    }

    /// Whether its LPIPS, if it has one, is version 0.1 with lin weights only.
    #[doc(hidden)]
    #[must_use]
    pub fn is_fixed(self) -> bool {
        matches!(self, Preset::Torchmetrics | Preset::GaussianSplatting) || self.metrics().is_some()
    }

    /// Its columns with the borders that they cut off; `None` if it decides nothing but LPIPS.
    #[doc(hidden)]
    #[must_use]
    pub fn metrics(self) -> Option<Vec<Requested>> {
        let of = |kind, channels| Metric::new(kind, channels);
        let [psnr, capped] = [false, true].map(|capped| Kind::Psnr { capped });
        let [ssim, clamped] = [false, true].map(|clamped| Kind::Ssim { clamped });
        let [y, rounded] = [false, true].map(|rounded| luma(Matrix::Bt601, rounded));
        let (border, metrics) = match self {
            Preset::BasicSr(factor) => (factor, vec![of(psnr, y), of(ssim, y)]),
            Preset::NtireX4 => (4, vec![of(psnr, y), of(ssim, y)]),
            Preset::Kair(factor) => (factor, vec![of(psnr, rounded), of(ssim, rounded)]),
            Preset::SrDiffusion => (0, vec![of(capped, y), of(clamped, rounded)]),
            Preset::PyiqaDefault => {
                let luminance = of(capped, luma(Matrix::Yiq, false));
                let structure = of(clamped, luma(Matrix::Yiq, true));
                let rgb = [of(capped, Channels::Rgb), of(clamped, Channels::Rgb)];
                (0, vec![rgb[0], luminance, structure, rgb[1]])
            }
            _ => return None,
        };
        let cut = |metric| Requested::Fidelity(Metric { border, ..metric });
        let mut metrics: Vec<Requested> = metrics.into_iter().map(cut).collect();
        if matches!(self, Preset::SrDiffusion | Preset::PyiqaDefault) {
            metrics.extend([Requested::Lpips, Requested::Dists]);
        }
        Some(metrics)
    }

    /// The size policy that it sets.
    #[doc(hidden)]
    #[must_use]
    pub fn size_policy(self) -> Option<SizePolicy> {
        (self == Preset::NtireX4).then_some(SizePolicy::ModCrop(4))
    }

    /// What users must know before they use its numbers.
    #[must_use]
    pub fn warning(self) -> Option<&'static str> {
        (self == Preset::GaussianSplatting).then_some(
            "--preset 3dgs FEEDS 0..1 WHERE -1..1 IS EXPECTED, as the script of 3D Gaussian \
             splatting does: compare its numbers with numbers of that script alone",
        )
    }
}

/// The name on the command line.
impl std::fmt::Display for Preset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Preset::BasicSr(factor) => write!(f, "basicsr:{factor}"),
            Preset::Kair(factor) => write!(f, "kair:{factor}"),
            _ => {
                let plain = Preset::PLAIN.iter().find(|(_, preset)| preset == self);
                f.write_str(plain.expect("every other preset is listed").0)
            }
        }
    }
}

impl std::str::FromStr for Preset {
    type Err = String;

    fn from_str(text: &str) -> Result<Preset, String> {
        if let Some((_, preset)) = Preset::PLAIN.iter().find(|(name, _)| *name == text) {
            return Ok(*preset);
        }
        let scaled = text.split_once(':').and_then(|(name, factor)| {
            let factor = factor.parse().ok().filter(|&factor| factor > 0)?;
            match name {
                "basicsr" => Some(Preset::BasicSr(factor)),
                "kair" => Some(Preset::Kair(factor)),
                _ => None,
            }
        });
        scaled.ok_or_else(|| {
            let names = Preset::PLAIN.iter().map(|(name, _)| *name);
            let names: Vec<&str> = names.chain(["basicsr:S", "kair:S"]).collect();
            let near = nearest(text, names.iter().copied());
            let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
            format!(
                "no such preset; {near}presets are {}, where S is the factor of super-resolution",
                names.join(", ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_written_as_they_are_read() {
        let scaled = ["basicsr:4", "kair:3"];
        for name in Preset::PLAIN.iter().map(|(name, _)| *name).chain(scaled) {
            assert_eq!(name.parse::<Preset>().unwrap().to_string(), name);
        }
        for name in ["basicsr", "kair:0", "kair:x", "ntire"] {
            assert!(name.parse::<Preset>().is_err(), "{name}");
        }
        let error = "ntire-x2".parse::<Preset>().unwrap_err();
        assert!(error.contains("did you mean `ntire-x4`?"), "{error}");
    }

    #[test]
    fn a_preset_names_its_columns() {
        let names = |preset: Preset| {
            let names = preset.metrics().into_iter().flatten().map(|one| one.to_string());
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(Preset::BasicSr(4)), "psnr_y ssim_y");
        assert_eq!(names(Preset::NtireX4), "psnr_y ssim_y");
        assert_eq!(names(Preset::Kair(4)), "psnr_y_rounded ssim_y_rounded");
        assert_eq!(names(Preset::SrDiffusion), "psnr_y ssim_y_rounded_clamped lpips dists");
        assert_eq!(
            names(Preset::PyiqaDefault),
            "psnr_rgb psnr_yiq ssim_yiq_rounded_clamped ssim_rgb_clamped lpips dists"
        );
        assert_eq!(names(Preset::Torchmetrics), "");
    }
}
