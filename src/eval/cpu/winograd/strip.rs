//! The transforms of minimal filtering, over a strip: some neighbouring columns of tiles.
#![expect(unsafe_code, reason = "tiles are read and written by pointer")]

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::filters::Filters;
use super::tiles::{Cut, Scheme, Slots};
use super::transform::{F4x3, F4x5, F6x3, INPUT_MAX, Line};
use crate::eval::cpu::simd::{Kernel, Simd, Vector};
use crate::eval::cpu::tensor::{BEFORE, Geometry, Layout, Source};

/// Floats of a cache line.
const LINE: usize = 16;
/// Vectors of channels, neighbours in memory, that are transformed together.
const CHANNELS: usize = 4;

/// Some columns of tiles of a map.
#[derive(Clone, Debug)]
pub(super) struct Strip<'a> {
    filters: &'a Filters,
    geometry: Geometry,
    pub(super) rows: Cut,
    pub(super) columns: Cut,
    /// The columns of tiles that are computed.
    pub(super) tiles: Range<usize>,
    /// The column of the map that is the first one of the target.
    left: usize,
    /// Whether outputs are written with non-temporal stores: a cache would evict them before they
    /// are read.
    pub(super) streams: bool,
}

impl<'a> Strip<'a> {
    /// All columns.
    pub(super) fn new(filters: &'a Filters, geometry: Geometry) -> Strip<'a> {
        let (rows, columns) =
            (filters.scheme.cut(geometry.to.h), filters.scheme.cut(geometry.to.w));
        Strip {
            filters,
            geometry,
            rows,
            columns,
            tiles: 0..columns.count(),
            left: 0,
            streams: false,
        }
    }

    /// Some of them.
    pub(super) fn part(&self, tiles: Range<usize>) -> Strip<'a> {
        Strip { tiles, ..self.clone() }
    }

    /// Some of them, for a target that holds no others.
    pub(super) fn block(&self, tiles: Range<usize>) -> Strip<'a> {
        let columns = self.columns.columns(&tiles, self.geometry.to.w);
        let to = Layout { w: columns.len(), ..self.geometry.to };
        let geometry = Geometry { to, ..self.geometry };
        Strip { tiles, geometry, left: columns.start, ..self.clone() }
    }

    /// Where the tiles of some rows lie.
    pub(super) fn slots(&self, rows: impl Iterator<Item = usize>) -> Slots {
        let are_large: Vec<bool> = rows.map(|row| self.rows.is_large(row)).collect();
        Slots::new(&are_large, self.columns.split(&self.tiles).map(|columns| columns.len()))
    }

    /// Floats of one position of `tiles` transformed tiles: (chunk of channels, tile, channel). An
    /// odd number of cache lines, so that the positions of a tile are spread over the cache's sets.
    pub(super) fn position_len(&self, tiles: usize) -> usize {
        ((tiles * self.filters.c_in).div_ceil(LINE) | 1) * LINE
    }

    /// Floats of the products of one line of positions and one block of channels for `tiles`:
    /// (tile, position, channel). An odd number of tiles, for the same reason.
    pub(super) fn line_len(&self, tiles: usize) -> usize {
        (tiles | 1) * self.tile_line_len()
    }

    /// Floats of the products of one tile in such a line.
    pub(super) fn tile_line_len(&self) -> usize {
        self.filters.scheme.side() * self.filters.block
    }
}

/// A transform of the tiles of a row, in either direction.
trait Transform {
    /// Transforms tiles of one kind, which have these slots, down by `Y` and across by `X`. Must
    /// be `#[inline(always)]`, like the `run` of a kernel.
    fn tiles<
        S: Simd,
        Y: Line<Y_IN, Y_OUT>,
        X: Line<X_IN, X_OUT>,
        const Y_IN: usize,
        const Y_OUT: usize,
        const X_IN: usize,
        const X_OUT: usize,
    >(
        &mut self,
        simd: S,
        tiles: Range<usize>,
        slots: Range<usize>,
    );
}

