//! The flow of a run: rows -> decoded images -> batches -> scores -> journal.
//!
//! Decoding threads take images in scoring order and send them here; this thread puts them into the
//! evaluator's batches and writes what comes back. One mutex and one bounded channel join them. An
//! early return drops the channel's receiver, the senders fail, the scope joins: there is no other
//! way to stop.
//!
//! Memory: at most 4 decoded images per decoding thread wait here, beside the references of groups
//! that are not complete and the evaluator's staging buffers.

mod assemble;
mod decode;
mod masks;
mod reduce;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::mpsc::sync_channel;
use std::thread;

use clap::ValueEnum;

use self::assemble::Assembler;
use self::decode::{Feed, decode_all};
use self::reduce::Reducer;
use crate::batch::Row;
use crate::error::{Failure, Refusal};
use crate::eval::{Evaluator, Scored};
use crate::image::{self, Difference, Differences};
use crate::manifest::Manifest;
use crate::metric::Output;
use crate::progress::Progress;
use crate::run::journal::{Journal, Record};
use crate::run::maps::Maps;

pub use self::masks::Masks;

/// What the flow needs beside its workers.
#[derive(Debug)]
pub struct Flow<'a> {
    /// The pairs.
    pub manifest: &'a Manifest,
    /// How files become samples.
    pub rules: &'a image::Rules,
    /// Number of decoding threads.
    pub threads: usize,
    /// What a failed pair does.
    pub on_error: OnError,
    /// The metric columns.
    pub outputs: &'a [Output],
    /// Where the masks of [`crate::metric::Reduction::Masked`] are.
    pub masks: Option<&'a Masks>,
}

/// What a pair that cannot be scored does to the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum OnError {
    /// It becomes a row with its reason; the run goes on
    #[default]
    Row,
    /// It stops the run; finished rows stay
    Stop,
}

/// How many rows were scored, and how many failed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Rows with every metric.
    pub scored: usize,
    /// Rows without.
    pub failed: usize,
    /// Rows without, by the code of their reason.
    pub failures: BTreeMap<String, Failures>,
    /// Rows whose two images differ in something that does not fail them, in the order of
    /// [`Difference::ALL`].
    pub differing: [usize; 4],
}

/// Rows that failed for one reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failures {
    /// How many.
    pub count: usize,
    /// The id of the first, and what was wrong with it.
    pub first: String,
}

impl Counts {
    /// How many pairs failed, by the code of their reason.
    #[must_use]
    pub fn failure_codes(&self) -> BTreeMap<String, usize> {
        self.failures.iter().map(|(code, of)| (code.clone(), of.count)).collect()
    }

    /// How many pairs bear each [`Difference`], by code; those that none bears are absent.
    #[must_use]
    pub fn warnings(&self) -> BTreeMap<&'static str, usize> {
        let counts = Difference::ALL.map(Difference::code).into_iter().zip(self.differing);
        counts.filter(|&(_, count)| count > 0).collect()
    }

    fn add(&mut self, record: &Record, manifest: &Manifest) -> anyhow::Result<()> {
        match &record.failure {
            None => self.scored += 1,
            Some(Failure { code, message }) => {
                self.failed += 1;
                if let Some(same) = self.failures.get_mut(code) {
                    same.count += 1;
                } else {
                    let id = manifest.rows()?.read(record.row)?.id;
                    let first = Failures { count: 1, first: format!("`{id}`: {message}") };
                    self.failures.insert(code.clone(), first);
                }
            }
        }
        for (count, difference) in self.differing.iter_mut().zip(Difference::ALL) {
            *count += usize::from(record.differences.contains(difference));
        }
        Ok(())
    }
}

/// Scores every row of the manifest and writes each outcome to the journal, and the spatial map of
/// each model to `maps` if there is one.
///
/// # Errors
/// When the manifest, the evaluator or the journal fails. Rows written until then stay.
pub fn run(
    flow: &Flow<'_>,
    evaluator: &mut dyn Evaluator,
    journal: &mut Journal,
    maps: Option<&mut Maps>,
    progress: &mut Progress,
) -> anyhow::Result<Counts> {
    let feed = Mutex::new(Feed::new(flow.manifest)?);
    let Flow { manifest, outputs, masks, .. } = *flow;
    let reducer = Reducer { manifest, outputs, masks, maps };
    let mut sink = Sink { flow, reducer, journal, progress, counts: Counts::default() };
    thread::scope(|scope| {
        let (sender, decoded) = sync_channel(2 * flow.threads);
        for _ in 0..flow.threads {
            let (feed, sender) = (&feed, sender.clone());
            scope.spawn(move || decode_all(feed, flow.rules, &sender));
        }
        drop(sender); // The loop ends when the last decoder does.

        let mut assembler = Assembler::new(evaluator, flow.rules);
        for image in decoded {
            let pushed = image.and_then(|image| assembler.push(image));
            // What is finished is written first, even if the run ends here.
            sink.write(assembler.take_outcomes())?;
            pushed?;
        }
        loop {
            let finished = assembler.finish_some();
            sink.write(assembler.take_outcomes())?;
            if finished? {
                return Ok(sink.counts);
            }
        }
    })
}

/// What has become of some rows.
#[derive(Debug, Default)]
struct Outcomes {
    /// With what the images of each pair differ in.
    scored: Vec<(Scored, Vec<Differences>)>,
    failed: Vec<Record>,
}

/// Where outcomes go.
struct Sink<'a> {
    flow: &'a Flow<'a>,
    reducer: Reducer<'a>,
    journal: &'a mut Journal,
    progress: &'a mut Progress,
    counts: Counts,
}

impl Sink<'_> {
    fn write(&mut self, outcomes: Outcomes) -> anyhow::Result<()> {
        let mut records = outcomes.failed;
        for (scored, differences) in outcomes.scored {
            records.extend(self.reducer.records(scored, differences)?);
        }
        if records.is_empty() {
            return Ok(());
        }
        self.journal.append(&records)?;
        for record in &records {
            self.counts.add(record, self.flow.manifest)?;
        }
        self.progress.set(&self.counts);
        match self.flow.on_error {
            OnError::Row => Ok(()),
            OnError::Stop => self.stop_for(&records),
        }
    }

    fn stop_for(&self, records: &[Record]) -> anyhow::Result<()> {
        for Record { row, failure, .. } in records {
            let Some(Failure { code, message }) = failure else { continue };
            let id = self.flow.manifest.rows()?.read(*row)?.id;
            let scored = self.counts.scored;
            let text = format!(
                "stopped at the first pair that cannot be scored, `{id}`: {code}: {message} \
                 ({scored} scored pairs are in `{}`)",
                self.journal.path().display()
            );
            return Err(Refusal::inputs(text)
                .hint("mend the pair, or leave out `--on-error stop` to make it a row")
                .into());
        }
        Ok(())
    }
}

/// Rows that fail before they reach a batch.
fn failed_rows(rows: &[Row], failure: &Failure) -> Vec<Record> {
    rows.iter().map(|&row| Record::failed(row, failure.clone())).collect()
}

#[cfg(test)]
mod tests;
