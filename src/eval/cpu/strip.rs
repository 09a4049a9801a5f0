//! The three kernels of minimal filtering, over a strip: some neighbouring columns of tiles.
#![expect(unsafe_code, reason = "kernels are unsafe to run without their instruction set")]

use std::mem::MaybeUninit;
use std::ops::Range;

use super::conv::Geometry;
use super::product::{Left, Rows, in_tiles, product};
use super::simd::{Kernel, Vector};
use super::tensor::BEFORE;
use super::tiles::{Cut, Scheme};
use super::transform::{F4x3, F4x5, F6x3, INPUT_MAX, Line};
use super::winograd::Winograd;

/// Floats between the planes of two positions, beyond their length: planes whose distance is a
/// power of two would share the same few lines of the cache.
const SKEW: usize = 16;
/// Vectors of channels that are transformed side by side: neighbours in memory.
const CHANNELS: usize = 4;

const AHEAD: usize = 32;
/// Some columns of tiles of a map.
#[derive(Clone, Debug)]
pub(super) struct Strip<'a> {
    conv: &'a Winograd,
    geometry: Geometry,
    pub(super) rows: Cut,
    pub(super) columns: Cut,
    /// The columns of tiles that are computed.
    pub(super) tiles: Range<usize>,
}

/// Where a tile is read within the transformed inputs of a position, and where it goes within a
/// plane of products.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    from: usize,
    to: usize,
}

impl<'a> Strip<'a> {
    /// All columns.
    pub(super) fn new(conv: &'a Winograd, geometry: Geometry) -> Strip<'a> {
        let (rows, columns) = (conv.scheme.cut(geometry.to.h), conv.scheme.cut(geometry.to.w));
        Strip { conv, geometry, rows, columns, tiles: 0..columns.count() }
    }

    /// Some of them.
    pub(super) fn part(&self, tiles: Range<usize>) -> Strip<'a> {
        Strip { tiles, ..self.clone() }
    }

    pub(super) fn positions(&self) -> usize {
        self.conv.scheme.side() * self.conv.scheme.side()
    }

    /// Floats of one position of a row of transformed tiles.
    fn position_len(&self) -> usize {
        self.tiles.len() * self.conv.c_in + SKEW
    }

    /// Floats of a row of transformed tiles.
    pub(super) fn row_len(&self) -> usize {
        self.positions() * self.position_len()
    }

    /// Floats of the products of one position and one block of channels for some rows of tiles.
    pub(super) fn plane_len(&self, rows: usize) -> usize {
        rows * self.tiles.len() * self.conv.block + SKEW
    }

    /// Of the tile in column `x` of the strip and in row `row` of the group.
    pub(super) fn spot(&self, row: usize, x: usize) -> Spot {
        Spot {
            from: row * self.row_len() + x * self.conv.c_in,
            to: (row * self.tiles.len() + x) * self.conv.block,
        }
    }
}

/// A transform of the tiles of a row, in either direction.
trait Transform {
    /// Transforms tiles of one kind, down by `Y` and across by `X`. Must be `#[inline(always)]`, as
    /// a kernel's `run`.
    ///
    /// # Safety
    /// The instruction set of `V` must be available.
    unsafe fn tiles<
        V: Vector,
        Y: Line<Y_IN, Y_OUT>,
        X: Line<X_IN, X_OUT>,
        const Y_IN: usize,
        const Y_OUT: usize,
        const X_IN: usize,
        const X_OUT: usize,
    >(
        &mut self,
        tiles: Range<usize>,
    );
}

/// Transforms the tiles of a row, kind by kind.
///
/// # Safety
/// The instruction set of `V` must be available.
#[inline(always)]
unsafe fn transform<V: Vector, T: Transform>(target: &mut T, strip: &Strip<'_>, row: usize) {
    let [large, small] = strip.columns.split(&strip.tiles);
    // SAFETY: the caller vouches for the instruction set.
    unsafe {
        match strip.conv.scheme {
            Scheme::F4x3 => target.tiles::<V, F4x3, F4x3, _, _, _, _>(small),
            Scheme::F4x5 => target.tiles::<V, F4x5, F4x5, _, _, _, _>(large),
            Scheme::F6x3 if strip.rows.is_large(row) => {
                target.tiles::<V, F6x3, F6x3, _, _, _, _>(large);
                target.tiles::<V, F6x3, F4x3, _, _, _, _>(small);
            }
            Scheme::F6x3 => {
                target.tiles::<V, F4x3, F6x3, _, _, _, _>(large);
                target.tiles::<V, F4x3, F4x3, _, _, _, _>(small);
            }
        }
    }
}

/// Transforms one row of tiles to (position, tile, channel).
pub(super) struct Input<'a> {
    pub(super) strip: &'a Strip<'a>,
    /// The source image.
    pub(super) src: &'a [f32],
    pub(super) row: usize,
    pub(super) out: &'a mut [f32],
}

