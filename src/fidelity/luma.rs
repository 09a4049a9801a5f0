//! The lumas that programs compare: weighted sums of red, green and blue.

use serde::{Deserialize, Serialize};

/// A luma of samples of 0 to 255.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Luma {
    /// Its weights.
    pub matrix: Matrix,
    /// Whether it is rounded to the nearest integer, halves to the even one.
    pub rounded: bool,
}

/// The weights of a luma.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Matrix {
    /// ITU-R BT.601 in studio range, as MATLAB's `rgb2ycbcr`:
    /// `16 + (65.481 R + 128.553 G + 24.966 B) / 255`, 16 to 235.
    Bt601,
    /// The first row of YIQ in full range: `0.299 R + 0.587 G + 0.114 B`, 0 to 255. It is
    /// 255/219 times as steep, so its PSNR is lower by 1.3219 dB.
    Yiq,
}

impl Matrix {
    /// The luma of a pixel before it is rounded, by the operations of the formula in their order:
    /// one pixel in about a thousand lies halfway between two integers, and rounding errors decide
    /// where it goes.
    #[inline(always)]
    pub(super) fn luma(self, [red, green, blue]: [f64; 3]) -> f64 {
        match self {
            Matrix::Bt601 => (65.481 * red + 128.553 * green + 24.966 * blue) / 255.0 + 16.0,
            Matrix::Yiq => 0.299 * red + 0.587 * green + 0.114 * blue,
        }
    }
}
