//! The order in which a trunk's maps are computed: in bands of rows, so that of a large map only
//! the rows exist that later passes still need.
//!
//! Everything here is pure, and follows from the net and the size of the images alone. No bit of a
//! result depends on it: each element is computed in the same way, whichever band it lies in.

use std::ops::Range;

use super::passes::{Op, Pass, Passes, packed_weight_bytes};
use super::stage;
use super::tensor::{ABOVE, Layout};
use crate::eval::Wanted;
use crate::image::Size;
use crate::isa::Isa;
use crate::net::NetSpec;
use crate::net::plan::{Plan, Shape, TooSmall};

/// How large bands may be. Tests force many small ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// A band of a map takes about this many bytes for each image, or a row of tiles if that is
    /// more.
    pub(super) band_bytes: usize,
    /// Columns of tiles of a stage's block, which one thread computes at once; with 0 there are no
    /// stages.
    pub(super) stage_tiles: usize,
}

impl Limits {
    /// For the caches of ordinary processors.
    pub(super) const USUAL: Limits = Limits { band_bytes: 2 << 20, stage_tiles: 192 };
}

/// Some rows of a pass, and what it writes them to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Band {
    /// Index of the pass.
    pub(super) pass: usize,
    /// The rows that it computes.
    pub(super) rows: Range<usize>,
    /// The rows of its target that it writes.
    pub(super) dst_rows: Range<usize>,
    /// Whether the target begins with them.
    pub(super) is_first: bool,
    /// The first row of the target that a pass still needs.
    pub(super) keep: isize,
}

/// Where a map is stored, and how many of its rows at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Window {
    pub(super) layout: Layout,
    /// Rows of an image, borders included.
    pub(super) rows: usize,
    /// The buffer; others that are not needed at the same time may share it.
    pub(super) buffer: usize,
}

/// How a trunk is computed for images of one size.
#[derive(Debug)]
pub(super) struct Bands {
    pub(super) passes: Vec<Pass>,
    /// By index of the map.
    pub(super) windows: Vec<Window>,
    /// In the order in which they are computed.
    pub(super) bands: Vec<Band>,
    /// Shape of each tap, in layer order.
    pub(super) taps: Vec<Shape>,
    /// Bytes of the packed weights.
    pub(super) weight_bytes: usize,
}

impl Bands {
    /// For images of `size`.
    ///
    /// # Errors
    /// When the images are too small.
    pub(super) fn new(
        spec: &NetSpec,
        size: Size,
        isa: Isa,
        limits: Limits,
    ) -> Result<Bands, TooSmall> {
        let plan = Plan::new(spec, size.height, size.width)?;
        let passes = Passes::new(&plan, spec, isa, limits.stage_tiles);
        let weight_bytes = packed_weight_bytes(&passes.all, spec);
        let (bands, lives) = Schedule::new(&passes, limits.band_bytes).run();
        let windows = windows(&passes.maps, &lives);
        Ok(Bands { passes: passes.all, windows, bands, taps: plan.taps, weight_bytes })
    }

    /// Bytes of the maps that are given back of each pair.
    pub(super) fn map_bytes(&self, wanted: Wanted) -> usize {
        let bytes = |tap: &Shape| size_of::<f32>() * tap.h * tap.w;
        let layers = self.taps.iter().filter(|_| wanted.layers).map(bytes);
        let sum = wanted.reference_sum.map(|layer| bytes(&self.taps[layer]));
        layers.chain(sum).sum()
    }

    /// Bytes of the maps of one image, with those that threads compute in passing.
    pub(super) fn image_bytes(&self, threads: usize) -> usize {
        let buffers = self.windows.iter().map(|window| window.buffer + 1).max().unwrap_or(0);
        let of_buffer = |buffer: usize| {
            let windows = self.windows.iter().filter(|window| window.buffer == buffer);
            windows.map(|window| window.rows * window.layout.row_len()).max().unwrap_or(0)
        };
        let stages = self.passes.iter().filter_map(|pass| match pass.op {
            Op::Stage { conv, tiles, .. } => {
                Some(threads * stage::band_bytes(conv.geometry.to, tiles))
            }
            _ => None,
        });
        size_of::<f32>() * (0..buffers).map(of_buffer).sum::<usize>() + stages.max().unwrap_or(0)
    }
}

/// When a map is needed, in bands, and how many of its rows at once.
#[derive(Clone, Copy, Debug)]
struct Life {
    first: usize,
    last: usize,
    rows: usize,
}

