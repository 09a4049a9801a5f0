//! Convolution + bias + ReLU at stride 1 by Winograd's minimal filtering (Lavin and Gray,
//! arXiv:1509.09308): overlapping input tiles and the filters are transformed, multiplied position
//! by position as matrices over channels, and transformed back.
//!
//! A row of tiles is the unit of both transforms. Where the transformed weights are small, a thread
//! does everything for its rows of tiles, so that nothing leaves the cache. Where they are large,
//! all threads transform a group of rows of tiles, then share the products by position and block of
//! channels, so that every weight is read once for the group. Either way each element has the same
//! order of summation.

use std::sync::{Mutex, PoisonError};

use super::conv::Geometry;
use super::memory::Floats;
use super::multiply::{BEYOND, Multiply};
use super::product::block_of;
use super::simd::{Isa, Plain, dispatch, dispatch_plain};
use super::stage::BandMemory;
use super::strip::{Input, Output, RowInputs, Strip};
use super::team::Team;
use super::tensor::Tensor;
use super::tiles::{Scheme, Slots};
use super::transform::{FilterTransform, KERNEL_MAX};
use crate::net::ConvSpec;
use crate::net::weights::Conv;

/// Transformed weights of more bytes than this are read once per group by all threads together.
const SHARED_WEIGHT_BYTES: usize = 6 << 20;
/// Maps of more bytes than this go past the caches: they would be read from memory anyway, and are
/// not read into a cache first in order to be written.
const STREAMED_BYTES: usize = 24 << 20;
/// Tiles of a strip that one thread computes, nearly: what is transformed stays in its cache. Rows
/// of tiles are shared out so that no thread is idle while another computes the last ones.
const OWN_TILES: usize = 24;
/// Tiles of a group that all threads compute, nearly.
const GROUP_TILES: usize = 88;

/// Transformed and packed weights: (block, position, input channel, channel within the block).
#[derive(Debug)]
pub(super) struct Winograd {
    pub(super) scheme: Scheme,
    pub(super) c_in: usize,
    pub(super) c_out: usize,
    pub(super) block: usize,
    pub(super) weights: Floats,
    pub(super) bias: Vec<f32>,
    isa: Isa,
}

/// Whether the transformed weights are so many that all threads share them.
pub(super) fn is_shared(spec: &ConvSpec, scheme: Scheme) -> bool {
    shared(spec.c_in * spec.c_out * scheme.side() * scheme.side())
}

fn shared(weight_len: usize) -> bool {
    weight_len * size_of::<f32>() > SHARED_WEIGHT_BYTES
}

/// Scratch memory, which grows to what is needed.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// One part for each thread.
    own: Vec<Mutex<Own>>,
    /// Tiles that all threads work on together.
    shared: Floats,
    /// A source whose blocks of pixels became channels.
    pub(super) folded: Tensor,
}

/// Scratch memory of one thread.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) tiles: Floats,
    pub(super) band: BandMemory,
}

impl Scratch {
    pub(super) fn new(threads: usize) -> Scratch {
        let own = (0..threads).map(|_| Mutex::default()).collect();
        Scratch { own, ..Scratch::default() }
    }

    /// The part of the calling thread.
    pub(super) fn own(&self) -> &Mutex<Own> {
        &self.own[rayon::current_thread_index().unwrap_or(0)]
    }
}

/// A row of tiles of one image, what it is read from, and the output rows that it becomes.
pub(super) struct TileRow<'a> {
    pub(super) src: &'a [f32],
    pub(super) index: usize,
    pub(super) rows: &'a mut [f32],
}

impl Winograd {
    /// Whether the kernels are written for these channels: whole vectors in, whole blocks out.
    pub(super) fn fits(c_in: usize, c_out: usize, isa: Isa) -> bool {
        c_in.is_multiple_of(block_of(isa) / 2) && c_out.is_multiple_of(block_of(isa))
    }

