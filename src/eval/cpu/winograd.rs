//! Convolution + bias + ReLU at stride 1 by Winograd's minimal filtering (Lavin and Gray,
//! arXiv:1509.09308): overlapping input tiles and the filters are transformed, multiplied position
//! by position as matrices over channels, and transformed back.
//!
//! A row of tiles is the unit of both transforms. Where the transformed weights are small, one
//! thread does all the work for its rows of tiles, so that the data stay in its cache. Where they
//! are large, all threads transform a group of rows of tiles, then divide the products by position
//! and block of channels, so that each weight is read once for the group. Either way each element
//! has the same order of summation.

mod filters;
mod multiply;
mod strip;
mod tiles;
mod transform;

use std::ops::Range;

use self::filters::{Filters, is_shared};
use self::multiply::{BEYOND, Multiply};
pub(super) use self::strip::RowOutputs;
use self::strip::{Input, Output, RowInputs, Strip};
use self::tiles::Slots;
pub(super) use self::tiles::{Cut, Scheme};
use super::floats::Floats;
use super::product::block_of;
use super::scratch::Scratch;
use super::simd::dispatch;
use super::team::Team;
use super::tensor::{Geometry, Layout, Source, Target, Tensor};
use crate::isa::Isa;
use crate::net::ConvSpec;
use crate::net::weights::Conv;

/// Maps of more bytes than this are written with non-temporal stores: they are too large to be read
/// from a cache later, and an ordinary store would first read the cache line.
const STREAMED_BYTES: usize = 24 << 20;
/// Approximate number of tiles that one thread computes at once: their transformed inputs fit into
/// its cache.
const THREAD_TILES: usize = 24;
/// Approximate number of tiles of a group that all threads compute together.
const GROUP_TILES: usize = 88;

/// A convolution by minimal filtering.
#[derive(Debug)]
pub(super) struct Winograd {
    filters: Filters,
    isa: Isa,
}

/// A row of tiles of one image: its source, its index, and its output rows.
#[derive(Clone, Copy)]
pub(super) struct TileRow<'a> {
    pub(super) src: Source<'a>,
    pub(super) index: usize,
    pub(super) rows: RowOutputs<'a>,
}

impl Winograd {
    /// Whether the kernels are written for these channels: whole vectors in, whole blocks out.
    pub(super) fn fits(c_in: usize, c_out: usize, isa: Isa) -> bool {
        c_in.is_multiple_of(block_of(isa) / 2) && c_out.is_multiple_of(block_of(isa))
    }

    /// Whether the transformed weights are so large that all threads share each group of tiles.
    pub(super) fn is_shared(spec: &ConvSpec, scheme: Scheme) -> bool {
        is_shared(spec.c_in * spec.c_out * scheme.side() * scheme.side())
    }

    /// Rows of the map of each of two images that all threads compute together.
    pub(super) fn group_rows(scheme: Scheme, map: Layout) -> usize {
        let columns = scheme.cut(map.w).count();
        scheme.tile() * (GROUP_TILES / (2 * columns)).max(1)
    }

    /// Transforms the weights with all threads.
    pub(super) fn new(conv: &Conv, scheme: Scheme, isa: Isa, team: &Team) -> Winograd {
        Winograd { filters: Filters::new(conv, scheme, isa, team), isa }
    }

    /// How a line of the output is cut into tiles.
    pub(super) fn cut(&self, len: usize) -> Cut {
        self.filters.scheme.cut(len)
    }

    /// Computes some rows of all images, which are whole tiles, into the channels of `dst` from
    /// `geometry.c_first` on.
    pub(super) fn run(
        &self,
        src: &Tensor,
        mut dst: Target<'_>,
        geometry: Geometry,
        scratch: &mut Scratch,
        team: &Team,
    ) {
        let mut strip = Strip::new(&self.filters, geometry);
        strip.streams = dst.map.image_bytes() > STREAMED_BYTES;
        let rows = tile_rows(&strip, src, &mut dst);
        let columns = strip.columns.count();
        if is_shared(self.filters.weights.len()) {
            let wanted = (GROUP_TILES / columns).max(1);
            let groups = ((rows.len() + wanted / 2) / wanted).max(1);
            // Groups of about the same size: a small one would read as many weights as the others.
            let rows_per_group = rows.len().div_ceil(groups).max(1);
            for rows in rows.chunks(rows_per_group) {
                let blocks = self.filters.blocks();
                self.group(rows, &strip, &mut scratch.shared_tiles, blocks, team);
            }
        } else {
            let rows_per_task =
                even_share(rows.len(), (THREAD_TILES / columns).max(1), team.threads());
            let work = rows.chunks(rows_per_task);
            let work = work.flat_map(|rows| self.parts(&strip).map(move |part| (rows, part)));
            team.for_each(work, |(rows, part)| {
                self.group(rows, &part, &mut scratch.of_thread().tiles, 1, team);
            });
        }
    }

