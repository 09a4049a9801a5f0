//! The peak signal-to-noise ratio.

use super::rows::{Plane, Rows, STRIP};
use crate::image::Size;

/// In dB; see [`super::Kind::Psnr`].
#[inline(always)]
pub(super) fn psnr(rows: &[Rows<'_>; 2], planes: &[Plane], capped: bool) -> f64 {
    let Size { width, height } = rows[0].size;
    let count = planes.len() * width * height;
    let mut sum = 0.0;
    for &plane in planes {
        sum += squared_error(rows, plane);
    }
    let error = sum / count as f64 / (255.0 * 255.0);
    -10.0 * libm::log10(if capped { error + 1e-8 } else { error })
}

/// The sum of squared differences: column by column of each strip, then over them.
#[inline(always)]
fn squared_error(rows: &[Rows<'_>; 2], plane: Plane) -> f64 {
    let Size { width, height } = rows[0].size;
    let mut sums = [0.0; STRIP];
    let (mut reference, mut distorted) = ([0.0; STRIP], [0.0; STRIP]);
    for y in 0..height {
        for x in (0..width).step_by(STRIP) {
            let len = STRIP.min(width - x);
            rows[0].read(plane, y, x, &mut reference[..len]);
            rows[1].read(plane, y, x, &mut distorted[..len]);
            for ((sum, a), b) in sums.iter_mut().zip(&reference).zip(&distorted).take(len) {
                *sum += (a - b) * (a - b);
            }
        }
    }
    sums.iter().fold(0.0, |sum, one| sum + one)
}
