//! The flow of a run: rows -> decoded images -> batches -> scores -> journal.
//!
//! This thread gives the images of the feed, in the order of their first use, to decoding threads.
//! They decode into memory that the evaluator lends. It takes the images back in the same order,
//! forms pairs and fills batches, which share that memory: no pixel passes through this thread,
//! except for pairs of two depths. Another thread reduces what comes back and writes it, so that
//! neither a device nor a decoder waits for a disk.
//!
//! Stopping: after a signal, what is scored is written, and everything else is dropped: the batches
//! in flight and the images that are being decoded. Nothing waits for the threads that still work.
//!
//! Memory: decoded images take at most [`Flow::decoded_bytes_max`], or one image more. They are
//! those that wait here, at most 4 per decoding thread (16 while all of them take less than 4 MiB),
//! and those of the current group that later pairs need (a reference, or those of an item). Images
//! that only a batch shares count no longer: the evaluator limits batches.

mod assemble;
mod decode;
mod feed;
mod measure;
mod queue;
mod reduce;

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

use self::assemble::Assembler;
use self::decode::Decoders;
use self::feed::Feed;
use self::measure::Values;
use self::reduce::{Reduced, Reducer};
use crate::batch::{Grouping, Row};
use crate::column::{Column, Origin};
use crate::error::{Failure, Refusal};
use crate::eval::{Evaluator, Scored};
use crate::image;
use crate::manifest::Manifest;
use crate::masks::Masks;
use crate::pair::Files;
use crate::progress::Progress;
use crate::run::attempt::Attempt;
use crate::run::counts::Counts;
use crate::run::journal::Record;
use crate::run::known::Known;
use crate::run::maps::Maps;
use crate::signals::Stop;

/// Images for each decoding thread that are decoded, or being decoded, and not taken yet, unless
/// they are small.
pub const DECODED_PER_THREAD: usize = 4;

/// Outcomes that wait to be written: few, since those of maps are large.
const OUTCOMES_MAX: usize = 1;

/// How long a signal may go unnoticed while this thread waits for others.
const SIGNAL_CHECKED_EVERY: Duration = Duration::from_millis(20);

/// What the flow needs beside its workers.
#[derive(Debug)]
pub struct Flow<'a> {
    /// The pairs.
    pub manifest: &'a Manifest,
    /// Rows to score, in scoring order.
    pub rows: &'a [Row],
    /// How files become samples.
    pub rules: &'a image::Rules,
    /// Number of decoding threads.
    pub threads: usize,
    /// Memory that decoded images may take, in bytes.
    pub decoded_bytes_max: u64,
    /// What a failed pair does.
    pub on_error: OnError,
    /// The metric columns of the run, `None` for those that are not computed but `known`.
    pub columns: &'a [Option<Column>],
    /// Where their values are.
    pub known: Known<'a>,
    /// Which rows share images.
    pub grouping: Grouping,
    /// Where the masks of [`crate::metric::Reduction::Masked`] are.
    pub masks: Option<&'a Masks>,
    /// When to end early.
    pub stop: &'a Stop,
}

/// What a pair that cannot be scored does to the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnError {
    /// It becomes a row with its reason; the run continues.
    #[default]
    Row,
    /// It stops the run; finished rows stay.
    Stop,
}

/// Where outcomes go.
#[derive(Debug)]
pub struct Sink<'a> {
    /// Finished rows.
    pub journal: &'a mut Attempt,
    /// The spatial map of each model, if they are kept.
    pub maps: Option<&'a mut Maps>,
    /// What people see.
    pub progress: &'a mut Progress,
    /// The rows that have an outcome.
    pub counts: Counts,
    /// Rows whose files have changed since their known values were computed. They have no outcome.
    pub changed: Vec<Row>,
}

impl<'a> Sink<'a> {
    /// Nothing is written yet.
    pub fn new(
        journal: &'a mut Attempt,
        maps: Option<&'a mut Maps>,
        progress: &'a mut Progress,
    ) -> Sink<'a> {
        Sink { journal, maps, progress, counts: Counts::default(), changed: Vec::new() }
    }
}