    /// Transforms the weights with all threads.
    pub(super) fn new(conv: &Conv, scheme: Scheme, isa: Isa, team: &Team) -> Winograd {
        let block = block_of(isa);
        let [c_out, c_in, kernel, _] = conv.spec.weight_shape();
        let side = scheme.side();
        let transform = FilterTransform::new(kernel, side);
        let block_len = side * side * c_in * block;
        let mut weights = Floats::zeros(c_out / block * block_len);
        team.for_each(weights.chunks_exact_mut(block_len).enumerate(), |(index, packed)| {
            let first = index * block;
            dispatch_plain(isa, Filters { conv, transform: &transform, first, block, packed });
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
        team: &Team,
    ) {
        let bytes = geometry.to.image_len() * size_of::<f32>();
        let mut strip = Strip::new(self, geometry);
        strip.streams = bytes > STREAMED_BYTES;
        let mut rows = tile_rows(&strip, src, dst);
        let columns = strip.columns.count();
        if shared(self.weights.len()) {
            let wanted = (GROUP_TILES / columns).max(1);
            let groups = ((rows.len() + wanted / 2) / wanted).max(1);
            // None is much smaller than the others: it would read as many weights.
            let rows_per_group = rows.len().div_ceil(groups).max(1);
            for rows in rows.chunks_mut(rows_per_group) {
                self.group(rows, &strip, &mut scratch.shared, self.blocks(), team);
            }
        } else {
            let rows_per_task =
                even_share(rows.len(), (OWN_TILES / columns).max(1), team.threads());
            team.for_each(rows.chunks_mut(rows_per_task), |rows| {
                let mut own = scratch.own().lock().unwrap_or_else(PoisonError::into_inner);
                self.run_alone(rows, &strip, &mut own.tiles, team);
            });
        }
    }

    /// One thread does everything for some rows of tiles, strip by strip.
    pub(super) fn run_alone(
        &self,
        rows: &mut [TileRow<'_>],
        whole: &Strip<'_>,
        memory: &mut Floats,
        team: &Team,
    ) {
        let columns = whole.columns.count();
        let width = columns.div_ceil(columns.div_ceil(OWN_TILES)).max(1);
        for first in (0..columns).step_by(width) {
            let strip = whole.part(first..columns.min(first + width));
            self.group(rows, &strip, memory, 1, team);
        }
    }

    /// Some rows of tiles of a strip, of which there are products of `at_once` blocks of output
    /// channels at a time. All threads share the rows of tiles, then the products, then the rows
    /// again, unless they already share the groups.
    fn group(
        &self,
        rows: &mut [TileRow<'_>],
        strip: &Strip<'_>,
        memory: &mut Floats,
        at_once: usize,
        team: &Team,
    ) {
        let slots = strip.slots(rows.iter().map(|row| row.index));
        let (side, tiles) = (self.scheme.side(), slots.count());
        let (position_len, line_len) = (strip.position_len(tiles), strip.line_len(tiles));
        let inputs_len = side * side * position_len + BEYOND;
        let (inputs, products) = split(memory, inputs_len, side * at_once * line_len);
        let shares = RowInputs::of_rows(inputs, &slots);
        team.for_each(rows.iter().zip(shares), |(row, out)| {
            dispatch(self.isa, Input { strip, src: row.src, row: row.index, out });
        });
        let group = Group { conv: self, inputs, position_len, slots: &slots };
        for first in (0..self.blocks()).step_by(at_once) {
            // Lines and blocks in the order in which their products are in memory.
            let at = |line: usize| match line / at_once {
                y if y < side => (y, first + line % at_once),
                _ => (0, first + at_once),
            };
            let lines = products.chunks_exact_mut(line_len).enumerate();
            team.for_each(lines, |(line, out)| group.multiply(at(line), at(line + 1), out));
            let (blocks, products) = (first..first + at_once, &*products);
            team.for_each(rows.iter_mut().zip(slots.rows()), |(row, slots)| {
                let (blocks, slots, rows) = (blocks.clone(), slots.clone(), &mut *row.rows);
                let row = row.index;
                dispatch(self.isa, Output { strip, blocks, products, line_len, row, slots, rows });
            });
        }
    }

    /// Blocks of output channels.
    fn blocks(&self) -> usize {
        self.c_out / self.block
    }

    /// The weights of a position and a block; none beyond the last.
    fn plane(&self, position: usize, block: usize) -> &[f32] {
        let len = self.c_in * self.block;
        let plane = block * self.scheme.side() * self.scheme.side() + position;
        self.weights.get(plane * len..(plane + 1) * len).unwrap_or_default()
    }
}

/// The transformed inputs of some rows of tiles.
struct Group<'a> {
    conv: &'a Winograd,
    inputs: &'a [f32],
    position_len: usize,
    slots: &'a Slots,
}

impl Group<'_> {
    /// Multiplies the positions of line `y` and one block of channels to (tile, position, channel).
    /// Those of the line and the block that are `next` come after them.
    fn multiply(&self, (y, block): (usize, usize), next: (usize, usize), out: &mut [f32]) {
        let Group { conv, inputs, position_len, slots } = *self;
        let side = conv.scheme.side();
        for x in 0..side {
            let position = y * side + x;
            let multiply = Multiply {
                c_in: conv.c_in,
                weights: conv.plane(position, block),
                ahead: match x + 1 < side {
                    true => conv.plane(position + 1, block),
                    false => conv.plane(next.0 * side, next.1),
                },
                inputs: &inputs[position * position_len..],
                position_len,
                tiles: slots.count(),
                slots: slots.at(y, x),
                out: &mut out[x * conv.block..],
                out_stride: side * conv.block,
            };
            dispatch(conv.isa, multiply);
        }
    }
}

/// The filters of one block of output channels, from channel `first` on.
struct Filters<'a> {
    conv: &'a Conv,
    transform: &'a FilterTransform,
    first: usize,
    block: usize,
    packed: &'a mut [f32],
}

impl Plain for Filters<'_> {
    #[inline(always)]
    fn run(self) {
        match self.block {
            8 => self.transform::<8>(),
            _ => self.transform::<16>(),
        }
    }
}

