//! Convolution + bias + ReLU as an implicit matrix product, for any kernel and stride.
//!
//! With channels innermost, the part of a window in one input row is `kernel * c_in` contiguous
//! floats, so a tile of output pixels times a block of output channels is a small matrix product
//! whose left side is read in place: there is no im2col buffer. Weights are packed once: (block,
//! kernel row, kernel column and input channel, channel within the block).
#![expect(unsafe_code, reason = "kernels are unsafe to run without their instruction set")]

use rayon::prelude::*;

use super::conv::Geometry;
use super::product::{BLOCK_MAX, Left, block_of, product};
use super::simd::{Isa, Kernel, Vector, dispatch};
use super::tensor::{BORDER, Tensor};
use crate::net::weights::Conv;

/// Output pixels that one task computes at least, so that a block of weights is used often.
const TASK_PIXELS: usize = 240;

/// Packed weights.
#[derive(Debug)]
pub(super) struct Direct {
    kernel: usize,
    c_in: usize,
    c_out: usize,
    block: usize,
    weights: Vec<f32>,
    bias: Vec<f32>,
    isa: Isa,
}

impl Direct {
    pub(super) fn new(conv: &Conv, isa: Isa) -> Direct {
        let block = block_of(isa);
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
        Direct { kernel, c_in, c_out, block, weights, bias, isa }
    }

    /// Computes all images of `src` into the channels of `dst` from `geometry.c_first` on.
    pub(super) fn run(&self, src: &Tensor, dst: &mut Tensor, geometry: Geometry) {
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
            let src = src.image(image);
            dispatch(self.isa, Strip { conv: self, src, geometry, first_row, rows });
        });
    }
}

/// Some output rows of one image.
struct Strip<'a> {
    conv: &'a Direct,
    src: &'a [f32],
    geometry: Geometry,
    first_row: usize,
    rows: &'a mut [f32],
}

impl Kernel for Strip<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const TILE: usize>(mut self) {
        let Direct { kernel, c_in, c_out, block, .. } = *self.conv;
        let Geometry { from, to, .. } = self.geometry;
        let left =
            Left { data: self.src, segments: kernel, stride: from.row_len(), run: kernel * c_in };
        let pixels = self.rows.len() / to.row_len() * to.w;
        let window = kernel * kernel * c_in * block;
        let mut sums = [0.0; 16 * BLOCK_MAX];
        let sums = &mut sums[..TILE * block];
        for index in 0..c_out.div_ceil(block) {
            let weights = &self.conv.weights[index * window..][..window];
            let channels = block.min(c_out - index * block);
            for tile in 0..pixels.div_ceil(TILE) {
                // Pixels are counted along the rows of the strip. The last tile overlaps the one
                // before it; where there are fewer pixels than a tile, the last is repeated.
                let first = (tile * TILE).min(pixels.saturating_sub(TILE));
                let pixel: [usize; TILE] = std::array::from_fn(|i| (first + i).min(pixels - 1));
                let starts = pixel.map(|pixel| self.window_start(pixel));
                // SAFETY: the caller vouches for the instruction set.
                unsafe { product::<V, TILE>(left, &starts, weights, sums) };
                for (&pixel, sums) in pixel.iter().zip(sums.chunks_exact(block)) {
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
        let Geometry { from, to, stride, pad, .. } = self.geometry;
        let (y, x) = (self.first_row + pixel / to.w, pixel % to.w);
        let at = |position: usize| (position * stride) as isize - pad as isize;
        from.at(at(y), at(x))
    }

    /// Adds the bias, cuts off what is negative, and writes.
    #[inline(always)]
    fn finish(&mut self, pixel: usize, first: usize, sums: &[f32]) {
        let Geometry { to, c_first, .. } = self.geometry;
        let (row, x) = (pixel / to.w, pixel % to.w);
        let at = row * to.row_len() + (BORDER + x) * to.c + c_first + first;
        let bias = &self.conv.bias[first..];
        for ((dst, sum), bias) in self.rows[at..].iter_mut().zip(sums).zip(bias) {
            *dst = (sum + bias).max(0.0);
        }
    }
}
