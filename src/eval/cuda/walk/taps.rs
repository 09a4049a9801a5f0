//! Queues taps: what the two images of a pair differ by, at one layer.

use super::section::PreparedSection;
use super::tap_step::TapStep;
use super::{MicroBatch, Prepared, Resources};
use crate::eval::cuda::bands::Rows;
use crate::eval::cuda::driver::{DevicePtr, Fault};
use crate::eval::cuda::kernels::{PairFeatures, Region, Tiles};
use crate::eval::cuda::parameters::{Parameters, Taps};
use crate::net::plan::Shape;

impl Prepared {
    /// Queues the taps alone, on what the last walk left in the buffers.
    pub(in crate::eval::cuda) fn walk_taps(
        &self,
        parameters: &Parameters,
        resources: Resources<'_>,
        micro: MicroBatch,
    ) -> Result<(), Fault> {
        let mut tiles = vec![0; self.taps.len()];
        for section in &self.sections {
            for (index, tap) in section.taps.iter().enumerate() {
                for band in &section.section.bands {
                    let on = (section, band.taps[index]);
                    self.tap(tap, on, parameters, resources, micro, &mut tiles[tap.layer])?;
                }
            }
        }
        Ok(())
    }

    /// Bytes of features that [`Self::walk_taps`] reads for `pairs` pairs, and of the pooled maps
    /// that it writes, if each image belongs to one pair.
    pub(in crate::eval::cuda) fn tap_bytes(&self, parameters: &Parameters, pairs: usize) -> usize {
        let read = self.taps.iter().map(Shape::len);
        let taps = self.sections.iter().flat_map(|section| &section.taps);
        let written = taps.filter_map(|tap| tap.pooling.map(|(_, dst)| dst.shape.len()));
        let elements: usize = read.chain(written).sum();
        2 * pairs * elements * parameters.format.element().bytes()
    }

    /// Where the partial sums of a layer are.
    pub(super) fn partial(
        &self,
        parameters: &Parameters,
        Resources { activations, .. }: Resources<'_>,
        pairs: usize,
        layer: usize,
    ) -> DevicePtr {
        let before = self.taps.iter().zip(&self.tiles).take(layer);
        let bytes = before.map(|(tap, tiles)| pairs * parameters.partial_bytes(tap.c) * tiles);
        activations.partial.ptr().offset(bytes.sum())
    }

    /// Queues the partial sums of a tap of some rows, the rows of its maps, and the pooling that is
    /// computed with it. `done` is the number of partial sums of a pair that earlier bands wrote.
    pub(super) fn tap(
        &self,
        tap: &TapStep,
        (section, rows): (&PreparedSection, Rows),
        parameters: &Parameters,
        resources: Resources<'_>,
        micro: MicroBatch,
        done: &mut usize,
    ) -> Result<(), Fault> {
        let TapStep { layer, src, pooling } = *tap;
        if rows.count == 0 {
            return Ok(());
        }
        let Resources { stream, kernels, activations } = resources;
        let Shape { c, h, w } = src.shape;
        let region = Region {
            positions: h * w,
            first: rows.first * w,
            count: rows.count * w,
            whole: self.taps[layer].h * w,
            whole_first: rows.whole_first * w,
        };
        let features = section.address(activations, src);
        let of = PairFeatures { features, indices: micro.indices, pairs: micro.pairs, c, region };
        let tiles = Tiles { all: self.tiles[layer], first: *done };
        *done += tap.tiles(parameters, kernels, rows)?;
        let partial = self.partial(parameters, resources, micro.pairs, layer);
        let format = parameters.format;
        let Taps::Features { lin, epsilon } = &parameters.taps else {
            let channels = parameters.channels(src);
            return kernels.moments(stream, format, (partial, tiles), of, channels);
        };
        let map = self.results.maps.get(layer).map(|&at| micro.results.offset(at));
        let lin = lin[layer].ptr();
        match pooling {
            None => kernels.tap(stream, format, (partial, tiles), map, of, lin, *epsilon)?,
            Some((pooling, dst)) => {
                let pooled = (section.address(activations, dst), micro.firsts, pooling);
                kernels.tap_pool(stream, format, partial, map, pooled, of, lin, *epsilon)?;
            }
        }
        match self.results.reference_sum {
            Some((sum_of, at)) if sum_of == layer => {
                kernels.channel_sum(stream, format, micro.results.offset(at), of)
            }
            _ => Ok(()),
        }
    }
}
