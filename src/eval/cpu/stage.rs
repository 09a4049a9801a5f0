//! A stage: a convolution, the tap and the pooling that follow it and, if there is one, the
//! convolution of the image before it, all computed together in bands of a few rows.
//!
//! The first maps of a trunk are the largest. In bands they never exist as a whole: a band of all
//! images stays in a thread's cache until it has been compared and pooled; a wide band is computed
//! block by block. The bands depend on the size of the map alone, and every element is computed
//! exactly as without them.

use std::ops::Range;

use super::direct::Direct;
use super::ops::PoolRow;
use super::scratch::{BandScratch, Scratch, ThreadScratch};
use super::tap::{Comparison, LayerResult, RowResult};
use super::team::Team;
use super::tensor::{ABOVE, AFTER, BEFORE, Geometry, Layout, Source, Target, Tensor};
use super::winograd::{RowOutputs, TileRow, Winograd, even_parts};
use crate::batch::Pair;
use crate::isa::{Isa, dispatch_plain};

/// Least number of rows of a band, the last one excepted.
const BAND_ROWS: usize = 6;
/// Least number of rows that threads divide into bands, so that all of them have some.
pub(super) const SHARED_ROWS: usize = 16 * BAND_ROWS;
/// A band ends with a whole tile, so it may have this many rows more.
const TILE_MAX: usize = 6;
/// Most rows of a band of the first convolution, borders included.
const FIRST_ROWS: usize = BEFORE + BAND_ROWS + TILE_MAX + AFTER;
/// Side and stride of the pooling window.
pub(super) const POOL: usize = 2;

/// Upper estimate of the bytes that a thread needs for a block of `tiles` columns of tiles of one
/// image's map.
pub(super) fn band_bytes(map: Layout, tiles: usize) -> usize {
    let block = Layout { w: map.w.min(tiles.saturating_mul(TILE_MAX)), ..map };
    size_of::<f32>() * (BAND_ROWS + TILE_MAX) * block.row_len()
}

/// Bytes that the results of one pair take while `rows` rows of a map are computed.
pub(super) fn pair_bytes(rows: usize) -> usize {
    rows * (size_of::<f64>() + size_of::<RowResult<'_>>())
}

/// Some rows of a stage.
pub(super) struct Stage<'a> {
    /// Rows of the convolution's map, which are whole tiles.
    pub(super) rows: Range<usize>,
    /// The convolution of the image. Each band computes all the rows that it needs, so neighbouring
    /// bands compute some rows twice, which is cheap for three channels.
    pub(super) first: Option<(&'a Direct, Geometry)>,
    pub(super) conv: &'a Winograd,
    pub(super) geometry: Geometry,
    /// Columns of tiles of a block: a thread computes a band block by block.
    pub(super) block_tiles: usize,
    pub(super) layer: usize,
    pub(super) comparison: &'a Comparison,
    pub(super) isa: Isa,
}

/// One band, and where its results go.
struct Band<'a> {
    tile_rows: Range<usize>,
    rows: Range<usize>,
    /// Pooled rows of each image.
    pooled: Vec<&'a mut [f32]>,
    /// Results of each pair, row by row.
    results: Vec<Vec<RowResult<'a>>>,
}

