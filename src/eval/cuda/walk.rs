//! A net prepared for one size of images on a GPU, and the walk of its plan.

mod dists;
mod rehearsal;

use super::conv::{Call, Conv, Engine, FilterPtr};
use super::driver::{DeviceBuffer, DevicePtr, Fault, Stream};
use super::kernels::{Extents, Format, Kernels, PairFeatures, Window};
use super::memory::{Activations, Capacity, Needs, aligned};
use super::parameters::{Parameters, Taps, resident};
use crate::eval::{Distance, Map, Unscored, Wanted};
use crate::image::{Depth, Size};
use crate::net::plan::{ConvStep, Plan, Shape, Slot, Step, View};

/// Largest number of elements of a tensor: the libraries use signed 32-bit integers.
const ELEMENTS_MAX: usize = i32::MAX as usize;

impl Parameters {
    /// Approximate size of the results of one pair of images of `size`, in bytes.
    pub(super) fn pair_bytes(&self, size: Size) -> usize {
        let plan = Plan::new(self.net, size.height, size.width);
        plan.map_or(0, |plan| {
            let results = Layout::new(0, &plan.taps, 1, self.wanted).end;
            // The moments of a pair take much more than its results.
            let of_channels = || dists::moments_bytes(&plan.taps);
            results + if matches!(self.taps, Taps::Channels(_)) { of_channels() } else { 0 }
        })
    }
}

/// Offsets of the results of one net within a slot's results, for a full micro-batch. All of them
/// are aligned.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Layout {
    /// f64 (pair, layer).
    means: usize,
    /// f32 (pair, position), per layer.
    maps: Vec<usize>,
    /// The layer, and f32 (pair, position).
    reference_sum: Option<(usize, usize)>,
    /// First byte after all of them.
    end: usize,
}

impl Layout {
    fn new(start: usize, taps: &[Shape], pairs_max: usize, wanted: Wanted) -> Layout {
        let mut end = start;
        let mut take = |bytes: usize| {
            let at = end;
            end = aligned(end + bytes);
            at
        };
        let map_bytes = |tap: &Shape| size_of::<f32>() * pairs_max * tap.h * tap.w;
        let means = take(size_of::<f64>() * pairs_max * taps.len());
        let mapped = if wanted.layers { taps } else { &[] };
        let maps = mapped.iter().map(|tap| take(map_bytes(tap))).collect();
        let reference_sum =
            wanted.reference_sum.map(|layer| (layer, take(map_bytes(&taps[layer]))));
        Layout { means, maps, reference_sum, end }
    }
}

/// A net prepared for micro-batches of one size of images.
pub(super) struct Prepared {
    plan: Plan,
    /// Images of a micro-batch.
    images: usize,
    /// Images of one convolution: fewer than all where 32 bits cannot count the elements.
    images_per_conv: usize,
    /// In the order of the plan's convolutions.
    convs: Vec<Box<dyn Conv>>,
    /// Partial sums of one pair, per layer; on the host, and as u32 on the device.
    tiles: Vec<usize>,
    tiles_device: DeviceBuffer,
    positions_device: DeviceBuffer,
    results: Layout,
    pub(super) needs: Needs,
}

/// What a walk uses beside the parameters.
#[derive(Clone, Copy)]
pub(super) struct Resources<'a> {
    pub(super) stream: &'a Stream,
    pub(super) kernels: &'a Kernels,
    pub(super) activations: &'a Activations,
}

/// One micro-batch on the device.
#[derive(Clone, Copy, Debug)]
pub(super) struct MicroBatch {
    /// (image, row, column, RGB).
    pub(super) pixels: DevicePtr,
    pub(super) depth: Depth,
    /// Images in use; the rest of the micro-batch is padding.
    pub(super) images: usize,
    /// u32 [pair][reference, distorted].
    pub(super) indices: DevicePtr,
    pub(super) pairs: usize,
    /// The results of a slot.
    pub(super) results: DevicePtr,
}

