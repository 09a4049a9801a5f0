//! LPIPS for programs: images in memory or in files, without a run directory.
//!
//! The numbers are those of `lpips eval` with the same settings, bit for bit: options are resolved
//! as the command resolves its own. This module is what a program links against; it does not
//! depend on a command line, manifests, tables and terminals.

mod error;
mod files;
mod image;
mod options;

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::thread;

use anyhow::Context as _;
use rayon::ThreadPoolBuilder;

pub use self::error::Error;
use self::files::Decoder;
pub use self::image::Image;
pub use self::options::Options;
use crate::code::Code;
use crate::column::Fingerprint;
use crate::config::{Choice, Extras, Requests};
use crate::device;
use crate::error::Refusal;
use crate::eval::{Distance, Evaluator, Map, PairScore, score_pairs};
use crate::image::{AsPixels as _, Rules, Size};
use crate::metric::{self, Reduction, Requested};
use crate::pair;

/// The distance of a pair.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Score {
    /// LPIPS: the sum of `layers`.
    pub total: f64,
    /// The distance of each layer, the first layer first.
    pub layers: Vec<f64>,
    /// Where the images differ, a value per pixel; only with [`Options::spatial`].
    pub map: Option<Map>,
    /// What each layer finds, the first layer first, a value per position of its features; only
    /// with [`Options::spatial`]. `map` is their sum, each [`resized`](Map::resized).
    pub layer_maps: Vec<Map>,
    /// Whether fp16 overflowed and this is the value in fp32.
    pub rescored: bool,
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
    /// Or why nothing can be scored any more.
    evaluator: Result<Box<dyn Evaluator>, Error>,
    device: String,
    fingerprint: Fingerprint,
    reduction: Reduction,
    rules: Rules,
    spatial: bool,
    threads: usize,
    /// Bytes that decoded images may take.
    decoded_bytes_max: u64,
}

const _: () = {
    const fn assert_send<T: Send>() {}
    assert_send::<Lpips>();
};

impl std::fmt::Debug for Lpips {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lpips({}, {})", self.signature(), self.device)
    }
}

impl Lpips {
    /// Loads and verifies the weights, and opens the device.
    ///
    /// # Errors
    /// - [`Error::Usage`] when options contradict each other.
    /// - [`Error::Weights`] when weights are missing or altered.
    /// - [`Error::Device`] when the device cannot be used.
    pub fn open(options: &Options) -> Result<Lpips, Error> {
        let rules = Rules { range: options.range, ..Rules::default() };
        let extras = Extras { spatial: options.spatial, ..Extras::default() };
        let metric = options.metric();
        let refused = |refusal: Refusal| Error::device(refusal.into());
        if options.preset.metrics().is_some_and(|columns| !columns.contains(&Requested::Lpips)) {
            return Err(Error::usage(
                format!("`--preset {}` has no column of LPIPS", options.preset),
                "choose a preset of LPIPS, such as `lpips-0.1.4`",
            ));
        }
        let requests = Requests::of_lpips();
        let choice = Choice::resolve(&metric, requests, options.range, extras).map_err(refused)?;
        let compute = options.compute().checked().map_err(refused)?;
        let loaded = choice.load(&metric, &rules, compute.precision).map_err(Error::weights)?;
        let quiet = |_: &str| ();
        let evaluator =
            device::open(loaded.models, &compute, &mut { quiet }, quiet).map_err(Error::device)?;
        let column = loaded.columns.into_iter().next().context("there is no column");
        Ok(Lpips {
            device: evaluator.describe().device,
            evaluator: Ok(evaluator),
            fingerprint: column.map_err(Error::device)?.fingerprint,
            reduction: choice.protocol.reduction,
            rules,
            spatial: options.spatial,
            threads: compute.threads,
            decoded_bytes_max: compute.memory.decoded_bytes(),
        })
    }

    /// What it computes on, such as `CPU: AMD EPYC, 2 threads`.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }

    /// What decides the numbers, in one line for a paper.
    #[must_use]
    pub fn signature(&self) -> String {
        self.fingerprint.signature()
    }

