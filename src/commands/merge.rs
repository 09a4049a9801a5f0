//! `lpips merge`: checks that every pair has an outcome and writes the tables, or lists what is
//! missing.

use std::io::Write as _;

use super::finish::{Results, finish};
use super::gates::{self, OwnGates};
use super::messages::{
    closing, report_agreements, report_differences, report_signatures, report_skipped,
};
use super::missing::Missing;
use super::ranking::ranking;
use super::script::Script;
use super::threads;
use crate::cli::MergeArgs;
use crate::decimal::counted;
use crate::error::Exit;
use crate::progress::print_line;
use crate::run::RunDir;
use crate::run::attempt::LastAttempt;
use crate::run::cells::TextCells;
use crate::run::finished::Stored;
use crate::run::journal::EndReason;
use crate::run::owner::{Owner, Standing};
use crate::run::plan::Plan;
use crate::run::tables::{GroupColumn, Tables};
use crate::scheduler::{self, ArrayBase};
use crate::shard::Shard;
use crate::stdout;

/// Writes the tables of a complete run.
///
/// # Errors
/// When there is no run, or it cannot be read or written.
pub fn run(args: &MergeArgs) -> anyhow::Result<Exit> {
    let conditions = gates::parse(&args.fail_if)?;
    threads::start(None)?;
    let run_dir = RunDir::existing(&args.run_dir)?;
    let stored = Stored::read(&run_dir, None)?;
    let Stored { frozen, manifest, records, columns } = &stored;
    let gates = OwnGates::new(conditions, columns)?;
    gates.check_groups(manifest)?;
    if !args.quiet {
        report_skipped(records);
    }
    let missing = Missing::find(manifest, &frozen.plan, records, None)?;
    if missing.count > 0 {
        report_missing(&missing, &run_dir, &stored)?;
        return Ok(gates.undecided(Exit::PairsFailed));
    }

    let asked = stored.outputs();
    let group_by = args.group_by.as_ref().unwrap_or(&asked.group_by);
    let group_by = GroupColumn::find_all(group_by, manifest)?;
    let tables = Tables {
        manifest,
        records,
        columns,
        per_layer: args.per_layer || asked.per_layer,
        group_by: &group_by,
        text: TextCells::of(args.csv_safe),
    };
    let Results { counts, summary, agreements, files } =
        finish(&run_dir, frozen, asked.maps, &tables)?;
    if !args.quiet {
        report_differences(&counts);
        print_line(&ranking(&tables, &summary)?);
        report_agreements(&agreements);
        report_signatures(columns);
        print_line(&closing(&counts, 0, 0.0));
        print_line(&files.join("\n"));
    }
    let exit = if counts.is_complete() { Exit::Complete } else { Exit::PairsFailed };
    gates.exit(&tables, exit)
}

/// Prints what is missing and why to stderr, and the command that scores it to stdout.
fn report_missing(missing: &Missing, run_dir: &RunDir, stored: &Stored) -> anyhow::Result<()> {
    let Plan { shards, array, .. } = &stored.frozen.plan;
    missing.report(run_dir);
    let this = Owner::this_process(&scheduler::environment);
    let names = run_dir.journal_names()?;
    let mut to_run = Vec::new();
    for (&index, (absent, expected)) in &missing.by_shard {
        let shard = Shard { index, count: *shards };
        let last = names.iter().rfind(|name| name.shard == shard);
        let last = last.map(|&name| LastAttempt::read(&run_dir.journals(), name)).transpose()?;
        let (state, is_running) = state(last.as_ref(), &this);
        let expected = counted(*expected, "pair");
        print_line(&format!("  shard {shard}: {absent} of {expected} missing; {state}"));
        if !is_running {
            to_run.push(index);
        }
    }
    if to_run.is_empty() {
        print_line("hint: all of these are being scored; wait for them and merge again");
        return Ok(());
    }
    let array = (*array).unwrap_or(ArrayBase::ZERO).array_of(&to_run);
    let mut last_first = stored.records.journals().iter().rev();
    let script = last_first.find_map(|one| one.header.as_ref()?.script.as_deref());
    match script.map(|text| Script::parse(text, run_dir.path())) {
        Some(Ok(script)) => {
            print_line("hint: this scores exactly what is missing; merge again after it:");
            writeln!(stdout::data(), "sbatch --array={array} {script}")?;
            return Ok(());
        }
        Some(Err(reason)) => {
            print_line(&format!("note: the journals name a batch script, but {reason}"))
        }
        None => {}
    }
    let first = Shard { index: to_run[0], count: *shards };
    let again = match shards {
        1 => "the command that started the run".to_owned(),
        _ => format!("the command that started the run with `--shard {first}` and so on"),
    };
    print_line(&format!(
        "hint: run {again}; or in Slurm: sbatch --array={array} SCRIPT, and merge again"
    ));
    Ok(())
}

/// The state of the last attempt at a shard, and whether its process is running.
fn state(last: Option<&LastAttempt>, this: &Owner) -> (String, bool) {
    let Some(last) = last else { return ("it never began".to_owned(), false) };
    let who = last.description();
    match (&last.end, last.standing(this)) {
        (Some(end), _) => {
            let how = match end.how {
                EndReason::Finished => "its journal is damaged",
                EndReason::Stopped => "stopped by a signal",
                EndReason::Failed => "ended by an error",
            };
            (format!("{how} at {}", end.ended), false)
        }
        (None, Standing::Held) => (format!("being scored by {who}"), true),
        (None, Standing::Free(why)) => (format!("left by {who}: {why}"), false),
    }
}
