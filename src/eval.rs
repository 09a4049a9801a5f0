//! Evaluators: what scores batches, on one device or several.
//!
//! The pipeline uses an evaluator through a few methods and does not depend on tensors, threads or
//! devices. An evaluator depends on batches and models, and not on files, manifests or messages.

mod choice;
mod chunk;
pub mod cpu;
pub mod cuda;
mod dists;
pub mod fake;
mod lending;
mod none;
mod score;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::choice::{ConvChoice, Device, Gpus};
pub use self::none::NoModels;
pub use self::score::score_pairs;
use crate::batch::{Batch, BatchShape, Group, Lender, Row};
use crate::code::Code;
use crate::image::{Range, Size};
use crate::net::plan::TooSmall;
use crate::net::weights::{Dists, Trunk, Version};
use crate::net::{DISTS, NetSpec};

/// One metric to compute: a trunk, how its input is scaled, and how its taps are compared.
#[derive(Clone, Debug)]
pub struct Model {
    /// The convolutions.
    pub trunk: Trunk,
    /// What is done to a sample before everything else.
    pub input: Affine,
    /// Decides the scaling of the input, after `input`.
    pub version: Version,
    /// How the activations of two images are compared.
    pub metric: Metric,
}

/// How the activations of two images are compared at the taps.
#[derive(Clone, Debug)]
pub enum Metric {
    /// LPIPS: distances of normalised features, position by position.
    Lpips(Lpips),
    /// DISTS: similarity of the statistics of each channel.
    Dists(Dists),
}

/// What LPIPS compares with.
#[derive(Clone, Debug)]
pub struct Lpips {
    /// Channel weights per layer; `None` sums over channels (`--baseline`).
    pub lin: Option<Vec<Vec<f32>>>,
    /// What keeps the norm of a feature from being 0.
    pub epsilon: Epsilon,
    /// What is given back beside the means.
    pub wanted: Wanted,
}

impl Model {
    /// LPIPS as published, for samples in [0, 1], without maps.
    #[must_use]
    pub fn published(trunk: Trunk, version: Version, lin: Option<Vec<Vec<f32>>>) -> Model {
        let (epsilon, wanted) = (Epsilon::LPIPS, Wanted::default());
        let metric = Metric::Lpips(Lpips { lin, epsilon, wanted });
        Model { trunk, input: Affine::UNIT, version, metric }
    }

    /// DISTS as published, with VGG16's trunk; `input` brings samples to [-1, 1]. Of these, the
    /// scaling of [`Version::V0_1`] makes what DISTS makes of [0, 1]: it subtracts ImageNet's means
    /// and divides by its standard deviations.
    #[must_use]
    pub fn dists(trunk: Trunk, input: Affine, weights: Dists) -> Model {
        Model { trunk, input, version: Version::V0_1, metric: Metric::Dists(weights) }
    }

    /// The architecture.
    #[must_use]
    pub fn spec(&self) -> &'static NetSpec {
        match self.metric {
            Metric::Lpips(_) => self.trunk.net.spec(),
            Metric::Dists(_) => &DISTS,
        }
    }

    /// What is given back beside the means.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        match self.metric {
            Metric::Lpips(Lpips { wanted, .. }) => wanted,
            Metric::Dists(_) => Wanted::default(),
        }
    }
}

/// `v = gain * x + bias`, each operation rounded to float32 on its own. (Bytes are divided by 255,
/// rounded, before.)
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Affine {
    /// Factor.
    pub gain: f32,
    /// Summand.
    pub bias: f32,
}

impl Affine {
    /// From [0, 1] to the [-1, 1] that the metric is defined for.
    pub const UNIT: Affine = Affine { gain: 2.0, bias: -1.0 };
    /// Samples reach the trunk as they are.
    pub const NONE: Affine = Affine { gain: 1.0, bias: 0.0 };

    /// From `range` to the [-1, 1] that the metrics are defined for.
    #[must_use]
    pub fn published(range: Range) -> Affine {
        match range {
            Range::Unit => Affine::UNIT,
            Range::Signed => Affine::NONE,
        }
    }

    /// The value of a sample.
    #[must_use]
    pub fn of(self, x: f32) -> f32 {
        self.gain * x + self.bias
    }
}

/// The norm of a feature is `sqrt(sum over channels of f^2 + inside) + outside`.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Epsilon {
    /// Added to the sum of squares.
    pub inside: f32,
    /// Added to the root.
    pub outside: f32,
}

impl Epsilon {
    /// The rule of the published code.
    pub const LPIPS: Epsilon = Epsilon { inside: 0.0, outside: 1e-10 };
}

/// Which maps an evaluator gives back beside the means of the layers, which never depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// The map D_l of every layer.
    pub layers: bool,
    /// The sum over channels of the reference's raw activation at this tap.
    pub reference_sum: Option<usize>,
}

/// Arithmetic of a trunk. Sums of taps and layers are the same in all of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// float32, nothing less anywhere.
    #[default]
    Fp32,
    /// float32 whose products are rounded to 11 bits, on tensor cores; needs CUDA.
    Tf32,
    /// Half floats, summed in float32, on tensor cores; what overflows is scored again in fp32;
    /// needs CUDA.
    Fp16,
}

impl Precision {
    /// The name used on the command line and in run.json.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Tf32 => "tf32",
            Precision::Fp16 => "fp16",
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One value per position of a tap, or per pixel.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Map {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// (row, column), on the host.
    pub values: Vec<f32>,
}

/// The distance of one pair under one model.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Distance {
    /// Per layer: the mean of the map D_l, or what the layer contributes to DISTS.
    pub layers: Vec<f64>,
    /// The maps D_l in layer order; empty unless [`Wanted::layers`].
    pub maps: Vec<Map>,
    /// The map of [`Wanted::reference_sum`].
    pub reference_sum: Option<Map>,
    /// Whether a lower precision overflowed and this is the value in fp32.
    pub rescored: bool,
}

