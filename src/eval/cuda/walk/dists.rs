//! The steps that only DISTS has.

use super::{MicroBatch, Prepared, Resources, address};
use crate::eval::cuda::driver::{DevicePtr, Fault};
use crate::eval::cuda::kernels::{Extents, Format, MOMENTS, PairFeatures};
use crate::eval::cuda::parameters::{Parameters, Taps};
use crate::eval::cuda::signature::entry;
use crate::net::plan::{Shape, View};

/// Bytes of the moments of one pair: those of the tap that has the most. One tap after another uses
/// this memory.
pub(super) fn moments_bytes(taps: &[Shape]) -> usize {
    // Tiles are equally large in all formats.
    let tiles = |tap: &Shape| {
        entry("moments_nchw_f32").map_or(0, |entry| entry.tiles((tap.h * tap.w) as u64)) as usize
    };
    taps.iter().map(|tap| size_of::<f64>() * MOMENTS * tap.c * tiles(tap)).max().unwrap_or(0)
}

impl Prepared {
    /// Bytes of partial sums that the tap of `layer` keeps until the end of the walk.
    pub(super) fn partial_bytes(
        &self,
        parameters: &Parameters,
        pairs: usize,
        layer: usize,
    ) -> usize {
        match parameters.taps {
            Taps::Features { .. } => size_of::<f64>() * pairs * self.tiles[layer],
            Taps::Channels(_) => 0,
        }
    }

    /// Queues L2 pooling.
    pub(super) fn l2_pool(
        &self,
        format: Format,
        resources: Resources<'_>,
        (src, dst): (View, View),
    ) -> Result<(), Fault> {
        let Resources { stream, kernels, activations } = resources;
        let Shape { c, h, w } = src.shape;
        let from = Extents { images: self.images, c, h, w };
        kernels.l2_pool(stream, format, address(activations, dst), address(activations, src), from)
    }

    /// Queues the comparison of channels at one tap, whose results need no further step.
    pub(super) fn channels(
        &self,
        resources: Resources<'_>,
        micro: MicroBatch,
        (features, c_slot): (PairFeatures, usize),
        (layer, table): (usize, DevicePtr),
        format: Format,
    ) -> Result<(), Fault> {
        let Resources { stream, kernels, activations } = resources;
        let (partial, out) = (activations.partial.ptr(), micro.results.offset(self.results.means));
        kernels.moments(stream, format, partial, features, c_slot)?;
        let layers = (layer, self.tiles.len());
        kernels.dists(stream, out, partial, table, features, self.tiles[layer], layers)
    }
}
