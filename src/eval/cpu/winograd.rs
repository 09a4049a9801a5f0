//! Convolution + bias + ReLU at stride 1 by Winograd's minimal filtering (Lavin and Gray,
//! arXiv:1509.09308): overlapping input tiles and the filters are transformed, multiplied position
//! by position as matrices over channels, and transformed back.
//!
//! A row of tiles is the unit of both transforms. Where the transformed weights are small, a task
//! does everything for its rows of tiles, so that nothing leaves the cache. Where they are large,
//! all threads transform a group of rows of tiles, then share the products by position and block of
//! channels, so that every weight is read once for the group. Either way each element has the same
//! order of summation.
#![expect(unsafe_code, reason = "kernels are unsafe to run without their instruction set")]

use std::sync::Mutex;

use rayon::prelude::*;

use super::conv::Geometry;
use super::product::{Left, block_of, product};
use super::simd::{Isa, Kernel, Vector, dispatch};
use super::tensor::{BORDER, Tensor};
use super::transform::{INPUT_MAX, Scheme};
use crate::net::weights::Conv;

/// Transformed weights of more bytes than this are read once per group by all threads together.
const SHARED_WEIGHT_BYTES: usize = 3 << 20;
/// Tiles of a task of one thread, and of a group of all threads, at least (a row of tiles more).
const TASK_TILES: usize = 24;
const GROUP_TILES: usize = 224;
/// Floats between the planes of two positions, beyond their length: planes whose distance is a
/// power of two would share the same few lines of the cache.
const SKEW: usize = 16;

/// Transformed and packed weights: (position, block, input channel, channel within the block).
#[derive(Debug)]
pub(super) struct Winograd {
    scheme: Scheme,
    c_in: usize,
    c_out: usize,
    block: usize,
    weights: Vec<f32>,
    bias: Vec<f32>,
    isa: Isa,
}

/// Scratch memory: one part for each thread, one for all together. It grows to what is needed.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    own: Vec<Mutex<Vec<f32>>>,
    shared: Vec<f32>,
}

impl Scratch {
    pub(super) fn new(threads: usize) -> Scratch {
        Scratch { own: (0..threads).map(|_| Mutex::default()).collect(), shared: Vec::new() }
    }
}

/// A row of tiles of one image, and the output rows that it becomes.
struct TileRow<'a> {
    image: usize,
    index: usize,
    rows: &'a mut [f32],
}

impl Winograd {
    /// Whether the kernels are written for these channels: whole vectors in, whole blocks out.
    pub(super) fn fits(c_in: usize, c_out: usize, isa: Isa) -> bool {
        c_in.is_multiple_of(block_of(isa) / 2) && c_out.is_multiple_of(block_of(isa))
    }

    /// Transforms the weights with all threads of the current pool.
    pub(super) fn new(conv: &Conv, scheme: Scheme, isa: Isa) -> Winograd {
        let block = block_of(isa);
        let [c_out, c_in, kernel, _] = conv.spec.weight_shape();
        let positions = scheme.input() * scheme.input();
        let filter = scheme.filter_matrix(kernel);
        let taps = kernel * kernel;
        // One chunk per (block, input channels of it); scattered to positions afterwards.
        let blocks = c_out / block;
        let of_block = |index: usize| {
            let mut packed = vec![0.0f32; positions * c_in * block];
            for lane in 0..block {
                let o = index * block + lane;
                for i in 0..c_in {
                    let weights = &conv.weight[(o * c_in + i) * taps..][..taps];
                    let transformed = scheme.transform_filter(&filter, kernel, weights);
                    for (position, value) in transformed.into_iter().take(positions).enumerate() {
                        packed[(position * c_in + i) * block + lane] = value;
                    }
                }
            }
            packed
        };
        let by_block: Vec<Vec<f32>> = (0..blocks).into_par_iter().map(of_block).collect();
        let mut weights = vec![0.0; positions * c_in * c_out];
        let planes = weights.par_chunks_exact_mut(c_in * block).enumerate();
        planes.for_each(|(plane, dst)| {
            let (position, index) = (plane / blocks, plane % blocks);
            dst.copy_from_slice(&by_block[index][position * c_in * block..][..c_in * block]);
        });
        Winograd { scheme, c_in, c_out, block, weights, bias: conv.bias.clone(), isa }
    }

