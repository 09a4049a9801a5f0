//! Batches that wait for a GPU, and what GPUs answer. All GPUs of a run take from one queue.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::driver::{Fault, Gpu};
use crate::batch::{Batch, Staging};
use crate::eval::Scored;

/// What a GPU's thread tells.
pub(super) enum Message {
    /// It is ready.
    Ready(Opened),
    /// A batch is scored, by as many images on their way through a trunk; the staging memory may be
    /// lent again.
    Done { scored: Scored, staging: Box<dyn Staging>, passes: u64 },
    /// It ends.
    Lost(usize, Fault),
}

/// A GPU that is ready.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) gpu: Gpu,
    /// Bytes that were free before anything but the parameters was allocated.
    pub(super) free_bytes: u64,
}

/// A queue that can be closed.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Batch>,
    is_closed: bool,
}

impl Queue {
    /// Adds a batch.
    pub(super) fn push(&self, batch: Batch) {
        self.lock().batches.push_back(batch);
        self.changed.notify_one();
    }

    /// Gives batches back that a lost GPU had taken; they come before all others.
    pub(super) fn give_back(&self, batches: impl DoubleEndedIterator<Item = Batch>) {
        let mut state = self.lock();
        for batch in batches.rev() {
            state.batches.push_front(batch);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Drops what waits here and ends every wait.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let dropped = std::mem::take(&mut state.batches);
        drop(state);
        self.changed.notify_all();
        drop(dropped);
    }

    /// The next batch, if there is one now.
    pub(super) fn poll(&self) -> Option<Batch> {
        self.lock().batches.pop_front()
    }

    /// The next batch; `None` when the queue is closed.
    pub(super) fn wait(&self) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            if let Some(batch) = state.batches.pop_front() {
                return Some(batch);
            }
            if state.is_closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Poisoned only by a panic elsewhere; the state is whole between its few statements.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchShape;
    use crate::image::{Depth, Size};

    fn batch(pairs_max: usize) -> Batch {
        let shape = BatchShape { size: Size { width: 1, height: 1 }, depth: Depth::U8 };
        Batch::new(shape, Box::new(vec![0f32; 2]), pairs_max)
    }

    fn room(batch: &Batch) -> String {
        format!("{batch:?}")
    }

    #[test]
    fn what_was_given_back_comes_first_and_in_order() {
        let queue = Queue::default();
        queue.push(batch(3));
        let mut lost = vec![batch(1), batch(2)];
        lost[0].push_image(&image());
        queue.give_back(lost.into_iter());
        assert!(room(&queue.poll().unwrap()).contains("1 images"));
        assert!(queue.wait().is_some());
        queue.close();
        assert!(queue.wait().is_none());
    }

    fn image() -> crate::image::Image {
        let size = Size { width: 1, height: 1 };
        crate::image::Image::new(size, crate::image::Pixels::U8(vec![0; 3]))
    }
}
