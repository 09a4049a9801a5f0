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
use super::tensor::{BEFORE, Geometry, Layout, Tensor};
use super::winograd::{TileRow, Winograd};
use crate::batch::Pair;
use crate::eval::Distance;
use crate::isa::{Isa, dispatch_plain};

/// Least number of rows of a band, the last one excepted.
const BAND_ROWS: usize = 6;
/// A band ends with a whole tile, so it may have this many rows more.
const TILE_MAX: usize = 6;
/// Side and stride of the pooling window.
pub(super) const POOL: usize = 2;

/// Upper estimate of the bytes that a thread needs for a band of one image's map.
pub(super) fn band_bytes(map: Layout) -> usize {
    size_of::<f32>() * (BAND_ROWS + TILE_MAX) * map.row_len()
}

/// Bytes that the results of one pair take while a stage with this map is computed.
pub(super) fn pair_bytes(map: Layout) -> usize {
    map.h * (size_of::<f64>() + size_of::<RowResult<'_>>())
}

/// The steps of a stage.
pub(super) struct Stage<'a> {
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
    /// Reads `src`, writes the pooled maps to `dst`, whose shape is set, and adds the results of
    /// the layer to the distance of each pair.
    pub(super) fn run(
        &self,
        src: &Tensor,
        dst: &mut Tensor,
        pairs: &[Pair],
        scratch: &Scratch,
        distances: &mut [Distance],
        team: &Team,
    ) {
        let start = |_: &Pair| self.comparison.start(self.layer, self.geometry.to);
        let mut results: Vec<LayerResult> = pairs.iter().map(start).collect();
        let bands = self.bands(dst, &mut results);
        team.for_each(bands, |band| {
            self.band(src, band, pairs, &mut scratch.of_thread(), team);
        });
        for (result, distance) in results.into_iter().zip(distances) {
            result.finish(self.geometry.to.w, distance);
        }
    }

    fn bands<'b>(&self, dst: &'b mut Tensor, results: &'b mut [LayerResult]) -> Vec<Band<'b>> {
        let pooled = dst.layout();
        let Layout { h, .. } = self.geometry.to;
        let cut = self.conv.cut(h);
        let mut images: Vec<&mut [f32]> =
            dst.images_mut().map(|image| pooled.inner(image)).collect();
        let mut results: Vec<_> =
            results.iter_mut().map(|result| result.rows().into_iter()).collect();
        let mut bands = Vec::new();
        let mut first = 0;
        while first < cut.count() {
            let top = cut.start(first);
            let is_full = |&tile: &usize| cut.start(tile) >= top + BAND_ROWS;
            let end = (first + 1..cut.count()).find(is_full).unwrap_or(cut.count());
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
            let (source, geometry) = self.source(src.image(image), &rows, first);
            let mut rest = map;
            let split = tile_rows.clone().map(|index| {
                let cut = self.conv.cut(to.h);
                let height = cut.start(index + 1).min(to.h) - cut.start(index);
                let rows = rest.split_off_mut(..height * to.row_len()).unwrap_or_default();
                TileRow { src: source, index, rows }
            });
            let mut split: Vec<TileRow<'_>> = split.collect();
            self.conv.run_alone(&mut split, geometry, tiles, team);
        }
        let row = |image: usize, y: usize| {
            &maps[image * map_len + y * to.row_len() + BEFORE * to.c..][..to.w * to.c]
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
                self.comparison.row(self.layer, a, b, to, result);
            }
        }
    }

    /// The source of the band's convolution: `src` itself, or a band of the first convolution.
    fn source<'s>(
        &self,
        src: &'s [f32],
        rows: &Range<usize>,
        scratch: &'s mut Tensor,
    ) -> (&'s [f32], Geometry) {
        let Some((first, geometry)) = &self.first else { return (src, self.geometry) };
        let Layout { c, h, w } = geometry.to;
        let pad = self.geometry.pad;
        let layout = Layout { c, h: rows.len() + 2 * pad, w };
        scratch.resize(1, layout);
        let top = rows.start as isize - pad as isize;
        // Rows of the band that are rows of the map; the others are padding.
        let known = rows.start.saturating_sub(pad)..(rows.end + pad).min(h);
        for image in scratch.images_mut() {
            let len = layout.row_len();
            let inner = layout.inner(image);
            let (above, rest) = inner.split_at_mut((known.start as isize - top) as usize * len);
            let (known_rows, below) = rest.split_at_mut(known.len() * len);
            above.fill(0.0);
            below.fill(0.0);
            first.run_rows(src, *geometry, known.start, known_rows);
        }
        (scratch.image(0), Geometry { from: layout, from_top: top, ..self.geometry })
    }
}