    /// Computes all images of `src` into the channels of `dst` from `geometry.c_first` on.
    pub(super) fn run(
        &self,
        src: &Tensor,
        dst: &mut Tensor,
        geometry: Geometry,
        scratch: &mut Scratch,
    ) {
        let mut rows = self.tile_rows(dst);
        let tiles_w = self.tiles_w(geometry);
        if size_of_val(self.weights.as_slice()) > SHARED_WEIGHT_BYTES {
            let group = GROUP_TILES.div_ceil(tiles_w);
            for rows in rows.chunks_mut(group) {
                self.run_together(src, rows, geometry, &mut scratch.shared);
            }
        } else {
            let group = TASK_TILES.div_ceil(tiles_w);
            let own = &scratch.own;
            rows.par_chunks_mut(group).for_each(|rows| {
                let thread = rayon::current_thread_index().unwrap_or(0);
                let mut memory =
                    own[thread].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                self.run_alone(src, rows, geometry, &mut memory);
            });
        }
    }

    fn tiles_w(&self, geometry: Geometry) -> usize {
        geometry.to.w.div_ceil(self.scheme.output())
    }

    fn tile_rows<'a>(&self, dst: &'a mut Tensor) -> Vec<TileRow<'a>> {
        let to = dst.layout();
        let mut all = Vec::new();
        for (image, dst) in dst.images_mut().enumerate() {
            let inner = &mut dst[BORDER * to.row_len()..][..to.h * to.row_len()];
            let rows = inner.chunks_mut(self.scheme.output() * to.row_len()).enumerate();
            all.extend(rows.map(|(index, rows)| TileRow { image, index, rows }));
        }
        all
    }

    /// Splits memory into transformed inputs, a part per row of tiles, and products, a part per
    /// position and block. Returns the lengths of these parts as well.
    fn split<'m>(
        &self,
        memory: &'m mut Vec<f32>,
        row_count: usize,
        tiles_w: usize,
    ) -> (&'m mut [f32], &'m mut [f32], usize, usize) {
        let positions = self.scheme.input() * self.scheme.input();
        let row_len = positions * (tiles_w * self.c_in + SKEW);
        let plane_len = row_count * tiles_w * self.block + SKEW;
        let (inputs, products) =
            (row_count * row_len, positions * (self.c_out / self.block) * plane_len);
        if memory.len() < inputs + products {
            memory.resize(inputs + products, 0.0);
        }
        let (inputs, rest) = memory.split_at_mut(inputs);
        (inputs, &mut rest[..products], row_len, plane_len)
    }

    /// One thread does everything for its rows of tiles.
    fn run_alone(
        &self,
        src: &Tensor,
        rows: &mut [TileRow<'_>],
        geometry: Geometry,
        memory: &mut Vec<f32>,
    ) {
        let tiles_w = self.tiles_w(geometry);
        let (inputs, products, row_len, plane_len) = self.split(memory, rows.len(), tiles_w);
        for (row, out) in rows.iter().zip(inputs.chunks_exact_mut(row_len)) {
            self.input(src, row, geometry, out);
        }
        let tiles = Tiles { row_len, tiles_w, count: rows.len() * tiles_w };
        for (plane, out) in products.chunks_exact_mut(plane_len).enumerate() {
            self.multiply(plane, inputs, tiles, out);
        }
        for (index, row) in rows.iter_mut().enumerate() {
            self.output(products, plane_len, index * tiles_w, row, geometry);
        }
    }

    /// All threads share the rows of tiles, then the products, then the rows again.
    fn run_together(
        &self,
        src: &Tensor,
        rows: &mut [TileRow<'_>],
        geometry: Geometry,
        memory: &mut Vec<f32>,
    ) {
        let tiles_w = self.tiles_w(geometry);
        let (inputs, products, row_len, plane_len) = self.split(memory, rows.len(), tiles_w);
        let work = rows.par_iter().zip(inputs.par_chunks_exact_mut(row_len));
        work.for_each(|(row, out)| self.input(src, row, geometry, out));
        let tiles = Tiles { row_len, tiles_w, count: rows.len() * tiles_w };
        let work = products.par_chunks_exact_mut(plane_len).enumerate();
        work.for_each(|(plane, out)| self.multiply(plane, inputs, tiles, out));
        rows.par_iter_mut().enumerate().for_each(|(index, row)| {
            self.output(products, plane_len, index * tiles_w, row, geometry);
        });
    }

    /// Transforms a row of tiles to (position, tile, channel).
    fn input(&self, src: &Tensor, row: &TileRow<'_>, geometry: Geometry, out: &mut [f32]) {
        let src = src.image(row.image);
        dispatch(self.isa, Input { conv: self, src, tile_row: row.index, geometry, out });
    }

    /// Multiplies one position and one block of channels for all tiles to (tile, channel).
    fn multiply(&self, plane: usize, inputs: &[f32], tiles: Tiles, out: &mut [f32]) {
        dispatch(self.isa, Multiply { conv: self, plane, inputs, tiles, out });
    }

    /// Transforms a row of tiles back and writes its output rows.
    fn output(
        &self,
        products: &[f32],
        plane_len: usize,
        first_tile: usize,
        row: &mut TileRow<'_>,
        geometry: Geometry,
    ) {
        let rows = &mut *row.rows;
        let output = Output { conv: self, products, plane_len, first_tile, rows, geometry };
        dispatch(self.isa, output);
    }
}

/// Where the transformed tiles of a group are.
#[derive(Clone, Copy)]
struct Tiles {
    row_len: usize,
    tiles_w: usize,
    count: usize,
}

struct Input<'a> {
    conv: &'a Winograd,
    src: &'a [f32],
    tile_row: usize,
    geometry: Geometry,
    out: &'a mut [f32],
}

