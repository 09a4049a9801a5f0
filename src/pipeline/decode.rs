//! The threads that decode.
//!
//! Decoded images come back in the order in which the feed hands them out, whichever thread is
//! done first, so that what a batch holds is deterministic. The threads own what they work on, and
//! nothing waits for them: one that still decodes when the run is stopped ends with the process.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context as _;

use super::feed::{Feed, Task};
use super::gate::{Gate, Permit};
use super::{DECODED_PER_THREAD, Flow, SIGNAL_CHECKED_EVERY};
use crate::batch::BatchShape;
use crate::error::Failure;
use crate::eval::Admission;
use crate::image::Image;
use crate::image::{self, Header, Rules};
use crate::signals::Stop;

/// An image that was decoded, or why it was not.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) task: Task,
    pub(super) image: Result<Image, Failure>,
    /// Of the memory that the image takes; none if it was refused from its header.
    pub(super) permit: Option<Permit>,
}

/// The decoding threads, and the images that they were given.
#[derive(Debug)]
pub(super) struct Decoders<'a> {
    feed: Feed<'a>,
    stop: &'a Stop,
    jobs: Sender<Job>,
    /// The images that were not taken yet, in the order of the feed.
    queue: VecDeque<Receiver<anyhow::Result<Decoded>>>,
    queue_max: usize,
    /// How many images were given to the threads.
    given: u64,
    /// How many images were taken from the queue.
    taken: u64,
    gate: Arc<Gate>,
    /// Why the feed has no more images.
    feed_error: Option<anyhow::Error>,
}

/// An image to decode.
#[derive(Debug)]
struct Job {
    number: u64,
    task: Task,
    path: PathBuf,
    done: SyncSender<anyhow::Result<Decoded>>,
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
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let gate = Gate::new(flow.decoded_bytes_max);
        for index in 0..flow.threads {
            let queue = Arc::clone(&queue);
            let (admission, gate) = (Arc::clone(admission), Arc::clone(&gate));
            let decoder = Decoder { rules: *flow.rules, admission, gate };
            let work = move || {
                loop {
                    // Poisoned only if another decoder panicked, which ends the run anyway.
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(Job { number, task, path, done }) = job else { return };
                    // The receiver is gone when the run has ended.
                    drop(done.send(decoder.decode(number, task, path)));
                }
            };
            let thread = thread::Builder::new().name(format!("decoder-{index}"));
            thread.spawn(work).context("cannot start the decoding threads")?;
        }
        Ok(Decoders {
            feed,
            stop: flow.stop,
            jobs,
            queue: VecDeque::new(),
            queue_max: DECODED_PER_THREAD * flow.threads,
            given: 0,
            taken: 0,
            gate,
            feed_error: None,
        })
    }

    /// The next image, in the order of the feed; `None` after the last one, or after a signal.
    ///
    /// # Errors
    /// When the manifest cannot be read, or the machine cannot read an image.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Decoded>> {
        while self.queue.len() < self.queue_max && self.feed_error.is_none() {
            match self.feed.next_task() {
                Ok(Some(task)) => self.give(task)?,
                Ok(None) => break,
                // The images before it are taken first.
                Err(error) => self.feed_error = Some(error),
            }
        }
        let Some(pending) = self.queue.pop_front() else {
            return self.feed_error.take().map_or(Ok(None), Err);
        };
        self.gate.expect(self.taken);
        self.taken += 1;
        while self.stop.signal().is_none() {
            match pending.recv_timeout(SIGNAL_CHECKED_EVERY) {
                Ok(decoded) => return decoded.map(Some),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("a decoding thread has died"),
            }
        }
        Ok(None)
    }

    fn give(&mut self, task: Task) -> anyhow::Result<()> {
        let path = self.feed.manifest.resolve(&task.path);
        let (done, pending) = sync_channel(1);
        let job = Job { number: self.given, task, path, done };
        self.jobs.send(job).ok().context("the decoding threads have died")?;
        self.queue.push_back(pending);
        self.given += 1;
        Ok(())
    }
}

impl Drop for Decoders<'_> {
    fn drop(&mut self) {
        self.gate.close();
    }
}

/// What a decoding thread needs.
struct Decoder {
    rules: Rules,
    admission: Admission,
    gate: Arc<Gate>,
}

impl Decoder {
    fn decode(&self, number: u64, task: Task, path: PathBuf) -> anyhow::Result<Decoded> {
        let mut permit = None;
        let image = image::decode_if(&path, &self.rules, |header| {
            permit = self.admit(number, header)?;
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
    fn admit(&self, number: u64, header: &Header) -> Result<Option<Permit>, String> {
        // The decoder reports it.
        let Ok(size) = self.rules.scored(header.size) else { return Ok(None) };
        (self.admission)(BatchShape { size, depth: header.depth() })?;
        let whole = BatchShape { size: header.size, depth: header.depth() };
        let permit = self.gate.pass(number, 2 * whole.image_bytes() as u64);
        permit.map(Some).ok_or_else(|| "the run has ended".to_owned())
    }
}
