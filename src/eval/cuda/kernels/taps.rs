//! The kernels that reduce maps of features: taps, channel sums, and the means of layers.

use super::launch::{Name, Value, extent};
use super::{DevicePtr, Fault, Format, Kernels, Stream, Window};
use crate::eval::Epsilon;
use crate::eval::cuda::signature::entry;

/// The positions of a map in memory that a kernel reduces. Memory may hold a band of rows of a
/// larger map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::eval::cuda) struct Region {
    /// Positions of an image in memory.
    pub(in crate::eval::cuda) positions: usize,
    /// The first of them that is reduced.
    pub(in crate::eval::cuda) first: usize,
    pub(in crate::eval::cuda) count: usize,
    /// Positions of the larger map.
    pub(in crate::eval::cuda) whole: usize,
    /// The place of the first position there.
    pub(in crate::eval::cuda) whole_first: usize,
}

impl Region {
    pub(super) fn args(self) -> Result<[Value; 5], Fault> {
        let Region { positions, first, count, whole, whole_first } = self;
        let [positions, first, count] = [extent(positions)?, extent(first)?, extent(count)?];
        Ok([positions, first, count, extent(whole)?, extent(whole_first)?])
    }
}

/// The partial sums of a pair: how many there are, and the first that a launch writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::eval::cuda) struct Tiles {
    pub(in crate::eval::cuda) all: usize,
    pub(in crate::eval::cuda) first: usize,
}

/// The features of some pairs.
#[derive(Clone, Copy, Debug)]
pub(in crate::eval::cuda) struct PairFeatures {
    pub(in crate::eval::cuda) features: DevicePtr,
    /// u32 [pair][reference, distorted].
    pub(in crate::eval::cuda) indices: DevicePtr,
    pub(in crate::eval::cuda) pairs: usize,
    pub(in crate::eval::cuda) c: usize,
    pub(in crate::eval::cuda) region: Region,
}

/// Max-pooling at stride 2 that is computed with a tap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::eval::cuda) struct Pooling {
    /// Side of the window.
    pub(in crate::eval::cuda) kernel: usize,
    /// Rows and columns of the features, and of the pooled map.
    pub(in crate::eval::cuda) from: (usize, usize),
    pub(in crate::eval::cuda) to: (usize, usize),
}

impl Pooling {
    /// That of the kernel for windows of 2 or of 3.
    fn name(self, format: Format, c: usize) -> Name {
        let stem = if self.kernel == 2 { "tap_pool2" } else { "tap_pool3" };
        Name::of(stem, format).with_channels(c)
    }

    /// Cells of 2x2 positions: the items of the kernel.
    fn cells(self) -> usize {
        self.from.0.div_ceil(2) * self.from.1.div_ceil(2)
    }
}

/// Whether one kernel computes a tap with `c` channels and the max-pooling of such windows.
pub(in crate::eval::cuda) fn pools_with_tap(format: Format, c: usize, window: Window) -> bool {
    let Window { kernel, stride, pad } = window;
    let pooling = Pooling { kernel, from: (0, 0), to: (0, 0) };
    (stride, pad) == (2, 0)
        && (2..=3).contains(&kernel)
        && entry(&pooling.name(format, c).to_string()).is_some()
}

impl Kernels {
    /// Writes partial sums of the map D of one layer and, if `map` is there, the map.
    #[expect(clippy::too_many_arguments, reason = "the kernel has as many arguments")]
    pub(in crate::eval::cuda) fn tap(
        &self,
        stream: &Stream,
        format: Format,
        (partial, tiles): (DevicePtr, Tiles),
        map: Option<DevicePtr>,
        of: PairFeatures,
        lin: DevicePtr,
        epsilon: Epsilon,
    ) -> Result<(), Fault> {
        let [positions, first, count, whole, whole_first] = of.region.args()?;
        let args = [
            Value::Ptr(partial),
            Value::Ptr(map.unwrap_or(DevicePtr(0))),
            Value::Ptr(of.features),
            Value::Ptr(of.indices),
            Value::Ptr(lin),
            extent(of.pairs)?,
            positions,
            first,
            count,
            whole,
            whole_first,
            extent(tiles.all)?,
            extent(tiles.first)?,
            Value::F32(epsilon.inside),
            Value::F32(epsilon.outside),
        ];
        self.launch(stream, tap_name(format, of.c), of.pairs, of.region.count, &args)
    }

