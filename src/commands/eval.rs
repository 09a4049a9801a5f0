//! `lpips eval`: resolve, score, write, tell.

use std::path::Path;

use super::evaluator;
use super::ranking::ranking;
use crate::cli::EvalArgs;
use crate::config::Config;
use crate::error::Exit;
use crate::eval::{Description, Evaluator};
use crate::image::Difference;
use crate::manifest::Manifest;
use crate::pipeline::{self, Counts, Flow};
use crate::progress::{Progress, Style, Verbosity, humanized, tell};
use crate::run::journal::Journal;
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

    let style = if run_dir.is_kept() { config.style } else { Style::Off };
    let mut progress = Progress::new(row_count, style, config.verbosity);
    let flow = Flow {
        manifest,
        rules: &config.job.rules,
        threads: config.job.compute.threads,
        on_error: config.on_error,
    };
    let scored = pipeline::run(&flow, evaluator, &mut journal, &mut progress);
    progress.finish();
    let counts = scored?;
    let elapsed_s = progress.elapsed_s();
    if speaks(config) {
        tell_differences(&counts);
    }

    let mut tables = Tables {
        manifest,
        journal: &mut journal,
        metrics: &config.job.metrics,
        per_layer: config.per_layer,
        group_by,
    };
    if run_dir.is_kept() {
        run_dir.publish(names::PAIRS, |file| tables.write_pairs(file))?;
        let summary = tables.summarize()?;
        run_dir.publish(names::SUMMARY, |file| write_summary(group_by, &summary, file))?;
        let fingerprint = fingerprint(config, manifest, &description);
        let provenance = Provenance {
            program_version: env!("CARGO_PKG_VERSION"),
            program_commit: env!("LPIPS_COMMIT"),
            device: description.device,
            host: host(),
            command: std::env::args().collect(),
            manifest: manifest.path().display().to_string(),
            started: started.to_string(),
            finished: jiff::Timestamp::now().to_string(),
            elapsed_s,
            expected: row_count,
            scored: counts.scored,
            failed: counts.failed,
            warnings: counts.warnings(),
        };
        run_dir.finish(&RunFile { fingerprint, provenance })?;
        let files = [names::SUMMARY, names::PAIRS, names::RUN];
        let files = files.map(|name| run_dir.file(name).display().to_string());
        if !progress.tell_finished(&files) && speaks(config) {
            tell(&ranking(group_by, &summary));
            tell(&closing(counts, elapsed_s, &files));
        }
    } else {
        tables.write_pairs(&mut std::io::stdout().lock())?;
    }
    Ok(if counts.failed == 0 { Exit::Complete } else { Exit::PairsFailed })
}

fn fingerprint(config: &Config, manifest: &Manifest, on: &Description) -> Fingerprint {
    Fingerprint {
        metrics: config.job.metrics.clone(),
        lpips_version: config.job.version,
        mode: config.job.mode,
        input_range: "0..1",
        pixel_rules: config.job.rules,
        precision: config.job.compute.precision.name(),
        numerics_class: on.numerics_class.clone(),
        manifest_sha256: manifest.sha256().to_owned(),
    }
}

/// Name of this machine, or nothing where it has none.
fn host() -> String {
    let name = fs_err::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// One line for each way in which the two images of pairs differ.
fn tell_differences(counts: &Counts) {
    for (difference, count) in Difference::ALL.into_iter().zip(counts.differing) {
        if count > 0 {
            let (code, text) = (difference.code(), difference.explanation());
            tell(&format!("warning: {code}, {count} pairs: {text}"));
        }
    }
}

fn closing(counts: Counts, elapsed_s: f64, files: &[String]) -> String {
    let Counts { scored, failed, .. } = counts;
    let rate = (scored + failed) as f64 / elapsed_s.max(1e-9);
    let failures = match failed {
        0 => String::new(),
        failed => format!(", {failed} FAILED (status and error columns tell why)"),
    };
    format!(
        "{scored} pairs scored{failures} in {}, {rate:.1} pairs/s\n{}",
        humanized(elapsed_s),
        files.join("\n"),
    )
}
