//! The products of minimal filtering: one position and one block of channels of some tiles. This
//! module does not depend on maps or transforms.
#![expect(unsafe_code, reason = "the innermost loop reads without bounds checks")]

use std::ops::Range;

use crate::eval::cpu::product::{Rows, in_tiles, prefetch_weights};
use crate::eval::cpu::simd::{Kernel, Simd, Vector};

/// Padding behind the transformed inputs, in floats: the last rows of a product read it, and their
/// results are discarded.
pub(super) const BEYOND: usize = 16 * 16;
/// Unrolled steps of the innermost loop.
const UNROLLED: usize = 4;

/// Multiplies some tiles.
pub(super) struct Multiply<'a> {
    pub(super) c_in: usize,
    /// (input channel, channel within the block).
    pub(super) weights: &'a [f32],
    /// The weights that are read next, to be prefetched.
    pub(super) ahead: &'a [f32],
    /// Transformed inputs from the position on: (chunk of a vector's channels, tile, channel).
    pub(super) inputs: &'a [f32],
    /// Floats from position to position.
    pub(super) position_len: usize,
    /// How many tiles there are.
    pub(super) tiles: usize,
    /// The tiles that are multiplied.
    pub(super) slots: Range<usize>,
    /// The products: (tile, channel within the block).
    pub(super) out: &'a mut [f32],
    /// Floats from tile to tile in `out`.
    pub(super) out_stride: usize,
}

impl Kernel for Multiply<'_> {
    #[inline(always)]
    fn run<S: Simd, const TILE: usize>(self, simd: S) {
        let count = self.slots.len();
        let steps = count.div_ceil(TILE) * self.c_in;
        let ahead_step = self.ahead.len().div_ceil(steps.max(1));
        let ahead = self.ahead.as_ptr();
        let mut rows = Tiles { multiply: self, ahead, ahead_step };
        in_tiles::<S, TILE, _>(simd, &mut rows, count);
    }
}

/// The tiles as rows of a product.
struct Tiles<'a> {
    multiply: Multiply<'a>,
    /// The next weights to prefetch, and by how many floats they advance at each step.
    ahead: *const f32,
    ahead_step: usize,
}

impl Tiles<'_> {
    /// Offset from the inputs of row `first` to those of the product that follows the one of rows
    /// `first..end`.
    fn next(&self, first: usize, end: usize, lanes: usize) -> usize {
        let Multiply { position_len, ref slots, .. } = self.multiply;
        if end < slots.len() { (end - first) * lanes } else { position_len - first * lanes }
    }

    /// The sums of the rows from `first` on, in the order of the channels. All rows are addressed
    /// from one pointer, which saves loading the others. What is read here for the first time
    /// (the next weights, the next chunk of inputs) is prefetched.
    #[inline(always)]
    fn sums<S: Simd, const ROWS: usize>(
        &mut self,
        simd: S,
        first: usize,
    ) -> [[S::Vector; 2]; ROWS] {
        let next = self.next(first, first + ROWS, S::LEN);
        let Multiply { c_in, weights, inputs, tiles, ref slots, .. } = self.multiply;
        let inputs = &inputs[(slots.start + first) * S::LEN..];
        let (chunks, chunk_len) = (c_in / S::LEN, tiles * S::LEN);
        assert!((chunks - 1) * chunk_len + ROWS * S::LEN <= inputs.len());
        assert!(weights.len() == chunks * S::LEN * 2 * S::LEN);
        let mut sums = [[simd.splat(0.0); 2]; ROWS];
        // SAFETY: the end of the last row and the number of weights were asserted; addresses beyond
        // them are prefetched, but not read.
        unsafe {
            let (mut rows, mut weight) = (inputs.as_ptr(), weights.as_ptr());
            let mut ahead = self.ahead;
            for chunk in 1..=chunks {
                let after = if chunk < chunks {
                    rows.wrapping_add(chunk_len)
                } else {
                    inputs.as_ptr().wrapping_add(next)
                };
                for first in (0..S::LEN).step_by(UNROLLED) {
                    for k in first..first + UNROLLED {
                        prefetch_weights(simd, weight);
                        simd.prefetch_far(ahead);
                        ahead = ahead.wrapping_add(self.ahead_step);
                        simd.prefetch(after.wrapping_add(k * S::LEN));
                        let (low, high) = (simd.load(weight), simd.load(weight.add(S::LEN)));
                        for (row, sums) in sums.iter_mut().enumerate() {
                            let value = simd.splat(*rows.add(row * S::LEN + k));
                            sums[0] = value.mul_add(low, sums[0]);
                            sums[1] = value.mul_add(high, sums[1]);
                        }
                        weight = weight.add(2 * S::LEN);
                    }
                }
                rows = after;
            }
            self.ahead = ahead;
        }
        sums
    }
}

impl Rows for Tiles<'_> {
    #[inline(always)]
    fn compute<S: Simd, const ROWS: usize>(&mut self, simd: S, first: usize) {
        let sums = self.sums::<S, ROWS>(simd, first);
        let Multiply { ref slots, ref mut out, out_stride, .. } = self.multiply;
        for (slot, [low, high]) in slots.clone().skip(first).zip(sums) {
            let out = &mut out[slot * out_stride..][..2 * S::LEN];
            // SAFETY: `out` holds two vectors.
            unsafe {
                low.store(out.as_mut_ptr());
                high.store(out.as_mut_ptr().add(S::LEN));
            }
        }
    }
}
