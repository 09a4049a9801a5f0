//! Arguments, resolved: every default chosen, every contradiction refused, every file that a run
//! needs beforehand found. Nothing is scored or written here.

mod compute;
mod inputs;
mod metrics;
mod requests;

use std::num::NonZeroUsize;
use std::path::PathBuf;

pub use self::compute::Compute;
use self::inputs::source;
pub(crate) use self::metrics::{Choice, Extras, MetricOptions, Metrics};
pub(crate) use self::requests::Requests;
use crate::cli::{BatchSize, CheckArgs, DeviceArgs, EvalArgs, MetricArgs, PixelArgs};
use crate::column::Column;
use crate::error::Refusal;
use crate::eval::Model;
use crate::fidelity;
use crate::image::{self, Verify};
use crate::masks::Masks;
use crate::net::NetSpec;
use crate::pipeline::OnError;
use crate::progress::{Style, Verbosity};
use crate::run::cells::TextCells;
use crate::run::joined::Join;
use crate::run::outputs::Kept;
use crate::shard::ShardArg;
use crate::source::Source;
use crate::{memory, scheduler};

pub use self::metrics::Protocol;

/// A job: its pairs, and everything that decides their numbers.
#[derive(Debug)]
pub struct Job {
    /// Where the pairs come from.
    pub source: Source,
    /// The metric columns, in the order of pairs.csv.
    pub columns: Vec<Column>,
    /// What the evaluator computes.
    pub models: Vec<Model>,
    /// Where the weights of the models come from, for people.
    pub weights: Vec<String>,
    /// What all of them have in common.
    pub protocol: Protocol,
    /// How files become samples.
    pub rules: image::Rules,
    /// The device and its settings.
    pub compute: Compute,
}

/// Where the results of a run go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// A run directory, not created yet.
    Folder(PathBuf),
    /// pairs.csv goes to stdout, and nothing is kept.
    Stdout,
    /// The scores of one pair go to stdout.
    OnePair,
}

impl Output {
    /// # Errors
    /// A [`Refusal`] for options that need a folder.
    fn resolve(args: &EvalArgs) -> Result<Output, Refusal> {
        let Some(path) = &args.output else { return Ok(Output::OnePair) };
        if path.as_os_str() != "-" {
            return Ok(Output::Folder(path.clone()));
        }
        let needs_folder = [
            ("--spatial", args.spatial),
            ("--spatial-worst", args.spatial_worst.is_some()),
            ("--shard", args.shard.is_some()),
            ("--verify-inputs", args.verify_inputs),
            ("--allow-mixed-numerics", args.allow_mixed_numerics),
        ];
        match needs_folder.iter().find(|(_, is_set)| *is_set) {
            Some((option, _)) => Err(Refusal::usage(format!("`{option}` needs a run directory"))
                .hint("name a folder with `-o`; with `-o -` nothing is kept")),
            None => Ok(Output::Stdout),
        }
    }
}

/// A run about which everything is decided that can be decided before the manifest is read.
#[derive(Debug)]
pub struct Config {
    /// What is scored and how.
    pub job: Job,
    /// Where the results go.
    pub output: Output,
    /// Columns per layer.
    pub per_layer: bool,
    /// How cells of text are written.
    pub text: TextCells,
    /// Which spatial maps are kept, if any are written.
    pub maps: Option<Kept>,
    /// Where masks are.
    pub masks: Option<Masks>,
    /// Names of columns that the summary is grouped by.
    pub group_by: Vec<String>,
    /// Which part of the pairs is scored; all if absent.
    pub shard: Option<ShardArg>,
    /// Runs whose finished pairs are taken over.
    pub reuse: Vec<PathBuf>,
    /// Columns that others computed.
    pub joins: Vec<Join>,
    /// How an image is compared with what it was.
    pub verify: Verify,
    /// Whether several numerics classes may work on one run.
    pub allow_mixed: bool,
    /// What a failed pair does to the run.
    pub on_error: OnError,
    /// How progress is reported.
    pub style: Style,
    /// How much is reported.
    pub verbosity: Verbosity,
}

impl Config {
    /// Resolves the arguments of `lpips eval`.
    ///
    /// # Errors
    /// A [`Refusal`] for whatever would not work: weights, options.
    pub fn resolve(args: EvalArgs) -> anyhow::Result<Config> {
        let output = Output::resolve(&args)?;
        let maps = match args.spatial_worst {
            Some(count) => Some(Kept { worst: Some(count.get()) }),
            None => args.spatial.then_some(Kept { worst: None }),
        };
        let extras = Extras {
            spatial: maps.is_some(),
            masked: args.metric.mask.is_some(),
            per_layer: args.per_layer,
        };
        let requests = Requests::resolve(&args.metric, &args.pixels)?;
        let (metric, mask) = metric(args.metric);
        let (compute, rules) = (compute(args.device)?, rules(&args.pixels, &requests));
        let choice = Choice::resolve(&metric, requests, args.pixels.range, extras)?;
        let Metrics { columns, models, weights } =
            choice.load(&metric, &rules, compute.precision)?;
        let (source, protocol) = (source(args.inputs)?, choice.protocol);
        let job = Job { source, columns, models, weights, protocol, rules, compute };
        let masks = masks(mask, &job.rules)?;
        Ok(Config {
            job,
            output,
            per_layer: args.per_layer,
            text: TextCells::of(args.csv_safe),
            maps,
            masks,
            group_by: unique(&args.group_by),
            shard: args.shard,
            reuse: args.reuse,
            joins: joins(&args.join)?,
            verify: if args.verify_inputs { Verify::Content } else { Verify::Times },
            allow_mixed: args.allow_mixed_numerics,
            on_error: args.on_error,
            style: args.progress,
            verbosity: match (args.quiet, args.verbose) {
                (true, _) => Verbosity::Quiet,
                (false, true) => Verbosity::Verbose,
                (false, false) => Verbosity::Normal,
            },
        })
    }

