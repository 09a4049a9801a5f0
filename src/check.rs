//! Finds everything that is wrong with the inputs, without scoring a pair.
//!
//! Reads the manifest, then the headers of all files in parallel. Contents are read only where
//! files of equal length may be copies, or where everything is to be decoded. The first finding
//! does not stop the check. This module decides what fails a pair and what deserves a warning, and
//! does not depend on how findings are printed.

mod finding;
mod group;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use anyhow::Context as _;
use rayon::prelude::*;

use self::group::{Found, Group, Verdict};
use crate::batch::{BatchShape, Grouping, Row};
use crate::code::Code;
use crate::fidelity;
use crate::image::Rules;
use crate::manifest::{Entry, Faults, Manifest};
use crate::masks::Masks;
use crate::net::NetSpec;
use crate::pairing::{Outline, Pairing};

pub use self::finding::{Example, Finding, Findings};

/// Rows that are examined together.
const CHUNK_ROWS: usize = 2048;
/// The same where files are decoded, which takes longer, so that progress is reported.
const DECODED_ROWS: usize = 64;
/// At least so many threads read headers: they wait for storage, not for the processor.
const READERS_MIN: usize = 16;

/// What is examined, and for which metrics.
#[derive(Debug)]
pub struct Question<'a> {
    /// The rows without faults.
    pub manifest: &'a Manifest,
    /// How files become samples.
    pub rules: &'a Rules,
    /// The architectures that will score.
    pub specs: &'a [&'static NetSpec],
    /// The metrics of pixels that will score.
    pub fidelity: &'a [fidelity::Metric],
    /// The masks, if there are any.
    pub masks: Option<&'a Masks>,
    /// Which rows share images. An image of an item is decoded once for all its pairs, on whichever
    /// side it is.
    pub grouping: Grouping,
    /// Whether files are decoded, and not only their headers read.
    pub decodes: bool,
    /// At least so many threads read headers; exactly so many decode.
    pub threads: usize,
}

/// Pairs of one shape, and the unique images that scoring them takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Work {
    /// Pairs.
    pub pairs: u64,
    /// Images that are decoded and go through the trunk; a reference counts once for all its
    /// methods.
    pub images: u64,
}

/// What was found.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Report {
    /// Errors and warnings by code.
    pub findings: Findings,
    /// Rows of the manifest, including unusable ones.
    pub pairs: usize,
    /// Rows that can be scored, judging by headers.
    pub scorable: usize,
    /// What scoring them takes, by shape.
    pub work: BTreeMap<BatchShape, Work>,
    /// Some files that can be scored, spread over the job.
    pub samples: Vec<PathBuf>,
    /// How folders or patterns were paired, if they were.
    pub outline: Option<Outline>,
}

/// At most so many files are in [`Report::samples`].
const SAMPLES_MAX: usize = 8;

impl Report {
    /// Findings before any image is opened: unusable rows, files without partners.
    #[must_use]
    pub fn of_manifest(faults: &Faults, pairing: Option<&Pairing>) -> Report {
        let outline = pairing.map(Outline::of);
        let mut report = Report { pairs: faults.left_out, outline, ..Report::default() };
        for fault in &faults.kept {
            let message = format!("{}; {}", fault.message, fault.hint);
            report.findings.add(Code::Manifest, &fault.place, message);
        }
        report.findings.add_count(Code::Manifest, faults.count - faults.kept.len());
        for problem in pairing.map(|pairing| pairing.problems.as_slice()).unwrap_or_default() {
            report.findings.add(problem.code, "", problem.message.clone());
        }
        report.findings.add_count(Code::Unmatched, pairing.map_or(0, |one| one.more_problems));
        report
    }

