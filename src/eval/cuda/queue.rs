//! The queue of batches that wait for a GPU, shared by all GPUs of a run, and the messages that
//! GPUs send.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::driver::{Fault, Gpu};
use crate::batch::Batch;
use crate::eval::Scored;

/// What the thread of a GPU reports.
pub(super) enum Message {
    /// The GPU is ready.
    Ready(Opened),
    /// A batch is scored; `passes` images went through a trunk.
    Done { scored: Scored, passes: u64 },
    /// The GPU cannot be used any more, and its thread ends.
    Lost(usize, Fault),
}

/// A GPU that is ready.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) gpu: Gpu,
    /// Bytes that were free when only the parameters had been allocated.
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

    /// Puts back the batches that a lost GPU had taken, before all others.
    pub(super) fn give_back(&self, batches: impl DoubleEndedIterator<Item = Batch>) {
        let mut state = self.lock();
        for batch in batches.rev() {
            state.batches.push_front(batch);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Drops the waiting batches and ends every wait.
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

    /// A panic elsewhere may poison the lock, but cannot leave the state incomplete.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::batch::{BatchShape, Frame, Group, Lender};
    use crate::image::{Depth, Size};

    fn batch(pairs_max: usize) -> Batch {
        let shape = BatchShape { size: Size { width: 1, height: 1 }, depth: Depth::U8 };
        let capacity = Group { pairs: pairs_max, ..Group::PAIR };
        Batch::new(shape, capacity)
    }

    fn room(batch: &Batch) -> String {
        format!("{batch:?}")
    }

    #[test]
    fn batches_that_were_put_back_come_first_and_in_order() {
        let queue = Queue::default();
        queue.push(batch(3));
        let mut lost = vec![batch(1), batch(2)];
        lost[0].push_image(image());
        queue.give_back(lost.into_iter());
        assert!(room(&queue.poll().unwrap()).contains("1 images"));
        assert!(queue.wait().is_some());
        queue.close();
        assert!(queue.wait().is_none());
    }

    fn image() -> Arc<Frame> {
        let shape = BatchShape { size: Size { width: 1, height: 1 }, depth: Depth::U8 };
        Arc::new(Frame::lent(shape, &Lender::ordinary()))
    }
}
