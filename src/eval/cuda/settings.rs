//! How CUDA is used, and what of it every GPU's thread is given.

use super::memory::Limits;
use super::probe::Chosen;
use crate::eval::{ConvChoice, Gpus, Precision};
use crate::memory::Available;

/// How CUDA is used.
#[derive(Clone, Debug)]
pub struct Config {
    /// On which GPUs.
    pub gpus: Gpus,
    /// Arithmetic of the trunks.
    pub precision: Precision,
    /// What convolves.
    pub conv: ConvChoice,
    /// At most so many pairs in a batch; if absent, the size of the images and the free memory
    /// decide.
    pub pairs_max: Option<usize>,
    /// Host memory, of which batches in flight take at most half; unlimited if absent.
    pub memory: Option<Available>,
    /// How large micro-batches may be: [`Limits::USUAL`], except in tests.
    pub limits: Limits,
    /// Called with a sentence when a GPU is dropped and others continue.
    pub notify: fn(&str),
}

/// The settings of every GPU's thread.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) precision: Precision,
    pub(super) limits: Limits,
    pub(super) engine: Chosen,
}
