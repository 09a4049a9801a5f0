//! The columns of pixels, computed by the threads of the pool while later images are decoded and
//! batches are scored.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};

use super::SIGNAL_CHECKED_EVERY;
use super::queue::Permit;
use crate::batch::{Frame, Row};
use crate::column::{Column, Origin, Value};
use crate::error::Failure;
use crate::image::Image;
use crate::signals::Stop;

/// Pairs for each thread of the pool that are measured, or wait for it.
const RUNNING_PER_THREAD: usize = 2;

/// One value for each column, in order; `None` where the column takes a model or is not computed.
pub(super) type Values = Vec<Option<Result<Value, Failure>>>;

/// An image or why there is none, with the memory that it takes.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) image: Result<Image<Arc<Frame>>, Failure>,
    pub(super) _permit: Option<Permit>,
}

/// Measures pairs, in the order in which they are given.
#[derive(Debug)]
pub(super) struct Measurer<'a> {
    columns: Arc<[Option<Column>]>,
    stop: &'a Stop,
    running_max: usize,
    running: VecDeque<(Row, Receiver<Option<Values>>)>,
    done: HashMap<Row, Values>,
}

impl<'a> Measurer<'a> {
    pub(super) fn new(columns: &[Option<Column>], stop: &'a Stop) -> Measurer<'a> {
        Measurer {
            columns: columns.into(),
            stop,
            running_max: RUNNING_PER_THREAD * rayon::current_num_threads(),
            running: VecDeque::new(),
            done: HashMap::new(),
        }
    }

    /// Starts to measure a pair of images of one size. If too many are running, it waits for the
    /// first of them.
    ///
    /// # Errors
    /// When a thread has panicked.
    pub(super) fn start(
        &mut self,
        row: Row,
        reference: &Arc<Held>,
        distorted: &Arc<Held>,
    ) -> anyhow::Result<()> {
        let of_pixels = |column: &Column| matches!(column.from, Origin::Pixels(_));
        if !self.columns.iter().flatten().any(of_pixels) {
            self.done.insert(row, vec![None; self.columns.len()]);
            return Ok(());
        }
        while self.running.len() >= self.running_max && self.finish_first()? {}
        let (done, values) = sync_channel(1);
        let columns = Arc::clone(&self.columns);
        let pair = [reference, distorted].map(Arc::clone);
        rayon::spawn(move || {
            let [reference, distorted] = &pair;
            let (Ok(reference), Ok(distorted)) = (&reference.image, &distorted.image) else {
                return;
            };
            let of = |column: &Option<Column>| column.as_ref()?.measure(reference, distorted);
            let values = catch_unwind(AssertUnwindSafe(|| columns.iter().map(of).collect()));
            // The receiver is gone when the run has ended.
            drop(done.send(values.ok()));
        });
        self.running.push_back((row, values));
        Ok(())
    }

    /// How many pairs, the last ones, may still be running.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// The values of a pair that was started, as soon as they are there; `None` after a signal.
    ///
    /// # Errors
    /// When a thread has panicked.
    pub(super) fn take(&mut self, row: Row) -> anyhow::Result<Option<Values>> {
        loop {
            if let Some(values) = self.done.remove(&row) {
                return Ok(Some(values));
            }
            if !self.finish_first()? {
                return Ok(None);
            }
        }
    }

    /// Waits for the pair that was started first; false after a signal.
    fn finish_first(&mut self) -> anyhow::Result<bool> {
        let Some((row, values)) = self.running.front() else {
            anyhow::bail!("a pair was scored twice");
        };
        while self.stop.signal().is_none() {
            match values.recv_timeout(SIGNAL_CHECKED_EVERY) {
                Ok(Some(values)) => {
                    self.done.insert(*row, values);
                    self.running.pop_front();
                    return Ok(true);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(None) | Err(RecvTimeoutError::Disconnected) => {
                    anyhow::bail!("a thread that measures pixels has died")
                }
            }
        }
        Ok(false)
    }
}
