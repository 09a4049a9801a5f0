//! The small matrix product that every convolution comes down to.
#![expect(unsafe_code, reason = "the innermost loop reads without bounds checks")]

use super::simd::{Isa, Vector};

/// Output channels of a block of packed weights at the most: two of the widest vectors.
pub(super) const BLOCK_MAX: usize = 32;

/// Output channels of a block of packed weights: two vectors.
pub(super) fn block_of(isa: Isa) -> usize {
    match isa {
        Isa::Portable => 8,
        Isa::Avx2 => 16,
        Isa::Avx512 => BLOCK_MAX,
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

/// `out[i][j] = sum over k of left[starts[i]][k] weights[k][j]`, k in order, for `TILE` rows and
/// one block of two vectors of columns. `out` is dense.
///
/// # Safety
/// The instruction set of `V` must be available.
///
/// # Panics
/// When a row reaches beyond the data, or `weights` or `out` have another length.
#[inline(always)]
pub(super) unsafe fn product<V: Vector, const TILE: usize>(
    left: Left<'_>,
    starts: &[usize; TILE],
    weights: &[f32],
    out: &mut [f32],
) {
    let Left { data, segments, stride, run } = left;
    let block = 2 * V::LEN;
    let last = starts.iter().max().copied().unwrap_or(0) + (segments - 1) * stride + run;
    assert!(last <= data.len() && weights.len() == segments * run * block);
    assert_eq!(out.len(), TILE * block);
    // SAFETY: `last` is the end of the furthest row, `weights` holds a block for each step and
    // `out` one for each row: all asserted. The caller vouches for the instruction set.
    unsafe {
        let mut low = [V::splat(0.0); TILE];
        let mut high = [V::splat(0.0); TILE];
        let mut weight = weights.as_ptr();
        for segment in 0..segments {
            let rows: [*const f32; TILE] =
                std::array::from_fn(|i| data.as_ptr().add(starts[i] + segment * stride));
            for k in 0..run {
                let (w_low, w_high) = (V::load(weight), V::load(weight.add(V::LEN)));
                for i in 0..TILE {
                    let value = V::splat(*rows[i].add(k));
                    low[i] = value.mul_add(w_low, low[i]);
                    high[i] = value.mul_add(w_high, high[i]);
                }
                weight = weight.add(block);
            }
        }
        for i in 0..TILE {
            let row = out.as_mut_ptr().add(i * block);
            low[i].store(row);
            high[i].store(row.add(V::LEN));
        }
    }
}