    /// The number of partial sums that [`Self::tap`] writes for one pair.
    pub(in crate::eval::cuda) fn tap_tiles(
        &self,
        format: Format,
        c: usize,
        positions: usize,
    ) -> Result<usize, Fault> {
        let kernel = self.find(tap_name(format, c))?;
        Ok(kernel.entry.tiles(positions as u64) as usize)
    }

    /// As [`Self::tap`] for whole maps, and writes the pooled maps of the images that `pools`, u32
    /// [pair][reference, distorted], names with 1.
    #[expect(clippy::too_many_arguments, reason = "the kernel has as many arguments")]
    pub(in crate::eval::cuda) fn tap_pool(
        &self,
        stream: &Stream,
        format: Format,
        partial: DevicePtr,
        map: Option<DevicePtr>,
        (pooled, pools, pooling): (DevicePtr, DevicePtr, Pooling),
        of: PairFeatures,
        lin: DevicePtr,
        epsilon: Epsilon,
    ) -> Result<(), Fault> {
        let args = [
            Value::Ptr(partial),
            Value::Ptr(map.unwrap_or(DevicePtr(0))),
            Value::Ptr(pooled),
            Value::Ptr(of.features),
            Value::Ptr(of.indices),
            Value::Ptr(pools),
            Value::Ptr(lin),
            extent(of.pairs)?,
            extent(pooling.from.0)?,
            extent(pooling.from.1)?,
            extent(pooling.to.0)?,
            extent(pooling.to.1)?,
            Value::F32(epsilon.inside),
            Value::F32(epsilon.outside),
        ];
        self.launch(stream, pooling.name(format, of.c), of.pairs, pooling.cells(), &args)
    }

    /// The number of partial sums that [`Self::tap_pool`] writes for one pair.
    pub(in crate::eval::cuda) fn tap_pool_tiles(
        &self,
        format: Format,
        c: usize,
        pooling: Pooling,
    ) -> Result<usize, Fault> {
        let kernel = self.find(pooling.name(format, c))?;
        Ok(kernel.entry.tiles(pooling.cells() as u64) as usize)
    }

    /// Writes the sum over channels of the reference's features.
    pub(in crate::eval::cuda) fn channel_sum(
        &self,
        stream: &Stream,
        format: Format,
        dst: DevicePtr,
        of: PairFeatures,
    ) -> Result<(), Fault> {
        let [positions, first, count, whole, whole_first] = of.region.args()?;
        let args = [
            Value::Ptr(dst),
            Value::Ptr(of.features),
            Value::Ptr(of.indices),
            extent(of.pairs)?,
            extent(of.c)?,
            positions,
            first,
            count,
            whole,
            whole_first,
        ];
        let name = Name::of("channel_sum", format);
        self.launch(stream, name, of.pairs, of.region.count, &args)
    }

    /// Writes the means of all layers to `out`, f64 (pair, layer).
    pub(in crate::eval::cuda) fn finish(
        &self,
        stream: &Stream,
        out: DevicePtr,
        partial: DevicePtr,
        tiles: DevicePtr,
        positions: DevicePtr,
        (pairs, layers): (usize, usize),
    ) -> Result<(), Fault> {
        let args = [
            Value::Ptr(out),
            Value::Ptr(partial),
            Value::Ptr(tiles),
            Value::Ptr(positions),
            extent(pairs)?,
            extent(layers)?,
        ];
        self.launch(stream, Name::plain("finish"), pairs, layers, &args)
    }
}

fn tap_name(format: Format, c: usize) -> Name {
    Name::of("tap", format).with_channels(c)
}