impl Prepared {
    /// Prepares `parameters` for micro-batches of this capacity. Results begin at byte `start`.
    /// Returns `Ok(Err(..))` where pairs of this size get no score.
    pub(super) fn new(
        parameters: &Parameters,
        engine: &dyn Engine,
        (kernels, stream): (&Kernels, &Stream),
        (size, Capacity { images, pairs }): (Size, Capacity),
        start: usize,
    ) -> Result<Result<Prepared, Unscored>, Fault> {
        let Parameters { net, format, input_channels, precision, wanted, .. } = *parameters;
        let plan = match Plan::new(net, size.height, size.width) {
            Ok(plan) => plan,
            Err(too_small) => return Ok(Err(too_small.into())),
        };
        let input_len = input_channels * plan.input.h * plan.input.w;
        let largest = plan.buffer_len.into_iter().max().unwrap_or(0).max(input_len);
        if largest > ELEMENTS_MAX {
            let reason = format!("{largest} elements of an activation are more than 2^31");
            return Ok(Err(Unscored::TooLarge { net: net.name, size, reason }));
        }
        let images_per_conv = if images * largest > ELEMENTS_MAX { 1 } else { images };
        let mut convs = Vec::new();
        for step in &plan.steps {
            if let Step::Conv(ConvStep { kernel, stride, pad, src, dst, .. }) = *step {
                let window = Window { kernel, stride, pad };
                let geometry = parameters.geometry(images_per_conv, src, dst, window);
                convs.push(engine.prepare(geometry, precision)?);
            }
        }
        let tiles = plan
            .taps
            .iter()
            .map(|tap| match parameters.taps {
                Taps::Features { .. } => kernels.tap_tiles(format, tap.c, tap.h * tap.w),
                Taps::Channels(_) => kernels.moments_tiles(format, tap.h * tap.w),
            })
            .collect::<Result<Vec<usize>, Fault>>()?;
        let u32s = |values: &mut dyn Iterator<Item = usize>| {
            let bytes: Vec<u8> = values.flat_map(|value| (value as u32).to_ne_bytes()).collect();
            resident(&bytes, stream)
        };
        let results = Layout::new(start, &plan.taps, pairs, wanted);
        let element = format.element().bytes();
        let needs = Needs {
            input: element * images * input_len,
            buffers: plan.buffer_len.map(|len| element * images * len),
            workspace: convs.iter().map(|conv| conv.workspace_bytes()).max().unwrap_or(0),
            partial: pairs
                * match parameters.taps {
                    Taps::Features { .. } => size_of::<f64>() * tiles.iter().sum::<usize>(),
                    Taps::Channels(_) => dists::moments_bytes(&plan.taps),
                },
            results: results.end,
            ..Needs::default()
        };
        Ok(Ok(Prepared {
            tiles_device: u32s(&mut tiles.iter().copied())?,
            positions_device: u32s(&mut plan.taps.iter().map(|tap| tap.h * tap.w))?,
            plan,
            images,
            images_per_conv,
            convs,
            tiles,
            results,
            needs,
        }))
    }

    /// Queues everything from pixels to results on the stream.
    pub(super) fn walk(
        &self,
        parameters: &Parameters,
        resources: Resources<'_>,
        micro: MicroBatch,
    ) -> Result<(), Fault> {
        let Resources { stream, kernels, activations } = resources;
        let Parameters { format, scaling, .. } = *parameters;
        let Shape { h, w, .. } = self.plan.input;
        let input = Extents { images: micro.images, c: parameters.input_channels, h, w };
        let formats = (micro.depth, format);
        let (target, pixels) = (activations.input.ptr(), micro.pixels);
        kernels.normalise(stream, formats, target, pixels, input, scaling)?;
        let mut convs = self.convs.iter();
        let mut partial_at = 0;
        for step in &self.plan.steps {
            match *step {
                Step::Conv(ConvStep { weight, src, dst, .. }) => {
                    let conv = convs.next().expect("a convolution for each of the plan's");
                    let filter = parameters.convs[weight].ptr();
                    let ran = self.convolve(&**conv, parameters, filter, resources, (src, dst));
                    ran.map_err(|fault| fault.at(&parameters.conv_name(weight)))?;
                }
                Step::MaxPool { kernel, stride, src, dst } => {
                    self.pool(format, resources, (src, dst), Window { kernel, stride, pad: 0 })?;
                }
                Step::L2Pool { src, dst } => self.l2_pool(format, resources, (src, dst))?,
                Step::Tap { layer, src } => {
                    self.tap(parameters, resources, micro, (layer, src), partial_at)?;
                    partial_at += self.partial_bytes(parameters, micro.pairs, layer);
                }
            }
        }
        if matches!(parameters.taps, Taps::Channels(_)) {
            return Ok(());
        }
        let means = micro.results.offset(self.results.means);
        let (tiles, positions) = (self.tiles_device.ptr(), self.positions_device.ptr());
        let counts = (micro.pairs, self.tiles.len());
        kernels.finish(stream, means, activations.partial.ptr(), tiles, positions, counts)
    }

    /// Queues the taps alone, on what the last walk left in the buffers.
    pub(super) fn walk_taps(
        &self,
        parameters: &Parameters,
        resources: Resources<'_>,
        micro: MicroBatch,
    ) -> Result<(), Fault> {
        let mut partial_at = 0;
        for step in &self.plan.steps {
            if let Step::Tap { layer, src } = *step {
                self.tap(parameters, resources, micro, (layer, src), partial_at)?;
                partial_at += self.partial_bytes(parameters, micro.pairs, layer);
            }
        }
        Ok(())
    }

