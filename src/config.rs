//! Arguments, resolved: every default chosen, every contradiction refused, every file that a run
//! needs beforehand found. Nothing is scored or written here.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::cli::EvalArgs;
use crate::error::Refusal;
use crate::eval::Model;
use crate::image;
use crate::manifest::Manifest;
use crate::net::Net;
use crate::net::weights::{Lin, SearchPath, Trunk, Version};
use crate::progress::Verbosity;
use crate::run::tables::GroupColumn;
use crate::run::{Metric, Mode};

/// A run about which everything is decided.
#[derive(Debug)]
pub struct Config {
    /// The pairs.
    pub manifest: Manifest,
    /// The run directory, not made yet.
    pub output: PathBuf,
    /// Metric columns.
    pub metrics: Vec<Metric>,
    /// What the evaluator computes, in the order of `metrics`.
    pub models: Vec<Model>,
    /// Version of the metric.
    pub version: Version,
    /// With or without lin weights.
    pub mode: Mode,
    /// Columns per layer.
    pub per_layer: bool,
    /// Columns that the summary is grouped by.
    pub group_by: Vec<GroupColumn>,
    /// How files become samples.
    pub rules: image::Rules,
    /// Decoding threads, and computing threads.
    pub threads: usize,
    /// Pairs per batch; the evaluator decides if absent.
    pub batch: Option<NonZeroUsize>,
    /// How much to tell.
    pub verbosity: Verbosity,
}

impl Config {
    /// Resolves the arguments of `lpips eval`.
    ///
    /// # Errors
    /// A [`Refusal`] for whatever would not work: weights, manifest, options.
    pub fn resolve(args: EvalArgs) -> anyhow::Result<Config> {
        let mode = if args.baseline { Mode::Baseline } else { Mode::Lpips };
        let search = SearchPath::new(args.weights_dir.as_deref());
        let mut metrics = Vec::new();
        let mut models = Vec::new();
        for net in unique(&args.net) {
            let (metric, model) = resolve_metric(net, args.lpips_version, mode, &search)?;
            metrics.push(metric);
            models.push(model);
        }
        let manifest = Manifest::open(&args.manifest)?;
        let columns = unique(&args.group_by).into_iter();
        let group_by = columns
            .map(|name| GroupColumn::find(&name, &manifest))
            .collect::<Result<Vec<GroupColumn>, Refusal>>()?;
        let processors = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Ok(Config {
            manifest,
            output: args.output,
            metrics,
            models,
            version: args.lpips_version,
            mode,
            per_layer: args.per_layer,
            group_by,
            rules: image::Rules::default(),
            threads: args.threads.map_or_else(processors, NonZeroUsize::get),
            batch: args.batch,
            verbosity: match (args.quiet, args.verbose) {
                (true, _) => Verbosity::Quiet,
                (false, true) => Verbosity::Verbose,
                (false, false) => Verbosity::Normal,
            },
        })
    }
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
    let model = Model { trunk, version, lin: lin.map(|lin| lin.layers) };
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
