//! The threads that decode.
//!
//! Decoded images come back in the order in which the feed hands them out, whichever thread is
//! done first, so that what a batch holds is deterministic. They are decoded into the evaluator's
//! memory, which a batch shares: nothing copies them later. The threads own what they work on, and
//! nothing waits long for them: one that still decodes when the run is stopped ends with the
//! process.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

use super::Flow;
use super::feed::{Feed, Task};
use super::queue::{Claim, Decoded, Job, Permit, Queue};
use crate::batch::{BatchShape, Frame, Lender};
use crate::error::Failure;
use crate::eval::Admission;
use crate::image::{self, Header, Rules};
use crate::signals::Stop;

/// The decoding threads, and the images that they were given.
#[derive(Debug)]
pub(super) struct Decoders<'a> {
    feed: Feed<'a>,
    stop: &'a Stop,
    queue: Arc<Queue>,
    /// What was taken from the queue and not used yet.
    taken: VecDeque<anyhow::Result<Decoded>>,
    /// Why the feed has no more images.
    feed_error: Option<anyhow::Error>,
}

impl<'a> Decoders<'a> {
    /// Starts the threads. `admission` decides from its header whether an image is decoded, and
    /// `lender` gives the memory to decode it into.
    ///
    /// # Errors
    /// When the system has no threads left.
    pub(super) fn start(
        flow: &Flow<'a>,
        feed: Feed<'a>,
        admission: &Admission,
        lender: &Lender,
    ) -> anyhow::Result<Decoders<'a>> {
        let queue = Queue::new(flow.threads, flow.decoded_bytes_max);
        let (taken, feed_error) = (VecDeque::new(), None);
        // Closes the queue if a thread cannot be started.
        let decoders = Decoders { feed, stop: flow.stop, queue, taken, feed_error };
        for index in 0..flow.threads {
            let queue = Arc::clone(&decoders.queue);
            let (admission, lender) = (Arc::clone(admission), lender.clone());
            let decoder = Decoder { rules: *flow.rules, admission, lender };
            let work = move || {
                while let Some((Job { task, path }, claim)) = queue.next_job() {
                    let decoded = decoder.decode(task, &path, &claim);
                    claim.finish(decoded);
                }
            };
            let thread = thread::Builder::new().name(format!("decoder-{index}"));
            thread.spawn(work).context("cannot start the decoding threads")?;
        }
        Ok(decoders)
    }

    /// The next image, in the order of the feed; `None` after the last one, or after a signal.
    ///
    /// # Errors
    /// When the manifest cannot be read, or the machine cannot read an image.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Decoded>> {
        if self.taken.is_empty() {
            self.give();
            self.taken = self.queue.take(self.stop);
            // Before these are used, so that the decoders have work meanwhile.
            self.give();
        }
        if self.stop.signal().is_some() {
            return Ok(None);
        }
        match self.taken.pop_front() {
            Some(decoded) => decoded.map(Some),
            None => self.feed_error.take().map_or(Ok(None), Err),
        }
    }

    /// Gives images of the feed to the threads. After an error of the feed, the images before it
    /// are taken first.
    fn give(&mut self) {
        if self.feed_error.is_some() {
            return;
        }
        let feed = &mut self.feed;
        let given = self.queue.give(|| {
            let task = feed.next_task()?;
            Ok(task.map(|task| Job { path: feed.manifest.resolve(&task.path), task }))
        });
        self.feed_error = given.err();
    }
}

impl Drop for Decoders<'_> {
    fn drop(&mut self) {
        self.queue.close();
        // They hold memory of a device that may be closed next. After a signal nothing is waited
        // for, and never long: a file server may be gone.
        if self.stop.signal().is_none() {
            self.queue.wait_for_threads(THREADS_END_WITHIN);
        }
    }
}

/// How long a run that has ended waits for its decoding threads.
const THREADS_END_WITHIN: Duration = Duration::from_secs(1);

/// What a decoding thread needs.
struct Decoder {
    rules: Rules,
    admission: Admission,
    lender: Lender,
}

impl Decoder {
    fn decode(&self, task: Task, path: &Path, claim: &Claim) -> anyhow::Result<Decoded> {
        let mut permit = None;
        let admit = |header: &Header| {
            permit = self.admit(claim, header)?;
            Ok(())
        };
        let lend = |size, depth| Frame::lent(BatchShape { size, depth }, &self.lender);
        let image = match image::decode_into(path, &self.rules, admit, lend) {
            Err(error) if error.is_of_machine() => return Err(error.into()),
            Err(error) => Err(Failure::new(error.code(), error.to_string())),
            Ok(image) => Ok(image.stored(Arc::new)),
        };
        if let (Some(permit), Ok(image)) = (&mut permit, &image) {
            permit.shrink(image.pixels.shape().image_bytes() as u64);
        }
        Ok(Decoded { task, image, permit })
    }

    /// Waits for the memory of an image. While it is decoded that is twice what its samples take.
    fn admit(&self, claim: &Claim, header: &Header) -> Result<Option<Permit>, String> {
        // The decoder reports it.
        let Ok(size) = self.rules.scored(header.size) else { return Ok(None) };
        (self.admission)(BatchShape { size, depth: header.depth() })?;
        let whole = BatchShape { size: header.size, depth: header.depth() };
        let permit = claim.admit(2 * whole.image_bytes() as u64);
        permit.map(Some).ok_or_else(|| "the run has ended".to_owned())
    }
}