    /// Computes the given columns of some rows of tiles in the calling thread. The target holds no
    /// other columns.
    pub(super) fn run_alone(
        &self,
        rows: &[TileRow<'_>],
        columns: Range<usize>,
        geometry: Geometry,
        memory: &mut Floats,
        team: &Team,
    ) {
        for part in self.parts(&Strip::new(&self.filters, geometry).block(columns)) {
            self.group(rows, &part, memory, 1, team);
        }
    }

    /// The strips that one thread computes at once.
    fn parts<'s>(&self, whole: &Strip<'s>) -> impl Iterator<Item = Strip<'s>> {
        let whole = whole.clone();
        let parts = even_parts(whole.tiles.clone(), THREAD_TILES);
        parts.map(move |tiles| whole.part(tiles))
    }

    /// Computes some rows of tiles of a strip, with the products of `at_once` blocks of output
    /// channels at a time. All threads divide the rows of tiles, then the products, then the rows
    /// again, unless this call is itself part of a phase.
    fn group(
        &self,
        rows: &[TileRow<'_>],
        strip: &Strip<'_>,
        memory: &mut Floats,
        at_once: usize,
        team: &Team,
    ) {
        let slots = strip.slots(rows.iter().map(|row| row.index));
        let (side, tiles) = (self.filters.scheme.side(), slots.count());
        let (position_len, line_len) = (strip.position_len(tiles), strip.line_len(tiles));
        let inputs_len = side * side * position_len + BEYOND;
        let (inputs, products) = split(memory, inputs_len, side * at_once * line_len);
        let shares = RowInputs::of_rows(inputs, &slots);
        team.for_each(rows.iter().zip(shares), |(row, out)| {
            dispatch(self.isa, Input { strip, src: row.src, row: row.index, out });
        });
        let group = Group { filters: &self.filters, inputs, position_len, slots: &slots };
        for first in (0..self.filters.blocks()).step_by(at_once) {
            // Lines and blocks in the order of their products in memory.
            let at = |line: usize| match line / at_once {
                y if y < side => (y, first + line % at_once),
                _ => (0, first + at_once),
            };
            let lines = products.chunks_exact_mut(line_len).enumerate();
            team.for_each(lines, |(line, out)| {
                group.multiply(self.isa, at(line), at(line + 1), out);
            });
            let (blocks, products) = (first..first + at_once, &*products);
            team.for_each(rows.iter().zip(slots.rows()), |(row, slots)| {
                let (blocks, slots) = (blocks.clone(), slots.clone());
                let TileRow { index: row, rows, .. } = *row;
                dispatch(self.isa, Output { strip, blocks, products, line_len, row, slots, rows });
            });
        }
    }
}

/// The transformed inputs of some rows of tiles.
struct Group<'a> {
    filters: &'a Filters,
    inputs: &'a [f32],
    position_len: usize,
    slots: &'a Slots,
}

impl Group<'_> {
    /// Multiplies the positions of line `y` with one block of channels, giving (tile, position,
    /// channel). `next` is the line and the block that are multiplied afterwards.
    fn multiply(
        &self,
        isa: Isa,
        (y, block): (usize, usize),
        next: (usize, usize),
        out: &mut [f32],
    ) {
        let Group { filters, inputs, position_len, slots } = *self;
        let side = filters.scheme.side();
        for x in 0..side {
            let position = y * side + x;
            let multiply = Multiply {
                c_in: filters.c_in,
                weights: filters.plane(position, block),
                ahead: match x + 1 < side {
                    true => filters.plane(position + 1, block),
                    false => filters.plane(next.0 * side, next.1),
                },
                inputs: &inputs[position * position_len..],
                position_len,
                tiles: slots.count(),
                slots: slots.at(y, x),
                out: &mut out[x * filters.block..],
                out_stride: side * filters.block,
            };
            dispatch(isa, multiply);
        }
    }
}

/// How many of `count` rows a task gets: about `wanted`, such that all threads get equally many
/// tasks, and none is idle while another computes the last rows.
fn even_share(count: usize, wanted: usize, threads: usize) -> usize {
    let tasks = (count / wanted).max(1).next_multiple_of(threads);
    count.div_ceil(tasks).max(1)
}

/// Parts of about the same length, which is at most `most`.
pub(super) fn even_parts(all: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let len = all.len().div_ceil(all.len().div_ceil(most).max(1)).max(1);
    all.clone().step_by(len).map(move |first| first..all.end.min(first + len))
}

/// Splits memory into two parts of these lengths; it grows if it is too small.
fn split(memory: &mut Floats, first: usize, second: usize) -> (&mut [f32], &mut [f32]) {
    let (first, rest) = memory.grow(first + second).split_at_mut(first);
    (first, &mut rest[..second])
}

fn tile_rows<'a>(strip: &Strip<'_>, src: &'a Tensor, dst: &'a mut Target<'_>) -> Vec<TileRow<'a>> {
    let to = dst.layout();
    let tiles = strip.rows.of(&dst.rows);
    let mut all = Vec::new();
    for (image, mut rest) in dst.images().enumerate() {
        for index in tiles.clone() {
            let height = strip.rows.start(index + 1).min(to.h) - strip.rows.start(index);
            let rows = rest.split_off_mut(..height * to.row_len()).unwrap_or_default();
            all.push(TileRow { src: src.image(image), index, rows: RowOutputs::new(rows) });
        }
    }
    all
}
