//! run.json: what decided the numbers, and how, where and when they were computed.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::counts::Counts;
use super::inputs::{InputNotes, Taken};
use super::journal::{EndReason, Header};
use super::outputs::NotedColumn;
use super::plan::Plan;
use super::records::Journal;
use super::{RunDir, names};
use crate::column::{Column, Fingerprint};
use crate::eval::Loss;

/// Name and version of the format.
const SCHEMA: &str = "lpips-run/2";

/// The content of run.json.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RunFacts {
    /// Name and version of the format.
    pub schema: &'static str,
    /// What decides the numbers.
    pub fingerprint: RunFingerprint,
    /// The signature of each metric column, by its name and in the order of pairs.csv.
    #[serde(serialize_with = "in_order")]
    pub signatures: Vec<(String, String)>,
    /// How the numbers were computed. It decides nothing.
    pub provenance: Provenance,
}

/// What decides the numbers of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RunFingerprint {
    /// SHA-256 of the manifest.
    pub manifest_sha256: String,
    /// Within it a pair's bits are equal; several, joined by ` + `, if they were mixed.
    pub numerics_class: String,
    /// The settings of each metric column, by its name and in the order of pairs.csv.
    #[serde(serialize_with = "in_order")]
    pub columns: Vec<(String, Fingerprint)>,
}

/// How the numbers were computed.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Provenance {
    /// Version of the program that wrote the tables.
    pub program_version: &'static str,
    /// The commit that it was built from.
    pub program_commit: &'static str,
    /// What the evaluators ran on.
    pub device: String,
    /// Names of the machines.
    pub host: String,
    /// The arguments of the first attempt.
    pub command: Vec<String>,
    /// UTC, of the first attempt.
    pub started: String,
    /// UTC.
    pub finished: String,
    /// Seconds from the first decoded image to the last score, summed over the attempts that ended.
    pub elapsed_s: f64,
    /// Rows of the manifest.
    pub expected: usize,
    /// Rows with every metric.
    pub scored: usize,
    /// Rows without.
    pub failed: usize,
    /// Rows without, by the code of their reason.
    pub failures: BTreeMap<String, usize>,
    /// Rows whose two images differ in something that does not fail them, by code.
    pub warnings: BTreeMap<&'static str, usize>,
    /// How its pairs came about, as the last process noted it.
    #[serde(skip_serializing_if = "InputNotes::is_empty")]
    pub inputs: InputNotes,
    /// What was taken from other runs, as often as rows were.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reused: Vec<Taken>,
    /// The columns that others computed, and the files that they came from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub joined: Vec<NotedColumn>,
    /// Every process that worked on the run, by shard and in order.
    pub attempts: Vec<AttemptFacts>,
    /// Processes of which nothing is known, because the first lines of their journals are damaged.
    #[serde(skip_serializing_if = "is_zero")]
    pub attempts_unknown: usize,
}

/// One process that worked on the run.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AttemptFacts {
    /// Such as `0/8`.
    pub shard: String,
    /// What it ran on.
    pub device: String,
    /// Where the weights came from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<String>,
    /// Name of the machine.
    pub host: String,
    /// The scheduler's name of the job.
    pub job: Option<String>,
    /// Version of the program.
    pub program_version: String,
    /// The commit that it was built from.
    pub program_commit: String,
    /// UTC.
    pub started: String,
    /// UTC; `None` for a process that was killed.
    pub ended: Option<String>,
    /// Why it ended; `None` for a process that was killed.
    pub how: Option<EndReason>,
    /// Devices that failed while others continued.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Loss>,
}

impl RunFacts {
    /// The facts of a run whose rows all have an outcome, as `counts` counts them.
    #[must_use]
    pub fn new(plan: &Plan, columns: &[Column], journals: &[Journal], counts: &Counts) -> RunFacts {
        let signature = |column: &Column| (column.name.clone(), column.fingerprint.signature());
        RunFacts {
            schema: SCHEMA,
            fingerprint: RunFingerprint::new(plan, columns, journals),
            signatures: columns.iter().map(signature).collect(),
            provenance: Provenance::new(plan.pairs, journals, counts),
        }
    }