/// Scores rows and hands every outcome to `sink`. After a signal it writes what is scored already,
/// and returns.
///
/// # Errors
/// When the manifest, the evaluator or the journal fails. Rows written until then stay.
pub fn run(
    flow: &Flow<'_>,
    evaluator: &mut dyn Evaluator,
    sink: &mut Sink<'_>,
) -> anyhow::Result<()> {
    let mut sorted = Vec::new();
    let rows = match flow.grouping {
        Grouping::Pair | Grouping::Reference => flow.rows,
        Grouping::Item => {
            // As the manifest has them: the rows of an item follow each other.
            sorted.extend_from_slice(flow.rows);
            sorted.sort_unstable();
            &sorted
        }
    };
    let (admission, lender) = (evaluator.admission(), evaluator.lender());
    let Flow { manifest, rules, decoded_bytes_max, .. } = *flow;
    let feed = Feed::new(manifest, rules, rows, flow.grouping, decoded_bytes_max)?;
    let mut decoders = Decoders::start(flow, feed, &admission, &lender)?;
    let assembler = Assembler::new(evaluator, lender, flow);
    thread::scope(|scope| {
        let (outcomes, finished) = sync_channel(OUTCOMES_MAX);
        let writer = thread::Builder::new().name("writer".to_owned());
        let writer = writer.spawn_scoped(scope, || sink.write_all(flow, finished));
        let writer = writer.context("cannot start the thread that writes")?;
        let scored = score(&mut decoders, assembler, &outcomes);
        drop(outcomes);
        // Where both have failed, the writer did so first: it only ends early by an error.
        writer.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        scored
    })
}

/// Scores the images of `decoders`, and hands over whatever is finished, even if it fails later.
fn score(
    decoders: &mut Decoders<'_>,
    mut assembler: Assembler<'_>,
    outcomes: &SyncSender<Outcomes>,
) -> anyhow::Result<()> {
    let hand_over = |found: Outcomes| match found.is_empty() || outcomes.send(found).is_ok() {
        true => Ok(()),
        false => Err(anyhow::anyhow!("the thread that writes has ended")),
    };
    // Why the images end early. What came before is scored and written even then.
    let failed = loop {
        match decoders.next() {
            Ok(Some(decoded)) => {
                let pushed = assembler.push(decoded);
                hand_over(assembler.take_outcomes())?;
                pushed?;
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    loop {
        let finished = assembler.finish_some();
        hand_over(assembler.take_outcomes())?;
        if finished? {
            return failed;
        }
    }
}

/// What has become of some rows.
#[derive(Debug, Default)]
struct Outcomes {
    /// With what is known of each pair.
    scored: Vec<(Scored, Vec<PairFacts>)>,
    failed: Vec<Record>,
}

/// What is known of a pair from its two decoded images.
#[derive(Clone, Debug)]
struct PairFacts {
    files: Files,
    values: Values,
}

impl Outcomes {
    fn is_empty(&self) -> bool {
        self.scored.is_empty() && self.failed.is_empty()
    }
}

impl Sink<'_> {
    /// Writes outcomes until there are no more.
    fn write_all(&mut self, flow: &Flow<'_>, finished: Receiver<Outcomes>) -> anyhow::Result<()> {
        let mut reducer = Reducer::new(flow);
        finished.iter().try_for_each(|outcomes| self.write(flow, &mut reducer, outcomes))
    }

    fn write(
        &mut self,
        flow: &Flow<'_>,
        reducer: &mut Reducer<'_>,
        outcomes: Outcomes,
    ) -> anyhow::Result<()> {
        let mut records = outcomes.failed;
        for (scored, facts) in outcomes.scored {
            let Reduced { records: scored, changed } =
                reducer.records(scored, facts, self.maps.as_deref_mut())?;
            records.extend(scored);
            self.changed.extend(changed);
        }
        if records.is_empty() {
            return Ok(());
        }
        for record in &mut records {
            let identity = flow.manifest.identity(record.row);
            record.pair = Some(self.journal.pair_hash(identity));
        }
        self.journal.append(&reducer.taken(), &records)?;
        for record in &records {
            let id = || Ok(flow.manifest.rows()?.read(record.row)?.id);
            self.counts.add(record, id)?;
        }
        self.progress.set(&self.counts);
        match flow.on_error {
            OnError::Row => Ok(()),
            OnError::Stop => flow.stop_for(&records),
        }
    }
}

impl Flow<'_> {
    /// Whether a column that takes a model is computed.
    fn has_models(&self) -> bool {
        let mut computed = self.columns.iter().flatten();
        computed.any(|column| matches!(column.from, Origin::Model { .. }))
    }

    fn stop_for(&self, records: &[Record]) -> anyhow::Result<()> {
        for Record { row, failure, .. } in records {
            let Some(Failure { code, message }) = failure else { continue };
            let id = self.manifest.rows()?.read(*row)?.id;
            let text = format!(
                "stopped at the first pair that cannot be scored, `{id}`: {code}: {message}"
            );
            return Err(Refusal::inputs(text)
                .hint(
                    "correct the pair and run the same command again, which keeps the finished \
                     rows; or leave out `--on-error stop` to make it a row",
                )
                .into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