impl Stage<'_> {
    /// Computes the rows. Reads `src`, writes pooled rows to `dst`, and adds the results of the
    /// layer to those of each pair.
    pub(super) fn run(
        &self,
        src: &Tensor,
        mut dst: Target<'_>,
        pairs: &[Pair],
        results: &mut [LayerResult],
        scratch: &Scratch,
        team: &Team,
    ) {
        let bands = self.bands(&mut dst, results);
        team.for_each(bands, |band| {
            self.band(src, band, pairs, &mut scratch.of_thread(), team);
        });
        results.iter_mut().for_each(LayerResult::add_rows);
    }

    fn bands<'b>(&self, dst: &'b mut Target<'_>, results: &'b mut [LayerResult]) -> Vec<Band<'b>> {
        let pooled = dst.layout();
        let (Layout { h, .. }, rows) = (self.geometry.to, &self.rows);
        let cut = self.conv.cut(h);
        let tiles = cut.of(rows);
        let mut images: Vec<&mut [f32]> = dst.images().collect();
        let mut results: Vec<_> =
            results.iter_mut().map(|result| result.rows(rows.clone()).into_iter()).collect();
        let mut bands = Vec::new();
        let mut first = tiles.start;
        while first < tiles.end {
            let top = cut.start(first);
            let is_full = |&tile: &usize| cut.start(tile) >= top + BAND_ROWS;
            let end = (first + 1..tiles.end).find(is_full).unwrap_or(tiles.end);
            let rows = top..cut.start(end).min(h);
            // The height of a tile is even, so no pooling window lies in two bands.
            let pooled_rows = rows.end / POOL - rows.start / POOL;
            let mut take = |image: &mut &'b mut [f32]| {
                image.split_off_mut(..pooled_rows * pooled.row_len()).unwrap_or_default()
            };
            bands.push(Band {
                tile_rows: first..end,
                pooled: images.iter_mut().map(&mut take).collect(),
                results: results.iter_mut().map(|all| all.take(rows.len()).collect()).collect(),
                rows,
            });
            first = end;
        }
        bands
    }

    fn band(
        &self,
        src: &Tensor,
        mut band: Band<'_>,
        pairs: &[Pair],
        scratch: &mut ThreadScratch,
        team: &Team,
    ) {
        let columns = self.conv.cut(self.geometry.to.w);
        for tiles in even_parts(0..columns.count(), self.block_tiles) {
            self.block(src, &mut band, tiles, pairs, scratch, team);
        }
    }

    /// Computes some columns of tiles of a band.
    fn block(
        &self,
        src: &Tensor,
        band: &mut Band<'_>,
        tiles: Range<usize>,
        pairs: &[Pair],
        scratch: &mut ThreadScratch,
        team: &Team,
    ) {
        let Band { tile_rows, rows, pooled, results } = band;
        let (map, cut) = (self.geometry.to, self.conv.cut(self.geometry.to.h));
        let columns = self.conv.cut(map.w).columns(&tiles, map.w);
        let to = Layout { w: columns.len(), ..map };
        let map_len = rows.len() * to.row_len();
        let ThreadScratch { tiles: memory, band: BandScratch { first, maps } } = scratch;
        let maps = maps.grow(map_len * src.image_count());
        for (image, map) in maps.chunks_exact_mut(map_len).take(src.image_count()).enumerate() {
            let source = self.source(src.image(image), rows, &columns, first, team);
            let mut rest = map;
            let split = tile_rows.clone().map(|index| {
                let height = cut.start(index + 1).min(to.h) - cut.start(index);
                let rows = rest.split_off_mut(..height * to.row_len()).unwrap_or_default();
                TileRow { src: source, index, rows: RowOutputs::new(rows) }
            });
            let split: Vec<TileRow<'_>> = split.collect();
            self.conv.run_alone(&split, tiles.clone(), self.geometry, memory, team);
        }
        let row = |image: usize, y: usize| {
            to.pixels(&maps[image * map_len + y * to.row_len()..][..to.row_len()])
        };
        // The width of a tile is even, too.
        let (first, count) = (columns.start / POOL, columns.end / POOL - columns.start / POOL);
        for (image, pooled) in pooled.iter_mut().enumerate() {
            let dst_len = pooled.len() / (rows.len() / POOL).max(1);
            for (y, dst) in pooled.chunks_exact_mut(dst_len.max(1)).enumerate() {
                let window = [row(image, POOL * y), row(image, POOL * y + 1)];
                let dst = &mut dst[(BEFORE + first) * to.c..][..count * to.c];
                let row = PoolRow { window: &window, dst, c: to.c, kernel: POOL, stride: POOL };
                dispatch_plain(self.isa, row);
            }
        }
        for (pair, results) in pairs.iter().zip(results) {
            for (y, result) in results.iter_mut().enumerate() {
                let (a, b) = (row(pair.reference, y), row(pair.distorted, y));
                self.comparison.row(self.layer, a, b, result.part(columns.clone()));
            }
        }
    }

    /// The source of a block's convolution: `src` itself, or a block of the first convolution.
    fn source<'s>(
        &self,
        src: Source<'s>,
        rows: &Range<usize>,
        columns: &Range<usize>,
        scratch: &'s mut Tensor,
        team: &Team,
    ) -> Source<'s> {
        let Some((first, geometry)) = &self.first else { return src };
        let (map, pad) = (geometry.to, self.geometry.pad);
        // What is inside of the map; the rest is padding.
        let known = |part: &Range<usize>, len: usize| {
            part.start.saturating_sub(pad)..(part.end + pad).min(len)
        };
        let (rows, columns) = (known(rows, map.h), known(columns, map.w));
        let layout = Layout { w: columns.len(), ..map };
        let top = if rows.start > 0 { rows.start as isize } else { ABOVE };
        scratch.begin_part(layout, FIRST_ROWS, top, columns.start);
        scratch.make_room(rows.end, top, team);
        let (geometry, corner) =
            (Geometry { to: layout, ..*geometry }, [rows.start, columns.start]);
        for rows in (Target { map: scratch, rows }).images() {
            first.run_rows(src, geometry, corner, rows);
        }
        scratch.image(0)
    }
}
