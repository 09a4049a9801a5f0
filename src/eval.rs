//! Evaluators: what scores batches, on one device or several.
//!
//! The pipeline knows an evaluator by four methods and nothing of tensors, threads or devices. An
//! evaluator knows batches and models, and nothing of files, manifests or people.

pub mod cpu;
pub mod cuda;
pub mod fake;

use crate::batch::{Batch, BatchShape, Row, Size};
use crate::net::plan::TooSmall;
use crate::net::weights::{Trunk, Version};

/// One metric to compute: a trunk, how its input is scaled, and how its taps are weighted.
#[derive(Clone, Debug)]
pub struct Model {
    /// The convolutions.
    pub trunk: Trunk,
    /// Decides the scaling of the input.
    pub version: Version,
    /// Channel weights per layer; `None` sums over channels (`--baseline`).
    pub lin: Option<Vec<Vec<f32>>>,
}

/// The distance of one pair under one model.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Distance {
    /// Mean of the layer's map D_l, per layer.
    pub layers: Vec<f64>,
}

impl Distance {
    /// LPIPS: the sum over layers, in layer order.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.layers.iter().sum()
    }
}

/// Why one model has no distance for one pair.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Unscored {
    /// The images are smaller than the trunk accepts.
    #[error(transparent)]
    TooSmall(#[from] TooSmall),
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

/// Scores batches. Batches are queued by [`submit`](Self::submit) and given back in any order by
/// [`collect`](Self::collect); a pair's bits depend on nothing but its pixels and the numerics
/// class.
pub trait Evaluator {
    /// What it runs on.
    fn describe(&self) -> Description;

    /// Host memory in bytes, nearly, that scoring images of `shape` takes beside the pixels that
    /// wait outside.
    fn memory_bytes(&self, shape: BatchShape) -> u64;

    /// Lends an empty batch for images of `shape`, or `None` when every staging buffer is in use:
    /// collect first, or submit a batch that was lent.
    ///
    /// # Errors
    /// When the device cannot go on.
    fn lend(&mut self, shape: BatchShape) -> anyhow::Result<Option<Batch>>;

    /// Queues a batch that this evaluator lent. Does not wait for it.
    ///
    /// # Errors
    /// When the device cannot go on.
    fn submit(&mut self, batch: Batch) -> anyhow::Result<()>;

    /// Gives back a batch that is done; `None` when none is (or, after [`Wait::Block`], when none
    /// is in flight).
    ///
    /// # Errors
    /// When the device cannot go on; what was in flight is lost.
    fn collect(&mut self, wait: Wait) -> anyhow::Result<Option<Scored>>;
}
