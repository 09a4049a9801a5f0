//! A stage: a convolution, the tap and the pooling that follow it and, if there is one, the
//! convolution of the image before it, all computed together in bands of a few rows.
//!
//! The first maps of a trunk are the largest. In bands they never exist as a whole: a band of all
//! images stays in a thread's cache until it has been compared and pooled. The bands depend on the
//! size of the map alone, and every element is computed exactly as without them.

use std::ops::Range;

use super::direct::Direct;
use super::ops::PoolRow;
use super::scratch::{BandScratch, Scratch, ThreadScratch};
use super::tap::{Comparison, LayerResult, RowResult};
use super::team::Team;
use super::tensor::{ABOVE, AFTER, BEFORE, Geometry, Layout, Source, Target, Tensor};
use super::winograd::{RowOutputs, TileRow, Winograd};
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

/// Upper estimate of the bytes that a thread needs for a band of one image's map.
pub(super) fn band_bytes(map: Layout) -> usize {
    size_of::<f32>() * (BAND_ROWS + TILE_MAX) * map.row_len()
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
        band: Band<'_>,
        pairs: &[Pair],
        scratch: &mut ThreadScratch,
        team: &Team,
    ) {
        let Band { tile_rows, rows, pooled, results } = band;
        let to = self.geometry.to;
        let map_len = rows.len() * to.row_len();
        let ThreadScratch { tiles, band: BandScratch { first, maps } } = scratch;
        let maps = maps.grow(map_len * src.image_count());
        for (image, map) in maps.chunks_exact_mut(map_len).take(src.image_count()).enumerate() {
            let source = self.source(src.image(image), &rows, first, team);
            let mut rest = map;
            let split = tile_rows.clone().map(|index| {
                let cut = self.conv.cut(to.h);
                let height = cut.start(index + 1).min(to.h) - cut.start(index);
                let rows = rest.split_off_mut(..height * to.row_len()).unwrap_or_default();
                TileRow { src: source, index, rows: RowOutputs::new(rows) }
            });
            let split: Vec<TileRow<'_>> = split.collect();
            self.conv.run_alone(&split, self.geometry, tiles, team);
        }
        let row = |image: usize, y: usize| {
            to.pixels(&maps[image * map_len + y * to.row_len()..][..to.row_len()])
        };
        for (image, pooled) in pooled.into_iter().enumerate() {
            let dst_len = pooled.len() / (rows.len() / POOL).max(1);
            for (y, dst) in pooled.chunks_exact_mut(dst_len.max(1)).enumerate() {
                let window = [row(image, POOL * y), row(image, POOL * y + 1)];
                let dst = &mut dst[BEFORE * to.c..][..to.w / POOL * to.c];
                let row = PoolRow { window: &window, dst, c: to.c, kernel: POOL, stride: POOL };
                dispatch_plain(self.isa, row);
            }
        }
        for (pair, results) in pairs.iter().zip(results) {
            for (y, result) in results.into_iter().enumerate() {
                let (a, b) = (row(pair.reference, y), row(pair.distorted, y));
                self.comparison.row(self.layer, a, b, result);
            }
        }
    }

    /// The source of the band's convolution: `src` itself, or a band of the first convolution.
    fn source<'s>(
        &self,
        src: Source<'s>,
        rows: &Range<usize>,
        scratch: &'s mut Tensor,
        team: &Team,
    ) -> Source<'s> {
        let Some((first, geometry)) = &self.first else { return src };
        let (layout, pad) = (geometry.to, self.geometry.pad);
        // Rows of the band that are rows of the map; the others are padding.
        let known = rows.start.saturating_sub(pad)..(rows.end + pad).min(layout.h);
        let top = if known.start > 0 { known.start as isize } else { ABOVE };
        scratch.begin(1, layout, FIRST_ROWS, top);
        scratch.make_room(known.end, top, team);
        for rows in (Target { map: scratch, rows: known.clone() }).images() {
            first.run_rows(src, *geometry, known.start, rows);
        }
        scratch.image(0)
    }
}
