//! One model on the CPU: walks its plan, some images at a time.

use std::ops::Range;
use std::sync::Arc;

use super::bands::{Band, Bands};
use super::budget::Budget;
use super::conv::Conv;
use super::fold;
use super::ops::{self, Normaliser};
use super::passes::{ConvPass, Op, Pass};
use super::scratch::Scratch;
use super::stage::Stage;
use super::statistics::{LayerStatistics, Statistics};
use super::tap::{Comparison, LayerResult};
use super::team::Team;
use super::tensor::{ABOVE, Layout, Target, Tensor};
use crate::batch::{Batch, Grouping, Pair};
use crate::eval::chunk::{Chunk, take_groups};
use crate::eval::{Distance, Metric, Model, Unscored};
use crate::image::Size;
use crate::isa::Isa;
use crate::net::NetSpec;
use crate::net::plan::Shape;
use crate::net::weights::Trunk;

/// One model, ready to be walked.
#[derive(Debug)]
pub(super) struct Engine {
    net: &'static NetSpec,
    trunk: Trunk,
    normaliser: Normaliser,
    /// The prepared trunk, which engines of models with the same trunk share.
    convs: Arc<[Conv]>,
    taps: Taps,
    isa: Isa,
    budget: Arc<Budget>,
    /// One for each buffer of the bands. The memory is reused from batch to batch.
    buffers: Vec<Tensor>,
    scratch: Scratch,
}

/// How the activations of two images are compared.
#[derive(Debug)]
enum Taps {
    /// LPIPS.
    Features(Comparison),
    /// DISTS.
    Channels(Statistics),
}

/// The results of all layers, while they are computed.
enum Results {
    /// For each layer and pair.
    Features(Vec<Vec<LayerResult>>),
    /// For each layer.
    Channels(Vec<LayerStatistics>),
}

/// Images that go through the trunk together, and the pairs of them.
struct Walk<'a> {
    batch: &'a Batch,
    /// Indices into the batch.
    images: &'a [usize],
    /// Indices into `images`.
    pairs: &'a [Pair],
    results: Results,
}

impl Engine {
    /// An engine for each model. Keeps the weights unchanged. They are transformed when they are
    /// first needed, once for all models that share a trunk.
    pub(super) fn all(models: Vec<Model>, budget: &Arc<Budget>) -> Vec<Engine> {
        let mut engines: Vec<Engine> = Vec::new();
        for model in models {
            let convs = match engines.iter().find(|engine| engine.trunk.is(&model.trunk)) {
                Some(engine) => Arc::clone(&engine.convs),
                None => {
                    let convs = model.trunk.convs.iter();
                    convs.map(|conv| Conv::new(Arc::clone(conv), budget.plans.isa())).collect()
                }
            };
            engines.push(Engine::new(model, convs, budget));
        }
        engines
    }

    fn new(model: Model, convs: Arc<[Conv]>, budget: &Arc<Budget>) -> Engine {
        let (net, budget, isa) = (model.spec(), Arc::clone(budget), budget.plans.isa());
        let Model { trunk, input, version, metric } = model;
        let taps = match metric {
            Metric::Lpips(lpips) => {
                Taps::Features(Comparison::new(lpips, &net.tap_channels(), isa))
            }
            Metric::Dists(weights) => Taps::Channels(Statistics::new(weights, isa)),
        };
        let normaliser = Normaliser::new(input, version);
        let (buffers, scratch) = (Vec::new(), Scratch::new());
        Engine { net, trunk, normaliser, convs, taps, isa, budget, buffers, scratch }
    }

    /// The outcome of a pair that the memory can never hold.
    pub(super) fn refuse(&self, size: Size, reason: &str) -> Result<Distance, Unscored> {
        self.budget.bands(self.net, size)?;
        Err(Unscored::TooLarge { net: self.net.name, size, reason: reason.to_owned() })
    }

    /// Scores all pairs of a batch, and adds the images that went through the trunk to
    /// `passes_done`.
    pub(super) fn score(
        &mut self,
        batch: &Batch,
        passes_done: &mut u64,
        team: &Team,
    ) -> Vec<Result<Distance, Unscored>> {
        let bands = match self.budget.bands(self.net, batch.shape().size) {
            Ok(bands) => bands,
            Err(too_small) => return vec![Err(too_small.into()); batch.pairs().len()],
        };
        let image_max = match batch.grouping() {
            // The capacity of such a batch allows for the activations of all its images.
            Grouping::Item => usize::MAX,
            _ => self.budget.images_at_once(bands.image_bytes(self.budget.threads)),
        };
        let mut distances = Vec::with_capacity(batch.pairs().len());
        let mut rest = batch.pairs();
        while !rest.is_empty() {
            let Chunk { pairs, images } = take_groups(&mut rest, image_max);
            *passes_done += images.len() as u64;
            distances.extend(self.walk(&bands, batch, &images, &pairs, team));
        }
        distances.into_iter().map(|distance| distance.finite(self.net)).collect()
    }

