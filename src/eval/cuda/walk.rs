//! A net prepared for one size of images on a GPU, and the walk of its plan.

mod dists;
mod rehearsal;
mod results;
mod section;
mod tap_step;
mod taps;

pub(super) use self::rehearsal::TestData;
use self::results::Layout;
pub(super) use self::results::SlotLayout;
use self::section::PreparedSection;
use super::bands::{Band, Bands, Footprint};
use super::conv::{Engine, SharedConvs};
use super::driver::{DevicePtr, Fault, Stream};
use super::kernels::{Kernels, Window};
use super::memory::{Activations, Capacity, Needs};
use super::parameters::{Parameters, Taps};
use crate::eval::{Distance, Unscored};
use crate::image::{Depth, Size};
use crate::net::plan::{ConvStep, Plan, Shape, Step};

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

    /// Bytes of one of the partial sums of a tap with `c` channels.
    fn partial_bytes(&self, c: usize) -> usize {
        match self.taps {
            Taps::Features { .. } => size_of::<f64>(),
            Taps::Channels(_) => dists::moments_bytes_of_tile(c),
        }
    }
}

/// A net prepared for micro-batches of one size of images.
pub(super) struct Prepared {
    sections: Vec<PreparedSection>,
    /// Shape of each tap of whole images, in layer order.
    taps: Vec<Shape>,
    /// Partial sums of one pair, per layer.
    tiles: Vec<usize>,
    /// Offsets of these numbers, and of those of positions, among the tables of a slot.
    tiles_table: usize,
    positions_table: usize,
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
    /// u32 [pair][reference, distorted].
    pub(super) indices: DevicePtr,
    /// As many u32: 1 for the first index of each image, else 0.
    pub(super) firsts: DevicePtr,
    /// The tables of a slot.
    pub(super) tables: DevicePtr,
    pub(super) pairs: usize,
    /// The results of a slot.
    pub(super) results: DevicePtr,
}

impl Prepared {
    /// Prepares `parameters` for micro-batches of this capacity, whose activations should take at
    /// most `activation_bytes`. Adds its results and tables to `slot`. Returns `Ok(Err(..))` where
    /// pairs of this size get no score.
    pub(super) fn new(
        parameters: &Parameters,
        (engine, shared): (&dyn Engine, &mut SharedConvs),
        kernels: &Kernels,
        (size, Capacity { images, pairs }): (Size, Capacity),
        activation_bytes: usize,
        slot: &mut SlotLayout,
    ) -> Result<Result<Prepared, Unscored>, Fault> {
        let Parameters { net, format, input_channels, wanted, .. } = *parameters;
        let element = images * format.element().bytes();
        let footprint = Footprint { element, input_channels, limit: activation_bytes };
        let bands = match Bands::new(net, size, footprint) {
            Ok(bands) => bands,
            Err(too_small) => return Ok(Err(too_small.into())),
        };
        let (taps, kept_len) = (bands.taps(), bands.kept_len());
        let mut needs = Needs { kept: element * kept_len, ..Needs::default() };
        let mut sections = Vec::new();
        for section in bands.sections {
            let input_len = section.input_len(input_channels);
            let largest = section.plan.buffer_len.into_iter().max().unwrap_or(0).max(input_len);
            if images * largest > ELEMENTS_MAX {
                let reason = format!("an activation of {images} x {largest} elements exceeds 2^31");
                return Ok(Err(Unscored::TooLarge { net: net.name, size, reason }));
            }
            let section = PreparedSection::new(parameters, (engine, shared), section, images)?;
            needs = needs.max(section.needs(parameters));
            sections.push(section);
        }
        let mut tiles = Vec::new();
        for PreparedSection { section, taps, .. } in &sections {
            for (index, tap) in taps.iter().enumerate() {
                let rows = section.bands.iter().map(|band| band.taps[index]);
                let counts = rows.map(|rows| tap.tiles(parameters, kernels, rows));
                tiles.push(counts.sum::<Result<usize, Fault>>()?);
            }
        }
        let results = Layout::new(slot.results_bytes, &taps, pairs, wanted);
        slot.results_bytes = results.end;
        let partial =
            taps.iter().zip(&tiles).map(|(tap, tiles)| parameters.partial_bytes(tap.c) * tiles);
        needs.partial = pairs * partial.sum::<usize>();
        Ok(Ok(Prepared {
            tiles_table: slot.add_table(tiles.iter().copied()),
            positions_table: slot.add_table(taps.iter().map(|tap| tap.h * tap.w)),
            sections,
            taps,
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
        let mut tiles = vec![0; self.taps.len()];
        for (index, section) in self.sections.iter().enumerate() {
            for band in &section.section.bands {
                match section.section.reads_image {
                    true => section.normalise(parameters, resources, micro, band)?,
                    false => section.read_kept(parameters.format, resources, band)?,
                }
                self.walk_steps(section, band, parameters, resources, micro, &mut tiles)?;
                if index + 1 < self.sections.len() {
                    section.write_kept(parameters.format, resources, band)?;
                }
            }
        }
        match &parameters.taps {
            Taps::Features { .. } => self.finish(resources, micro),
            Taps::Channels(tables) => self.finish_channels(parameters, resources, micro, tables),
        }
    }

    /// Queues the steps of one band.
    fn walk_steps(
        &self,
        section: &PreparedSection,
        band: &Band,
        parameters: &Parameters,
        resources: Resources<'_>,
        micro: MicroBatch,
        tiles: &mut [usize],
    ) -> Result<(), Fault> {
        let format = parameters.format;
        let (mut convs, mut taps) = (section.convs.iter(), section.taps.iter().zip(&band.taps));
        let mut steps = section.section.plan.steps.iter();
        while let Some(step) = steps.next() {
            match *step {
                Step::Conv(ConvStep { weight, src, dst, .. }) => {
                    let shared = convs.next().expect("a convolution for each of the plan's");
                    let filter = parameters.convs[weight].ptr();
                    let ran = section.convolve(&*shared.conv, filter, resources, (src, dst));
                    ran.map_err(|fault| fault.at(&parameters.conv_name(weight)))?;
                }
                Step::MaxPool { kernel, stride, src, dst } => {
                    let window = Window { kernel, stride, pad: 0 };
                    section.max_pool(format, resources, (src, dst), window)?;
                }
                Step::L2Pool { src, dst } => section.l2_pool(format, resources, (src, dst))?,
                Step::Tap { layer, .. } => {
                    let (tap, rows) = taps.next().expect("rows for each of the plan's taps");
                    let on = (section, *rows);
                    self.tap(tap, on, parameters, resources, micro, &mut tiles[layer])?;
                    if tap.pooling.is_some() {
                        // The next step is done.
                        steps.next();
                    }
                }
            }
        }
        Ok(())
    }

    /// Queues the means of all layers.
    fn finish(
        &self,
        Resources { stream, kernels, activations }: Resources<'_>,
        micro: MicroBatch,
    ) -> Result<(), Fault> {
        let means = micro.results.offset(self.results.means);
        let [tiles, positions] =
            [self.tiles_table, self.positions_table].map(|at| micro.tables.offset(at));
        let counts = (micro.pairs, self.tiles.len());
        kernels.finish(stream, means, activations.partial.ptr(), tiles, positions, counts)
    }

    /// Reads the distance of one pair from `results`, a copy of the slot's results.
    pub(super) fn distance(&self, results: &[u8], pair: usize) -> Distance {
        self.results.distance(&self.taps, results, pair)
    }
}
