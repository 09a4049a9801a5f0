//! `lpips eval`: resolve, score, write, tell.

use std::path::Path;

use super::ending::{closing, ranking, tell_differences};
use super::evaluator;
use crate::cli::EvalArgs;
use crate::config::{Config, Spatial};
use crate::error::Exit;
use crate::eval::{Description, Evaluator};
use crate::manifest::Manifest;
use crate::pipeline::{self, Counts, Flow};
use crate::progress::{Progress, Style, Verbosity, tell};
use crate::run::journal::Journal;
use crate::run::maps::Maps;
use crate::run::tables::{GroupColumn, Tables, write_summary};
use crate::run::{Fingerprint, Provenance, RunDir, RunFile, names};
use crate::source::Located;

/// Runs the job.
///
/// # Errors
/// When the run cannot be done or cannot go on.
pub fn run(args: EvalArgs) -> anyhow::Result<Exit> {
    let mut config = Config::resolve(args)?;
    let models = std::mem::take(&mut config.job.models);
    let mut evaluator = evaluator::open(models, &config.job.compute, speaks(&config))?;
    let run_dir = match &config.output {
        Some(path) => RunDir::create(path)?,
        None => RunDir::temporary()?,
    };
    match Inputs::open(&config, run_dir.path()) {
        Ok(inputs) => score(&config, &inputs, &run_dir, &mut *evaluator),
        Err(refused) => {
            run_dir.discard();
            Err(refused)
        }
    }
}

/// The pairs, and how they are grouped.
#[derive(Debug)]
struct Inputs {
    manifest: Manifest,
    group_by: Vec<GroupColumn>,
}

impl Inputs {
    fn open(config: &Config, spool: &Path) -> anyhow::Result<Inputs> {
        let located = config.job.source.locate(spool)?;
        let inputs = Inputs::of(config, &located);
        if inputs.is_err() {
            located.unspool();
        }
        inputs
    }

    fn of(config: &Config, located: &Located) -> anyhow::Result<Inputs> {
        if let Some(pairing) = &located.pairing {
            if let Some(refusal) = pairing.refusal() {
                return Err(refusal.into());
            }
            if speaks(config) {
                tell(&pairing.note());
            }
        }
        let manifest = Manifest::open(located.location.clone())?;
        let columns = config.group_by.iter().map(|name| GroupColumn::find(name, &manifest));
        let group_by = columns.collect::<Result<_, _>>()?;
        Ok(Inputs { manifest, group_by })
    }
}

/// Whether people are told more than errors. A stream for programs holds nothing for people.
fn speaks(config: &Config) -> bool {
    config.verbosity >= Verbosity::Normal && config.style != Style::Jsonl
}

/// Everything after the choice of the evaluator and the inputs.
fn score(
    config: &Config,
    inputs: &Inputs,
    run_dir: &RunDir,
    evaluator: &mut dyn Evaluator,
) -> anyhow::Result<Exit> {
    let Inputs { manifest, group_by } = inputs;
    let started = jiff::Timestamp::now();
    let description = evaluator.describe();
    let row_count = manifest.len();
    let mut journal = Journal::create(&run_dir.file(names::JOURNAL), row_count)?;
    if config.verbosity >= Verbosity::Verbose {
        tell(&format!("scoring {row_count} pairs on {}", description.device));
    }

    if let Some(warning) = config.job.protocol.preset.warning().filter(|_| speaks(config)) {
        tell(&format!("warning: {warning}"));
    }

    let style = if run_dir.is_kept() { config.style } else { Style::Off };
    let mut progress = Progress::new(row_count, style, config.verbosity);
    let flow = Flow {
        manifest,
        rules: &config.job.rules,
        threads: config.job.compute.threads,
        on_error: config.on_error,
        outputs: &config.job.outputs,
        masks: config.masks.as_ref(),
    };
    let mut maps = maps_of(config, run_dir);
    let scored = pipeline::run(&flow, evaluator, &mut journal, maps.as_mut(), &mut progress);
    progress.finish();
    let counts = scored.inspect_err(|error| progress.tell_stopped(error))?;
    if speaks(config) {
        tell_differences(&counts);
    }
    let exit = if counts.failed == 0 { Exit::Complete } else { Exit::PairsFailed };

    if let Some(maps) = &maps {
        maps.finish(manifest, &mut journal)?;
    }
    let mut tables = Tables {
        manifest,
        journal: &mut journal,
        metrics: &config.job.metrics,
        per_layer: config.per_layer,
        group_by,
    };
    if !run_dir.is_kept() {
        tables.write_pairs(&mut std::io::stdout().lock())?;
        return Ok(exit);
    }
    run_dir.publish(names::PAIRS, |file| tables.write_pairs(file))?;
    let summary = tables.summarize()?;
    run_dir.publish(names::SUMMARY, |file| write_summary(group_by, &summary, file))?;
    let elapsed_s = progress.elapsed_s();
    run_dir.finish(&RunFile {
        fingerprint: fingerprint(config, manifest, &description),
        provenance: provenance(manifest, description, &counts, started, elapsed_s),
    })?;
    let files = [names::SUMMARY, names::PAIRS, names::RUN];
    let files = files.map(|name| run_dir.file(name).display().to_string());
    if !progress.tell_finished(&files) && speaks(config) {
        tell(&ranking(group_by, &summary));
        tell(&closing(&counts, elapsed_s, &files));
    }
    Ok(exit)
}

fn maps_of(config: &Config, run_dir: &RunDir) -> Option<Maps> {
    let keep = match config.spatial? {
        Spatial::All => None,
        Spatial::Worst(count) => Some(count.get()),
    };
    Some(Maps::new(run_dir.path(), config.map_columns(), keep))
}

fn fingerprint(config: &Config, manifest: &Manifest, on: &Description) -> Fingerprint {
    Fingerprint {
        metrics: config.job.metrics.clone(),
        lpips_version: config.job.protocol.version,
        mode: config.job.protocol.mode,
        input_range: "0..1",
        input: config.job.protocol.input,
        epsilon: config.job.protocol.epsilon,
        pixel_rules: config.job.rules,
        precision: config.job.compute.precision.name(),
        numerics_class: on.numerics_class.clone(),
        manifest_sha256: manifest.sha256().to_owned(),
    }
}

fn provenance(
    manifest: &Manifest,
    on: Description,
    counts: &Counts,
    started: jiff::Timestamp,
    elapsed_s: f64,
) -> Provenance {
    Provenance {
        program_version: env!("CARGO_PKG_VERSION"),
        program_commit: env!("LPIPS_COMMIT"),
        device: on.device,
        host: host(),
        command: std::env::args().collect(),
        manifest: manifest.path().display().to_string(),
        started: started.to_string(),
        finished: jiff::Timestamp::now().to_string(),
        elapsed_s,
        expected: manifest.len(),
        scored: counts.scored,
        failed: counts.failed,
        failures: counts.failure_codes(),
        warnings: counts.warnings(),
    }
}

/// Name of this machine, or nothing where it has none.
fn host() -> String {
    let name = fs_err::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
