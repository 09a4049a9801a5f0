//! `lpips eval`: resolve the arguments, start or resume the run, score, write, report.

use anyhow::Context as _;

use super::evaluator;
use super::finish::{Results, finish};
use super::gates::{self, OwnGates};
use super::messages::{closing, ranking, report_agreements, report_differences, report_signatures};
use super::start::{Inputs, Started};
use super::threads;
use crate::cli::EvalArgs;
use crate::config::Config;
use crate::error::{Exit, Refusal};
use crate::eval::Evaluator;
use crate::pipeline::{self, Flow};
use crate::progress::{Progress, Style, Verbosity, tell};
use crate::run::RunDir;
use crate::run::counts::Counts;
use crate::run::journal::EndReason;
use crate::run::owner::Owner;
use crate::run::plan::Frozen;
use crate::run::records::Records;
use crate::run::resume::Remaining;
use crate::run::tables::Tables;
use crate::scheduler;
use crate::shard::Shard;
use crate::signals::{Signal, Stop};
use crate::spool::Spool;
use crate::stdout;

/// Runs the job.
///
/// # Errors
/// When the run cannot be started or resumed, or an error or a signal ended it.
pub fn run(args: EvalArgs) -> anyhow::Result<Exit> {
    let stop = Stop::on_signals()?;
    let conditions = gates::parse(&args.fail_if)?;
    let mut config = Config::resolve(args)?;
    let gates = OwnGates::new(conditions, &config.job.columns)?;
    threads::start(Some(config.job.compute.threads))?;
    let models = std::mem::take(&mut config.job.models);
    let mut evaluator = evaluator::open(models, &config.job.compute, config.speaks())?;
    let run_dir = match &config.output {
        Some(path) => RunDir::open(path)?,
        None => RunDir::temporary()?,
    };
    let spool = Spool::create()?;
    let this = Owner::this_process(&scheduler::environment);
    let started = Inputs::open(&config, spool.path()).and_then(|inputs| {
        gates.check_groups(&inputs.manifest)?;
        Started::start(&config, inputs, &run_dir, &evaluator.describe(), this)
    });
    match started {
        Ok(started) => score(started, &config, &gates, &run_dir, &mut *evaluator, &stop),
        Err(refused) => {
            run_dir.discard();
            Err(refused)
        }
    }
}

/// Scores the rows that remain, and finishes the run or the shard.
fn score(
    started: Started,
    config: &Config,
    gates: &OwnGates,
    run_dir: &RunDir,
    evaluator: &mut dyn Evaluator,
    stop: &Stop,
) -> anyhow::Result<Exit> {
    let Started { inputs, frozen, shard, mut attempt, mut maps, remaining } = started;
    tell_start(config, &remaining, &evaluator.describe().device);
    let style = if run_dir.is_kept() { config.style } else { Style::Off };
    let mut progress = Progress::new(remaining.rows.len(), style, config.verbosity);
    let flow = Flow {
        manifest: &inputs.manifest,
        rows: &remaining.rows,
        rules: &config.job.rules,
        threads: config.job.compute.threads,
        on_error: config.on_error,
        columns: &config.job.columns,
        grouping: config.job.source.grouping(),
        masks: config.masks.as_ref(),
        stop,
    };
    let scored = pipeline::run(&flow, evaluator, &mut attempt, maps.as_mut(), &mut progress);
    progress.finish();
    if config.verbosity >= Verbosity::Verbose {
        tell(&format!("images that went through a trunk: {}", evaluator.passes()));
    }
    let elapsed_s = progress.elapsed_s();
    let ended = scored.and_then(|counts| {
        let is_finished = counts.done() == remaining.rows.len();
        let signal = stop.signal().filter(|_| !is_finished);
        anyhow::ensure!(
            is_finished || signal.is_some(),
            "pairs were lost while the run was scored"
        );
        let how = if signal.is_some() { EndReason::Stopped } else { EndReason::Finished };
        attempt.end(how, elapsed_s, evaluator.losses())?;
        match signal {
            Some(signal) => Err(stopped(signal, run_dir, &remaining, &counts).into()),
            None => Ok(counts),
        }
    });
    let counts = ended.inspect_err(|error| {
        progress.tell_stopped(error);
        // The run ends with this error, whether or not that line can be written.
        drop(attempt.end(EndReason::Failed, elapsed_s, evaluator.losses()));
    })?;
    let session = Session { config, run_dir, progress, remaining, counts, elapsed_s };
    match shard.count {
        1 => session.finish(&inputs, &frozen, gates),
        _ => Ok(session.leave(shard)),
    }
}