impl Filters<'_> {
    /// Transforms and packs them, `LANES` at once: as many as fill a line of the cache, since what
    /// is written next to it is far away.
    #[inline(always)]
    fn transform<const LANES: usize>(self) {
        let Filters { conv, transform, first, block, packed } = self;
        let [_, c_in, kernel, _] = conv.spec.weight_shape();
        let taps = kernel * kernel;
        for i in 0..c_in {
            for lane in (0..block).step_by(LANES) {
                let mut filters = [[0.0; LANES]; KERNEL_MAX * KERNEL_MAX];
                for offset in 0..LANES {
                    let filter = &conv.weight[((first + lane + offset) * c_in + i) * taps..];
                    for (values, &weight) in filters.iter_mut().zip(&filter[..taps]) {
                        values[offset] = f64::from(weight);
                    }
                }
                transform.run(&filters[..taps], |position, values| {
                    let at = (position * c_in + i) * block + lane;
                    packed[at..][..LANES].copy_from_slice(values);
                });
            }
        }
    }
}

/// How many of `count` rows a task gets, near `wanted`: every thread gets as many tasks.
fn even_share(count: usize, wanted: usize, threads: usize) -> usize {
    let tasks = (count / wanted).max(1).next_multiple_of(threads);
    count.div_ceil(tasks).max(1)
}

/// Splits memory, which grows if it must, into two parts.
fn split(memory: &mut Floats, first: usize, second: usize) -> (&mut [f32], &mut [f32]) {
    let (first, rest) = memory.grow(first + second).split_at_mut(first);
    (first, &mut rest[..second])
}

fn tile_rows<'a>(strip: &Strip<'_>, src: &'a Tensor, dst: &'a mut Tensor) -> Vec<TileRow<'a>> {
    let to = dst.layout();
    let mut all = Vec::new();
    for (image, dst) in dst.images_mut().enumerate() {
        let mut rest = to.inner(dst);
        for index in 0..strip.rows.count() {
            let end = strip.rows.start(index + 1).min(to.h);
            let (rows, later) = rest.split_at_mut((end - strip.rows.start(index)) * to.row_len());
            all.push(TileRow { src: src.image(image), index, rows });
            rest = later;
        }
    }
    all
}
