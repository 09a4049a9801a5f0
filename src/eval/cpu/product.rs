//! The small matrix product that every convolution comes down to.
#![expect(unsafe_code, reason = "the innermost loop reads without bounds checks")]

use super::simd::{Isa, Vector};

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

/// Steps that weights are asked for in advance, into the first-level cache: where the shared cache
/// is far away, a third of the time was waiting for them.
const STEPS_AHEAD: usize = 16;
/// Floats of a line of the cache.
const LINE: usize = 16;

/// `sum over k of left[starts[i]][k] weights[k][j]`, k in order, for `ROWS` rows and one block of
/// two vectors of columns. A row's bits do not depend on `ROWS`.
///
/// # Safety
/// The instruction set of `V` must be available.
///
/// # Panics
/// When a row reaches beyond the data, or `weights` has another length.
#[inline(always)]
pub(super) unsafe fn product<V: Vector, const ROWS: usize>(
    left: Left<'_>,
    starts: &[usize; ROWS],
    weights: &[f32],
) -> [[V; 2]; ROWS] {
    let Left { data, segments, stride, run } = left;
    let last = starts.iter().max().copied().unwrap_or(0) + (segments - 1) * stride + run;
    assert!(last <= data.len() && weights.len() == segments * run * 2 * V::LEN);
    // SAFETY: `last` is the end of the furthest row, and `weights` holds a block for each step, as
    // asserted. The caller vouches for the instruction set.
    unsafe {
        let mut sums = [[V::splat(0.0); 2]; ROWS];
        let mut weight = weights.as_ptr();
        for segment in 0..segments {
            let rows = starts.map(|start| data.as_ptr().add(start + segment * stride));
            for k in 0..run {
                prefetch_weights::<V>(weight);
                let (low, high) = (V::load(weight), V::load(weight.add(V::LEN)));
                for (sums, row) in sums.iter_mut().zip(rows) {
                    let value = V::splat(*row.add(k));
                    sums[0] = value.mul_add(low, sums[0]);
                    sums[1] = value.mul_add(high, sums[1]);
                }
                weight = weight.add(2 * V::LEN);
            }
        }
        sums
    }
}

/// Asks for the weights some steps after `weight`; there need not be any.
///
/// # Safety
/// The instruction set of `V` must be available.
#[inline(always)]
pub(super) unsafe fn prefetch_weights<V: Vector>(weight: *const f32) {
    for line in (0..2 * V::LEN).step_by(LINE) {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { V::prefetch(weight.wrapping_add(2 * V::LEN * STEPS_AHEAD + line)) };
    }
}

/// What is computed for a few rows of a product at once.
pub(super) trait Rows {
    /// Computes the rows from `first` on; the last ones may not exist, and are computed in vain.
    /// Must be `#[inline(always)]`, as a kernel's `run`.
    ///
    /// # Safety
    /// The instruction set of `V` must be available.
    unsafe fn compute<V: Vector, const ROWS: usize>(&mut self, first: usize);
}

/// Computes `count` rows, `TILE` at once, and few more for the last ones.
///
/// # Safety
/// The instruction set of `V` must be available.
#[inline(always)]
pub(super) unsafe fn in_tiles<V: Vector, const TILE: usize, R: Rows>(rows: &mut R, count: usize) {
    for first in (0..count).step_by(TILE) {
        // SAFETY: the caller vouches for the instruction set.
        unsafe {
            match count - first {
                ..=4 => rows.compute::<V, 4>(first),
                ..=6 if TILE > 6 => rows.compute::<V, 6>(first),
                ..=8 if TILE > 8 => rows.compute::<V, 8>(first),
                ..=10 if TILE > 10 => rows.compute::<V, 10>(first),
                _ => rows.compute::<V, TILE>(first),
            }
        }
    }
}