    /// Examines every file of `question`, and calls `done` with the number of pairs that were
    /// examined since the last call.
    ///
    /// # Errors
    /// When the manifest cannot be read again, threads cannot be started, or the machine cannot
    /// read a file.
    pub fn examine(&mut self, question: &Question<'_>, done: &dyn Fn(usize)) -> anyhow::Result<()> {
        let readers_min = if question.decodes { 1 } else { READERS_MIN };
        let readers = rayon::ThreadPoolBuilder::new()
            .num_threads(question.threads.max(readers_min))
            .build()
            .context("cannot start the reading threads")?;
        let mut methods: HashMap<String, Identity> = HashMap::new();
        let mut members: HashSet<PathBuf> = HashSet::new();
        let chunk_rows = if question.decodes { DECODED_ROWS } else { CHUNK_ROWS };
        let rows = question.manifest.rows()?;
        let mut groups = Groups { question, rows, next: 0, chunk_rows };
        self.pairs += question.manifest.len();
        loop {
            let chunk = groups.next_chunk()?;
            if chunk.is_empty() {
                break;
            }
            let found: anyhow::Result<Vec<Found>> =
                readers.install(|| chunk.par_iter().map(|group| group.look(question)).collect());
            for (group, mut found) in chunk.iter().zip(found?) {
                if question.grouping == Grouping::Item {
                    group.count_members(&mut found, &mut members);
                }
                done(group.entries.len());
                self.merge(group, found, &mut methods);
            }
        }
        for (method, identity) in methods.iter().collect::<BTreeMap<_, _>>() {
            self.judge(method, *identity);
        }
        Ok(())
    }

    fn merge(&mut self, group: &Group, found: Found, methods: &mut HashMap<String, Identity>) {
        for (entry, verdict) in group.entries.iter().zip(&found.verdicts) {
            let identity = methods.entry(entry.method.clone()).or_default();
            identity.pairs += 1;
            identity.identical += usize::from(verdict.is_identical);
            for (code, message) in &verdict.findings {
                self.findings.add(*code, &entry.id, message.clone());
            }
        }
        for (shape, work) in found.work {
            let sum = self.work.entry(shape).or_default();
            sum.pairs += work.pairs;
            sum.images += work.images;
        }
        let is_good = |verdict: &Verdict| verdict.is_scorable;
        self.scorable += found.verdicts.iter().filter(|verdict| is_good(verdict)).count();
        let good = found.verdicts.iter().position(is_good);
        let good = good.filter(|_| self.samples.len() < SAMPLES_MAX);
        self.samples.extend(good.map(|index| group.distorted[index].clone()));
    }

    /// A folder that is compared with itself gives a perfect score that means nothing.
    fn judge(&mut self, method: &str, Identity { pairs, identical }: Identity) {
        if pairs < 2 || identical < pairs {
            return;
        }
        let of = if method.is_empty() { String::new() } else { format!(" of method `{method}`") };
        let message =
            format!("each of the {pairs} distorted images{of} is its reference, byte for byte");
        self.findings.add(Code::AllIdentical, "", message);
    }
}

/// How many pairs of a method compare a file with its own copy.
#[derive(Clone, Copy, Debug, Default)]
struct Identity {
    pairs: usize,
    identical: usize,
}

/// Rows in scoring order, those of one reference together.
struct Groups<'a> {
    question: &'a Question<'a>,
    rows: crate::manifest::Rows<'a>,
    next: usize,
    chunk_rows: usize,
}

impl Groups<'_> {
    fn next_chunk(&mut self) -> anyhow::Result<Vec<Group>> {
        let manifest = self.question.manifest;
        let mut groups: Vec<Group> = Vec::new();
        let rows: &[Row] = &manifest.order()[self.next..];
        for &row in rows.iter().take(self.chunk_rows) {
            let entry: Entry = self.rows.read(row)?;
            self.next += 1;
            match groups.last_mut() {
                Some(group) if group.entries[0].reference == entry.reference => {
                    group.push(manifest, entry);
                }
                _ => groups.push(Group::new(manifest, entry)),
            }
        }
        Ok(groups)
    }
}

#[cfg(test)]
mod tests;