impl Kernel for Input<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const TILE: usize>(mut self) {
        let (strip, row) = (self.strip, self.row);
        // SAFETY: the caller vouches for the instruction set.
        unsafe { transform::<V, _>(&mut self, strip, row) };
    }
}

impl Transform for Input<'_> {
    // Neighbours share the columns that they overlap in, which a ring keeps.
    #[expect(clippy::needless_range_loop, reason = "the ring is filled and read across its axes")]
    #[inline(always)]
    unsafe fn tiles<
        V: Vector,
        Y: Line<Y_IN, Y_OUT>,
        X: Line<X_IN, X_OUT>,
        const Y_IN: usize,
        const Y_OUT: usize,
        const X_IN: usize,
        const X_OUT: usize,
    >(
        &mut self,
        tiles: Range<usize>,
    ) {
        if tiles.is_empty() {
            return;
        }
        let Strip { conv, geometry, rows, columns, .. } = self.strip;
        let (c_in, side, plane) = (conv.c_in, conv.scheme.side(), self.strip.position_len());
        let corner = |start: usize| start as isize - geometry.pad as isize;
        let from_row = geometry.from.row_len();
        let top = corner(rows.start(self.row)) - geometry.from_top;
        let start = geometry.from.at(top, corner(columns.start(tiles.start)));
        let end = start + (Y_IN - 1) * from_row + ((tiles.len() - 1) * X_OUT + X_IN) * c_in;
        assert!(end <= self.src.len());
        let first = tiles.start - self.strip.tiles.start;
        let out_end = ((Y_IN - 1) * side + X_IN - 1) * plane + (first + tiles.len()) * c_in;
        assert!(out_end <= self.out.len());
        for first_c in (0..c_in).step_by(CHANNELS * V::LEN) {
            let channels = (c_in - first_c).min(CHANNELS * V::LEN) / V::LEN;
            // SAFETY: the last element read and the last element written were asserted to be
            // inside; `c_in` is a multiple of the vector's length ([`Winograd::fits`]); the caller
            // vouches for the instruction set.
            unsafe {
                let from = self.src.as_ptr().add(start + first_c);
                let to = self.out.as_mut_ptr().add(first * c_in + first_c);
                let mut ring = [[[V::splat(0.0); CHANNELS]; Y_IN]; INPUT_MAX];
                for tile in 0..tiles.len() {
                    let left = tile * X_OUT;
                    let known = if tile == 0 { 0 } else { X_IN - X_OUT };
                    for x in left + known..left + X_IN {
                        let column = from.add(x * c_in);
                        let kept = &mut ring[x % INPUT_MAX];
                        for c in 0..channels {
                            let mut line = [V::splat(0.0); Y_IN];
                            for (y, value) in line.iter_mut().enumerate() {
                                *value = V::load(column.add(y * from_row + c * V::LEN));
                            }
                            for (kept, value) in kept.iter_mut().zip(Y::input(line)) {
                                kept[c] = value;
                            }
                        }
                    }
                    for y in 0..Y_IN {
                        let to = to.add(y * side * plane + tile * c_in);
                        for c in 0..channels {
                            let mut line = [V::splat(0.0); X_IN];
                            for (x, value) in line.iter_mut().enumerate() {
                                *value = ring[(left + x) % INPUT_MAX][y][c];
                            }
                            for (x, value) in X::input(line).into_iter().enumerate() {
                                let at = to.add(x * plane + c * V::LEN);
                                value.store(at);
                                V::prefetch_write(at.wrapping_add(c_in));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Multiplies one position and one block of channels of all tiles.
pub(super) struct Multiply<'a> {
    pub(super) strip: &'a Strip<'a>,
    pub(super) block: usize,
    pub(super) position: usize,
    pub(super) ahead: &'a [f32],
    pub(super) inputs: &'a [f32],
    pub(super) spots: &'a [Spot],
    /// A plane of products.
    pub(super) out: &'a mut [f32],
}

impl Kernel for Multiply<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const TILE: usize>(mut self) {
        let spots = self.spots;
        // SAFETY: the caller vouches for the instruction set.
        unsafe { in_tiles::<V, TILE, _>(&mut self, spots) };
    }
}

impl Rows for Multiply<'_> {
    type Spot = Spot;

    #[inline(always)]
    unsafe fn compute<V: Vector, const ROWS: usize>(&mut self, spots: &[Spot; ROWS]) {
        let Strip { conv, .. } = self.strip;
        let len = conv.c_in * conv.block;
        let plane = self.block * self.strip.positions() + self.position;
        let weights = &conv.weights[plane * len..][..len];
        let data = &self.inputs[self.position * self.strip.position_len()..];
        let left = Left { data, segments: 1, stride: 0, run: conv.c_in };
        let share = (conv.c_in * conv.block * ROWS / self.spots.len()).min(self.ahead.len());
        let (ahead, later) = self.ahead.split_at(share);
        self.ahead = later;
        // SAFETY: the caller vouches for the instruction set.
        let sums =
            unsafe { product::<V, ROWS>(left, &spots.map(|spot| spot.from), weights, ahead) };
        for (spot, [low, high]) in spots.iter().zip(sums) {
            let out = &mut self.out[spot.to..][..2 * V::LEN];
            // SAFETY: `out` holds two vectors; the caller vouches for the instruction set.
            unsafe {
                low.store(out.as_mut_ptr());
                high.store(out.as_mut_ptr().add(V::LEN));
            }
        }
    }
}

/// Transforms one row of tiles back, adds the bias, cuts off what is negative, and writes.
pub(super) struct Output<'a> {
    pub(super) strip: &'a Strip<'a>,
    /// Blocks of channels that `products` has, position by position.
    pub(super) blocks: Range<usize>,
    pub(super) products: &'a [f32],
    /// Floats of one position and one block.
    pub(super) plane_len: usize,
    /// Number of the row's first tile within a plane.
    pub(super) first: usize,
    pub(super) row: usize,
    /// The output rows.
    pub(super) rows: &'a mut [f32],
}

impl Kernel for Output<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const TILE: usize>(mut self) {
        let (strip, row) = (self.strip, self.row);
        // SAFETY: the caller vouches for the instruction set.
        unsafe { transform::<V, _>(&mut self, strip, row) };
    }
}

impl Transform for Output<'_> {
    #[inline(always)]
    unsafe fn tiles<
        V: Vector,
        Y: Line<Y_IN, Y_OUT>,
        X: Line<X_IN, X_OUT>,
        const Y_IN: usize,
        const Y_OUT: usize,
        const X_IN: usize,
        const X_OUT: usize,
    >(
        &mut self,
        tiles: Range<usize>,
    ) {
        let Strip { conv, geometry, columns, .. } = self.strip;
        let (block, side, to) = (conv.block, conv.scheme.side(), geometry.to);
        let position_len = self.blocks.len() * self.plane_len;
        let height = (self.rows.len() / to.row_len()).min(Y_OUT);
        for tile in tiles {
            let start = columns.start(tile);
            let width = (to.w - start).min(X_OUT);
            let spot = (self.first + tile - self.strip.tiles.start) * block;
            let corner = (BEFORE + start) * to.c + geometry.c_first;
            let halves = 2 * self.blocks.start..2 * self.blocks.end;
            for (index, c) in halves.map(|half| half * V::LEN).enumerate() {
                let index = index / 2 * self.plane_len + spot + index % 2 * V::LEN;
                let read_end = index + ((Y_IN - 1) * side + X_IN - 1) * position_len + V::LEN;
                let at = corner + c;
                let write_end = at + (height - 1) * to.row_len() + (width - 1) * to.c + V::LEN;
                assert!(read_end <= self.products.len());
                assert!(write_end <= self.rows.len() && c + V::LEN <= conv.bias.len());
                // SAFETY: the last element read and the last element written were asserted to be
                // inside; every line of `half` is written before it is read; the caller vouches for
                // the instruction set.
                unsafe {
                    let from = self.products.as_ptr().add(index);
                    let mut half = [const { MaybeUninit::<[V; Y_OUT]>::uninit() }; X_IN];
                    for (x, half) in half.iter_mut().enumerate() {
                        let mut line = [V::splat(0.0); Y_IN];
                        for (y, value) in line.iter_mut().enumerate() {
                            let at = from.add((y * side + x) * position_len);
                            *value = V::load(at);
                            V::prefetch(at.wrapping_add(AHEAD));
                        }
                        half.write(Y::output(line));
                    }
                    let bias = V::load(conv.bias.as_ptr().add(c));
                    let dst = self.rows.as_mut_ptr().add(at);
                    for y in 0..height {
                        let mut line = [V::splat(0.0); X_IN];
                        for (value, half) in line.iter_mut().zip(&half) {
                            *value = half.assume_init_ref()[y];
                        }
                        let dst = dst.add(y * to.row_len());
                        let values = X::output(line).into_iter().enumerate();
                        // Nearly always the number of stores is known, and there is no branch.
                        if width == X_OUT {
                            for (x, value) in values {
                                V::splat(0.0).max(value.add(bias)).store(dst.add(x * to.c));
                            }
                        } else {
                            for (x, value) in values.take(width) {
                                V::splat(0.0).max(value.add(bias)).store(dst.add(x * to.c));
                            }
                        }
                    }
                }
            }
        }
    }
}
