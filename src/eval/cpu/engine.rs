//! One model on the CPU: walks its plan, some images at a time.

use std::sync::Arc;

use super::budget::Budget;
use super::conv::Conv;
use super::ops;
use super::passes::{Pass, image_bytes};
use super::scratch::Scratch;
use super::stage::Stage;
use super::statistics::Statistics;
use super::tap::Comparison;
use super::team::Team;
use super::tensor::{Geometry, Layout, Tensor};
use crate::batch::{Batch, Grouping, Pair};
use crate::eval::chunk::{Chunk, take_groups};
use crate::eval::{Affine, Distance, Metric, Model, Unscored};
use crate::image::Size;
use crate::isa::Isa;
use crate::net::NetSpec;
use crate::net::plan::{BUFFERS, ConvStep, Plan, Slot, View};
use crate::net::weights::{Trunk, Version};

/// One model, ready to be walked.
#[derive(Debug)]
pub(super) struct Engine {
    net: &'static NetSpec,
    trunk: Trunk,
    input: Affine,
    version: Version,
    /// The prepared trunk, which engines of models with the same trunk share.
    convs: Arc<[Conv]>,
    taps: Taps,
    isa: Isa,
    budget: Arc<Budget>,
    /// The plan for the size of the last batch.
    plan: Option<(Size, Plan)>,
    activations: Activations,
}

/// How the activations of two images are compared.
#[derive(Debug)]
enum Taps {
    /// LPIPS.
    Features(Comparison),
    /// DISTS.
    Channels(Statistics),
}

/// What a walk reads and writes. The memory is reused from batch to batch.
#[derive(Debug, Default)]
struct Activations {
    input: Tensor,
    buffers: [Tensor; BUFFERS],
    scratch: Scratch,
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
                    convs.map(|conv| Conv::new(Arc::clone(conv), budget.isa)).collect()
                }
            };
            engines.push(Engine::new(model, convs, budget));
        }
        engines
    }

    fn new(model: Model, convs: Arc<[Conv]>, budget: &Arc<Budget>) -> Engine {
        let (net, budget, isa) = (model.spec(), Arc::clone(budget), budget.isa);
        let Model { trunk, input, version, metric } = model;
        let taps = match metric {
            Metric::Lpips(lpips) => {
                Taps::Features(Comparison::new(lpips, &net.tap_channels(), isa))
            }
            Metric::Dists(weights) => Taps::Channels(Statistics::new(weights, isa)),
        };
        let activations = Activations { scratch: Scratch::new(), ..Activations::default() };
        Engine { net, trunk, input, version, convs, taps, isa, budget, plan: None, activations }
    }

    /// The outcome of a pair that the memory can never hold.
    pub(super) fn refuse(&self, size: Size, reason: &str) -> Result<Distance, Unscored> {
        Plan::new(self.net, size.height, size.width)?;
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
        let size = batch.shape().size;
        let plan = match self.plan.take() {
            Some((of, plan)) if of == size => plan,
            _ => match Plan::new(self.net, size.height, size.width) {
                Ok(plan) => plan,
                Err(too_small) => return vec![Err(too_small.into()); batch.pairs().len()],
            },
        };
        let passes = Pass::all(&plan, self.net, self.isa);
        let image_max = match batch.grouping() {
            // The capacity of such a batch allows for the activations of all its images.
            Grouping::Item => usize::MAX,
            _ => {
                let Budget { isa, threads, .. } = *self.budget;
                let bytes = image_bytes(&plan, self.net, isa, threads);
                self.budget.images_at_once(bytes)
            }
        };
        let mut distances = Vec::with_capacity(batch.pairs().len());
        let mut rest = batch.pairs();
        while !rest.is_empty() {
            let Chunk { pairs, images } = take_groups(&mut rest, image_max);
            *passes_done += images.len() as u64;
            distances.extend(self.walk(&passes, batch, &images, &pairs, team));
        }
        self.plan = Some((size, plan));
        distances.into_iter().map(|distance| distance.finite(self.net)).collect()
    }

    /// Walks a plan for some images of a batch; `pairs` index into `images`.
    fn walk(
        &mut self,
        passes: &[Pass<'_>],
        batch: &Batch,
        images: &[usize],
        pairs: &[Pair],
        team: &Team,
    ) -> Vec<Distance> {
        let mut distances = vec![Distance::default(); pairs.len()];
        let Activations { input, buffers, scratch } = &mut self.activations;
        ops::normalise(batch, images, self.input, self.version, input, team);
        for &pass in passes {
            match pass {
                Pass::Conv(conv) => {
                    let (from, to) = source_and_target(input, buffers, conv.src, conv.dst);
                    to.resize(images.len(), Layout::of(conv.dst));
                    self.convs[conv.weight].run(from, to, Geometry::of(conv), scratch, team);
                }
                Pass::Pool { kernel, stride, src, dst } => {
                    let (from, to) = source_and_target(input, buffers, src, dst);
                    to.resize(images.len(), Layout::of(dst));
                    ops::max_pool(from, to, kernel, stride, self.isa, team);
                }
                Pass::L2Pool { src, dst } => {
                    let (from, to) = source_and_target(input, buffers, src, dst);
                    to.resize(images.len(), Layout::of(dst));
                    ops::l2_pool(from, to, self.isa, team);
                }
                Pass::Tap { layer, src } => {
                    let tapped = match src.slot {
                        Slot::Input => &*input,
                        Slot::Buffer(index) => &buffers[index],
                    };
                    match &self.taps {
                        Taps::Features(taps) => {
                            taps.run(layer, tapped, pairs, &mut distances, team)
                        }
                        Taps::Channels(taps) => {
                            taps.run(layer, tapped, pairs, &mut distances, team)
                        }
                    }
                }
                Pass::Stage { first, conv, layer, pooled } => {
                    let Taps::Features(comparison) = &self.taps else {
                        unreachable!("a stage ends with max-pooling, which DISTS does not have")
                    };
                    let geometry = Geometry::of(conv);
                    let direct = |step: &ConvStep| {
                        (self.convs[step.weight].direct(team), Geometry::of(step))
                    };
                    let stage = Stage {
                        first: first.map(direct),
                        conv: self.convs[conv.weight].winograd(geometry, team),
                        geometry,
                        layer,
                        comparison,
                        isa: self.isa,
                    };
                    // The stage writes the pooled maps to the buffer of the unpooled map, which is
                    // never the buffer of the source. The swap moves them to where the plan has
                    // them.
                    let src = first.map_or(conv.src, |first| first.src);
                    let (from, to) = source_and_target(input, buffers, src, conv.dst);
                    to.resize(images.len(), Layout::of(pooled));
                    stage.run(from, to, pairs, scratch, &mut distances, team);
                    buffers.swap(index_of(conv.dst), index_of(pooled));
                }
            }
        }
        distances
    }
}

/// The buffer of a view.
fn index_of(view: View) -> usize {
    let Slot::Buffer(index) = view.slot else { unreachable!("a plan that writes its input") };
    index
}

/// The tensor that a step reads, and the one that it writes. A plan never names one buffer twice.
fn source_and_target<'a>(
    input: &'a Tensor,
    buffers: &'a mut [Tensor; BUFFERS],
    src: View,
    dst: View,
) -> (&'a Tensor, &'a mut Tensor) {
    let target = index_of(dst);
    match src.slot {
        Slot::Input => (input, &mut buffers[target]),
        Slot::Buffer(source) => {
            let [source, target] = buffers
                .get_disjoint_mut([source, target])
                .unwrap_or_else(|_| unreachable!("a plan that reads what it writes"));
            (source, target)
        }
    }
}
