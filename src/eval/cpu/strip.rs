//! The three kernels of minimal filtering, over a strip: some neighbouring columns of tiles.
#![expect(unsafe_code, reason = "kernels are unsafe to run without their instruction set")]

use std::mem::MaybeUninit;
use std::ops::Range;

use super::conv::Geometry;
use super::product::{Ahead, Interleaved, product_interleaved};
use super::simd::{Kernel, Vector};
use super::tensor::BEFORE;
use super::tiles::{Cut, Scheme, is_common};
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

/// The order of the tiles of some rows in memory, in which those that have a position are
/// neighbours: small ones in large rows, large ones in large rows, large ones in small rows, small
/// ones in small rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots {
    /// Rows of tiles, large and small.
    rows: [usize; 2],
    /// Columns of tiles, large and small.
    columns: [usize; 2],
}

impl Slots {
    pub(super) fn count(&self) -> usize {
        (self.rows[0] + self.rows[1]) * (self.columns[0] + self.columns[1])
    }

    /// Where the four kinds begin.
    fn starts(&self) -> [usize; 4] {
        let ([large, small], columns) = (self.rows, self.columns);
        let second = large * columns[1];
        let third = second + large * columns[0];
        [0, second, third, third + small * columns[0]]
    }

    /// The first slots of the large and of the small tiles of a row, before which come `before`
    /// rows of its kind.
    pub(super) fn of_row(&self, is_large: bool, before: usize) -> [usize; 2] {
        let starts = self.starts();
        let [large, small] = if is_large { [1, 0] } else { [2, 3] };
        [starts[large] + before * self.columns[0], starts[small] + before * self.columns[1]]
    }

    /// The tiles that have position (y, x).
    pub(super) fn of_position(&self, y: usize, x: usize) -> Range<usize> {
        let [first, second, third, fourth] = self.starts();
        match (is_common(y), is_common(x)) {
            (false, false) => second..third,
            (false, true) => first..third,
            (true, false) => second..fourth,
            (true, true) => first..self.count(),
        }
    }
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

    /// Where the tiles of some rows lie.
    pub(super) fn slots(&self, rows: impl Iterator<Item = usize>) -> Slots {
        let [large, small] = self.columns.split(&self.tiles);
        let mut counts = [0; 2];
        rows.for_each(|row| counts[usize::from(!self.rows.is_large(row))] += 1);
        Slots { rows: counts, columns: [large.len(), small.len()] }
    }

    /// Floats of one position of `tiles` transformed tiles: (chunk of channels, tile, channel). An
    /// odd number of lines, so that the positions of a tile are spread over the sets of a cache.
    pub(super) fn position_len(&self, tiles: usize) -> usize {
        ((tiles * self.conv.c_in).div_ceil(16) | 1) * 16
    }

    /// Floats of the products of one line of positions and one block of channels for `tiles`:
    /// (tile, position, channel). An odd number of tiles, for the same reason.
    pub(super) fn line_len(&self, tiles: usize) -> usize {
        (tiles | 1) * self.tile_line_len()
    }

    /// Floats of the products of one tile therein.
    pub(super) fn tile_line_len(&self) -> usize {
        self.conv.scheme.side() * self.conv.block
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
        slot: usize,
    );
}

/// Transforms the tiles of a row, kind by kind.
///
/// # Safety
/// The instruction set of `V` must be available.
#[inline(always)]
unsafe fn transform<V: Vector, T: Transform>(
    target: &mut T,
    strip: &Strip<'_>,
    row: usize,
    slots: [usize; 2],
) {
    let [large, small] = strip.columns.split(&strip.tiles);
    // SAFETY: the caller vouches for the instruction set.
    unsafe {
        match strip.conv.scheme {
            Scheme::F4x3 => target.tiles::<V, F4x3, F4x3, _, _, _, _>(small, slots[1]),
            Scheme::F4x5 => target.tiles::<V, F4x5, F4x5, _, _, _, _>(large, slots[0]),
            Scheme::F6x3 if strip.rows.is_large(row) => {
                target.tiles::<V, F6x3, F6x3, _, _, _, _>(large, slots[0]);
                target.tiles::<V, F6x3, F4x3, _, _, _, _>(small, slots[1]);
            }
            Scheme::F6x3 => {
                target.tiles::<V, F4x3, F6x3, _, _, _, _>(large, slots[0]);
                target.tiles::<V, F4x3, F4x3, _, _, _, _>(small, slots[1]);
            }
        }
    }
}

/// Transforms one row of tiles to (position, chunk of channels, slot, channel).
pub(super) struct Input<'a> {
    pub(super) strip: &'a Strip<'a>,
    /// The source image.
    pub(super) src: &'a [f32],
    pub(super) row: usize,
    pub(super) slots: [usize; 2],
    /// Of the group.
    pub(super) tiles: usize,
    pub(super) out: &'a Inputs<'a>,
}

/// Transformed inputs, which rows of tiles write at the same time.
pub(super) struct Inputs<'a> {
    data: *mut f32,
    len: usize,
    of: std::marker::PhantomData<&'a mut [f32]>,
}

