//! The tables of a run whose pairs all have an outcome, and run.json.

use std::collections::BTreeSet;

use crate::run::counts::Counts;
use crate::run::maps::Maps;
use crate::run::plan::Frozen;
use crate::run::records::{Journal, Records};
use crate::run::tables::{SummaryRow, Tables, write_summary};
use crate::run::twoafc::{self, Agreement};
use crate::run::{AttemptFacts, Provenance, RunDir, RunFile, names};

/// What was written.
#[derive(Debug)]
pub(super) struct Results {
    /// Of all pairs.
    pub(super) counts: Counts,
    /// The rows of summary.csv.
    pub(super) summary: Vec<SummaryRow>,
    /// How often metrics agree with people; nothing unless the pairs are triplets.
    pub(super) agreements: Vec<Agreement>,
    /// Paths, the summary first.
    pub(super) files: [String; 3],
}

/// Draws the spatial maps, and writes pairs.csv, summary.csv and, last, run.json.
///
/// # Errors
/// When a file cannot be read or written.
pub(super) fn finish(
    run_dir: &RunDir,
    frozen: &Frozen,
    tables: &Tables<'_>,
) -> anyhow::Result<Results> {
    if let Some(kept) = &frozen.plan.maps {
        Maps::new(run_dir, kept.clone()).finish(tables.manifest, tables.records)?;
    }
    let mut counts = Counts::default();
    run_dir.publish(names::PAIRS, |file| {
        counts = tables.write_pairs(file)?;
        Ok(())
    })?;
    let summary = tables.summarize()?;
    run_dir.publish(names::SUMMARY, |file| write_summary(tables.group_by, &summary, file))?;
    let is_judged = twoafc::is_judged(tables.manifest)?;
    let agreements = if is_judged { tables.agreements()? } else { Vec::new() };
    if is_judged {
        run_dir.publish(names::TWO_AFC, |file| {
            twoafc::write_agreements(tables.group_by, &agreements, file)
        })?;
    }
    run_dir.finish(&RunFile {
        fingerprint: fingerprint(frozen, tables.records),
        provenance: provenance(&counts, frozen.plan.pairs, tables.records.journals()),
    })?;
    let files = [names::SUMMARY, names::PAIRS, names::RUN];
    let files = files.map(|name| run_dir.file(name).display().to_string());
    Ok(Results { counts, summary, agreements, files })
}

/// The plan's, with every numerics class that had a part in the run.
fn fingerprint(frozen: &Frozen, records: &Records) -> serde_json::Value {
    let mut fingerprint = frozen.plan.fingerprint.clone();
    let classes: BTreeSet<&str> =
        records.journals().iter().map(|journal| journal.header.numerics_class.as_str()).collect();
    if classes.len() > 1 {
        let classes: Vec<&str> = classes.into_iter().collect();
        fingerprint["numerics_class"] = classes.join(" + ").into();
    }
    fingerprint
}

fn provenance(counts: &Counts, expected: usize, journals: &[Journal]) -> Provenance {
    let distinct = |of: fn(&Journal) -> &str| {
        let distinct: BTreeSet<&str> = journals.iter().map(of).collect();
        distinct.into_iter().collect::<Vec<_>>().join("; ")
    };
    let first = journals.iter().map(|journal| &journal.header).min_by_key(|one| &one.started);
    Provenance {
        program_version: env!("CARGO_PKG_VERSION"),
        program_commit: env!("LPIPS_COMMIT"),
        device: distinct(|journal| &journal.header.device),
        host: distinct(|journal| &journal.header.owner.host),
        command: first.map(|first| first.command.clone()).unwrap_or_default(),
        started: first.map(|first| first.started.clone()).unwrap_or_default(),
        finished: jiff::Timestamp::now().to_string(),
        elapsed_s: journals.iter().flat_map(|journal| &journal.end).map(|end| end.elapsed_s).sum(),
        expected,
        scored: counts.scored,
        failed: counts.failed,
        failures: counts.failure_codes(),
        warnings: counts.warnings(),
        attempts: journals.iter().map(facts).collect(),
    }
}

fn facts(journal: &Journal) -> AttemptFacts {
    let Journal { header, end, .. } = journal;
    AttemptFacts {
        shard: header.shard.to_string(),
        device: header.device.clone(),
        host: header.owner.host.clone(),
        job: header.owner.job.as_ref().map(|job| job.name.clone()),
        program_version: header.program_version.clone(),
        program_commit: header.program_commit.clone(),
        started: header.started.clone(),
        ended: end.as_ref().map(|end| end.ended.clone()),
        how: end.as_ref().map(|end| end.how),
        lost: end.as_ref().map(|end| end.lost.clone()).unwrap_or_default(),
    }
}
