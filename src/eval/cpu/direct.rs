//! Convolution + bias + ReLU as an implicit matrix product, for any kernel and stride.
//!
//! With channels innermost, the part of a window in one input row is `kernel * c_in` contiguous
//! floats, so some output pixels times a block of output channels is a small matrix product whose
//! left side is read in place: there is no im2col buffer. Weights are packed once: (block, kernel
//! row, kernel column and input channel, channel within the block).
#![expect(unsafe_code, reason = "kernels are unsafe to run without their instruction set")]

use super::floats::Floats;
use super::product::{Left, Rows, block_of, in_tiles, product};
use super::simd::{Isa, Kernel, Vector, dispatch};
use super::team::Team;
use super::tensor::{BEFORE, Geometry, Tensor};
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
    weights: Floats,
    bias: Vec<f32>,
    isa: Isa,
}

impl Direct {
    /// Packs the weights with all threads.
    pub(super) fn new(conv: &Conv, isa: Isa, team: &Team) -> Direct {
        let block = block_of(isa);
        let [c_out, c_in, kernel, _] = conv.spec.weight_shape();
        let window = kernel * kernel * c_in;
        let blocks = c_out.div_ceil(block);
        let mut weights = Floats::zeros(blocks * window * block);
        let packed = weights.chunks_exact_mut(window * block);
        team.for_each(packed.zip(conv.weight.chunks(block * window)), |(packed, filters)| {
            for (lane, filter) in filters.chunks_exact(window).enumerate() {
                for (i, plane) in filter.chunks_exact(kernel * kernel).enumerate() {
                    for (at, &weight) in plane.iter().enumerate() {
                        packed[(at * c_in + i) * block + lane] = weight;
                    }
                }
            }
        });
        let mut bias = conv.bias.clone();
        bias.resize(blocks * block, 0.0);
        Direct { kernel, c_in, c_out, block, weights, bias, isa }
    }

    /// Computes all images of `src` into the channels of `dst` from `geometry.c_first` on.
    pub(super) fn run(&self, src: &Tensor, dst: &mut Tensor, geometry: Geometry, team: &Team) {
        let to = dst.layout();
        let rows_per_task = TASK_PIXELS.div_ceil(to.w).min(to.h);
        let mut work = Vec::new();
        for (image, dst) in dst.images_mut().enumerate() {
            let tasks = to.inner(dst).chunks_mut(rows_per_task * to.row_len()).enumerate();
            work.extend(tasks.map(|(task, rows)| (image, task * rows_per_task, rows)));
        }
        team.for_each(work, |(image, first_row, rows)| {
            let src = src.image(image);
            self.run_rows(src, geometry, first_row, rows);
        });
    }

    /// Computes some output rows of one image.
    pub(super) fn run_rows(
        &self,
        src: &[f32],
        geometry: Geometry,
        first_row: usize,
        rows: &mut [f32],
    ) {
        dispatch(self.isa, Band { conv: self, src, geometry, first_row, rows });
    }
}

/// Some output rows of one image.
struct Band<'a> {
    conv: &'a Direct,
    src: &'a [f32],
    geometry: Geometry,
    first_row: usize,
    rows: &'a mut [f32],
}

/// Where an output pixel's window starts, and where its channels go within the rows.
#[derive(Clone, Copy)]
struct Pixel {
    from: usize,
    to: usize,
}

impl Band<'_> {
    fn pixels(&self) -> Vec<Pixel> {
        let Geometry { from, to, stride, pad, c_first, .. } = self.geometry;
        let corner = |position: usize| (position * stride) as isize - pad as isize;
        let height = self.rows.len() / to.row_len();
        let mut pixels = Vec::with_capacity(height * to.w);
        for row in 0..height {
            let first = Pixel {
                from: from.at(corner(self.first_row + row), corner(0)),
                to: row * to.row_len() + BEFORE * to.c + c_first,
            };
            pixels.extend((0..to.w).map(|x| Pixel {
                from: first.from + x * stride * from.c,
                to: first.to + x * to.c,
            }));
        }
        pixels
    }
}

impl Kernel for Band<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const TILE: usize>(mut self) {
        let pixels = self.pixels();
        for index in 0..self.conv.c_out.div_ceil(self.conv.block) {
            let mut block = Block { band: &mut self, pixels: &pixels, index };
            // SAFETY: the caller vouches for the instruction set.
            unsafe { in_tiles::<V, TILE, _>(&mut block, pixels.len()) };
        }
    }
}

/// One block of output channels.
struct Block<'a, 'b> {
    band: &'a mut Band<'b>,
    pixels: &'a [Pixel],
    index: usize,
}

impl Rows for Block<'_, '_> {
    #[inline(always)]
    unsafe fn compute<V: Vector, const ROWS: usize>(&mut self, first: usize) {
        let pixels = &self.pixels[first..];
        let starts = std::array::from_fn(|row| pixels[row.min(pixels.len() - 1)].from);
        let Direct { kernel, c_in, c_out, block, ref weights, ref bias, .. } = *self.band.conv;
        let (run, first) = (kernel * c_in, self.index * block);
        let stride = self.band.geometry.from.row_len();
        let left = Left { data: self.band.src, segments: kernel, stride, run };
        let len = kernel * run * block;
        let weights = &weights[self.index * len..][..len];
        let bias = &bias[first..][..block];
        let channels = block.min(c_out - first);
        // SAFETY: the caller vouches for the instruction set; `bias` holds two vectors, and so does
        // what a vector is stored to.
        unsafe {
            let sums = product::<V, ROWS>(left, &starts, weights);
            for (pixel, sums) in pixels.iter().zip(sums) {
                let out = &mut self.band.rows[pixel.to + first..][..channels];
                for (half, sum) in sums.into_iter().enumerate() {
                    let bias = V::load(bias.as_ptr().add(half * V::LEN));
                    let value = V::splat(0.0).max(sum.add(bias));
                    if (half + 1) * V::LEN <= channels {
                        value.store(out.as_mut_ptr().add(half * V::LEN));
                    } else if half * V::LEN < channels {
                        let mut some = [0.0; 16];
                        value.store(some.as_mut_ptr());
                        let rest = &mut out[half * V::LEN..];
                        rest.copy_from_slice(&some[..rest.len()]);
                    }
                }
            }
        }
    }
}
