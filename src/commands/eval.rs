//! `lpips eval`: resolve the arguments, start or resume the run, score, write, report.

mod passes;

use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::Context as _;

use self::passes::{Evaluators, Scoring};
use super::finish::{Results, finish};
use super::gates::{self, OwnGates};
use super::messages::{
    closing, report_agreements, report_differences, report_signatures, report_skipped,
};
use super::missing::Missing;
use super::ranking::ranking;
use super::start::{Started, open_manifest};
use super::threads;
use crate::cli::EvalArgs;
use crate::column::Column;
use crate::config::{Config, Output};
use crate::decimal::{are, counted};
use crate::device;
use crate::error::{Exit, Refusal};
use crate::manifest::Manifest;
use crate::pipeline::Sink;
use crate::progress::{self, Progress, Style, Verbosity, print_line};
use crate::run::RunDir;
use crate::run::counts::Counts;
use crate::run::finished::Stored;
use crate::run::inputs::Taken;
use crate::run::joined::Join;
use crate::run::journal::EndReason;
use crate::run::owner::Owner;
use crate::run::plan::Frozen;
use crate::run::records::Records;
use crate::run::resume::Remaining;
use crate::run::tables::{GroupColumn, Tables};
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
    if args.progress == Style::Jsonl {
        progress::use_json_lines();
    }
    let stop = Stop::on_signals()?;
    let conditions = gates::parse(&args.fail_if)?;
    let mut config = Config::resolve(args)?;
    let joined = config.joins.iter().flat_map(Join::columns);
    let columns: Vec<Column> = config.job.columns.iter().cloned().chain(joined).collect();
    let gates = OwnGates::new(conditions, &columns)?;
    threads::start(Some(config.job.compute.threads))?;
    let models = std::mem::take(&mut config.job.models);
    let notes = Mutex::new(Vec::new());
    let open = |numbers: &[usize]| {
        let models = numbers.iter().map(|&number| models[number].clone()).collect();
        let mut note = |line: &str| {
            notes.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
        };
        device::open(models, &config.job.compute, &mut note, print_line)
    };
    let spool = Spool::create()?;
    // A large manifest and a GPU take about as long as each other.
    let (evaluators, manifest) = thread::scope(|scope| {
        let opening = scope.spawn(|| Evaluators::new(models.len(), Box::new(open)));
        let manifest = open_manifest(&config, spool.path());
        (opening.join().unwrap_or_else(|panic| resume_unwind(panic)), manifest)
    });
    let mut evaluators = evaluators?;
    // Those of later passes would repeat them.
    let notes = std::mem::take(&mut *notes.lock().unwrap_or_else(PoisonError::into_inner));
    if config.speaks() {
        notes.iter().for_each(|note| print_line(note));
    }
    let run_dir = match &config.output {
        Output::Folder(path) => RunDir::open(path)?,
        Output::Stdout | Output::OnePair => RunDir::temporary()?,
    };
    let this = Owner::this_process(&scheduler::environment);
    let started = manifest.and_then(|(manifest, notes)| {
        gates.check_groups(&manifest)?;
        Started::start(&config, (manifest, notes), &run_dir, &evaluators.describe(), this)
    });
    match started {
        Ok(started) => score(started, &config, &gates, &run_dir, &mut evaluators, &stop),
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
    evaluators: &mut Evaluators<'_>,
    stop: &Stop,
) -> anyhow::Result<Exit> {
    let Started { manifest, frozen, shard, mut attempt, mut maps, records, reuse, .. } = started;
    let Started { remaining, taken, .. } = started;
    stop.begin();
    report_start(config, &remaining, &taken, &evaluators.describe().device);
    let style = if config.output == Output::OnePair { Style::Off } else { config.style };
    let mut progress = Progress::new(remaining.len(), style, config.verbosity);
    progress.name_columns(config.job.columns.iter().map(|column| column.name.clone()));
    let scoring = Scoring { config, manifest: &manifest, reuse: &reuse, records: &records, stop };
    let mut sink = Sink::new(&mut attempt, maps.as_mut(), &mut progress);
    let scored = scoring.run(&remaining, evaluators, &mut sink);
    let counts = sink.counts;
    drop((records, reuse));
    progress.finish();
    if config.verbosity >= Verbosity::Verbose {
        print_line(&format!("images that went through a trunk: {}", evaluators.trunk_passes()));
    }
    let elapsed_s = progress.elapsed_s();
    let ended = scored.and_then(|()| {
        let is_finished = counts.done() == remaining.len();
        let signal = stop.signal().filter(|_| !is_finished);
        anyhow::ensure!(
            is_finished || signal.is_some(),
            "pairs were lost while the run was scored"
        );
        let how = if signal.is_some() { EndReason::Stopped } else { EndReason::Finished };
        attempt.end(how, elapsed_s, evaluators.losses())?;
        match signal {
            Some(signal) => {
                let records = Records::open(run_dir, &frozen, &manifest, Some(shard))?;
                Err(stopped(signal, run_dir, &remaining, &records).into())
            }
            None => Ok(()),
        }
    });
    ended.inspect_err(|error| {
        progress.print_stopped(error);
        // The run ends with this error, whether or not that line can be written.
        drop(attempt.end(EndReason::Failed, elapsed_s, evaluators.losses()));
    })?;
    let session = Session { config, run_dir, progress, remaining, counts, elapsed_s };
    match shard.count {
        1 => {
            // The tables are made from what is on disk, not from what this process remembers.
            drop((manifest, frozen));
            session.finish(gates)
        }
        _ => session.leave(shard, &manifest, &frozen),
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
    /// Proves that a run of one shard is complete, and writes its tables.
    fn finish(self, gates: &OwnGates) -> anyhow::Result<Exit> {
        let Session { config, run_dir, progress, counts, elapsed_s, .. } = self;
        let Stored { frozen, manifest, records, columns } = Stored::read(run_dir, None)?;
        let missing = Missing::find(&manifest, &frozen.plan, &records, None)?;
        if missing.count > 0 {
            return Ok(gates.undecided(incomplete(&missing, run_dir, &records)));
        }
        let group_by = GroupColumn::find_all(&config.group_by, &manifest)?;
        let tables = Tables {
            manifest: &manifest,
            records: &records,
            columns: &columns,
            per_layer: config.per_layer,
            group_by: &group_by,
            text: config.text,
        };
        if !run_dir.is_kept() {
            let written = tables.write_pairs(&mut stdout::data());
            let all = written.context("cannot write the scores to stdout")?;
            if !progress.print_finished(&[]) && config.speaks() {
                report_differences(&all);
                if config.output == Output::Stdout {
                    print_line(&ranking(&tables, &tables.summarize()?)?);
                    report_agreements(&tables.agreements()?);
                }
                report_signatures(tables.columns);
                if config.output == Output::Stdout {
                    print_line(&closing(&all, counts.scored, elapsed_s));
                }
            }
            return gates.exit(&tables, exit_of(&all));
        }
        let Results { counts: all, summary, agreements, files } =
            finish(run_dir, &frozen, config.maps, &tables)?;
        if !progress.print_finished(&files) && config.speaks() {
            report_skipped(&records);
            report_differences(&all);
            print_line(&ranking(&tables, &summary)?);
            report_agreements(&agreements);
            report_signatures(tables.columns);
            print_line(&closing(&all, counts.scored, elapsed_s));
            print_line(&files.join("\n"));
        }
        gates.exit(&tables, exit_of(&all))
    }

    /// Proves that a shard of several is complete. `lpips merge` writes the tables.
    fn leave(self, shard: Shard, manifest: &Manifest, frozen: &Frozen) -> anyhow::Result<Exit> {
        let Session { config, run_dir, progress, remaining, counts, elapsed_s } = self;
        let records = Records::open(run_dir, frozen, manifest, Some(shard))?;
        let missing = Missing::find(manifest, &frozen.plan, &records, Some(shard))?;
        if missing.count > 0 {
            return Ok(incomplete(&missing, run_dir, &records));
        }
        if !progress.print_finished(&[]) && config.speaks() {
            report_differences(&counts);
            let all = Counts { scored: remaining.kept + counts.scored, ..counts.clone() };
            print_line(&format!("shard {shard}: {}", closing(&all, counts.scored, elapsed_s)));
            let shown = run_dir.path().display();
            print_line(&format!("when all shards are done: lpips merge {shown}"));
        }
        Ok(exit_of(&counts))
    }
}

/// Reports pairs that this process has scored, or found finished, and that are not in the journals.
fn incomplete(missing: &Missing, run_dir: &RunDir, records: &Records) -> Exit {
    missing.report(run_dir);
    report_skipped(records);
    print_line("hint: a journal changed during the run; run the same command again to score them");
    Exit::PairsFailed
}

fn exit_of(counts: &Counts) -> Exit {
    if counts.is_complete() { Exit::Complete } else { Exit::PairsFailed }
}

/// How many pairs of the shard are in its journals, now that a signal has stopped this process.
fn stopped(signal: Signal, run_dir: &RunDir, remaining: &Remaining, records: &Records) -> Refusal {
    if !run_dir.is_kept() {
        return Refusal::new(signal.exit(), format!("stopped by {signal}; no score was kept"))
            .hint("name a folder with `-o`, so that the same command resumes");
    }
    let shown = run_dir.path().display();
    let (safe, all) = (records.scored(), remaining.kept + remaining.len());
    Refusal::new(
        signal.exit(),
        format!(
            "stopped by {signal}: {safe} of {} {} safe in `{shown}`",
            counted(all, "pair"),
            are(safe)
        ),
    )
    .hint("run the same command again to resume")
}

/// Reports what was decided, what was taken from other runs, and how much of a resumed run is done.
fn report_start(config: &Config, remaining: &Remaining, taken: &[Taken], device: &str) {
    if config.verbosity >= Verbosity::Verbose {
        print_line(&format!("scoring {} on {device}", counted(remaining.len(), "pair")));
        config.job.weights.iter().for_each(|origin| print_line(origin));
    }
    if !config.speaks() {
        return;
    }
    if let Some(warning) = config.job.protocol.preset.warning() {
        print_line(&format!("warning: {warning}"));
    }
    let Remaining { kept, failed, changed, .. } = *remaining;
    let unmapped = remaining.unmapped.len();
    let of = |count: usize, which: &str, what: &str| match count {
        0 => String::new(),
        count => format!(", {count} {which} {} {what}", are(count)),
    };
    if remaining.is_resumed {
        print_line(&format!(
            "resuming: {kept} of {} {} done{}{}{}",
            counted(kept + remaining.len(), "pair"),
            are(kept),
            of(failed, "that failed", "retried"),
            of(changed, "whose images have changed", "scored again"),
            of(unmapped, "without their maps", "scored again"),
        ));
    } else if unmapped > 0 {
        print_line(&format!("scoring {} again for their maps", counted(unmapped, "pair")));
    }
    for Taken { run, pairs, columns, .. } in taken {
        let of_columns = columns.iter().map(|(name, count)| format!("{name} {count}"));
        let of_columns = match config.job.columns.len() {
            1 => String::new(),
            _ => format!(" ({})", of_columns.collect::<Vec<_>>().join(", ")),
        };
        print_line(&format!("took {} from `{run}`{of_columns}", counted(*pairs, "pair")));
    }
}

#[cfg(test)]
mod tests;