/// The state of all passes, while the order of their bands is found.
struct Schedule<'a> {
    passes: &'a [Pass],
    maps: &'a [Layout],
    /// Rows of a band of each pass.
    band_rows: Vec<usize>,
    /// Rows that each pass has computed.
    done: Vec<usize>,
}

impl<'a> Schedule<'a> {
    fn new(passes: &'a Passes, band_bytes: usize) -> Schedule<'a> {
        let Passes { all, maps } = passes;
        let rows = |pass: &Pass| pass.band_rows(maps[pass.src], maps[pass.dst], band_bytes);
        let band_rows = all.iter().map(rows).collect();
        Schedule { passes: all, maps, band_rows, done: vec![0; all.len()] }
    }

    /// All bands, and the lives of the maps.
    fn run(mut self) -> (Vec<Band>, Vec<Life>) {
        let mut bands = Vec::new();
        let mut lives: Vec<Option<Life>> = vec![None; self.maps.len()];
        while let Some((pass, rows)) = self.next() {
            let Pass { src, dst, rows_per_dst, .. } = self.passes[pass];
            let (keep, now) = (self.keep(dst), bands.len());
            let dst_rows = rows.start / rows_per_dst..rows.end / rows_per_dst;
            let is_first = lives[dst].is_none();
            if !self.passes[pass].is_tap() {
                let held = (self.maps[dst].with_border(dst_rows.end) - keep) as usize;
                let life = lives[dst].get_or_insert(Life { first: now, last: now, rows: 0 });
                life.rows = life.rows.max(held);
            }
            for map in [src, dst] {
                if let Some(life) = &mut lives[map] {
                    life.last = now;
                }
            }
            self.done[pass] = rows.end;
            bands.push(Band { pass, rows, dst_rows, is_first, keep });
        }
        (bands, lives.into_iter().flatten().collect())
    }

    /// The next band: of a tap, while its rows are in the cache, or else of the last pass that has
    /// the rows for one.
    fn next(&self) -> Option<(usize, Range<usize>)> {
        let ready = || {
            let passes = (0..self.passes.len()).rev();
            passes.filter_map(|index| Some((index, self.ready(index)?)))
        };
        ready().find(|&(index, _)| self.passes[index].is_tap()).or_else(|| ready().next())
    }

    /// The band that a pass can compute now.
    fn ready(&self, index: usize) -> Option<Range<usize>> {
        let (pass, start) = (&self.passes[index], self.done[index]);
        let reach = match pass.op {
            Op::Normalise => pass.height,
            _ => pass.reach(self.available(pass.src), self.maps[pass.src]),
        };
        let end = match pass.takes_any() {
            true => reach,
            false => pass.band_end(start, self.band_rows[index]),
        };
        (start < end && end <= reach).then_some(start..end)
    }

    fn writers(&self, map: usize) -> impl Iterator<Item = usize> {
        let writes = move |pass: &Pass| pass.dst == map && !pass.is_tap();
        (0..self.passes.len()).filter(move |&index| writes(&self.passes[index]))
    }

    /// Rows of a map that were computed.
    fn available(&self, map: usize) -> usize {
        let rows = |index: usize| self.done[index] / self.passes[index].rows_per_dst;
        self.writers(map).map(rows).min().unwrap_or(0)
    }

    /// The first row of a map that a pass still needs or has to write.
    fn keep(&self, map: usize) -> isize {
        let reads = |pass: &Pass| pass.src == map && pass.op != Op::Normalise;
        let readers = (0..self.passes.len()).filter(|&index| reads(&self.passes[index]));
        let needed =
            readers.map(|index| self.passes[index].first_needed(self.done[index], self.maps[map]));
        let written = self.available(map) as isize;
        needed.chain([written]).min().unwrap_or(written).max(ABOVE)
    }
}

/// A buffer for each map: the first that is free while the map is needed.
fn windows(maps: &[Layout], lives: &[Life]) -> Vec<Window> {
    let mut order: Vec<usize> = (0..maps.len()).collect();
    order.sort_by_key(|&map| lives[map].first);
    // Until when each buffer is taken.
    let mut taken: Vec<usize> = Vec::new();
    let mut windows = vec![None; maps.len()];
    for map in order {
        let (layout, Life { first, last, rows }) = (maps[map], lives[map]);
        let free = taken.iter().position(|&until| until < first);
        let buffer = free.unwrap_or(taken.len());
        if free.is_none() {
            taken.push(0);
        }
        taken[buffer] = last;
        // With room to spare, a window moves less often.
        let rows = (rows + rows / 4).min(layout.rows());
        windows[map] = Some(Window { layout, rows, buffer });
    }
    windows.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
