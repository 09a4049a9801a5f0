//! `lpips eval`: resolve, go on where the run stands, score, write, tell.

use super::begin::{Begun, Inputs};
use super::ending::{closing, ranking, tell_agreements, tell_differences};
use super::evaluator;
use super::finish::{Results, finish};
use crate::cli::EvalArgs;
use crate::config::Config;
use crate::error::{Exit, Refusal};
use crate::eval::Evaluator;
use crate::pipeline::{self, Flow};
use crate::progress::{Progress, Style, Verbosity, tell};
use crate::run::RunDir;
use crate::run::counts::Counts;
use crate::run::journal::How;
use crate::run::owner::Owner;
use crate::run::plan::Frozen;
use crate::run::records::Records;
use crate::run::resume::Rest;
use crate::run::tables::Tables;
use crate::scheduler;
use crate::shard::Shard;
use crate::signals::{Signal, Stop};
use crate::source::Source;

/// Runs the job.
///
/// # Errors
/// When the run cannot be done or cannot go on, or a signal ended it.
pub fn run(args: EvalArgs) -> anyhow::Result<Exit> {
    let stop = Stop::on_signals()?;
    let mut config = Config::resolve(args)?;
    let models = std::mem::take(&mut config.job.models);
    let mut evaluator = evaluator::open(models, &config.job.compute, config.speaks())?;
    let run_dir = match &config.output {
        Some(path) => RunDir::open(path)?,
        None => RunDir::temporary()?,
    };
    let spool = tempfile::tempdir()?;
    let this = Owner::this_process(&scheduler::environment);
    let begun = Inputs::open(&config, spool.path())
        .and_then(|inputs| Begun::begin(&config, inputs, &run_dir, &evaluator.describe(), this));
    match begun {
        Ok(begun) => score(begun, &config, &run_dir, &mut *evaluator, &stop),
        Err(refused) => {
            run_dir.discard();
            Err(refused)
        }
    }
}

/// Scores what is left, and ends the run or the shard.
fn score(
    begun: Begun,
    config: &Config,
    run_dir: &RunDir,
    evaluator: &mut dyn Evaluator,
    stop: &Stop,
) -> anyhow::Result<Exit> {
    let Begun { inputs, frozen, shard, mut attempt, mut maps, rest } = begun;
    tell_beginning(config, &rest, &evaluator.describe().device);
    let style = if run_dir.is_kept() { config.style } else { Style::Off };
    let mut progress = Progress::new(rest.rows.len(), style, config.verbosity);
    let flow = Flow {
        manifest: &inputs.manifest,
        rows: &rest.rows,
        rules: &config.job.rules,
        threads: config.job.compute.threads,
        on_error: config.on_error,
        outputs: &config.job.outputs,
        are_cliques: matches!(config.job.source, Source::AllPairs(_)),
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
        let is_finished = counts.done() == rest.rows.len();
        let signal = stop.signal().filter(|_| !is_finished);
        anyhow::ensure!(is_finished || signal.is_some(), "pairs were lost on the way");
        let how = if signal.is_some() { How::Stopped } else { How::Finished };
        attempt.end(how, elapsed_s, evaluator.losses())?;
        match signal {
            Some(signal) => Err(stopped(signal, run_dir, &rest, &counts).into()),
            None => Ok(counts),
        }
    });
    let counts = ended.inspect_err(|error| {
        progress.tell_stopped(error);
        // The run ends with this error, whatever becomes of that line.
        drop(attempt.end(How::Failed, elapsed_s, evaluator.losses()));
    })?;
    let session = Session { config, run_dir, progress, rest, counts, elapsed_s };
    match shard.count {
        1 => session.finish(&inputs, &frozen),
        _ => Ok(session.leave(shard)),
    }
}

/// What this process did, once it is done.
struct Session<'a> {
    config: &'a Config,
    run_dir: &'a RunDir,
    progress: Progress,
    rest: Rest,
    counts: Counts,
    elapsed_s: f64,
}

impl Session<'_> {
    /// Writes the tables of a run of one shard.
    fn finish(self, inputs: &Inputs, frozen: &Frozen) -> anyhow::Result<Exit> {
        let Session { config, run_dir, progress, counts, elapsed_s, .. } = self;
        let records = Records::open(run_dir, frozen, None)?;
        let tables = Tables {
            manifest: &inputs.manifest,
            records: &records,
            metrics: &frozen.plan.metrics,
            per_layer: config.per_layer,
            group_by: &inputs.group_by,
        };
        if !run_dir.is_kept() {
            let all = tables.write_pairs(&mut std::io::stdout().lock())?;
            if config.speaks() {
                tell_differences(&all);
            }
            return Ok(exit_of(all.failed));
        }
        let Results { counts: all, summary, agreements, files } = finish(run_dir, frozen, &tables)?;
        if !progress.tell_finished(&files) && config.speaks() {
            tell_differences(&all);
            tell(&ranking(&inputs.group_by, &summary));
            tell_agreements(&agreements);
            tell(&closing(&all, counts.done(), elapsed_s));
            tell(&files.join("\n"));
        }
        Ok(exit_of(all.failed))
    }

    /// Leaves the tables of a run of several shards to `lpips merge`.
    fn leave(self, shard: Shard) -> Exit {
        let Session { config, run_dir, progress, rest, counts, elapsed_s } = self;
        if !progress.tell_finished(&[]) && config.speaks() {
            tell_differences(&counts);
            let all = Counts { scored: rest.kept + counts.scored, ..counts.clone() };
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

fn stopped(signal: Signal, run_dir: &RunDir, rest: &Rest, counts: &Counts) -> Refusal {
    let shown = run_dir.path().display();
    let (safe, all) = (rest.kept + counts.done(), rest.kept + rest.rows.len());
    Refusal::new(
        signal.exit(),
        format!("stopped by {signal}: {safe} of {all} pairs are safe in `{shown}`"),
    )
    .hint("run the same command again to go on")
}

/// What is there already, if anything is, and what was decided.
fn tell_beginning(config: &Config, rest: &Rest, device: &str) {
    if config.verbosity >= Verbosity::Verbose {
        tell(&format!("scoring {} pairs on {device}", rest.rows.len()));
    }
    if !config.speaks() {
        return;
    }
    if let Some(warning) = config.job.protocol.preset.warning() {
        tell(&format!("warning: {warning}"));
    }
    let Rest { rows, kept, failed, changed } = rest;
    if kept + failed + changed == 0 {
        return;
    }
    let of = |count: usize, what: &str| match count {
        0 => String::new(),
        count => format!(", {count} {what}"),
    };
    tell(&format!(
        "going on: {kept} of {} pairs are done{}{}",
        kept + rows.len(),
        of(*failed, "that failed are tried again"),
        of(*changed, "whose images have changed are scored again"),
    ));
}

#[cfg(test)]
mod tests;