impl Kernel for Input<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const TILE: usize>(self) {
        let Winograd { scheme, c_in, .. } = *self.conv;
        let Geometry { from, to, pad, .. } = self.geometry;
        let (input, output) = (scheme.input(), scheme.output());
        let tiles_w = to.w.div_ceil(output);
        let plane_len = tiles_w * c_in + SKEW;
        let top = (self.tile_row * output) as isize - pad as isize;
        let inside = |start: isize, len: usize| {
            let end = (len + BORDER) as isize;
            usize::try_from(end - start).unwrap_or(0).min(input)
        };
        let valid_h = inside(top, from.h);
        for tile in 0..tiles_w {
            let left = (tile * output) as isize - pad as isize;
            let valid_w = inside(left, from.w);
            let start = from.at(top, left);
            let end = start + (valid_h - 1) * from.row_len() + valid_w * c_in;
            assert!(end <= self.src.len());
            assert!((input * input - 1) * plane_len + (tile + 1) * c_in <= self.out.len());
            for c in (0..c_in).step_by(V::LEN) {
                // SAFETY: the last element read and the last element written were asserted to be
                // inside; `c_in` is a multiple of the vector's length ([`Winograd::fits`]); the
                // caller vouches for the instruction set.
                unsafe {
                    let zero = V::splat(0.0);
                    let mut values = [[zero; INPUT_MAX]; INPUT_MAX];
                    for (y, row) in values.iter_mut().enumerate().take(valid_h) {
                        let from_row = self.src.as_ptr().add(start + y * from.row_len() + c);
                        for (x, value) in row.iter_mut().enumerate().take(valid_w) {
                            *value = V::load(from_row.add(x * c_in));
                        }
                    }
                    let values = scheme.transform_input(values);
                    let to = self.out.as_mut_ptr().add(tile * c_in + c);
                    for (y, row) in values.iter().enumerate().take(input) {
                        for (x, value) in row.iter().enumerate().take(input) {
                            value.store(to.add((y * input + x) * plane_len));
                        }
                    }
                }
            }
        }
    }
}

