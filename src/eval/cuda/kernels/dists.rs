//! The kernels of DISTS.

use super::launch::{Name, Value, extent};
use super::{DevicePtr, Extents, Fault, Format, Kernels, PairFeatures, Stream, Tiles, vector};
use crate::net::plan::Shape;

/// f64 numbers that [`Kernels::moments`] writes for a channel and a tile.
pub(in crate::eval::cuda) const MOMENTS: usize = 7;

impl Kernels {
    /// L2 pooling of all images of `from`.
    pub(in crate::eval::cuda) fn l2_pool(
        &self,
        stream: &Stream,
        format: Format,
        dst: DevicePtr,
        src: DevicePtr,
        from: Extents,
    ) -> Result<(), Fault> {
        let args = [
            Value::Ptr(dst),
            Value::Ptr(src),
            extent(from.images)?,
            extent(from.c)?,
            extent(from.h)?,
            extent(from.w)?,
        ];
        let positions = from.h.div_ceil(2) * from.w.div_ceil(2);
        let items = from.images * from.c * positions / vector(format);
        self.launch(stream, Name::of("l2_pool", format), 1, items, &args)
    }

    /// Writes sums of the moments of every channel, f64 (pair, tile, [`MOMENTS`], channel). The
    /// features have `c_slot` channels in memory. The launch that writes tile 0 comes first.
    pub(in crate::eval::cuda) fn moments(
        &self,
        stream: &Stream,
        format: Format,
        (partial, tiles): (DevicePtr, Tiles),
        of: PairFeatures,
        c_slot: usize,
    ) -> Result<(), Fault> {
        let [positions, first, count, ..] = of.region.args()?;
        let args = [
            Value::Ptr(partial),
            Value::Ptr(of.features),
            Value::Ptr(of.indices),
            extent(of.pairs)?,
            extent(of.c)?,
            extent(c_slot)?,
            positions,
            first,
            count,
            extent(tiles.all)?,
            extent(tiles.first)?,
        ];
        let channels = match format {
            Format::NchwF32 => 8,
            Format::NhwcF32 | Format::NhwcF16 => 32,
        };
        let groups = of.pairs * of.c.div_ceil(channels);
        let name = Name::of("moments", format);
        self.launch(stream, name, groups, of.region.count, &args)
    }

    /// The number of tiles that [`Self::moments`] writes for one pair.
    pub(in crate::eval::cuda) fn moments_tiles(
        &self,
        format: Format,
        positions: usize,
    ) -> Result<usize, Fault> {
        let kernel = self.find(Name::of("moments", format))?;
        Ok(kernel.entry.tiles(positions as u64) as usize)
    }

    /// Writes what `layer` of `layers`, of shape `tap`, contributes to DISTS to `out`, f64 (pair,
    /// layer). `weights` are f64 (channel, (alpha, beta, gain, bias)).
    #[expect(clippy::too_many_arguments, reason = "the kernel has as many arguments")]
    pub(in crate::eval::cuda) fn dists(
        &self,
        stream: &Stream,
        out: DevicePtr,
        (partial, tiles): (DevicePtr, usize),
        weights: DevicePtr,
        pairs: usize,
        tap: Shape,
        (layer, layers): (usize, usize),
    ) -> Result<(), Fault> {
        let args = [
            Value::Ptr(out),
            Value::Ptr(partial),
            Value::Ptr(weights),
            extent(pairs)?,
            extent(tiles)?,
            extent(tap.c)?,
            extent(tap.h * tap.w)?,
            extent(layers)?,
            extent(layer)?,
        ];
        self.launch(stream, Name::plain("dists"), pairs, 1, &args)
    }
}
