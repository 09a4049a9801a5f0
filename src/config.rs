//! Arguments, resolved: every default chosen, every contradiction refused, every file that a run
//! needs beforehand found. Nothing is scored or written here.

mod compute;

use std::path::PathBuf;

use anyhow::Context as _;

pub use self::compute::Compute;
use crate::cli::{CheckArgs, DeviceArgs, EvalArgs, InputArgs, MetricArgs, PixelArgs};
use crate::error::Refusal;
use crate::eval::Model;
use crate::image;
use crate::net::Net;
use crate::net::weights::{Lin, SearchPath, Trunk, Version};
use crate::pairing::{Folders, refuse_repeated};
use crate::pipeline::OnError;
use crate::progress::{Style, Verbosity};
use crate::run::{Metric, Mode};
use crate::source::Source;

/// What a job is about: its pairs, and everything that decides their numbers.
#[derive(Debug)]
pub struct Job {
    /// Where the pairs come from.
    pub source: Source,
    /// Metric columns.
    pub metrics: Vec<Metric>,
    /// What the evaluator computes, in the order of `metrics`.
    pub models: Vec<Model>,
    /// Version of the metric.
    pub version: Version,
    /// With or without lin weights.
    pub mode: Mode,
    /// How files become samples.
    pub rules: image::Rules,
    /// What it is computed with.
    pub compute: Compute,
}

/// A run about which everything is decided that can be decided before the manifest is read.
#[derive(Debug)]
pub struct Config {
    /// What is scored and how.
    pub job: Job,
    /// The run directory, not made yet; without one the scores go to stdout.
    pub output: Option<PathBuf>,
    /// Columns per layer.
    pub per_layer: bool,
    /// Names of columns that the summary is grouped by.
    pub group_by: Vec<String>,
    /// What a failed pair does to the run.
    pub on_error: OnError,
    /// How progress is told.
    pub style: Style,
    /// How much to tell.
    pub verbosity: Verbosity,
}

impl Config {
    /// Resolves the arguments of `lpips eval`.
    ///
    /// # Errors
    /// A [`Refusal`] for whatever would not work: weights, options.
    pub fn resolve(args: EvalArgs) -> anyhow::Result<Config> {
        Ok(Config {
            job: Job::resolve(args.inputs, &args.metric, &args.pixels, &args.device)?,
            output: args.output,
            per_layer: args.per_layer,
            group_by: unique(&args.group_by),
            on_error: args.on_error,
            style: args.progress,
            verbosity: match (args.quiet, args.verbose) {
                (true, _) => Verbosity::Quiet,
                (false, true) => Verbosity::Verbose,
                (false, false) => Verbosity::Normal,
            },
        })
    }
}

impl Job {
    /// Resolves the arguments of `lpips check`.
    ///
    /// # Errors
    /// As [`Config::resolve`].
    pub fn of_check(args: CheckArgs) -> anyhow::Result<Job> {
        Job::resolve(args.inputs, &args.metric, &args.pixels, &args.device)
    }

    fn resolve(
        inputs: InputArgs,
        metric: &MetricArgs,
        pixels: &PixelArgs,
        device: &DeviceArgs,
    ) -> anyhow::Result<Job> {
        let source = source(inputs)?;
        let mode = if metric.baseline { Mode::Baseline } else { Mode::Lpips };
        let search = SearchPath::new(metric.weights_dir.as_deref());
        let mut metrics = Vec::new();
        let mut models = Vec::new();
        for net in unique(&metric.net) {
            let (metric, model) = resolve_metric(net, metric.lpips_version, mode, &search)?;
            metrics.push(metric);
            models.push(model);
        }
        Ok(Job {
            source,
            metrics,
            models,
            version: metric.lpips_version,
            mode,
            rules: image::Rules {
                alpha: pixels.alpha,
                size_policy: pixels.size_policy,
                crop_border: pixels.crop_border,
                pixels_max: pixels.max_pixels.map_or(image::PIXELS_MAX, std::num::NonZero::get),
                ..image::Rules::default()
            },
            compute: Compute::resolve(device)?,
        })
    }
}

/// The command line allows one kind of input only, and folders only together.
fn source(inputs: InputArgs) -> anyhow::Result<Source> {
    let InputArgs { manifest, reference, distorted, dist_suffix, pair } = inputs;
    if let Some(path) = manifest {
        let is_stdin = path.as_os_str() == "-";
        return Ok(if is_stdin { Source::Stdin } else { Source::File(path) });
    }
    if let Some(reference) = reference {
        let folders = Folders { reference, distorted, suffix: dist_suffix };
        refuse_repeated(&folders)?;
        return Ok(Source::Folders(folders));
    }
    let pair: Option<[PathBuf; 2]> = pair.and_then(|pair| pair.try_into().ok());
    let [reference, distorted] = pair.context("no pairs were named")?;
    Ok(Source::Pair { reference, distorted })
}

fn resolve_metric(
    net: Net,
    version: Version,
    mode: Mode,
    search: &SearchPath,
) -> anyhow::Result<(Metric, Model)> {
    let source = search
        .find(net)
        .map_err(|missing| Refusal::environment(missing.to_string()).hint(missing.remedy()))?;
    let trunk = Trunk::load(net, &source).with_context(|| {
        Refusal::environment("refusing to score with other weights than the published ones")
            .hint("make the file again with `python3 scripts/fetch_weights.py`")
    })?;
    let lin = match mode {
        Mode::Lpips => Some(Lin::load(net, version)?),
        Mode::Baseline => None,
    };
    let metric = Metric {
        name: Metric::column(mode, net),
        net,
        trunk_sha256: trunk.sha256.clone(),
        lin_sha256: lin.as_ref().map(|lin| lin.sha256.clone()),
    };
    let model = Model::published(trunk, version, lin.map(|lin| lin.layers));
    Ok((metric, model))
}

/// `values` without repetitions, in order.
fn unique<T: Clone + PartialEq>(values: &[T]) -> Vec<T> {
    let mut unique: Vec<T> = Vec::new();
    for value in values {
        if !unique.contains(value) {
            unique.push(value.clone());
        }
    }
    unique
}
