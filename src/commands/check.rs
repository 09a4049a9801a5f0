//! `lpips check`: reports everything that is wrong with the inputs, and estimates time and memory.

mod estimate;
mod report;
mod saving;

use std::io::Write as _;

use anyhow::Context as _;

use self::estimate::Job;
use super::threads;
use crate::check::{Question, Report};
use crate::cli::CheckArgs;
use crate::code::{Code, Severity};
use crate::config::Preflight;
use crate::device;
use crate::error::Exit;
use crate::manifest::Manifest;
use crate::progress::{Count, print_line};
use crate::run::joined;
use crate::spool::Spool;
use crate::stdout;

/// Prints the report on stdout.
///
/// # Errors
/// When the inputs cannot be examined at all, or stdout cannot be written; after the report, when
/// weights are missing or the device cannot be used.
pub fn run(args: CheckArgs) -> anyhow::Result<Exit> {
    let (json, decodes, write_manifest) = (args.json, args.decode, args.write_manifest.clone());
    let Preflight { source, specs, fidelity, models, rules, masks, joins, compute } =
        Preflight::resolve(args)?;
    threads::start(Some(compute.threads))?;
    let spool = Spool::create()?;
    let located = source.locate(spool.path())?;
    let name = located.location.name.clone();
    let (manifest, faults) = Manifest::examine(located.location)?;
    if !manifest.dialect().is_empty() {
        print_line(&format!("manifest `{name}`: {}", manifest.dialect().join("; ")));
    }
    let mut report = Report::of_manifest(&faults, located.pairing.as_ref());
    joined::expect_new_names(&joins, &[], manifest.carried())?;
    joined::find_missing(&joins, &manifest, &mut |id, message| {
        report.findings.add(Code::NotJoined, id, message);
    })?;
    if let Some(path) = &write_manifest {
        saving::save(path, &manifest, report.findings.count(Severity::Error) == 0)?;
    }
    let grouping = source.grouping();
    let question = Question {
        manifest: &manifest,
        rules: &rules,
        specs: &specs,
        fidelity: &fidelity,
        masks: masks.as_ref(),
        grouping,
        decodes,
        threads: compute.threads,
    };
    let bar = Count::new("checking", manifest.len(), "pairs");
    report.examine(&question, &|pairs| bar.add(pairs))?;
    bar.finish();

    // The inputs are reported even if weights are missing or the device cannot be used.
    let estimate = models.and_then(|models| {
        let mut note = if json { |_: &str| () } else { print_line };
        let mut evaluator = device::open(models, &compute, &mut note, print_line)?;
        let job = Job {
            rules: &rules,
            specs: &specs,
            fidelity: &fidelity,
            threads: compute.threads,
            decoded_bytes_max: compute.memory.decoded_bytes(),
            rows: manifest.len(),
            grouping,
        };
        match report.scorable {
            0 => Ok(None),
            _ => estimate::estimate(&report, job, &mut *evaluator).map(Some),
        }
    });
    let text = if json {
        serde_json::to_string_pretty(&report::document(&report, &estimate))?
    } else {
        report::text(&report, estimate.as_ref().ok().and_then(Option::as_ref))
    };
    writeln!(stdout::data(), "{text}").context("cannot write the report to stdout")?;
    let fits = estimate?.is_none_or(|estimate| estimate.too_large.is_none());
    let is_good = fits && report.findings.count(Severity::Error) == 0 && report.pairs > 0;
    Ok(if is_good { Exit::Complete } else { Exit::Inputs })
}
