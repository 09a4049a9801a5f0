//! `lpips eval`: resolve, score, write, tell.

use std::path::Path;

use crate::cli::EvalArgs;
use crate::config::Config;
use crate::error::Exit;
use crate::eval::Evaluator;
use crate::eval::cpu::{self, CpuEvaluator};
use crate::pipeline::{self, Counts, Flow};
use crate::progress::{Progress, Verbosity, humanized, tell};
use crate::run::journal::Journal;
use crate::run::tables::{GroupColumn, SummaryRow, Tables, write_summary};
use crate::run::{Fingerprint, Provenance, RunDir, RunFile, names};

/// Runs the job.
///
/// # Errors
/// When the run cannot be done or cannot go on.
pub fn run(args: EvalArgs) -> anyhow::Result<Exit> {
    let mut config = Config::resolve(args)?;
    let models = std::mem::take(&mut config.models);
    let cpu = cpu::Config {
        threads: config.threads,
        pairs_max: config.batch.map(std::num::NonZeroUsize::get),
        isa: None,
    };
    let mut evaluator = CpuEvaluator::new(models, cpu)?;
    score(&config, &mut evaluator)
}

/// Everything after the choice of the evaluator.
fn score(config: &Config, evaluator: &mut dyn Evaluator) -> anyhow::Result<Exit> {
    let started = jiff::Timestamp::now();
    let description = evaluator.describe();
    let run_dir = RunDir::create(&config.output)?;
    let row_count = config.manifest.len();
    let mut journal = Journal::create(&run_dir.file(names::JOURNAL), row_count)?;
    if config.verbosity >= Verbosity::Verbose {
        tell(&format!("scoring {row_count} pairs on {}", description.device));
    }

    let mut progress = Progress::new(row_count, config.verbosity);
    let flow = Flow { manifest: &config.manifest, rules: &config.rules, threads: config.threads };
    let scored = pipeline::run(&flow, evaluator, &mut journal, &mut progress);
    progress.finish();
    let counts = scored?;
    let elapsed_s = progress.elapsed_s();

    let mut tables = Tables {
        manifest: &config.manifest,
        journal: &mut journal,
        metrics: &config.metrics,
        per_layer: config.per_layer,
        group_by: &config.group_by,
    };
    run_dir.publish(names::PAIRS, |file| tables.write_pairs(file))?;
    let summary = tables.summarize()?;
    run_dir.publish(names::SUMMARY, |file| write_summary(&config.group_by, &summary, file))?;
    run_dir.finish(&RunFile {
        fingerprint: fingerprint(config, description.numerics_class),
        provenance: Provenance {
            program_version: env!("CARGO_PKG_VERSION"),
            device: description.device,
            host: host(),
            command: std::env::args().collect(),
            manifest: config.manifest.path().display().to_string(),
            started: started.to_string(),
            finished: jiff::Timestamp::now().to_string(),
            elapsed_s,
            expected: row_count,
            scored: counts.scored,
            failed: counts.failed,
        },
    })?;
    if config.verbosity >= Verbosity::Normal {
        tell(&ranking(&config.group_by, &summary));
        tell(&closing(counts, elapsed_s, &config.output));
    }
    Ok(if counts.failed == 0 { Exit::Complete } else { Exit::PairsFailed })
}

fn fingerprint(config: &Config, numerics_class: String) -> Fingerprint {
    Fingerprint {
        metrics: config.metrics.clone(),
        lpips_version: config.version,
        mode: config.mode,
        input_range: "0..1",
        pixel_rules: config.rules,
        precision: "fp32",
        numerics_class,
        manifest_sha256: config.manifest.sha256().to_owned(),
    }
}

/// Name of this machine, or nothing where it has none.
fn host() -> String {
    let name = fs_err::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// The groups of each metric, the best (lowest mean) first; all pairs last.
fn ranking(group_by: &[GroupColumn], summary: &[SummaryRow]) -> String {
    let header = group_by.iter().map(GroupColumn::name).collect::<Vec<_>>().join(", ");
    let mut metrics: Vec<&str> = Vec::new();
    for row in summary {
        if !metrics.contains(&row.metric.as_str()) {
            metrics.push(&row.metric);
        }
    }
    let mut text = String::new();
    for metric in metrics {
        let mut rows: Vec<&SummaryRow> =
            summary.iter().filter(|row| row.metric == metric).collect();
        let all = rows.remove(0);
        let mean = |row: &SummaryRow| row.summary.as_ref().map_or(f64::INFINITY, |s| s.mean);
        rows.sort_by(|a, b| mean(a).total_cmp(&mean(b)));
        let name = |row: &SummaryRow| row.group.join(", ");
        let width = rows.iter().map(|row| name(row).chars().count()).max().unwrap_or(0);
        let width = width.max("all pairs".len());
        let by = if header.is_empty() { String::new() } else { format!(" by {header}") };
        text.push_str(&format!("{metric}{by}, mean (lower is better), 95 % interval over items\n"));
        for (place, row) in rows.iter().enumerate() {
            let rank = place + 1;
            text.push_str(&format!("  {rank:>2}. {:width$}  {}\n", name(row), cells(row)));
        }
        text.push_str(&format!("      {:width$}  {}\n", "all pairs", cells(all)));
    }
    text.trim_end().to_owned()
}

fn cells(row: &SummaryRow) -> String {
    let complete = if row.is_complete() { "" } else { "  INCOMPLETE" };
    let count = format!("{} of {} pairs{complete}", row.scored, row.expected);
    let Some(summary) = &row.summary else { return format!("no score             {count}") };
    let interval = match summary.ci95 {
        Some((low, high)) => format!("[{low:.4}, {high:.4}]"),
        None => String::new(),
    };
    format!("{:.4} {interval:16}  {count}", summary.mean)
}

fn closing(counts: Counts, elapsed_s: f64, output: &Path) -> String {
    let Counts { scored, failed } = counts;
    let rate = (scored + failed) as f64 / elapsed_s.max(1e-9);
    let failures = match failed {
        0 => String::new(),
        failed => format!(", {failed} FAILED (status and error columns tell why)"),
    };
    let file = |name: &str| output.join(name).display().to_string();
    format!(
        "{scored} pairs scored{failures} in {}, {rate:.1} pairs/s\n{}\n{}\n{}",
        humanized(elapsed_s),
        file(names::SUMMARY),
        file(names::PAIRS),
        file(names::RUN),
    )
}
