//! What a program asks for.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::config::{Compute, MetricOptions};
use crate::eval::{Device, Precision};
use crate::image::Range;
use crate::metric::Preset;
use crate::net::Net;
use crate::net::weights::{CustomWeights, Version};

/// What to compute, and on which device. The defaults are those of `lpips eval`.
///
/// ```
/// use lpips::{Device, Net, Options};
///
/// let options = Options { net: Some(Net::Vgg), device: Device::Cpu, ..Options::default() };
/// assert!(!options.spatial);
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// The trunk; if absent that of the preset, which is [`Net::Alex`] by default.
    pub net: Option<Net>,
    /// Whose numbers to compute, of LPIPS.
    pub preset: Preset,
    /// Version of the published metric.
    pub version: Version,
    /// Sums over channels without the lin weights (`lpips=False` of the Python package).
    pub baseline: bool,
    /// Weights each layer's map by the activity of this tap of the reference, counted from 0.
    pub semantic_layer: Option<usize>,
    /// The range of float samples, in memory and in files. Bytes need no range.
    pub range: Range,
    /// Whether a [`Score`](crate::Score) has a map.
    pub spatial: bool,
    /// The device; [`Device::Auto`] takes a GPU if one works, else the CPU.
    pub device: Device,
    /// Arithmetic of the trunk; all but fp32 need CUDA.
    pub precision: Precision,
    /// Threads that decode files, and threads that compute on the CPU; one per processor if absent.
    pub threads: Option<NonZeroUsize>,
    /// At most so many pairs in a batch; if absent, the size of the images and the memory decide.
    /// Scores do not depend on it.
    pub batch: Option<NonZeroUsize>,
    /// A checkpoint with a trunk of another training.
    pub trunk: Option<PathBuf>,
    /// A checkpoint with lin weights of another training.
    pub lin: Option<PathBuf>,
    /// The only folder to look for the weights of VGG16 and SqueezeNet in; if absent, the folders
    /// that `lpips weights list` shows.
    pub weights_dir: Option<PathBuf>,
    /// Folders that are searched for CUDA's libraries before all others.
    pub cuda_libraries: Vec<PathBuf>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            net: None,
            preset: Preset::Lpips,
            version: Version::V0_1,
            baseline: false,
            semantic_layer: None,
            range: Range::Unit,
            spatial: false,
            device: Device::Auto,
            precision: Precision::Fp32,
            threads: None,
            batch: None,
            trunk: None,
            lin: None,
            weights_dir: None,
            cuda_libraries: Vec::new(),
        }
    }
}

impl Options {
    pub(super) fn metric(&self) -> MetricOptions {
        MetricOptions {
            net: self.net.into_iter().collect(),
            preset: Some(self.preset),
            lpips_version: self.version,
            baseline: self.baseline,
            semantic_layer: self.semantic_layer,
            trunk: self.trunk.clone().map(CustomWeights::File),
            lin: self.lin.clone().map(CustomWeights::File),
            weights_dir: self.weights_dir.clone(),
        }
    }

    pub(super) fn compute(&self) -> Compute {
        let default = Compute::default();
        Compute {
            device: self.device.clone(),
            precision: self.precision,
            threads: self.threads.map_or(default.threads, NonZeroUsize::get),
            batch: self.batch,
            libraries: self.cuda_libraries.clone(),
            ..default
        }
    }
}
