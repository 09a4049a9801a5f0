//! The threads that decode.
//!
//! Decoded images come back in the order in which the feed handed them out, whichever thread is
//! done first, so that what a batch holds is deterministic.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use super::feed::{Feed, Task};
use crate::batch::BatchShape;
use crate::error::Failure;
use crate::eval::Admission;
use crate::image::{self, Header, Image};

/// An image that is being decoded, or an error of the machine.
pub(super) type Pending = Receiver<anyhow::Result<Decoded>>;

/// An image that was decoded, or not.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) task: Task,
    pub(super) image: Result<Image, Failure>,
}

/// A decoding thread: it runs until the feed ends or fails, or the receiver is gone. Each image
/// takes its place in `queue` before it is decoded.
pub(super) fn decode_all(
    feed: &Mutex<Feed<'_>>,
    admission: &Admission,
    queue: &SyncSender<anyhow::Result<Pending>>,
) {
    loop {
        // Poisoned only if another decoder panicked, which ends the run anyway.
        let (task, path, rules, done) = {
            let mut feed = feed.lock().unwrap_or_else(PoisonError::into_inner);
            match feed.next_task() {
                Ok(Some(task)) => {
                    let path = feed.manifest.resolve(&task.path);
                    let (done, pending) = sync_channel(1);
                    // The feed stays locked while the queue is full, so that places are taken in
                    // the order of tasks. Those who hold a place already need no lock.
                    if queue.send(Ok(pending)).is_err() {
                        return;
                    }
                    (task, path, feed.rules, done)
                }
                Ok(None) => return,
                Err(error) => {
                    // The receiver ends the run at the first error; later ones have no reader.
                    drop(queue.send(Err(error)));
                    return;
                }
            }
        };
        let admit = |header: &Header| match rules.scored(header.size) {
            Ok(size) => admission(BatchShape { size, depth: header.depth() }),
            // The decoder reports it.
            Err(_) => Ok(()),
        };
        let decoded = match image::decode_if(&path, rules, admit) {
            Err(error) if error.is_of_machine() => Err(error.into()),
            Err(error) => {
                Ok(Decoded { task, image: Err(Failure::new(error.code(), error.to_string())) })
            }
            Ok(image) => Ok(Decoded { task, image: Ok(image) }),
        };
        if done.send(decoded).is_err() {
            return;
        }
    }
}