    /// An image of bytes, (row, column, RGB), 0 to 255: see [`Image::bytes`].
    ///
    /// # Errors
    /// [`Error::Usage`] when there are not `3 * width * height` samples.
    pub fn bytes(
        &self,
        width: usize,
        height: usize,
        samples: impl AsRef<[u8]> + Send + Sync + 'static,
    ) -> Result<Image, Error> {
        Image::bytes(width, height, samples, self.rules.range)
    }

    /// An image of floats, (row, column, RGB), in [`Options::range`].
    ///
    /// # Errors
    /// - [`Error::Usage`] when there are not `3 * width * height` samples.
    /// - [`Error::Pair`] when a sample is outside of the range.
    pub fn floats(
        &self,
        width: usize,
        height: usize,
        samples: impl AsRef<[f32]> + Send + Sync + 'static,
    ) -> Result<Image, Error> {
        Image::floats(width, height, samples, self.rules.range)
    }

    /// An image of a file, decoded as `lpips eval` decodes it.
    ///
    /// # Errors
    /// - [`Error::Pair`] when the file is missing, damaged or not supported.
    /// - [`Error::Io`] when the system refuses to read it.
    pub fn file(&self, path: impl AsRef<Path>) -> Result<Image, Error> {
        Image::decode(path.as_ref(), &self.rules)
    }

    /// Scores one pair. Several are scored faster by [`score_all`](Self::score_all).
    ///
    /// # Errors
    /// - [`Error::Pair`] when the images differ in size, or are too small or too large.
    /// - [`Error::Usage`] when an image was made by a scorer with another [`Options::range`].
    /// - [`Error::Device`] when the device fails, or failed before.
    pub fn score(&mut self, reference: &Image, distorted: &Image) -> Result<Score, Error> {
        let pair = (reference.clone(), distorted.clone());
        let outcome = self.score_stream(std::iter::once(Ok(pair)))?.pop();
        outcome.unwrap_or_else(|| Err(Error::internal("a pair has no outcome")))
    }

    /// Scores pairs, (reference, distorted), with several batches in flight. The outcomes are in
    /// the order of the pairs, and a pair that cannot be scored does not stop the others.
    ///
    /// Pairs of one size that follow each other share batches. In a batch, clones of one image go
    /// through the trunk once. A pair is taken from `pairs` when a batch has room for it, so they
    /// need not be in memory all at once.
    ///
    /// ```
    /// use lpips::{Image, Lpips, Options};
    ///
    /// let mut lpips = Lpips::open(&Options::default())?;
    /// let grey = |value: u8| lpips.bytes(64, 64, vec![value; 64 * 64 * 3]);
    /// let images = (0..4).map(|index| grey(60 * index)).collect::<Result<Vec<Image>, _>>()?;
    /// let pairs = images[1..].iter().map(|distorted| (images[0].clone(), distorted.clone()));
    /// for score in lpips.score_all(pairs)? {
    ///     assert!(score?.total > 0.0);
    /// }
    /// # Ok::<(), lpips::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails, or failed before. A pair's own error is in its
    /// place: see [`score`](Self::score).
    pub fn score_all(
        &mut self,
        pairs: impl IntoIterator<Item = (Image, Image)>,
    ) -> Result<Vec<Result<Score, Error>>, Error> {
        self.score_stream(pairs.into_iter().map(Ok))
    }

