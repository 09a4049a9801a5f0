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

/// Vectors of channels that are transformed side by side: neighbours in memory.
const CHANNELS: usize = 4;

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

/// Where a tile is read within the transformed inputs, and where it goes within a line of products.
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

    /// Floats of a transformed tile: (position, channel), and as many as one position more, so that
    /// the same position of some tiles is spread over the sets of a cache.
    fn tile_len(&self) -> usize {
        (self.positions() + 1) * self.conv.c_in
    }

    /// Floats of a row of transformed tiles.
    pub(super) fn row_len(&self) -> usize {
        self.tiles.len() * self.tile_len()
    }

    /// Floats of the products of one line of positions and one block of channels for some rows of
    /// tiles: (tile, position, channel). An odd number of tiles, for the same reason.
    pub(super) fn line_len(&self, rows: usize) -> usize {
        ((rows * self.tiles.len()) | 1) * self.tile_line_len()
    }

    /// Floats of the products of one tile therein.
    fn tile_line_len(&self) -> usize {
        self.conv.scheme.side() * self.conv.block
    }

    /// Of the tile in column `x` of the strip and in row `row` of the group.
    pub(super) fn spot(&self, row: usize, x: usize) -> Spot {
        let tile = row * self.tiles.len() + x;
        Spot { from: tile * self.tile_len(), to: tile * self.tile_line_len() }
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

/// Transforms one row of tiles to (tile, position, channel).
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
        let (c_in, side, tile_len) = (conv.c_in, conv.scheme.side(), self.strip.tile_len());
        let corner = |start: usize| start as isize - geometry.pad as isize;
        let from_row = geometry.from.row_len();
        let top = corner(rows.start(self.row)) - geometry.from_top;
        let start = geometry.from.at(top, corner(columns.start(tiles.start)));
        let end = start + (Y_IN - 1) * from_row + ((tiles.len() - 1) * X_OUT + X_IN) * c_in;
        assert!(end <= self.src.len());
        let first = tiles.start - self.strip.tiles.start;
        let last = (first + tiles.len() - 1) * tile_len;
        let out_end = last + ((Y_IN - 1) * side + X_IN) * c_in;
        assert!(out_end <= self.out.len());
        for first_c in (0..c_in).step_by(CHANNELS * V::LEN) {
            let channels = (c_in - first_c).min(CHANNELS * V::LEN) / V::LEN;
            // SAFETY: the last element read and the last element written were asserted to be
            // inside; `c_in` is a multiple of the vector's length ([`Winograd::fits`]); the caller
            // vouches for the instruction set.
            unsafe {
                let from = self.src.as_ptr().add(start + first_c);
                let to = self.out.as_mut_ptr().add(first * tile_len + first_c);
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
                        let to = to.add(tile * tile_len + y * side * c_in);
                        for c in 0..channels {
                            let mut line = [V::splat(0.0); X_IN];
                            for (x, value) in line.iter_mut().enumerate() {
                                *value = ring[(left + x) % INPUT_MAX][y][c];
                            }
                            for (x, value) in X::input(line).into_iter().enumerate() {
                                let at = to.add(x * c_in + c * V::LEN);
                                value.store(at);
                                // The next tile's.
                                V::prefetch_write(at.wrapping_add(tile_len));
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
    pub(super) c_in: usize,
    /// (input channel, channel within the block).
    pub(super) weights: &'a [f32],
    /// The weights that are needed next.
    pub(super) ahead: &'a [f32],
    /// Transformed inputs, from the position of the first tile on.
    pub(super) inputs: &'a [f32],
    pub(super) spots: &'a [Spot],
    /// Products, from the position of the first tile on.
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
        let left = Left { data: self.inputs, segments: 1, stride: 0, run: self.c_in };
        let share = (self.weights.len() * ROWS / self.spots.len()).min(self.ahead.len());
        let (ahead, later) = self.ahead.split_at(share);
        self.ahead = later;
        // SAFETY: the caller vouches for the instruction set.
        let sums =
            unsafe { product::<V, ROWS>(left, &spots.map(|spot| spot.from), self.weights, ahead) };
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
    /// Blocks of channels that `products` has, line by line of positions.
    pub(super) blocks: Range<usize>,
    pub(super) products: &'a [f32],
    /// Floats of one line and one block.
    pub(super) line_len: usize,
    /// Number of the row's first tile within a line.
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
        let (block, tile_len, to) = (conv.block, self.strip.tile_line_len(), geometry.to);
        let blocks_len = self.blocks.len() * self.line_len;
        let height = (self.rows.len() / to.row_len()).min(Y_OUT);
        let work =
            self.blocks.clone().flat_map(|index| tiles.clone().map(move |tile| (index, tile)));
        for (index, tile) in work {
            let start = columns.start(tile);
            let width = (to.w - start).min(X_OUT);
            let spot = (self.first + tile - self.strip.tiles.start) * tile_len;
            let line = (index - self.blocks.start) * self.line_len + spot;
            let corner = (BEFORE + start) * to.c + geometry.c_first;
            for lane in [0, V::LEN] {
                let (index, c) = (line + lane, index * block + lane);
                let read_end = index + (Y_IN - 1) * blocks_len + (X_IN - 1) * block + V::LEN;
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
                            let at = from.add(y * blocks_len + x * block);
                            *value = V::load(at);
                            // The next tile's.
                            V::prefetch(at.wrapping_add(tile_len));
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
