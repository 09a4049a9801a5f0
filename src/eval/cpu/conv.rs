//! Convolution + bias + ReLU as an implicit matrix product.
//!
//! With channels innermost, the part of a window in one input row is `kernel * c_in` contiguous
//! floats, so a tile of output pixels times a block of output channels is a small matrix product
//! whose left side is read in place. Weights are packed once: (block, kernel row, kernel column and
//! input channel, channel within the block). The order of summation is that of the packed weights.

use rayon::prelude::*;

use super::tensor::{BORDER, Layout, Tensor};
use crate::net::plan::View;
use crate::net::weights::Conv;

/// Output pixels of a tile.
const TILE: usize = 6;
/// Output channels of a block.
const BLOCK: usize = 16;
/// Output pixels that one task computes at least, so that a block of weights is used often.
const TASK_PIXELS: usize = 96;

/// An instruction set that the convolutions are compiled for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isa {
    /// What every processor of the architecture has.
    Portable,
    /// x86-64 with AVX2 and FMA.
    Avx2,
}

impl Isa {
    /// The best that this processor has.
    #[must_use]
    pub fn best() -> Isa {
        if Isa::Avx2.is_available() { Isa::Avx2 } else { Isa::Portable }
    }

    /// Whether this processor has it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 => false,
        }
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
        })
    }
}

/// A convolution with packed weights.
#[derive(Debug)]
pub(super) struct PackedConv {
    kernel: usize,
    c_in: usize,
    c_out: usize,
    weights: Vec<f32>,
    bias: Vec<f32>,
    isa: Isa,
}

impl PackedConv {
    pub(super) fn new(conv: &Conv, isa: Isa) -> PackedConv {
        let [c_out, c_in, kernel, _] = conv.spec.weight_shape();
        let window = kernel * kernel * c_in;
        let blocks = c_out.div_ceil(BLOCK);
        let mut weights = vec![0.0; blocks * window * BLOCK];
        for (o, filter) in conv.weight.chunks_exact(window).enumerate() {
            let block = &mut weights[o / BLOCK * window * BLOCK..][..window * BLOCK];
            for (i, plane) in filter.chunks_exact(kernel * kernel).enumerate() {
                for (at, &weight) in plane.iter().enumerate() {
                    block[(at * c_in + i) * BLOCK + o % BLOCK] = weight;
                }
            }
        }
        let mut bias = conv.bias.clone();
        bias.resize(blocks * BLOCK, 0.0);
        PackedConv { kernel, c_in, c_out, weights, bias, isa }
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
        let strip = |(image, first_row, rows): (usize, usize, &mut [f32])| {
            let strip =
                Strip { conv: self, src: src.image(image), from: src.layout(), to, stride, pad };
            strip.run(first_row, rows, view.c_first);
        };
        work.into_par_iter().for_each(strip);
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
}

impl Strip<'_> {
    fn run(&self, first_row: usize, rows: &mut [f32], c_first: usize) {
        match self.conv.isa {
            Isa::Portable => self.run_any(first_row, rows, c_first),
            #[cfg(target_arch = "x86_64")]
            #[expect(
                unsafe_code,
                reason = "functions of another instruction set are unsafe to call"
            )]
            // SAFETY: an evaluator is made only for an instruction set that is available.
            Isa::Avx2 => unsafe { self.run_avx2(first_row, rows, c_first) },
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 => unreachable!("no evaluator is made for an absent instruction set"),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn run_avx2(&self, first_row: usize, rows: &mut [f32], c_first: usize) {
        self.run_any(first_row, rows, c_first);
    }

    #[inline(always)]
    fn run_any(&self, first_row: usize, rows: &mut [f32], c_first: usize) {
        let PackedConv { kernel, c_in, c_out, .. } = *self.conv;
        let window = kernel * kernel * c_in * BLOCK;
        for block in 0..c_out.div_ceil(BLOCK) {
            let weights = &self.conv.weights[block * window..][..window];
            let bias = &self.conv.bias[block * BLOCK..][..BLOCK];
            let channels = BLOCK.min(c_out - block * BLOCK);
            for (index, row) in rows.chunks_exact_mut(self.to.row_len()).enumerate() {
                let y = first_row + index;
                for x in (0..self.to.w).step_by(TILE) {
                    // The last tile overlaps the one before it rather than being shorter.
                    let x = x.min(self.to.w.saturating_sub(TILE));
                    let sums = self.tile(y, x, weights);
                    let width = TILE.min(self.to.w);
                    for (pixel, sums) in sums.iter().enumerate().take(width) {
                        let at = (BORDER + x + pixel) * self.to.c + c_first + block * BLOCK;
                        let dst = &mut row[at..][..channels];
                        for (channel, dst) in dst.iter_mut().enumerate() {
                            *dst = (sums[channel] + bias[channel]).max(0.0);
                        }
                    }
                }
            }
        }
    }

    /// Sums of [`TILE`] pixels from column `x` for one block of channels. Pixels beyond the row's
    /// end repeat the last one.
    #[inline(always)]
    fn tile(&self, y: usize, x: usize, weights: &[f32]) -> [[f32; BLOCK]; TILE] {
        let PackedConv { kernel, c_in, .. } = *self.conv;
        let run = kernel * c_in;
        let mut sums = [[0.0f32; BLOCK]; TILE];
        for (ky, weights) in weights.chunks_exact(run * BLOCK).enumerate() {
            let pixels: [&[f32]; TILE] = std::array::from_fn(|pixel| {
                let x = (x + pixel).min(self.to.w - 1);
                let top = (y * self.stride + ky) as isize - self.pad as isize;
                let left = (x * self.stride) as isize - self.pad as isize;
                &self.src[self.from.at(top, left)..][..run]
            });
            for (k, weights) in weights.chunks_exact(BLOCK).enumerate() {
                for (sums, pixel) in sums.iter_mut().zip(&pixels) {
                    let value = pixel[k];
                    for (sum, &weight) in sums.iter_mut().zip(weights) {
                        *sum = fused(self.conv.isa, value, weight, *sum);
                    }
                }
            }
        }
        sums
    }
}

/// `a * b + c`, fused where the instruction set has it: a call of the C library would be slow.
#[inline(always)]
fn fused(isa: Isa, a: f32, b: f32, c: f32) -> f32 {
    match isa {
        Isa::Portable => a * b + c,
        Isa::Avx2 => a.mul_add(b, c),
    }
}