/// What this process has done when all its rows have outcomes.
struct Session<'a> {
    config: &'a Config,
    run_dir: &'a RunDir,
    progress: Progress,
    remaining: Remaining,
    counts: Counts,
    elapsed_s: f64,
}

impl Session<'_> {
    /// Writes the tables of a run of one shard.
    fn finish(self, inputs: &Inputs, frozen: &Frozen, gates: &OwnGates) -> anyhow::Result<Exit> {
        let Session { config, run_dir, progress, counts, elapsed_s, .. } = self;
        let records = Records::open(run_dir, frozen, None)?;
        let tables = Tables {
            manifest: &inputs.manifest,
            records: &records,
            columns: &frozen.plan.columns,
            per_layer: config.per_layer,
            group_by: &inputs.group_by,
        };
        if !run_dir.is_kept() {
            let written = tables.write_pairs(&mut stdout::data());
            let all = written.context("cannot write the scores to stdout")?;
            if config.speaks() {
                report_differences(&all);
                report_signatures(tables.columns);
            }
            return gates.exit(&tables, exit_of(all.failed));
        }
        let Results { counts: all, summary, agreements, files } = finish(run_dir, frozen, &tables)?;
        if !progress.tell_finished(&files) && config.speaks() {
            report_differences(&all);
            tell(&ranking(&inputs.group_by, &summary));
            report_agreements(&agreements);
            report_signatures(tables.columns);
            tell(&closing(&all, counts.done(), elapsed_s));
            tell(&files.join("\n"));
        }
        gates.exit(&tables, exit_of(all.failed))
    }

    /// Ends a shard of several. `lpips merge` writes the tables.
    fn leave(self, shard: Shard) -> Exit {
        let Session { config, run_dir, progress, remaining, counts, elapsed_s } = self;
        if !progress.tell_finished(&[]) && config.speaks() {
            report_differences(&counts);
            let all = Counts { scored: remaining.kept + counts.scored, ..counts.clone() };
            tell(&format!("shard {shard}: {}", closing(&all, counts.done(), elapsed_s)));
            let shown = run_dir.path().display();
            tell(&format!("when all shards are done: lpips merge {shown}"));
        }
        exit_of(counts.failed)
    }
}

fn exit_of(failed: usize) -> Exit {
    if failed == 0 { Exit::Complete } else { Exit::PairsFailed }
}

fn stopped(signal: Signal, run_dir: &RunDir, remaining: &Remaining, counts: &Counts) -> Refusal {
    let shown = run_dir.path().display();
    let (safe, all) = (remaining.kept + counts.done(), remaining.kept + remaining.rows.len());
    Refusal::new(
        signal.exit(),
        format!("stopped by {signal}: {safe} of {all} pairs are safe in `{shown}`"),
    )
    .hint("run the same command again to resume")
}

/// Reports what was decided, and how much of a resumed run is done.
fn tell_start(config: &Config, remaining: &Remaining, device: &str) {
    if config.verbosity >= Verbosity::Verbose {
        tell(&format!("scoring {} pairs on {device}", remaining.rows.len()));
    }
    if !config.speaks() {
        return;
    }
    if let Some(warning) = config.job.protocol.preset.warning() {
        tell(&format!("warning: {warning}"));
    }
    let Remaining { rows, kept, failed, changed } = remaining;
    if kept + failed + changed == 0 {
        return;
    }
    let of = |count: usize, what: &str| match count {
        0 => String::new(),
        count => format!(", {count} {what}"),
    };
    tell(&format!(
        "resuming: {kept} of {} pairs are done{}{}",
        kept + rows.len(),
        of(*failed, "that failed are retried"),
        of(*changed, "whose images have changed are scored again"),
    ));
}

#[cfg(test)]
mod tests;
