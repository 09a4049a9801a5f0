//! The structural similarity index, separable and in strips of columns.
//!
//! The window is applied to four planes: reference, distorted, the sum of their squares and their
//! product. They are filtered along the row as it comes, and down the last eleven filtered rows.

use super::rows::{Plane, Rows, STRIP};
use crate::image::Size;

/// Taps of the window in each direction.
pub(super) const TAPS: usize = 11;
/// What is read for a strip of results.
const WIDE: usize = STRIP + TAPS - 1;
/// `(0.01 * 255)^2` and `(0.03 * 255)^2`.
const C1: f64 = 6.5025;
const C2: f64 = 58.5225;

type Strip = [f64; STRIP];

/// Reference, distorted, the sum of their squares, their product.
const PLANES: usize = 4;

/// The mean of the index over all positions of the window; see [`super::Kind::Ssim`].
#[inline(always)]
pub(super) fn ssim(rows: &[Rows<'_>; 2], plane: Plane, clamped: bool) -> f64 {
    let Size { width, height } = rows[0].size;
    let [columns, lines] = [width, height].map(|side| side + 1 - TAPS);
    let window = window();
    // Contrast terms below it count as it.
    let floor = if clamped { 0.0 } else { f64::NEG_INFINITY };
    let mut total = 0.0;
    for x in (0..columns).step_by(STRIP) {
        let sums = strip(rows, plane, x, &window, floor);
        total = sums.iter().take(columns - x).fold(total, |sum, one| sum + one);
    }
    total / (columns * lines) as f64
}

/// The sums of the index down the columns that start at `x`. Those beyond the image are zero in
/// both images, and mean nothing.
#[inline(always)]
fn strip(rows: &[Rows<'_>; 2], plane: Plane, x: usize, window: &Window, floor: f64) -> Strip {
    let Size { width, height } = rows[0].size;
    let len = WIDE.min(width - x);
    let mut wide = [[0.0; WIDE]; PLANES];
    let mut filtered = Box::new([[[0.0; STRIP]; TAPS]; PLANES]);
    let mut means = [[0.0; STRIP]; PLANES];
    let mut sums = [0.0; STRIP];
    for y in 0..height {
        let [reference, distorted, squares, products] = &mut wide;
        rows[0].read(plane, y, x, &mut reference[..len]);
        rows[1].read(plane, y, x, &mut distorted[..len]);
        for i in 0..WIDE {
            squares[i] = reference[i] * reference[i] + distorted[i] * distorted[i];
            products[i] = reference[i] * distorted[i];
        }
        let newest = y % TAPS;
        for (filtered, wide) in filtered.iter_mut().zip(&wide) {
            apply(window, shifted(wide), &mut filtered[newest]);
        }
        if y + 1 < TAPS {
            continue;
        }
        for (means, filtered) in means.iter_mut().zip(filtered.iter()) {
            apply(window, std::array::from_fn(|tap| &filtered[(newest + 1 + tap) % TAPS]), means);
        }
        add_index(&means, floor, &mut sums);
    }
    sums
}

/// Adds the index of each column, given its windowed means.
#[inline(always)]
fn add_index(
    [reference, distorted, squares, products]: &[Strip; PLANES],
    floor: f64,
    sums: &mut Strip,
) {
    for i in 0..STRIP {
        let product = reference[i] * distorted[i];
        let square = reference[i] * reference[i] + distorted[i] * distorted[i];
        let covariance = products[i] - product;
        let variances = squares[i] - square;
        let contrast = (2.0 * covariance + C2).max(floor);
        sums[i] += (2.0 * product + C1) * contrast / ((square + C1) * (variances + C2));
    }
}

/// The weights of the window from its edge to its middle; the other half mirrors them.
type Window = [f64; TAPS / 2 + 1];

/// `exp(-d^2 / (2 * 1.5^2))` for the distance d from the middle, divided by their sum.
fn window() -> Window {
    let weights: Window = std::array::from_fn(|tap| {
        let distance = (TAPS / 2 - tap) as f64;
        libm::exp(-distance * distance / 4.5)
    });
    let [edges @ .., middle] = &weights;
    let sum = 2.0 * edges.iter().fold(0.0, |sum, one| sum + one) + middle;
    weights.map(|weight| weight / sum)
}

/// The strips of a row that the taps of the window meet.
#[inline(always)]
fn shifted(wide: &[f64; WIDE]) -> [&Strip; TAPS] {
    std::array::from_fn(|tap| wide[tap..].first_chunk().expect("STRIP values are left"))
}

#[inline(always)]
fn apply(window: &Window, rows: [&Strip; TAPS], to: &mut Strip) {
    for i in 0..STRIP {
        let mut sum = window[5] * rows[5][i];
        sum += window[4] * (rows[4][i] + rows[6][i]);
        sum += window[3] * (rows[3][i] + rows[7][i]);
        sum += window[2] * (rows[2][i] + rows[8][i]);
        sum += window[1] * (rows[1][i] + rows[9][i]);
        sum += window[0] * (rows[0][i] + rows[10][i]);
        to[i] = sum;
    }
}
