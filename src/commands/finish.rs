//! The tables of a run whose pairs all have an outcome, and run.json.

use crate::run::counts::Counts;
use crate::run::facts::RunFacts;
use crate::run::maps::Maps;
use crate::run::outputs::Kept;
use crate::run::plan::Frozen;
use crate::run::tables::{SummaryRow, Tables};
use crate::run::twoafc::Agreement;
use crate::run::{RunDir, names};

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
    pub(super) files: Vec<String>,
}

/// Draws the spatial maps that are kept, and writes pairs.csv, summary.csv and, last, run.json.
///
/// # Errors
/// When a file cannot be read or written.
pub(super) fn finish(
    run_dir: &RunDir,
    frozen: &Frozen,
    maps: Option<Kept>,
    tables: &Tables<'_>,
) -> anyhow::Result<Results> {
    if let Some(kept) = maps {
        let Tables { manifest, records, columns, .. } = tables;
        Maps::new(run_dir, manifest, columns, kept)?.finish(manifest, records, tables.text)?;
    }
    let mut counts = Counts::default();
    run_dir.publish(names::PAIRS, |file| {
        counts = tables.write_pairs(file)?;
        Ok(())
    })?;
    let summary = tables.summarize()?;
    run_dir.publish(names::SUMMARY, |file| tables.write_summary(&summary, file))?;
    let agreements = tables.agreements()?;
    if !agreements.is_empty() {
        run_dir.publish(names::TWO_AFC, |file| tables.write_agreements(&agreements, file))?;
    }
    RunFacts::new(&frozen.plan, tables.columns, tables.records.journals(), &counts)
        .write(run_dir)?;
    let two_afc = (!agreements.is_empty()).then_some(names::TWO_AFC);
    let files = [names::SUMMARY, names::PAIRS].into_iter().chain(two_afc).chain([names::RUN]);
    let files = files.map(|name| run_dir.file(name).display().to_string()).collect();
    Ok(Results { counts, summary, agreements, files })
}
