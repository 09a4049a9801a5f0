//! Convolution + bias + ReLU as an implicit matrix product.
//!
//! With channels innermost, the part of a window in one input row is `kernel * c_in` contiguous
//! floats, so a tile of output pixels times a block of output channels is a small matrix product
//! whose left side is read in place. Weights are packed once: (block, kernel row, kernel column and
//! input channel, channel within the block). The order of summation is that of the packed weights.
#![expect(unsafe_code, reason = "the innermost loop reads without bounds checks")]

use rayon::prelude::*;

use super::simd::{Isa, Kernel, Vector, dispatch};
use super::tensor::{BORDER, Layout, Tensor};
use crate::net::plan::View;
use crate::net::weights::Conv;

/// Output pixels that one task computes at least, so that a block of weights is used often.
const TASK_PIXELS: usize = 240;
/// Floats of two of the widest vectors.
const BLOCK_MAX: usize = 32;

/// A convolution with packed weights.
#[derive(Debug)]
pub(super) struct PackedConv {
    kernel: usize,
    c_in: usize,
    c_out: usize,
    /// Output channels of a block: two vectors of the instruction set.
    block: usize,
    weights: Vec<f32>,
    bias: Vec<f32>,
    isa: Isa,
}

impl PackedConv {
    pub(super) fn new(conv: &Conv, isa: Isa) -> PackedConv {
        let block = match isa {
            Isa::Portable => 8,
            Isa::Avx2 => 16,
            Isa::Avx512 => BLOCK_MAX,
        };
        let [c_out, c_in, kernel, _] = conv.spec.weight_shape();
        let window = kernel * kernel * c_in;
        let blocks = c_out.div_ceil(block);
        let mut weights = vec![0.0; blocks * window * block];
        for (o, filter) in conv.weight.chunks_exact(window).enumerate() {
            let packed = &mut weights[o / block * window * block..][..window * block];
            for (i, plane) in filter.chunks_exact(kernel * kernel).enumerate() {
                for (at, &weight) in plane.iter().enumerate() {
                    packed[(at * c_in + i) * block + o % block] = weight;
                }
            }
        }
        let mut bias = conv.bias.clone();
        bias.resize(blocks * block, 0.0);
        PackedConv { kernel, c_in, c_out, block, weights, bias, isa }
    }

    /// Computes all images of `src` into the channels of `dst` that `view` names.
    pub(super) fn run(
        &self,
        src: &Tensor,
        dst: &mut Tensor,
        stride: usize,
        pad: usize,
        view: View,
    ) {
        let to = dst.layout();
        let rows_per_task = TASK_PIXELS.div_ceil(to.w).min(to.h);
        let row_len = to.row_len();
        let mut work = Vec::new();
        for (image, dst) in dst.images_mut().enumerate() {
            let inner = &mut dst[BORDER * row_len..][..to.h * row_len];
            for (task, rows) in inner.chunks_mut(rows_per_task * row_len).enumerate() {
                work.push((image, task * rows_per_task, rows));
            }
        }
        work.into_par_iter().for_each(|(image, first_row, rows)| {
            let (src, from, c_first) = (src.image(image), src.layout(), view.c_first);
            let strip = Strip { conv: self, src, from, to, stride, pad, first_row, rows, c_first };
            dispatch(self.isa, strip);
        });
    }
}

/// Some output rows of one image.
struct Strip<'a> {
    conv: &'a PackedConv,
    src: &'a [f32],
    from: Layout,
    to: Layout,
    stride: usize,
    pad: usize,
    first_row: usize,
    rows: &'a mut [f32],
    c_first: usize,
}

impl Kernel for Strip<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const TILE: usize>(mut self) {
        let PackedConv { kernel, c_in, c_out, block, .. } = *self.conv;
        debug_assert_eq!(block, 2 * V::LEN);
        let pixels = self.rows.len() / self.to.row_len() * self.to.w;
        let window = kernel * kernel * c_in * block;
        for index in 0..c_out.div_ceil(block) {
            let weights = &self.conv.weights[index * window..][..window];
            let channels = block.min(c_out - index * block);
            for tile in 0..pixels.div_ceil(TILE) {
                // Pixels are counted along the rows of the strip. The last tile overlaps the one
                // before it; where there are fewer pixels than a tile, the last is repeated.
                let first = (tile * TILE).min(pixels.saturating_sub(TILE));
                let pixel: [usize; TILE] = std::array::from_fn(|i| (first + i).min(pixels - 1));
                let starts = pixel.map(|pixel| self.window_start(pixel));
                let mut sums = [[0.0; BLOCK_MAX]; TILE];
                // SAFETY: the caller vouches for the instruction set.
                unsafe { self.tile::<V, TILE>(&starts, weights, &mut sums) };
                for (&pixel, sums) in pixel.iter().zip(&sums) {
                    self.finish(pixel, index * block, &sums[..channels]);
                }
            }
        }
    }
}

impl Strip<'_> {
    /// Where the window of an output pixel starts in the source.
    #[inline(always)]
    fn window_start(&self, pixel: usize) -> usize {
        let (y, x) = (self.first_row + pixel / self.to.w, pixel % self.to.w);
        let at = |position: usize| (position * self.stride) as isize - self.pad as isize;
        self.from.at(at(y), at(x))
    }

    /// Adds the bias, cuts off what is negative, and writes.
    #[inline(always)]
    fn finish(&mut self, pixel: usize, c_first: usize, sums: &[f32]) {
        let (row, x) = (pixel / self.to.w, pixel % self.to.w);
        let at = row * self.to.row_len() + (BORDER + x) * self.to.c + self.c_first + c_first;
        let bias = &self.conv.bias[c_first..];
        for ((dst, sum), bias) in self.rows[at..].iter_mut().zip(sums).zip(bias) {
            *dst = (sum + bias).max(0.0);
        }
    }

    /// Sums of the products of `TILE` windows and one block of weights.
    ///
    /// # Safety
    /// The instruction set of `V` must be available.
    #[inline(always)]
    unsafe fn tile<V: Vector, const TILE: usize>(
        &self,
        starts: &[usize; TILE],
        weights: &[f32],
        sums: &mut [[f32; BLOCK_MAX]; TILE],
    ) {
        let PackedConv { kernel, c_in, block, .. } = *self.conv;
        let run = kernel * c_in;
        let row_len = self.from.row_len();
        let last = starts.iter().max().copied().unwrap_or(0) + (kernel - 1) * row_len + run;
        assert!(last <= self.src.len() && weights.len() == kernel * run * block);
        // SAFETY: `last` is the end of the furthest window, and `weights` holds `block` floats for
        // each of the `kernel * run` steps; both were asserted. `sums` holds two vectors a pixel.
        unsafe {
            let mut low = [V::splat(0.0); TILE];
            let mut high = [V::splat(0.0); TILE];
            let mut weight = weights.as_ptr();
            for ky in 0..kernel {
                let pixels: [*const f32; TILE] =
                    std::array::from_fn(|i| self.src.as_ptr().add(starts[i] + ky * row_len));
                for k in 0..run {
                    let (w_low, w_high) = (V::load(weight), V::load(weight.add(V::LEN)));
                    for i in 0..TILE {
                        let value = V::splat(*pixels[i].add(k));
                        low[i] = value.mul_add(w_low, low[i]);
                        high[i] = value.mul_add(w_high, high[i]);
                    }
                    weight = weight.add(block);
                }
            }
            for i in 0..TILE {
                low[i].store(sums[i].as_mut_ptr());
                high[i].store(sums[i].as_mut_ptr().add(V::LEN));
            }
        }
    }
}