    /// Writes run.json, the last file of a run: where it is, the tables are whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, run_dir: &RunDir) -> anyhow::Result<()> {
        run_dir.publish(names::RUN, |file| {
            serde_json::to_writer_pretty(&mut *file, self)?;
            Ok(writeln!(file)?)
        })
    }
}

impl RunFingerprint {
    /// The plan's, with every numerics class that had a part in the run.
    pub(super) fn new(plan: &Plan, columns: &[Column], journals: &[Journal]) -> RunFingerprint {
        let classes: BTreeSet<&str> =
            headers(journals).map(|header| header.numerics_class.as_str()).collect();
        let columns = columns.iter();
        RunFingerprint {
            manifest_sha256: plan.manifest_sha256.clone(),
            numerics_class: match classes.len() {
                0 => plan.numerics_class.clone(),
                _ => classes.into_iter().collect::<Vec<_>>().join(" + "),
            },
            columns: columns.map(|one| (one.name.clone(), one.fingerprint.clone())).collect(),
        }
    }
}

impl Provenance {
    fn new(expected: usize, journals: &[Journal], counts: &Counts) -> Provenance {
        let distinct = |of: fn(&Header) -> &str| {
            let distinct: BTreeSet<&str> = headers(journals).map(of).collect();
            distinct.into_iter().collect::<Vec<_>>().join("; ")
        };
        let first = headers(journals).min_by_key(|one| &one.started);
        let last = headers(journals).max_by_key(|one| &one.started);
        let ends = journals.iter().flat_map(|journal| &journal.end);
        Provenance {
            program_version: env!("CARGO_PKG_VERSION"),
            program_commit: env!("LPIPS_COMMIT"),
            device: distinct(|header| &header.device),
            host: distinct(|header| &header.owner.host),
            command: first.map(|first| first.command.clone()).unwrap_or_default(),
            started: first.map(|first| first.started.clone()).unwrap_or_default(),
            finished: jiff::Timestamp::now().to_string(),
            elapsed_s: ends.map(|end| end.elapsed_s).sum(),
            expected,
            scored: counts.scored,
            failed: counts.failed,
            failures: counts.failure_codes(),
            warnings: counts.warnings(),
            inputs: last.map(|last| last.inputs.clone()).unwrap_or_default(),
            reused: reused(journals),
            joined: last.map(joined).unwrap_or_default(),
            attempts: journals.iter().filter_map(AttemptFacts::new).collect(),
            attempts_unknown: journals.len() - headers(journals).count(),
        }
    }
}

impl AttemptFacts {
    fn new(journal: &Journal) -> Option<AttemptFacts> {
        let Journal { header: Some(header), end, .. } = journal else { return None };
        Some(AttemptFacts {
            shard: header.shard.to_string(),
            device: header.device.clone(),
            weights: header.weights.clone(),
            host: header.owner.host.clone(),
            job: header.owner.job.as_ref().map(|job| job.name.clone()),
            program_version: header.program_version.clone(),
            program_commit: header.program_commit.clone(),
            started: header.started.clone(),
            ended: end.as_ref().map(|end| end.ended.clone()),
            how: end.as_ref().map(|end| end.how),
            lost: end.as_ref().map(|end| end.lost.clone()).unwrap_or_default(),
        })
    }
}

fn joined(header: &Header) -> Vec<NotedColumn> {
    let noted = header.outputs.as_ref().and_then(|outputs| outputs.joined.as_ref());
    noted.map(|noted| noted.columns.clone()).unwrap_or_default()
}

/// What was taken, a line for each run.
fn reused(journals: &[Journal]) -> Vec<Taken> {
    let mut all: Vec<Taken> = Vec::new();
    for taken in journals.iter().flat_map(|journal| &journal.reused) {
        let is_same =
            |one: &&mut Taken| one.run == taken.run && one.plan_sha256 == taken.plan_sha256;
        match all.iter_mut().find(is_same) {
            Some(one) => one.add(taken),
            None => all.push(taken.clone()),
        }
    }
    all
}

fn headers(journals: &[Journal]) -> impl Iterator<Item = &Header> {
    journals.iter().filter_map(|journal| journal.header.as_ref())
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde takes")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Pairs as an object whose keys keep their order.
fn in_order<V: Serialize, S: serde::Serializer>(
    pairs: &[(String, V)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}