struct Multiply<'a> {
    conv: &'a Winograd,
    plane: usize,
    inputs: &'a [f32],
    tiles: Tiles,
    out: &'a mut [f32],
}

impl Kernel for Multiply<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const TILE: usize>(self) {
        let Winograd { c_in, c_out, block, .. } = *self.conv;
        let Tiles { row_len, tiles_w, count } = self.tiles;
        let position = self.plane / (c_out / block);
        let weights = &self.conv.weights[self.plane * c_in * block..][..c_in * block];
        let left = Left { data: self.inputs, segments: 1, stride: 0, run: c_in };
        let start = |tile: usize| {
            let (row, x) = (tile / tiles_w, tile % tiles_w);
            row * row_len + position * (tiles_w * c_in + SKEW) + x * c_in
        };
        if count < TILE {
            let starts = std::array::from_fn(|i| start(i.min(count - 1)));
            let mut sums = [0.0; 16 * super::product::BLOCK_MAX];
            let sums = &mut sums[..TILE * block];
            // SAFETY: the caller vouches for the instruction set.
            unsafe { product::<V, TILE>(left, &starts, weights, sums) };
            self.out[..count * block].copy_from_slice(&sums[..count * block]);
            return;
        }
        for tile in 0..count.div_ceil(TILE) {
            // The last tile of the product overlaps the one before it.
            let first = (tile * TILE).min(count - TILE);
            let starts = std::array::from_fn(|i| start(first + i));
            let out = &mut self.out[first * block..][..TILE * block];
            // SAFETY: the caller vouches for the instruction set.
            unsafe { product::<V, TILE>(left, &starts, weights, out) };
        }
    }
}

struct Output<'a> {
    conv: &'a Winograd,
    products: &'a [f32],
    plane_len: usize,
    first_tile: usize,
    rows: &'a mut [f32],
    geometry: Geometry,
}

impl Kernel for Output<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const TILE: usize>(self) {
        let Winograd { scheme, c_out, block, .. } = *self.conv;
        let Geometry { to, c_first, .. } = self.geometry;
        let (input, output) = (scheme.input(), scheme.output());
        let position_len = c_out / block * self.plane_len;
        let height = self.rows.len() / to.row_len();
        for tile in 0..to.w.div_ceil(output) {
            let width = output.min(to.w - tile * output);
            for c in (0..c_out).step_by(V::LEN) {
                let from =
                    c / block * self.plane_len + (self.first_tile + tile) * block + c % block;
                let at = (BORDER + tile * output) * to.c + c_first + c;
                let last = (height - 1) * to.row_len() + at + (width - 1) * to.c + V::LEN;
                assert!(from + (input * input - 1) * position_len + V::LEN <= self.products.len());
                assert!(last <= self.rows.len() && c + V::LEN <= self.conv.bias.len());
                // SAFETY: the last element read and the last element written were asserted to be
                // inside; the caller vouches for the instruction set.
                unsafe {
                    let zero = V::splat(0.0);
                    let mut values = [[zero; INPUT_MAX]; INPUT_MAX];
                    let from = self.products.as_ptr().add(from);
                    for (y, row) in values.iter_mut().enumerate().take(input) {
                        for (x, value) in row.iter_mut().enumerate().take(input) {
                            *value = V::load(from.add((y * input + x) * position_len));
                        }
                    }
                    let bias = V::load(self.conv.bias.as_ptr().add(c));
                    let values = scheme.transform_output(values);
                    for (y, row) in values.iter().enumerate().take(height) {
                        let dst = self.rows.as_mut_ptr().add(y * to.row_len() + at);
                        for (x, value) in row.iter().enumerate().take(width) {
                            value.add(bias).max(zero).store(dst.add(x * to.c));
                        }
                    }
                }
            }
        }
    }
}