/// Transforms the tiles of a row, kind by kind.
#[inline(always)]
fn transform<S: Simd, T: Transform>(
    simd: S,
    target: &mut T,
    strip: &Strip<'_>,
    row: usize,
    [large_slots, small_slots]: [Range<usize>; 2],
) {
    let [large, small] = strip.columns.split(&strip.tiles);
    match strip.filters.scheme {
        Scheme::F4x3 => target.tiles::<S, F4x3, F4x3, _, _, _, _>(simd, small, small_slots),
        Scheme::F4x5 => target.tiles::<S, F4x5, F4x5, _, _, _, _>(simd, large, large_slots),
        Scheme::F6x3 if strip.rows.is_large(row) => {
            target.tiles::<S, F6x3, F6x3, _, _, _, _>(simd, large, large_slots);
            target.tiles::<S, F6x3, F4x3, _, _, _, _>(simd, small, small_slots);
        }
        Scheme::F6x3 => {
            target.tiles::<S, F4x3, F6x3, _, _, _, _>(simd, large, large_slots);
            target.tiles::<S, F4x3, F4x3, _, _, _, _>(simd, small, small_slots);
        }
    }
}

/// Transforms one row of tiles.
pub(super) struct Input<'a> {
    pub(super) strip: &'a Strip<'a>,
    /// The source image.
    pub(super) src: Source<'a>,
    pub(super) row: usize,
    pub(super) out: RowInputs<'a>,
}

/// Where the transformed inputs of one row of tiles go among those of its group: (position, chunk
/// of a vector's channels, slot, channel). The rows of a group are interleaved.
pub(super) struct RowInputs<'a> {
    group: *mut f32,
    len: usize,
    /// All slots of the group.
    count: usize,
    /// The large and the small tiles of the row.
    slots: [Range<usize>; 2],
    of: PhantomData<&'a mut [f32]>,
}

// SAFETY: a row writes only its own slots, which no other row has.
unsafe impl Send for RowInputs<'_> {}

impl RowInputs<'_> {
    /// Divides memory among the rows of a group.
    pub(super) fn of_rows<'a>(group: &'a mut [f32], slots: &Slots) -> Vec<RowInputs<'a>> {
        let (len, count, group) = (group.len(), slots.count(), group.as_mut_ptr());
        let row = |slots: &[Range<usize>; 2]| RowInputs {
            group,
            len,
            count,
            slots: slots.clone(),
            of: PhantomData,
        };
        slots.rows().iter().map(row).collect()
    }
}

impl Kernel for Input<'_> {
    #[inline(always)]
    fn run<S: Simd, const TILE: usize>(mut self, simd: S) {
        let (strip, row, slots) = (self.strip, self.row, self.out.slots.clone());
        transform(simd, &mut self, strip, row, slots);
    }
}

