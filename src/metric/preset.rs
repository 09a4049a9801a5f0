//! Named protocols: what other programs compute under the name of LPIPS.

use crate::eval::{Affine, Epsilon};
use crate::net::Net;

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
}

impl Preset {
    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Preset::Lpips => "lpips-0.1.4",
            Preset::Pyiqa => "pyiqa",
            Preset::LpipsPlus => "lpips+",
            Preset::Torchmetrics => "torchmetrics",
            Preset::GaussianSplatting => "3dgs",
        }
    }

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
    #[must_use]
    pub fn epsilon(self) -> Epsilon {
        match self {
            Preset::Torchmetrics => Epsilon { inside: 1e-8, outside: 0.0 },
            _ => Epsilon::LPIPS,
        }
    }

    /// What it makes of samples in [0, 1].
    #[must_use]
    pub fn input(self) -> Affine {
        match self {
            Preset::GaussianSplatting => Affine::NONE,
            _ => Affine::UNIT,
        }
    }

    /// Whether it is version 0.1 with lin weights only.
    #[must_use]
    pub fn is_fixed(self) -> bool {
        matches!(self, Preset::Torchmetrics | Preset::GaussianSplatting)
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
