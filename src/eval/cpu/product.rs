//! The small matrix product that every convolution comes down to.
#![expect(unsafe_code, reason = "the innermost loop reads without bounds checks")]

use super::simd::{Simd, Vector};
use crate::isa::Isa;

/// Output channels of a block of packed weights: two vectors.
pub(super) fn block_of(isa: Isa) -> usize {
    match isa {
        Isa::Portable => 8,
        Isa::Avx2 => 16,
        Isa::Avx512 => 32,
    }
}

/// The left side of a product: each of its rows is `segments` runs of `run` floats, `stride` apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left<'a> {
    pub(super) data: &'a [f32],
    pub(super) segments: usize,
    pub(super) stride: usize,
    pub(super) run: usize,
}

/// Prefetch distance of the weights, in loop steps. Without it, a third of the time was waiting for
/// weights where the shared cache is slow.
const STEPS_AHEAD: usize = 16;
/// Floats of a cache line.
const LINE: usize = 16;

/// `sum over k of left[starts[i]][k] weights[k][j]`, k in order, for `ROWS` rows and one block of
/// two vectors of columns. The bits of a row do not depend on `ROWS`.
///
/// # Panics
/// When a row ends beyond the data, or `weights` has another length.
#[inline(always)]
pub(super) fn product<S: Simd, const ROWS: usize>(
    simd: S,
    left: Left<'_>,
    starts: &[usize; ROWS],
    weights: &[f32],
) -> [[S::Vector; 2]; ROWS] {
    let Left { data, segments, stride, run } = left;
    let last = starts.iter().max().copied().unwrap_or(0) + (segments - 1) * stride + run;
    assert!(last <= data.len() && weights.len() == segments * run * 2 * S::LEN);
    let mut sums = [[simd.splat(0.0); 2]; ROWS];
    // SAFETY: `last` is the end of the row that ends last, and `weights` holds a block for each
    // step, as asserted.
    unsafe {
        let mut weight = weights.as_ptr();
        for segment in 0..segments {
            let rows = starts.map(|start| data.as_ptr().add(start + segment * stride));
            for k in 0..run {
                prefetch_weights(simd, weight);
                let (low, high) = (simd.load(weight), simd.load(weight.add(S::LEN)));
                for (sums, row) in sums.iter_mut().zip(rows) {
                    let value = simd.splat(*row.add(k));
                    sums[0] = value.mul_add(low, sums[0]);
                    sums[1] = value.mul_add(high, sums[1]);
                }
                weight = weight.add(2 * S::LEN);
            }
        }
    }
    sums
}

/// Prefetches the weights of a later step. They may lie beyond the end of the weights.
#[inline(always)]
pub(super) fn prefetch_weights<S: Simd>(simd: S, weight: *const f32) {
    for line in (0..2 * S::LEN).step_by(LINE) {
        simd.prefetch(weight.wrapping_add(2 * S::LEN * STEPS_AHEAD + line));
    }
}

/// A computation of a few rows of a product at once.
pub(super) trait Rows {
    /// Computes `ROWS` rows from `first` on. There may be fewer rows left: the others are computed
    /// from padding and discarded. Must be `#[inline(always)]`, like the `run` of a kernel.
    fn compute<S: Simd, const ROWS: usize>(&mut self, simd: S, first: usize);
}

/// Computes `count` rows, `TILE` at once, and fewer at once at the end.
#[inline(always)]
pub(super) fn in_tiles<S: Simd, const TILE: usize, R: Rows>(simd: S, rows: &mut R, count: usize) {
    for first in (0..count).step_by(TILE) {
        match count - first {
            ..=4 => rows.compute::<S, 4>(simd, first),
            ..=6 if TILE > 6 => rows.compute::<S, 6>(simd, first),
            ..=8 if TILE > 8 => rows.compute::<S, 8>(simd, first),
            ..=10 if TILE > 10 => rows.compute::<S, 10>(simd, first),
            _ => rows.compute::<S, TILE>(simd, first),
        }
    }
}
