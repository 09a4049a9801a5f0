//! Convolution + bias + ReLU as an implicit matrix product, for any kernel and stride.
//!
//! With channels innermost, the part of a window in one input row is `kernel * c_in` contiguous
//! floats. So some output pixels times a block of output channels is a small matrix product whose
//! left side is read in place, without an im2col buffer. Weights are packed once: (block, kernel
//! row, kernel column and input channel, channel within the block).
#![expect(unsafe_code, reason = "results are stored by pointer")]

use super::floats::Floats;
use super::product::{Left, Rows, block_of, in_tiles, product};
use super::simd::{Kernel, Simd, Vector, dispatch};
use super::team::Team;
use super::tensor::{BEFORE, Geometry, Source, Target, Tensor};
use crate::isa::Isa;
use crate::net::weights::Conv;

/// Least number of output pixels of a task, so that each block of weights is reused often.
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

    /// Computes some rows of all images into the channels of `dst` from `geometry.c_first` on.
    pub(super) fn run(&self, src: &Tensor, mut dst: Target<'_>, geometry: Geometry, team: &Team) {
        let (to, first) = (dst.layout(), dst.rows.start);
        let rows_per_task = TASK_PIXELS.div_ceil(to.w);
        let mut work = Vec::new();
        for (image, rows) in dst.images().enumerate() {
            let tasks = rows.chunks_mut(rows_per_task * to.row_len()).enumerate();
            work.extend(tasks.map(|(task, rows)| (image, first + task * rows_per_task, rows)));
        }
        team.for_each(work, |(image, first_row, rows)| {
            let src = src.image(image);
            self.run_rows(src, geometry, [first_row, 0], rows);
        });
    }

    /// Computes some output rows of one image from the position `first` on: as many columns as the
    /// target of the geometry has.
    pub(super) fn run_rows(
        &self,
        src: Source<'_>,
        geometry: Geometry,
        first: [usize; 2],
        rows: &mut [f32],
    ) {
        dispatch(self.isa, OutputRows { conv: self, src, geometry, first, rows });
    }
}

/// Some output rows of one image.
struct OutputRows<'a> {
    conv: &'a Direct,
    src: Source<'a>,
    geometry: Geometry,
    /// Row and column.
    first: [usize; 2],
    rows: &'a mut [f32],
}

/// Where an output pixel's window starts, and where its channels go within the rows.
#[derive(Clone, Copy)]
struct Pixel {
    from: usize,
    to: usize,
}

impl OutputRows<'_> {
    fn pixels(&self) -> Vec<Pixel> {
        let Geometry { from, to, stride, pad, c_first } = self.geometry;
        let corner = |position: usize| (position * stride) as isize - pad as isize;
        let ([first_row, first_column], height) = (self.first, self.rows.len() / to.row_len());
        let mut pixels = Vec::with_capacity(height * to.w);
        for row in 0..height {
            let first = Pixel {
                from: self.src.at(corner(first_row + row), corner(first_column)),
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

impl Kernel for OutputRows<'_> {
    #[inline(always)]
    fn run<S: Simd, const TILE: usize>(mut self, simd: S) {
        let pixels = self.pixels();
        for index in 0..self.conv.c_out.div_ceil(self.conv.block) {
            let mut block = Block { rows: &mut self, pixels: &pixels, index };
            in_tiles::<S, TILE, _>(simd, &mut block, pixels.len());
        }
    }
}

/// One block of output channels.
struct Block<'a, 'b> {
    rows: &'a mut OutputRows<'b>,
    pixels: &'a [Pixel],
    index: usize,
}

impl Rows for Block<'_, '_> {
    #[inline(always)]
    fn compute<S: Simd, const ROWS: usize>(&mut self, simd: S, first: usize) {
        let pixels = &self.pixels[first..];
        let starts = std::array::from_fn(|row| pixels[row.min(pixels.len() - 1)].from);
        let Direct { kernel, c_in, c_out, block, ref weights, ref bias, .. } = *self.rows.conv;
        let (run, first) = (kernel * c_in, self.index * block);
        let stride = self.rows.geometry.from.row_len();
        let left = Left { data: self.rows.src.data, segments: kernel, stride, run };
        let len = kernel * run * block;
        let weights = &weights[self.index * len..][..len];
        let bias = &bias[first..][..block];
        let channels = block.min(c_out - first);
        let sums = product::<S, ROWS>(simd, left, &starts, weights);
        // SAFETY: `bias` holds two vectors, and whatever a vector is stored to holds one.
        unsafe {
            for (pixel, sums) in pixels.iter().zip(sums) {
                let out = &mut self.rows.rows[pixel.to + first..][..channels];
                for (half, sum) in sums.into_iter().enumerate() {
                    let bias = simd.load(bias.as_ptr().add(half * S::LEN));
                    let value = simd.splat(0.0).max(sum.add(bias));
                    if (half + 1) * S::LEN <= channels {
                        value.store(out.as_mut_ptr().add(half * S::LEN));
                    } else if half * S::LEN < channels {
                        let mut some = [0.0; 16];
                        value.store(some.as_mut_ptr());
                        let rest = &mut out[half * S::LEN..];
                        rest.copy_from_slice(&some[..rest.len()]);
                    }
                }
            }
        }
    }
}
