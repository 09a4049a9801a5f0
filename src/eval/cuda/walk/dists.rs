//! The steps that only DISTS has.

use super::{MicroBatch, Prepared, Resources};
use crate::eval::cuda::driver::{DeviceBuffer, Fault};
use crate::eval::cuda::kernels::MOMENTS;
use crate::eval::cuda::parameters::Parameters;
use crate::eval::cuda::signature::entry;
use crate::net::plan::Shape;

/// Bytes of the moments of one pair, of whole maps.
pub(super) fn moments_bytes(taps: &[Shape]) -> usize {
    // Tiles are equally large in all formats.
    let tiles = |tap: &Shape| {
        entry("moments_nchw_f32").map_or(0, |entry| entry.tiles((tap.h * tap.w) as u64)) as usize
    };
    taps.iter().map(|tap| moments_bytes_of_tile(tap.c) * tiles(tap)).sum()
}

/// Bytes of the moments of one tile of a tap with `c` channels.
pub(super) fn moments_bytes_of_tile(c: usize) -> usize {
    size_of::<f64>() * MOMENTS * c
}

impl Prepared {
    /// Queues what every layer contributes to DISTS, from the moments of all bands.
    pub(super) fn finish_channels(
        &self,
        parameters: &Parameters,
        resources: Resources<'_>,
        micro: MicroBatch,
        tables: &[DeviceBuffer],
    ) -> Result<(), Fault> {
        let Resources { stream, kernels, .. } = resources;
        let out = micro.results.offset(self.results.means);
        for (layer, (tap, table)) in self.taps.iter().zip(tables).enumerate() {
            let partial = self.partial(parameters, resources, micro.pairs, layer);
            let (moments, of) = ((partial, self.tiles[layer]), (layer, self.taps.len()));
            kernels.dists(stream, out, moments, table.ptr(), micro.pairs, *tap, of)?;
        }
        Ok(())
    }
}