impl Transform for Input<'_> {
    // A ring keeps the columns in which neighbouring tiles overlap.
    #[expect(clippy::needless_range_loop, reason = "the ring is filled and read across its axes")]
    #[inline(always)]
    fn tiles<
        S: Simd,
        Y: Line<Y_IN, Y_OUT>,
        X: Line<X_IN, X_OUT>,
        const Y_IN: usize,
        const Y_OUT: usize,
        const X_IN: usize,
        const X_OUT: usize,
    >(
        &mut self,
        simd: S,
        tiles: Range<usize>,
        slots: Range<usize>,
    ) {
        if tiles.is_empty() {
            return;
        }
        let Strip { filters, geometry, rows, columns, .. } = self.strip;
        let (c_in, side) = (filters.c_in, filters.scheme.side());
        let RowInputs { group, len, count, .. } = self.out;
        let (position_len, chunk_len) = (self.strip.position_len(count), count * S::LEN);
        let corner = |start: usize| start as isize - geometry.pad as isize;
        let from_row = self.src.row_len();
        let (top, left) = (corner(rows.start(self.row)), corner(columns.start(tiles.start)));
        let (src, start) = (self.src.data, self.src.at(top, left));
        let end = start + (Y_IN - 1) * from_row + ((tiles.len() - 1) * X_OUT + X_IN) * c_in;
        assert!(end <= src.len());
        assert!(((Y_IN - 1) * side + X_IN) * position_len <= len);
        assert!(tiles.len() == slots.len() && slots.end <= count);
        for first_c in (0..c_in).step_by(CHANNELS * S::LEN) {
            let channels = (c_in - first_c).min(CHANNELS * S::LEN) / S::LEN;
            // SAFETY: the last element read and the last element written were asserted to be
            // inside; `c_in` is a multiple of the vector's length (`Winograd::fits`).
            unsafe {
                let from = src.as_ptr().add(start + first_c);
                let to = group.add(first_c / S::LEN * chunk_len + slots.start * S::LEN);
                let mut ring = [[[simd.splat(0.0); CHANNELS]; Y_IN]; INPUT_MAX];
                for tile in 0..tiles.len() {
                    let left = tile * X_OUT;
                    let known = if tile == 0 { 0 } else { X_IN - X_OUT };
                    for x in left + known..left + X_IN {
                        let column = from.add(x * c_in);
                        let kept = &mut ring[x % INPUT_MAX];
                        for c in 0..channels {
                            let mut line = [simd.splat(0.0); Y_IN];
                            for (y, value) in line.iter_mut().enumerate() {
                                *value = simd.load(column.add(y * from_row + c * S::LEN));
                            }
                            for (kept, value) in kept.iter_mut().zip(Y::input(line)) {
                                kept[c] = value;
                            }
                        }
                    }
                    for y in 0..Y_IN {
                        let to = to.add(tile * S::LEN + y * side * position_len);
                        for c in 0..channels {
                            let mut line = [simd.splat(0.0); X_IN];
                            for (x, value) in line.iter_mut().enumerate() {
                                *value = ring[(left + x) % INPUT_MAX][y][c];
                            }
                            for (x, value) in X::input(line).into_iter().enumerate() {
                                let at = to.add(x * position_len + c * chunk_len);
                                value.store(at);
                                // For the next tile.
                                simd.prefetch_write(at.wrapping_add(S::LEN));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Transforms one row of tiles back, adds the bias, applies the ReLU, and writes.
pub(super) struct Output<'a> {
    pub(super) strip: &'a Strip<'a>,
    /// Blocks of channels that `products` has, line by line of positions.
    pub(super) blocks: Range<usize>,
    pub(super) products: &'a [f32],
    /// Floats of one line and one block.
    pub(super) line_len: usize,
    pub(super) row: usize,
    /// The large and the small tiles of the row.
    pub(super) slots: [Range<usize>; 2],
    /// The output rows.
    pub(super) rows: RowOutputs<'a>,
}

/// Where the outputs of one row of tiles go: some rows of a map. Strips of the row write columns of
/// their own, so that threads may compute them at the same time.
#[derive(Clone, Copy)]
pub(in crate::eval::cpu) struct RowOutputs<'a> {
    rows: *mut f32,
    len: usize,
    of: PhantomData<&'a mut [f32]>,
}

// SAFETY: a strip writes only its own columns, which no other strip of the row has.
unsafe impl Send for RowOutputs<'_> {}
// SAFETY: as above.
unsafe impl Sync for RowOutputs<'_> {}

impl<'a> RowOutputs<'a> {
    pub(in crate::eval::cpu) fn new(rows: &'a mut [f32]) -> RowOutputs<'a> {
        RowOutputs { rows: rows.as_mut_ptr(), len: rows.len(), of: PhantomData }
    }
}

impl Kernel for Output<'_> {
    #[inline(always)]
    fn run<S: Simd, const TILE: usize>(mut self, simd: S) {
        let (strip, row, slots) = (self.strip, self.row, self.slots.clone());
        transform(simd, &mut self, strip, row, slots);
        if strip.streams {
            simd.fence();
        }
    }
}

impl Transform for Output<'_> {
    #[inline(always)]
    fn tiles<
        S: Simd,
        Y: Line<Y_IN, Y_OUT>,
        X: Line<X_IN, X_OUT>,
        const Y_IN: usize,
        const Y_OUT: usize,
        const X_IN: usize,
        const X_OUT: usize,
    >(
        &mut self,
        simd: S,
        tiles: Range<usize>,
        slots: Range<usize>,
    ) {
        let Strip { filters, geometry, columns, left, .. } = *self.strip;
        let (block, tile_len, to) = (filters.block, self.strip.tile_line_len(), geometry.to);
        let blocks_len = self.blocks.len() * self.line_len;
        let height = (self.rows.len / to.row_len()).min(Y_OUT);
        let streams = self.strip.streams;
        let tiles = tiles.zip(slots);
        let work = self.blocks.clone().flat_map(|index| tiles.clone().map(move |at| (index, at)));
        for (index, (tile, slot)) in work {
            let start = columns.start(tile) - left;
            let width = (to.w - start).min(X_OUT);
            let line = (index - self.blocks.start) * self.line_len + slot * tile_len;
            let corner = (BEFORE + start) * to.c + geometry.c_first;
            for lane in [0, S::LEN] {
                let (index, c) = (line + lane, index * block + lane);
                let read_end = index + (Y_IN - 1) * blocks_len + (X_IN - 1) * block + S::LEN;
                let at = corner + c;
                let write_end = at + (height - 1) * to.row_len() + (width - 1) * to.c + S::LEN;
                assert!(read_end <= self.products.len());
                assert!(write_end <= self.rows.len && c + S::LEN <= filters.bias.len());
                // SAFETY: the last element read and the last element written were asserted to be
                // inside; every line of `half` is written before it is read.
                unsafe {
                    let from = self.products.as_ptr().add(index);
                    let mut half = [const { MaybeUninit::<[S::Vector; Y_OUT]>::uninit() }; X_IN];
                    for (x, half) in half.iter_mut().enumerate() {
                        let mut line = [simd.splat(0.0); Y_IN];
                        for (y, value) in line.iter_mut().enumerate() {
                            let at = from.add(y * blocks_len + x * block);
                            *value = simd.load(at);
                            // For the next tile.
                            simd.prefetch(at.wrapping_add(tile_len));
                        }
                        half.write(Y::output(line));
                    }
                    let bias = simd.load(filters.bias.as_ptr().add(c));
                    let dst = self.rows.rows.add(at);
                    let is_aligned = dst.cast::<S::Vector>().is_aligned();
                    let streams = streams && is_aligned && to.c.is_multiple_of(S::LEN);
                    for y in 0..height {
                        let mut line = [simd.splat(0.0); X_IN];
                        for (value, half) in line.iter_mut().zip(&half) {
                            *value = half.assume_init_ref()[y];
                        }
                        let dst = dst.add(y * to.row_len());
                        let values = X::output(line).into_iter().enumerate();
                        // Most tiles are whole: their number of stores is constant, without
                        // branches.
                        if width == X_OUT && streams {
                            for (x, value) in values {
                                simd.splat(0.0).max(value.add(bias)).stream(dst.add(x * to.c));
                            }
                        } else if width == X_OUT {
                            for (x, value) in values {
                                let at = dst.add(x * to.c);
                                simd.splat(0.0).max(value.add(bias)).store(at);
                                // For the next tile: stores to lines far from each other are slow.
                                simd.prefetch_write(at.wrapping_add(X_OUT * to.c));
                            }
                        } else {
                            for (x, value) in values.take(width) {
                                simd.splat(0.0).max(value.add(bias)).store(dst.add(x * to.c));
                            }
                        }
                    }
                }
            }
        }
    }
}