    /// Whether more than errors is printed for people. A stream for programs has no such lines.
    #[must_use]
    pub fn speaks(&self) -> bool {
        self.verbosity >= Verbosity::Normal && self.style != Style::Jsonl
    }
}

/// What `lpips check` examines.
#[derive(Debug)]
pub struct Preflight {
    /// Where the pairs come from.
    pub source: Source,
    /// The architectures that are to score.
    pub specs: Vec<&'static NetSpec>,
    /// The metrics of pixels that are to score.
    pub fidelity: Vec<fidelity::Metric>,
    /// What the evaluator would compute, or why it cannot.
    pub models: anyhow::Result<Vec<Model>>,
    /// How files become samples.
    pub rules: image::Rules,
    /// Where masks are.
    pub masks: Option<Masks>,
    /// Columns that others computed.
    pub joins: Vec<Join>,
    /// The device and its settings.
    pub compute: Compute,
}

impl Preflight {
    /// Resolves the arguments of `lpips check`.
    ///
    /// # Errors
    /// As [`Config::resolve`], except for weights: the inputs can be examined without them.
    pub fn resolve(args: CheckArgs) -> anyhow::Result<Preflight> {
        let CheckArgs { inputs, metric, pixels, device, join, .. } = args;
        let extras = Extras { masked: metric.mask.is_some(), ..Extras::default() };
        let requests = Requests::resolve(&metric, &pixels)?;
        let (metric, mask) = self::metric(metric);
        let (compute, rules) = (compute(device)?, rules(&pixels, &requests));
        let choice = Choice::resolve(&metric, requests, pixels.range, extras)?;
        let loaded = choice.load(&metric, &rules, compute.precision);
        let models = loaded.map(|metrics| metrics.models);
        Ok(Preflight {
            source: source(inputs)?,
            fidelity: choice.requests.fidelity(),
            specs: choice.specs(),
            models,
            rules,
            masks: masks(mask, &rules)?,
            joins: joins(&join)?,
            compute,
        })
    }
}

fn joins(texts: &[String]) -> anyhow::Result<Vec<Join>> {
    texts.iter().map(|text| Join::read(text)).collect()
}

/// The metric, and the folder of masks.
fn metric(args: MetricArgs) -> (MetricOptions, Option<PathBuf>) {
    let MetricArgs { net, preset, lpips_version, baseline, .. } = args;
    let MetricArgs { semantic_layer, mask, trunk, lin, weights_dir, .. } = args;
    let options = MetricOptions {
        net,
        preset,
        lpips_version,
        baseline,
        semantic_layer,
        trunk,
        lin,
        weights_dir,
    };
    (options, mask)
}

fn compute(args: DeviceArgs) -> Result<Compute, Refusal> {
    let DeviceArgs { device, precision, cuda, batch, threads, memory } = args;
    let default = Compute::default();
    let compute = Compute {
        device,
        precision,
        conv: cuda.conv,
        libraries: cuda.cuda_libs,
        threads: threads.map_or(default.threads, NonZeroUsize::get),
        batch: match batch {
            BatchSize::Auto => None,
            BatchSize::Pairs(pairs) => Some(pairs),
        },
        memory: memory::available(memory, &scheduler::environment),
    };
    compute.checked()
}

fn rules(pixels: &PixelArgs, requests: &Requests) -> image::Rules {
    image::Rules {
        range: pixels.range,
        alpha: pixels.alpha,
        size_policy: requests.size_policy,
        crop_border: requests.crop_border,
        pixels_max: pixels.max_pixels.map_or(image::PIXELS_MAX, std::num::NonZero::get),
        ..image::Rules::default()
    }
}

fn masks(folder: Option<PathBuf>, rules: &image::Rules) -> Result<Option<Masks>, Refusal> {
    match folder {
        Some(folder) if !folder.is_dir() => {
            let text = format!("`{}` is no folder of masks", folder.display());
            Err(Refusal::inputs(text).hint("name a folder with `--mask`"))
        }
        folder => Ok(folder.map(|folder| Masks { folder, rules: *rules })),
    }
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

#[cfg(test)]
mod tests;
