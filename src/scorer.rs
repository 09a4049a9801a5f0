//! LPIPS for programs: images in memory or in files, without a run directory.
//!
//! The numbers are those of `lpips eval` with the same settings, bit for bit. This module is what a
//! program links against; it refuses to know of manifests, tables and what was typed.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::code::Code;
use crate::column::{self, Column, Mode};
use crate::config::Compute;
use crate::device;
use crate::error::Refusal;
use crate::eval::{
    Affine, ConvChoice, Device, Distance, Epsilon, Evaluator, Model, PairScore, Precision, Wanted,
    score_pairs,
};
use crate::image::{self, Image, Pixels, Range, Rules, Size};
use crate::memory::{self, Setting};
use crate::metric::{self, Reduction};
use crate::net::Net;
use crate::net::weights::{Lin, SearchPath, Trunk, Version};
use crate::pair;
use crate::scheduler;

/// What to compute, and on which device. The defaults are those of `lpips eval`.
#[derive(Clone, Debug)]
pub struct Options {
    /// The trunk.
    pub net: Net,
    /// Version of the published metric.
    pub version: Version,
    /// Sums over channels without the lin weights (`lpips=False` of the Python package).
    pub baseline: bool,
    /// The device; [`Device::Auto`] takes a GPU if one works, else the CPU.
    pub device: Device,
    /// Arithmetic of the trunk; all but fp32 need CUDA.
    pub precision: Precision,
    /// What float samples stand for. Bytes need no range.
    pub range: Range,
    /// Computing threads of the CPU; all processors if absent.
    pub threads: Option<NonZeroUsize>,
    /// The only folder to look for VGG16's and SqueezeNet's weights in; if absent, the folders that
    /// `lpips weights list` shows.
    pub weights_dir: Option<PathBuf>,
    /// Folders that are searched for CUDA's libraries before all others.
    pub cuda_libraries: Vec<PathBuf>,
    /// Whether a [`Score`] holds the spatial map.
    pub spatial: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            net: Net::Alex,
            version: Version::V0_1,
            baseline: false,
            device: Device::Auto,
            precision: Precision::Fp32,
            range: Range::Unit,
            threads: None,
            weights_dir: None,
            cuda_libraries: Vec::new(),
            spatial: false,
        }
    }
}

/// The distance of a pair.
#[derive(Clone, PartialEq, Debug)]
pub struct Score {
    /// LPIPS: the sum of `layers`.
    pub total: f64,
    /// The distance of each layer.
    pub layers: Vec<f64>,
    /// The spatial map, (row, column), as many values as an image has pixels; only with
    /// [`Options::spatial`].
    pub map: Option<Vec<f32>>,
    /// Whether fp16 overflowed and this is the value in fp32.
    pub rescored: bool,
}

/// Why there is no score.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This pair, or one of its images, cannot be scored; others can.
    #[error("{code}: {message}")]
    Pair {
        /// The code that `lpips eval` writes into the row; docs/errors.md explains it.
        code: Code,
        /// What is wrong.
        message: String,
    },
    /// Nothing can be scored: weights are missing, or the device cannot be used.
    #[error("{message}")]
    Unusable {
        /// What is wrong, with its causes.
        message: String,
        /// What helps, if it is known.
        hint: Option<String>,
    },
}

impl Error {
    fn pair(code: Code, message: impl Into<String>) -> Error {
        Error::Pair { code, message: message.into() }
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Error {
        let refusal = error.downcast_ref::<Refusal>();
        let hint = refusal.and_then(Refusal::remedy).map(str::to_owned);
        Error::Unusable { message: format!("{error:#}"), hint }
    }
}

impl From<image::ImageError> for Error {
    fn from(error: image::ImageError) -> Error {
        if error.is_of_machine() {
            return anyhow::Error::new(error).into();
        }
        Error::pair(error.code(), error.to_string())
    }
}

/// Scores pairs of images with one net on one device, or on several GPUs.
///
/// ```
/// use lpips::{Lpips, Options};
///
/// let mut lpips = Lpips::open(&Options::default())?;
/// let black = lpips.bytes(64, 64, vec![0; 64 * 64 * 3])?;
/// let grey = lpips.bytes(64, 64, vec![128; 64 * 64 * 3])?;
/// assert!(lpips.score(&black, &grey)?.total > 0.0);
/// assert_eq!(lpips.score(&grey, &grey)?.total, 0.0);
/// # Ok::<(), lpips::Error>(())
/// ```
pub struct Lpips {
    evaluator: Box<dyn Evaluator>,
    column: Column,
    rules: Rules,
    spatial: bool,
}

impl std::fmt::Debug for Lpips {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lpips({})", self.signature())
    }
}

impl Lpips {
    /// Loads and verifies the weights, and opens the device.
    ///
    /// # Errors
    /// [`Error::Unusable`] when weights are missing or altered, or the device cannot be used.
    pub fn open(options: &Options) -> Result<Lpips, Error> {
        Lpips::try_open(options).map_err(Error::from)
    }

