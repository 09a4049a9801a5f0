//! The threads that decode.
//!
//! Decoded images come back in the order in which the feed hands them out, whichever thread is
//! done first, so that what a batch holds is deterministic. The threads own what they work on, and
//! nothing waits for them: one that still decodes when the run is stopped ends with the process.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::Context as _;

use super::feed::{Feed, Task};
use super::queue::{Claim, Decoded, Job, Permit, Queue};
use super::{DECODED_PER_THREAD, Flow};
use crate::batch::BatchShape;
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
    queue_max: usize,
    /// Why the feed has no more images.
    feed_error: Option<anyhow::Error>,
}

impl<'a> Decoders<'a> {
    /// Starts the threads. `admission` decides from its header whether an image is decoded.
    ///
    /// # Errors
    /// When the system has no threads left.
    pub(super) fn start(
        flow: &Flow<'a>,
        feed: Feed<'a>,
        admission: &Admission,
    ) -> anyhow::Result<Decoders<'a>> {
        let queue = Queue::new(flow.decoded_bytes_max);
        let queue_max = DECODED_PER_THREAD * flow.threads;
        // Closes the queue if a thread cannot be started.
        let decoders = Decoders { feed, stop: flow.stop, queue, queue_max, feed_error: None };
        for index in 0..flow.threads {
            let queue = Arc::clone(&decoders.queue);
            let decoder = Decoder { rules: *flow.rules, admission: Arc::clone(admission) };
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
        while self.queue.len() < self.queue_max && self.feed_error.is_none() {
            match self.feed.next_task() {
                Ok(Some(task)) => {
                    let path = self.feed.manifest.resolve(&task.path);
                    self.queue.give(Job { task, path });
                }
                Ok(None) => break,
                // The images before it are taken first.
                Err(error) => self.feed_error = Some(error),
            }
        }
        if self.queue.len() == 0 {
            return self.feed_error.take().map_or(Ok(None), Err);
        }
        self.queue.take(self.stop)
    }
}

impl Drop for Decoders<'_> {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// What a decoding thread needs.
struct Decoder {
    rules: Rules,
    admission: Admission,
}

impl Decoder {
    fn decode(&self, task: Task, path: &Path, claim: &Claim) -> anyhow::Result<Decoded> {
        let mut permit = None;
        let image = image::decode_if(path, &self.rules, |header| {
            permit = self.admit(claim, header)?;
            Ok(())
        });
        let image = match image {
            Err(error) if error.is_of_machine() => return Err(error.into()),
            Err(error) => Err(Failure::new(error.code(), error.to_string())),
            Ok(image) => Ok(image),
        };
        if let (Some(permit), Ok(image)) = (&mut permit, &image) {
            let shape = BatchShape { size: image.size, depth: image.depth() };
            permit.shrink(shape.image_bytes() as u64);
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