    /// Computes all bands for some images of a batch; `pairs` index into `images`.
    fn walk(
        &mut self,
        bands: &Bands,
        batch: &Batch,
        images: &[usize],
        pairs: &[Pair],
        team: &Team,
    ) -> Vec<Distance> {
        let taps = || bands.taps.iter().map(|&Shape { c, h, w }| Layout { c, h, w });
        let results = match &self.taps {
            Taps::Features(taps_of) => {
                let start =
                    |(layer, tap)| pairs.iter().map(|_| taps_of.start(layer, tap)).collect();
                Results::Features(taps().enumerate().map(start).collect())
            }
            Taps::Channels(_) => Results::Channels(taps().map(|_| Default::default()).collect()),
        };
        let mut walk = Walk { batch, images, pairs, results };
        let buffers = bands.windows.iter().map(|window| window.buffer + 1).max().unwrap_or(0);
        self.buffers.resize_with(buffers.max(self.buffers.len()), Tensor::default);
        for band in &bands.bands {
            self.band(bands, band, &mut walk, team);
        }
        let mut distances = vec![Distance::default(); pairs.len()];
        match walk.results {
            Results::Features(layers) => {
                for (layer, tap) in layers.into_iter().zip(taps()) {
                    for (result, distance) in layer.into_iter().zip(&mut distances) {
                        result.finish(tap, distance);
                    }
                }
            }
            Results::Channels(layers) => {
                layers.into_iter().for_each(|layer| layer.finish(&mut distances));
            }
        }
        distances
    }

    /// Computes one band.
    fn band(&mut self, bands: &Bands, band: &Band, walk: &mut Walk<'_>, team: &Team) {
        let Pass { op, src, dst, .. } = bands.passes[band.pass];
        let [from, to] = [src, dst].map(|map| bands.windows[map]);
        let rows = band.rows.clone();
        if let Op::Tap { layer } = op {
            return self.tap(layer, from.buffer, rows, walk, team);
        }
        let Engine { buffers, scratch, convs, isa, .. } = self;
        let target = &mut buffers[to.buffer];
        if band.is_first {
            target.begin(walk.images.len(), to.layout, to.rows, ABOVE);
        }
        target.make_room(band.dst_rows.end, band.keep, team);
        if op == Op::Normalise {
            let target = Target { map: target, rows };
            return self.normaliser.run(walk.batch, walk.images, target, team);
        }
        let Ok([source, target]) = buffers.get_disjoint_mut([from.buffer, to.buffer]) else {
            unreachable!("a pass that reads the buffer that it writes")
        };
        let target = Target { map: target, rows: band.dst_rows.clone() };
        match op {
            Op::Fold(geometry) => fold::input(source, target, geometry, team),
            Op::Conv(ConvPass { weight, algorithm, geometry }) => {
                convs[weight].run(algorithm, source, target, geometry, scratch, team);
            }
            Op::Pool { kernel, stride } => {
                ops::max_pool(source, target, [kernel, stride], *isa, team);
            }
            Op::L2Pool => ops::l2_pool(source, target, *isa, team),
            Op::Stage { first, conv, layer, tiles } => {
                let (Taps::Features(comparison), Results::Features(results)) =
                    (&self.taps, &mut walk.results)
                else {
                    unreachable!("a stage ends with max-pooling, which DISTS does not have")
                };
                let direct = |first: ConvPass| (convs[first.weight].direct(team), first.geometry);
                let stage = Stage {
                    rows,
                    first: first.map(direct),
                    conv: convs[conv.weight].winograd(conv.scheme(), 1, team),
                    geometry: conv.geometry,
                    block_tiles: tiles,
                    layer,
                    comparison,
                    isa: *isa,
                };
                stage.run(source, target, walk.pairs, &mut results[layer], scratch, team);
            }
            Op::Normalise | Op::Tap { .. } => unreachable!("computed above"),
        }
    }

    /// Compares some rows of a tap.
    fn tap(
        &self,
        layer: usize,
        buffer: usize,
        rows: Range<usize>,
        walk: &mut Walk<'_>,
        team: &Team,
    ) {
        let (source, pairs) = (&self.buffers[buffer], walk.pairs);
        match (&self.taps, &mut walk.results) {
            (Taps::Features(taps), Results::Features(results)) => {
                taps.run(layer, source, rows, pairs, &mut results[layer], team);
            }
            (Taps::Channels(taps), Results::Channels(results)) => {
                taps.run(layer, source, rows, pairs, &mut results[layer], team);
            }
            _ => unreachable!("results of another kind of taps"),
        }
    }
}