    fn try_open(options: &Options) -> anyhow::Result<Lpips> {
        let Options { net, version, precision, range, spatial, .. } = *options;
        let search = SearchPath::new(options.weights_dir.as_deref());
        let source = search
            .find(net)
            .map_err(|missing| Refusal::environment(missing.to_string()).hint(missing.remedy()))?;
        let trunk = Trunk::load(net, &source)?;
        let lin = (!options.baseline).then(|| Lin::load(net, version)).transpose()?;
        let rules = Rules { range, ..Rules::default() };
        let input = match range {
            Range::Unit => Affine::UNIT,
            Range::Signed => Affine::NONE,
        };
        let epsilon = Epsilon::LPIPS;
        let settings = column::Lpips {
            net,
            version,
            mode: if options.baseline { Mode::Baseline } else { Mode::Lpips },
            reduction: Reduction::Mean,
            input,
            epsilon,
            rules: &rules,
            precision,
            trunk_sha256: &trunk.sha256,
            lin_sha256: lin.as_ref().map(|lin| lin.sha256.as_str()),
        };
        let column = settings.column(0);
        let wanted = Wanted { layers: spatial, reference_sum: None };
        let lin = lin.map(|lin| lin.layers);
        let model = Model { trunk, input, version, lin, epsilon, wanted };
        let quiet = |_: &str| ();
        let evaluator = device::open(vec![model], &compute(options), quiet, quiet)?;
        Ok(Lpips { evaluator, column, rules, spatial })
    }

    /// An image of bytes, (row, column, RGB), 0 to 255.
    ///
    /// # Errors
    /// [`Error::Pair`] when there are not `3 * width * height` samples.
    pub fn bytes(&self, width: usize, height: usize, samples: Vec<u8>) -> Result<Image, Error> {
        let size = sized(width, height, samples.len())?;
        Ok(Image::new(size, self.rules.range.of_integers(Pixels::U8(samples))))
    }

    /// An image of floats, (row, column, RGB), in [`Options::range`].
    ///
    /// # Errors
    /// [`Error::Pair`] when there are not `3 * width * height` samples, or one is outside of the
    /// range.
    pub fn floats(&self, width: usize, height: usize, samples: Vec<f32>) -> Result<Image, Error> {
        let size = sized(width, height, samples.len())?;
        let is_inside = self.rules.range.check(samples.iter().copied());
        is_inside.map_err(|(code, message)| Error::Pair { code, message })?;
        Ok(Image::new(size, Pixels::F32(samples)))
    }

    /// An image of a file, decoded as `lpips eval` decodes it.
    ///
    /// # Errors
    /// [`Error::Pair`] when the file is missing, damaged or not supported.
    pub fn file(&self, path: impl AsRef<Path>) -> Result<Image, Error> {
        Ok(image::decode(path.as_ref(), &self.rules)?)
    }

    /// Scores one pair.
    ///
    /// # Errors
    /// [`Error::Pair`] when the images differ in size or are too small or too large;
    /// [`Error::Unusable`] when the device fails.
    pub fn score(&mut self, reference: &Image, distorted: &Image) -> Result<Score, Error> {
        let mut scores = self.score_all(&[(reference, distorted)])?;
        scores.pop().unwrap_or_else(|| Err(anyhow::anyhow!("a pair was not given back").into()))
    }

    /// Scores pairs, (reference, distorted), several batches at a time. The outcomes are in the
    /// order of the pairs, and a pair that cannot be scored does not stop the others. An image that
    /// several pairs near each other borrow goes through the trunk once.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the device fails.
    pub fn score_all(
        &mut self,
        pairs: &[(&Image, &Image)],
    ) -> Result<Vec<Result<Score, Error>>, Error> {
        let is_even = |(reference, distorted): &&(&Image, &Image)| reference.size == distorted.size;
        let even: Vec<_> = pairs.iter().filter(is_even).copied().collect();
        let mut scores = score_pairs(&mut *self.evaluator, even)?.into_iter();
        let outcome = |&(reference, distorted): &(&Image, &Image)| {
            if reference.size != distorted.size {
                let message = pair::sizes_differ(&self.rules, reference.size, distorted.size);
                return Err(Error::pair(Code::Size, message));
            }
            self.scored(scores.next().unwrap_or_default(), reference.size)
        };
        Ok(pairs.iter().map(outcome).collect())
    }

    /// What decides the numbers, in one line for a paper.
    #[must_use]
    pub fn signature(&self) -> String {
        self.column.fingerprint.signature()
    }

    fn scored(&self, score: PairScore, size: Size) -> Result<Score, Error> {
        let Some(distance) = score.into_iter().next() else {
            return Err(anyhow::anyhow!("no model was scored").into());
        };
        let distance: Distance =
            distance.map_err(|reason| Error::pair(reason.code(), reason.to_string()))?;
        let map = self.spatial.then(|| metric::spatial(&distance.maps, size));
        let (total, rescored) = (distance.total(), distance.rescored);
        Ok(Score { total, layers: distance.layers, map, rescored })
    }
}

fn compute(options: &Options) -> Compute {
    let processors = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    Compute {
        device: options.device.clone(),
        precision: options.precision,
        conv: ConvChoice::Auto,
        libraries: options.cuda_libraries.clone(),
        threads: options.threads.map_or_else(processors, NonZeroUsize::get),
        batch: None,
        memory: memory::available(Setting::Auto, &scheduler::environment),
    }
}

fn sized(width: usize, height: usize, found: usize) -> Result<Size, Error> {
    let expected = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(3));
    if expected != Some(found) || found == 0 {
        let message = format!("{found} samples are not an RGB image of {width}x{height} pixels");
        return Err(Error::pair(Code::Size, message));
    }
    Ok(Size { width, height })
}
