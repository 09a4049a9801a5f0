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

/// Floats of a line of the cache.
const LINE: usize = 16;
/// Steps that weights are asked for in advance, into the first-level cache.
const STEPS_AHEAD: usize = 16;

/// `sum over k of left[starts[i]][k] weights[k][j]`, k in order, for `ROWS` rows and one block of
/// two vectors of columns. A row's bits do not depend on `ROWS`.
///
/// Meanwhile the weights `ahead`, which are needed soon, come into the second-level cache. Weights
/// are the one thing that is read for the first time here: where the shared cache is far away, a
/// third of the time was waiting for them.
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
    ahead: &[f32],
) -> [[V; 2]; ROWS] {
    let Left { data, segments, stride, run } = left;
    let last = starts.iter().max().copied().unwrap_or(0) + (segments - 1) * stride + run;
    assert!(last <= data.len() && weights.len() == segments * run * 2 * V::LEN);
    // SAFETY: `last` is the end of the furthest row, and `weights` holds a block for each step, as
    // asserted; addresses beyond are asked for in advance, but not read. The caller vouches for
    // the instruction set.
    unsafe {
        let mut sums = [[V::splat(0.0); 2]; ROWS];
        let mut weight = weights.as_ptr();
        let (mut ahead, step) = (ahead.as_ptr(), ahead.len().div_ceil(segments * run));
        for segment in 0..segments {
            let rows = starts.map(|start| data.as_ptr().add(start + segment * stride));
            for k in 0..run {
                for line in (0..2 * V::LEN).step_by(LINE) {
                    V::prefetch(weight.wrapping_add(2 * V::LEN * STEPS_AHEAD + line));
                }
                V::prefetch_far(ahead);
                ahead = ahead.wrapping_add(step);
                let (low, high) = (V::load(weight), V::load(weight.add(V::LEN)));
                for i in 0..ROWS {
                    let value = V::splat(*rows[i].add(k));
                    sums[i][0] = value.mul_add(low, sums[i][0]);
                    sums[i][1] = value.mul_add(high, sums[i][1]);
                }
                weight = weight.add(2 * V::LEN);
            }
        }
        sums
    }
}

/// The left side of a product whose rows lie side by side: (chunk of `V::LEN` steps, row, step).
#[derive(Clone, Copy, Debug)]
pub(super) struct Interleaved<'a> {
    /// From the first step of the first row on.
    pub(super) data: &'a [f32],
    pub(super) chunks: usize,
    /// Floats from chunk to chunk.
    pub(super) chunk_len: usize,
    /// Where the next product begins.
    pub(super) next: usize,
}

/// Memory that is needed soon.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    pub(super) at: *const f32,
    /// Floats to ask for at each step.
    pub(super) step: usize,
}

/// As [`product`], for rows that lie side by side. All of them are reached from one address, which
/// spares the loads of others, and each chunk is asked for while the one before it is multiplied.
///
/// # Safety
/// The instruction set of `V` must be available.
///
/// # Panics
/// When a row reaches beyond the data, or `weights` has another length.
#[inline(always)]
pub(super) unsafe fn product_interleaved<V: Vector, const ROWS: usize>(
    left: Interleaved<'_>,
    weights: &[f32],
    ahead: &mut Ahead,
) -> [[V; 2]; ROWS] {
    let Interleaved { data, chunks, chunk_len, next } = left;
    assert!((chunks - 1) * chunk_len + ROWS * V::LEN <= data.len());
    assert!(weights.len() == chunks * V::LEN * 2 * V::LEN);
    // SAFETY: the end of the last row and the number of weights were asserted; addresses beyond are
    // asked for in advance, but not read. The caller vouches for the instruction set.
    unsafe {
        let mut sums = [[V::splat(0.0); 2]; ROWS];
        let (mut rows, mut weight) = (data.as_ptr(), weights.as_ptr());
        for chunk in 1..=chunks {
            let after = rows.wrapping_add(chunk_len);
            let after = if chunk == chunks { data.as_ptr().wrapping_add(next) } else { after };
            for k in 0..V::LEN {
                for line in (0..2 * V::LEN).step_by(LINE) {
                    V::prefetch(weight.wrapping_add(2 * V::LEN * STEPS_AHEAD + line));
                }
                V::prefetch(after.wrapping_add(k * V::LEN));
                V::prefetch_far(ahead.at);
                ahead.at = ahead.at.wrapping_add(ahead.step);
                let (low, high) = (V::load(weight), V::load(weight.add(V::LEN)));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let value = V::splat(*rows.add(i * V::LEN + k));
                    sums[0] = value.mul_add(low, sums[0]);
                    sums[1] = value.mul_add(high, sums[1]);
                }
                weight = weight.add(2 * V::LEN);
            }
            rows = after;
        }
        sums
    }
}

/// What is computed for a few rows of a product at once.
pub(super) trait Rows {
    /// Tells where a row is read and where its sums go.
    type Spot: Copy;

    /// Computes some rows; one may be given twice. Must be `#[inline(always)]`, as a kernel's
    /// `run`.
    ///
    /// # Safety
    /// The instruction set of `V` must be available.
    unsafe fn compute<V: Vector, const ROWS: usize>(&mut self, spots: &[Self::Spot; ROWS]);
}

/// Computes all rows, `TILE` at once, and the last ones with few that are computed in vain.
///
/// # Safety
/// The instruction set of `V` must be available.
#[inline(always)]
pub(super) unsafe fn in_tiles<V: Vector, const TILE: usize, R: Rows>(
    rows: &mut R,
    mut spots: &[R::Spot],
) {
    while !spots.is_empty() {
        // SAFETY: the caller vouches for the instruction set.
        unsafe {
            spots = match spots.len() {
                ..=4 => first::<V, 4, R>(rows, spots),
                ..=6 if TILE > 6 => first::<V, 6, R>(rows, spots),
                ..=8 if TILE > 8 => first::<V, 8, R>(rows, spots),
                ..=10 if TILE > 10 => first::<V, 10, R>(rows, spots),
                _ => first::<V, TILE, R>(rows, spots),
            };
        }
    }
}

/// Computes the first `ROWS` rows, repeating the last if there are fewer, and returns the rest.
#[inline(always)]
unsafe fn first<'a, V: Vector, const ROWS: usize, R: Rows>(
    rows: &mut R,
    spots: &'a [R::Spot],
) -> &'a [R::Spot] {
    if let Some((chunk, rest)) = spots.split_first_chunk() {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { rows.compute::<V, ROWS>(chunk) };
        return rest;
    }
    let (some, rest) = spots.split_at(spots.len().min(ROWS));
    let mut chunk = [some[some.len() - 1]; ROWS];
    chunk[..some.len()].copy_from_slice(some);
    // SAFETY: the caller vouches for the instruction set.
    unsafe { rows.compute::<V, ROWS>(&chunk) };
    rest
}