    /// Scores pairs of files, (reference, distorted), in their order. [`Options::threads`] decode
    /// while the device computes; decoded images take at most an eighth of the memory that was free
    /// when the scorer was opened. A file that neighbouring pairs name is decoded once.
    ///
    /// ```
    /// use lpips::{Lpips, Options};
    ///
    /// let mut lpips = Lpips::open(&Options::default())?;
    /// let hr = "tests/data/sr/hr/astronaut.png";
    /// let pairs = [(hr, "tests/data/sr/bicubic/astronaut.png"), (hr, "no_such_file.png")];
    /// let scores = lpips.score_files(&pairs)?;
    /// assert!(scores[0].as_ref().is_ok_and(|score| score.total > 0.0));
    /// assert!(scores[1].as_ref().is_err_and(|error| error.to_string().contains("E_MISSING")));
    /// # Ok::<(), lpips::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails, or failed before; [`Error::Io`] when no thread can
    /// be started. A pair's own error is in its place: see [`file`](Self::file) and
    /// [`score`](Self::score).
    pub fn score_files<P: AsRef<Path> + Sync>(
        &mut self,
        pairs: &[(P, P)],
    ) -> Result<Vec<Result<Score, Error>>, Error> {
        let pool = ThreadPoolBuilder::new().num_threads(self.threads).build().context(
            Refusal::environment("cannot start threads that decode")
                .hint("raise the limit of threads, or lower `--threads`"),
        );
        let (pool, rules) = (pool.map_err(Error::io)?, self.rules);
        let bytes_max = self.decoded_bytes_max;
        thread::scope(|scope| {
            // The device works on one chunk, and the next one waits.
            let (to, chunks) = sync_channel(1);
            scope.spawn(move || Decoder { rules: &rules, pool, bytes_max }.run(pairs, &to));
            self.score_stream(chunks.into_iter().flatten())
        })
    }

    /// The outcomes of `pairs`; a pair that is an error already stays one.
    fn score_stream(
        &mut self,
        pairs: impl Iterator<Item = Result<(Image, Image), Error>>,
    ) -> Result<Vec<Result<Score, Error>>, Error> {
        // After an error or a panic of the caller's iterator, batches may be left in the evaluator,
        // and the next call would take their scores for its own. It is put back only if none is.
        let interrupted = Error::device(anyhow::Error::new(
            Refusal::environment("scoring was interrupted").hint("open the scorer again"),
        ));
        let mut evaluator = std::mem::replace(&mut self.evaluator, Err(interrupted))?;
        let mut sizes: Vec<Result<Size, Error>> = Vec::new();
        let even = pairs.filter_map(|pair| {
            let pair = pair.and_then(|pair| self.check(&pair).map(|size| (size, pair)));
            let (size, pair) = match pair {
                Ok((size, pair)) => (Ok(size), Some(pair)),
                Err(error) => (Err(error), None),
            };
            sizes.push(size);
            pair
        });
        let scores = match score_pairs(&mut *evaluator, even) {
            Ok(scores) => scores,
            Err(error) => {
                let error = Error::device(error);
                self.evaluator = Err(error.clone());
                return Err(error);
            }
        };
        self.evaluator = Ok(evaluator);
        let mut scores = scores.into_iter();
        let outcome = |size: Result<Size, Error>| {
            let size = size?;
            self.scored(scores.next().unwrap_or_default(), size)
        };
        Ok(sizes.into_iter().map(outcome).collect())
    }

    /// The size of both images, if they can be compared.
    fn check(&self, (reference, distorted): &(Image, Image)) -> Result<Size, Error> {
        let range = self.rules.range;
        if let Some(other) = [reference, distorted].iter().find(|image| image.range() != range) {
            return Err(Error::usage(
                format!(
                    "an image has samples in {}, and this scorer takes {}",
                    other.range().name(),
                    range.name()
                ),
                "make the images of a pair with the scorer that scores them",
            ));
        }
        let (size, other) = (reference.size(), distorted.size());
        if size != other {
            return Err(Error::pair(Code::Size, pair::sizes_differ(&self.rules, size, other)));
        }
        Ok(size)
    }

    fn scored(&self, score: PairScore, size: Size) -> Result<Score, Error> {
        let first = score.into_iter().next();
        let mut distance: Distance =
            first
                .ok_or_else(|| Error::internal("no model was scored"))?
                .map_err(|reason| Error::pair(reason.code(), reason.to_string()))?;
        let layers = metric::reduce(&distance, self.reduction, None)
            .map_err(|reason| Error::pair(reason.code(), reason.to_string()))?;
        let map = self.spatial.then(|| {
            let values = metric::spatial(&distance.maps, size);
            Map { height: size.height, width: size.width, values }
        });
        let layer_maps = if self.spatial { std::mem::take(&mut distance.maps) } else { Vec::new() };
        let (total, rescored) = (layers.iter().sum(), distance.rescored);
        Ok(Score { total, layers, map, layer_maps, rescored })
    }
}

#[cfg(test)]
mod tests;