impl Distance {
    /// LPIPS or DISTS: the sum over layers, in layer order.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.layers.iter().sum()
    }

    /// Itself, unless a layer is infinite or not a number.
    fn finite(self, net: &NetSpec) -> Result<Distance, Unscored> {
        match self.layers.iter().position(|value| !value.is_finite()) {
            None => Ok(self),
            Some(layer) => {
                let value = self.layers[layer];
                Err(Unscored::NotFinite { net: net.name, layer, value })
            }
        }
    }
}

/// Why one model has no distance for one pair.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Unscored {
    /// The images are smaller than the trunk accepts.
    #[error(transparent)]
    TooSmall(#[from] TooSmall),
    /// The device can never hold a pair of this size.
    #[error("{size} is too large for {net} on this device: {reason}")]
    TooLarge {
        /// Name of the net.
        net: &'static str,
        /// Size of the images.
        size: Size,
        /// What would be needed, and what there is.
        reason: String,
    },
    /// A layer of the distance is infinite or not a number.
    #[error("layer {layer} of {net} is not finite ({value})")]
    NotFinite {
        /// Name of the net.
        net: &'static str,
        /// First such layer.
        layer: usize,
        /// What was computed.
        value: f64,
    },
}

impl Unscored {
    /// The code of the failed row.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Unscored::TooSmall(_) => Code::TooSmall,
            Unscored::TooLarge { .. } => Code::TooLarge,
            Unscored::NotFinite { .. } => Code::NotFinite,
        }
    }
}

/// The outcome of one pair: one entry per model, in the order in which the models were given.
pub type PairScore = Vec<Result<Distance, Unscored>>;

/// The outcome of one batch.
#[derive(Clone, PartialEq, Debug)]
pub struct Scored {
    /// Rows of the manifest.
    pub rows: Vec<Row>,
    /// Size of the images.
    pub size: Size,
    /// One outcome per row, in the order of `rows`.
    pub scores: Vec<PairScore>,
}

/// Whether [`Evaluator::collect`] waits for a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// Until a batch is done.
    Block,
    /// Until a batch is done, or for so long.
    AtMost(Duration),
    /// Not at all.
    Poll,
}

/// What an evaluator says of itself, for run.json and for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// What it runs on, such as `CPU: AMD EPYC, 2 threads`.
    pub device: String,
    /// Where bits agree: evaluator, instruction set, precision.
    pub numerics_class: String,
}

/// A device that failed and was dropped in the middle of a run, which continued on others.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Loss {
    /// Such as `CUDA 1`.
    pub device: String,
    /// What was wrong with it.
    pub error: String,
    /// Pairs that the evaluator had given back until then.
    pub after_pairs: usize,
}

/// Host memory that an evaluator takes, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HostMemory {
    /// The program and the weights.
    pub fixed: u64,
    /// Pixels of the batches.
    pub staging: u64,
    /// What is taken while a batch is scored: activations.
    pub scoring: u64,
    /// Images of a full batch. Nothing is scored before as many are decoded.
    pub images: usize,
}

impl HostMemory {
    /// All of it together.
    #[must_use]
    pub fn total(self) -> u64 {
        self.fixed + self.staging + self.scoring
    }
}

/// Whether a pair of images of a shape can be scored in the memory that there is, or why not.
pub type Admission = Arc<dyn Fn(BatchShape) -> Result<(), String> + Send + Sync>;

/// Scores batches. Batches are queued by [`submit`](Self::submit) and given back in any order by
/// [`collect`](Self::collect); a pair's bits depend on nothing but its pixels and the numerics
/// class.
pub trait Evaluator: Send {
    /// What it runs on.
    fn describe(&self) -> Description;

    /// Estimates the host memory that scoring images of `shape` in such groups takes, beside the
    /// pixels that wait outside.
    fn host_memory(&self, shape: BatchShape, group: Group) -> HostMemory;

    /// Decides from the shape of an image, before it is decoded, whether a pair of this shape can
    /// ever be scored.
    fn admission(&self) -> Admission {
        Arc::new(|_| Ok(()))
    }

    /// Lends memory for the images of its batches.
    fn lender(&self) -> Lender {
        Lender::ordinary()
    }

    /// Acquires an empty batch for images of `shape`, made for `group` or for as much of it as this
    /// evaluator scores at once. `None` when as many batches are in use as may be: collect first,
    /// or submit a batch that was acquired.
    ///
    /// # Errors
    /// When the device cannot continue.
    fn acquire(&mut self, shape: BatchShape, group: Group) -> anyhow::Result<Option<Batch>>;

    /// Images that went through a trunk until now, those of every net counted.
    fn passes(&self) -> u64;

    /// Queues a batch that was acquired from this evaluator. Does not wait for it.
    ///
    /// # Errors
    /// When the device cannot continue.
    fn submit(&mut self, batch: Batch) -> anyhow::Result<()>;

    /// Gives back a batch that is done; `None` when none is (or, after [`Wait::Block`], when none
    /// is in flight).
    ///
    /// # Errors
    /// When the device cannot continue; what was in flight is lost.
    fn collect(&mut self, wait: Wait) -> anyhow::Result<Option<Scored>>;

    /// Devices that were dropped so far.
    fn losses(&self) -> Vec<Loss> {
        Vec::new()
    }
}