    /// Bytes of features that the taps of `pairs` pairs read.
    pub(super) fn tap_bytes(&self, parameters: &Parameters, pairs: usize) -> usize {
        let elements: usize = self.plan.taps.iter().map(|tap| tap.c * tap.h * tap.w).sum();
        2 * pairs * elements * parameters.format.element().bytes()
    }

    fn convolve(
        &self,
        conv: &dyn Conv,
        parameters: &Parameters,
        filter: FilterPtr,
        resources: Resources<'_>,
        (src, dst): (View, View),
    ) -> Result<(), Fault> {
        let Resources { stream, kernels, activations } = resources;
        let element = parameters.format.element().bytes();
        let c_in = parameters.channels(src);
        let src_bytes = element * c_in * src.shape.h * src.shape.w;
        let dst_bytes = element * dst.c_slot * dst.shape.h * dst.shape.w;
        for first in (0..self.images).step_by(self.images_per_conv) {
            conv.run(Call {
                stream,
                kernels,
                filter,
                src: address(activations, src).offset(first * src_bytes),
                dst: address(activations, dst).offset(first * dst_bytes),
                workspace: activations.workspace.ptr(),
            })?;
        }
        Ok(())
    }

    fn pool(
        &self,
        format: Format,
        resources: Resources<'_>,
        (src, dst): (View, View),
        window: Window,
    ) -> Result<(), Fault> {
        let Resources { stream, kernels, activations } = resources;
        let Shape { c, h, w } = src.shape;
        let from = Extents { images: self.images, c, h, w };
        let out = (dst.shape.h, dst.shape.w);
        let (dst, src) = (address(activations, dst), address(activations, src));
        kernels.max_pool(stream, format, dst, src, from, out, window)
    }

    fn tap(
        &self,
        parameters: &Parameters,
        resources: Resources<'_>,
        micro: MicroBatch,
        (layer, src): (usize, View),
        partial_at: usize,
    ) -> Result<(), Fault> {
        let Resources { stream, kernels, activations } = resources;
        let Shape { c, h, w } = src.shape;
        let features = PairFeatures {
            features: address(activations, src),
            indices: micro.indices,
            pairs: micro.pairs,
            c,
            positions: h * w,
        };
        let (format, partial) = (parameters.format, activations.partial.ptr().offset(partial_at));
        let (lin, epsilon) = match &parameters.taps {
            Taps::Features { lin, epsilon } => (lin[layer].ptr(), *epsilon),
            Taps::Channels(tables) => {
                let table = tables[layer].ptr();
                let c_slot = parameters.channels(src);
                return self.channels(resources, micro, (features, c_slot), (layer, table), format);
            }
        };
        let map = self.results.maps.get(layer).map(|&at| micro.results.offset(at));
        kernels.tap(stream, format, partial, map, features, lin, epsilon)?;
        match self.results.reference_sum {
            Some((of, at)) if of == layer => {
                kernels.channel_sum(stream, format, micro.results.offset(at), features)
            }
            _ => Ok(()),
        }
    }

    /// Reads the distance of one pair from `results`, a copy of the slot's results.
    pub(super) fn distance(&self, results: &[u8], pair: usize) -> Distance {
        let layers = self.tiles.len();
        let map = |layer: usize, at: usize| {
            let Shape { h: height, w: width, .. } = self.plan.taps[layer];
            let values = values(results, at, pair * height * width, height * width);
            Map { height, width, values }
        };
        let maps = self.results.maps.iter().enumerate();
        Distance {
            layers: values(results, self.results.means, pair * layers, layers),
            maps: maps.map(|(layer, &at)| map(layer, at)).collect(),
            reference_sum: self.results.reference_sum.map(|(layer, at)| map(layer, at)),
            ..Distance::default()
        }
    }
}

/// `count` values, beginning with index `first`, of the array that starts at byte `at`.
fn values<T: bytemuck::Pod>(bytes: &[u8], at: usize, first: usize, count: usize) -> Vec<T> {
    let start = at + first * size_of::<T>();
    bytemuck::pod_collect_to_vec(&bytes[start..][..count * size_of::<T>()])
}

/// The buffer that a view is in. A plan reads the input or one of the three buffers.
fn address(activations: &Activations, view: View) -> DevicePtr {
    match view.slot {
        Slot::Input => activations.input.ptr(),
        Slot::Buffer(index) => activations.buffers[index].ptr(),
    }
}
