//! The products of minimal filtering: one position and one block of channels of some tiles. It
//! knows neither maps nor transforms.
#![expect(unsafe_code, reason = "the innermost loop reads without bounds checks")]

use std::ops::Range;

use crate::eval::cpu::product::{Rows, in_tiles, prefetch_weights};
use crate::eval::cpu::simd::{Kernel, Vector};

/// Floats that the last rows of a product may read beyond their tiles, in vain.
pub(super) const BEYOND: usize = 16 * 16;
/// Steps of the innermost loop that are written out.
const UNROLLED: usize = 4;

/// Multiplies some tiles.
pub(super) struct Multiply<'a> {
    pub(super) c_in: usize,
    /// (input channel, channel within the block).
    pub(super) weights: &'a [f32],
    /// The weights that are needed next.
    pub(super) ahead: &'a [f32],
    /// Transformed inputs from the position on: (chunk of a vector's channels, tile, channel).
    pub(super) inputs: &'a [f32],
    /// Floats from position to position.
    pub(super) position_len: usize,
    /// How many tiles there are.
    pub(super) tiles: usize,
    /// Those that are multiplied.
    pub(super) slots: Range<usize>,
    /// Products: (tile, channel within the block).
    pub(super) out: &'a mut [f32],
    /// Floats from tile to tile therein.
    pub(super) out_stride: usize,
}

impl Kernel for Multiply<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const TILE: usize>(self) {
        let count = self.slots.len();
        let steps = count.div_ceil(TILE) * self.c_in;
        let ahead_step = self.ahead.len().div_ceil(steps.max(1));
        let ahead = self.ahead.as_ptr();
        let mut rows = Tiles { multiply: self, ahead, ahead_step };
        // SAFETY: the caller vouches for the instruction set.
        unsafe { in_tiles::<V, TILE, _>(&mut rows, count) };
    }
}

/// The tiles as rows of a product.
struct Tiles<'a> {
    multiply: Multiply<'a>,
    /// What is asked for in advance, and how many floats at each step.
    ahead: *const f32,
    ahead_step: usize,
}

impl Tiles<'_> {
    /// Where the inputs of the product after the one of rows `first..end` begin, from those of
    /// `first` on.
    fn next(&self, first: usize, end: usize, lanes: usize) -> usize {
        let Multiply { position_len, ref slots, .. } = self.multiply;
        if end < slots.len() { (end - first) * lanes } else { position_len - first * lanes }
    }

    /// The sums of the rows from `first` on, in the order of the channels. All rows are reached
    /// from one address, which spares the loads of others; what is read for the first time here
    /// (weights from far away, the next chunk of inputs) is asked for in advance.
    ///
    /// # Safety
    /// The instruction set of `V` must be available.
    #[inline(always)]
    unsafe fn sums<V: Vector, const ROWS: usize>(&mut self, first: usize) -> [[V; 2]; ROWS] {
        let next = self.next(first, first + ROWS, V::LEN);
        let Multiply { c_in, weights, inputs, tiles, ref slots, .. } = self.multiply;
        let inputs = &inputs[(slots.start + first) * V::LEN..];
        let (chunks, chunk_len) = (c_in / V::LEN, tiles * V::LEN);
        assert!((chunks - 1) * chunk_len + ROWS * V::LEN <= inputs.len());
        assert!(weights.len() == chunks * V::LEN * 2 * V::LEN);
        // SAFETY: the end of the last row and the number of weights were asserted; addresses beyond
        // are asked for in advance, but not read. The caller vouches for the instruction set.
        unsafe {
            let mut sums = [[V::splat(0.0); 2]; ROWS];
            let (mut rows, mut weight) = (inputs.as_ptr(), weights.as_ptr());
            let mut ahead = self.ahead;
            for chunk in 1..=chunks {
                let after = if chunk < chunks {
                    rows.wrapping_add(chunk_len)
                } else {
                    inputs.as_ptr().wrapping_add(next)
                };
                for first in (0..V::LEN).step_by(UNROLLED) {
                    for k in first..first + UNROLLED {
                        prefetch_weights::<V>(weight);
                        V::prefetch_far(ahead);
                        ahead = ahead.wrapping_add(self.ahead_step);
                        V::prefetch(after.wrapping_add(k * V::LEN));
                        let (low, high) = (V::load(weight), V::load(weight.add(V::LEN)));
                        for (row, sums) in sums.iter_mut().enumerate() {
                            let value = V::splat(*rows.add(row * V::LEN + k));
                            sums[0] = value.mul_add(low, sums[0]);
                            sums[1] = value.mul_add(high, sums[1]);
                        }
                        weight = weight.add(2 * V::LEN);
                    }
                }
                rows = after;
            }
            self.ahead = ahead;
            sums
        }
    }
}

impl Rows for Tiles<'_> {
    #[inline(always)]
    unsafe fn compute<V: Vector, const ROWS: usize>(&mut self, first: usize) {
        // SAFETY: the caller vouches for the instruction set.
        let sums = unsafe { self.sums::<V, ROWS>(first) };
        let Multiply { ref slots, ref mut out, out_stride, .. } = self.multiply;
        for (slot, [low, high]) in slots.clone().skip(first).zip(sums) {
            let out = &mut out[slot * out_stride..][..2 * V::LEN];
            // SAFETY: `out` holds two vectors; the caller vouches for the instruction set.
            unsafe {
                low.store(out.as_mut_ptr());
                high.store(out.as_mut_ptr().add(V::LEN));
            }
        }
    }
}