impl<'a> Inputs<'a> {
    pub(super) fn new(data: &'a mut [f32]) -> Inputs<'a> {
        Inputs { data: data.as_mut_ptr(), len: data.len(), of: std::marker::PhantomData }
    }
}

unsafe impl Sync for Inputs<'_> {}
unsafe impl Send for Inputs<'_> {}

impl Kernel for Input<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const TILE: usize>(mut self) {
        let (strip, row, slots) = (self.strip, self.row, self.slots);
        // SAFETY: the caller vouches for the instruction set.
        unsafe { transform::<V, _>(&mut self, strip, row, slots) };
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
        slot: usize,
    ) {
        if tiles.is_empty() {
            return;
        }
        let Strip { conv, geometry, rows, columns, .. } = self.strip;
        let (c_in, side) = (conv.c_in, conv.scheme.side());
        let (position_len, chunk_len) = (self.strip.position_len(self.tiles), self.tiles * V::LEN);
        let corner = |start: usize| start as isize - geometry.pad as isize;
        let from_row = geometry.from.row_len();
        let top = corner(rows.start(self.row)) - geometry.from_top;
        let start = geometry.from.at(top, corner(columns.start(tiles.start)));
        let end = start + (Y_IN - 1) * from_row + ((tiles.len() - 1) * X_OUT + X_IN) * c_in;
        assert!(end <= self.src.len());
        let out_end = ((Y_IN - 1) * side + X_IN) * position_len;
        assert!(out_end <= self.out.len && slot + tiles.len() <= self.tiles);
        for first_c in (0..c_in).step_by(CHANNELS * V::LEN) {
            let channels = (c_in - first_c).min(CHANNELS * V::LEN) / V::LEN;
            // SAFETY: the last element read and the last element written were asserted to be
            // inside; `c_in` is a multiple of the vector's length ([`Winograd::fits`]); the caller
            // vouches for the instruction set.
            unsafe {
                let from = self.src.as_ptr().add(start + first_c);
                let to = self.out.data.add(first_c / V::LEN * chunk_len + slot * V::LEN);
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
                        let to = to.add(tile * V::LEN + y * side * position_len);
                        for c in 0..channels {
                            let mut line = [V::splat(0.0); X_IN];
                            for (x, value) in line.iter_mut().enumerate() {
                                *value = ring[(left + x) % INPUT_MAX][y][c];
                            }
                            for (x, value) in X::input(line).into_iter().enumerate() {
                                let at = to.add(x * position_len + c * chunk_len);
                                value.store(at);
                                // The next tile's.
                                V::prefetch_write(at.wrapping_add(V::LEN));
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
    /// Transformed inputs of the position.
    pub(super) inputs: &'a [f32],
    /// Floats to the next position.
    pub(super) position_len: usize,
    /// Of the group.
    pub(super) tiles: usize,
    /// Those that are multiplied.
    pub(super) slots: Range<usize>,
    /// Products, from the position of the first tile on.
    pub(super) out: &'a mut [f32],
    pub(super) out_len: usize,
}

impl Kernel for Multiply<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const TILE: usize>(mut self) {
        let slots = self.slots.clone();
        let steps = slots.len().div_ceil(TILE) * self.c_in;
        let step = self.ahead.len().div_ceil(steps.max(1));
        let mut ahead = Ahead { at: self.ahead.as_ptr(), step };
        let ahead = &mut ahead;
        // SAFETY: the caller vouches for the instruction set.
        unsafe {
            for slot in slots.clone().step_by(TILE) {
                match slots.end - slot {
                    ..=4 => self.compute::<V, 4>(slot, ahead),
                    ..=6 if TILE > 6 => self.compute::<V, 6>(slot, ahead),
                    ..=8 if TILE > 8 => self.compute::<V, 8>(slot, ahead),
                    ..=10 if TILE > 10 => self.compute::<V, 10>(slot, ahead),
                    _ => self.compute::<V, TILE>(slot, ahead),
                }
            }
        }
    }
}

impl Multiply<'_> {
    #[inline(always)]
    unsafe fn compute<V: Vector, const ROWS: usize>(&mut self, first: usize, ahead: &mut Ahead) {
        let last = first + ROWS >= self.slots.end;
        let left = Interleaved {
            data: &self.inputs[first * V::LEN..],
            chunks: self.c_in / V::LEN,
            chunk_len: self.tiles * V::LEN,
            next: if last { self.position_len - (first - self.slots.start) * V::LEN } else { ROWS * V::LEN },
        };
        // SAFETY: the caller vouches for the instruction set.
        let sums = unsafe { product_interleaved::<V, ROWS>(left, self.weights, ahead) };
        for (slot, [low, high]) in (first..self.slots.end).zip(sums) {
            let out = &mut self.out[slot * self.out_len..][..2 * V::LEN];
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
    pub(super) slots: [usize; 2],
    pub(super) row: usize,
    /// The output rows.
    pub(super) rows: &'a mut [f32],
}

impl Kernel for Output<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const TILE: usize>(mut self) {
        let (strip, row, slots) = (self.strip, self.row, self.slots);
        // SAFETY: the caller vouches for the instruction set.
        unsafe { transform::<V, _>(&mut self, strip, row, slots) };
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
        slot: usize,
    ) {
        let Strip { conv, geometry, columns, .. } = self.strip;
        let (block, tile_len, to) = (conv.block, self.strip.tile_line_len(), geometry.to);
        let blocks_len = self.blocks.len() * self.line_len;
        let height = (self.rows.len() / to.row_len()).min(Y_OUT);
        let work = self
            .blocks
            .clone()
            .flat_map(|index| tiles.clone().enumerate().map(move |(at, tile)| (index, at, tile)));
        for (index, at, tile) in work {
            let start = columns.start(tile);
            let width = (to.w - start).min(X_OUT);
            let spot = (slot + at) * tile_len;
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
                                let at = dst.add(x * to.c);
                                V::splat(0.0).max(value.add(bias)).store(at);
                                V::prefetch_write(at.wrapping_add(X_OUT * to.c));
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
