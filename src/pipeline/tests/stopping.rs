//! What is done after a signal, and what is not waited for.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::*;
use crate::batch::{Batch, BatchShape, Group};
use crate::eval::{Admission, Description, HostMemory, Scored, Wait};

#[test]
fn after_a_signal_no_batch_is_started_and_what_is_scored_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = grid(folder.path());
    for (batch, threads) in [(1, 1), (1, 4), (3, 2), (5, 1)] {
        let stop = Stop::default();
        let mut fake = FakeEvaluator::new(2, 3);
        let (mut submitted, requested) = (0, stop.clone());
        fake.on_submit = OnSubmit::new(move |_| {
            submitted += 1;
            if submitted == batch {
                requested.request();
            }
        });
        let outcome = run_until(folder.path(), &manifest, threads, &mut fake, &stop);
        let pairs: usize = fake.batches.iter().map(|batch| batch.1).sum();
        assert_eq!(fake.batches.len(), batch);
        assert_eq!(outcome.result.unwrap().scored, pairs);
        assert_eq!(outcome.records.len(), pairs);
    }
}

/// Requests a stop and then works on without end: when an image is decoded, or when a batch is
/// scored.
#[derive(Debug)]
struct NeverEnds {
    fake: FakeEvaluator,
    stop: Stop,
    is_decoder: bool,
    /// Ends the decoder, after the test.
    end: Arc<Mutex<Receiver<()>>>,
}

impl Evaluator for NeverEnds {
    fn describe(&self) -> Description {
        self.fake.describe()
    }
    fn host_memory(&self, shape: BatchShape, group: Group) -> HostMemory {
        self.fake.host_memory(shape, group)
    }
    fn admission(&self) -> Admission {
        if !self.is_decoder {
            return Arc::new(|_| Ok(()));
        }
        let (stop, end) = (self.stop.clone(), Arc::clone(&self.end));
        Arc::new(move |_| {
            stop.request();
            end.lock().unwrap_or_else(PoisonError::into_inner).recv().map_err(|end| end.to_string())
        })
    }
    fn acquire(&mut self, shape: BatchShape, group: Group) -> anyhow::Result<Option<Batch>> {
        self.fake.acquire(shape, group)
    }
    fn passes(&self) -> u64 {
        0
    }
    fn submit(&mut self, batch: Batch) -> anyhow::Result<()> {
        self.stop.request();
        self.fake.submit(batch)
    }
    fn collect(&mut self, _: Wait) -> anyhow::Result<Option<Scored>> {
        Ok(None)
    }
}

#[test]
fn after_a_signal_nothing_waits_for_decoders_and_batches_that_never_end() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = grid(folder.path());
    for (is_decoder, threads) in [(true, 1), (true, 4), (false, 2)] {
        let stop = Stop::default();
        let (_ends_after_the_test, end) = channel();
        let (fake, end) = (FakeEvaluator::new(2, 1), Arc::new(Mutex::new(end)));
        let mut fake = NeverEnds { fake, stop: stop.clone(), is_decoder, end };
        let outcome = run_until(folder.path(), &manifest, threads, &mut fake, &stop);
        assert_eq!(outcome.result.unwrap().done(), 0);
        assert!(outcome.records.is_empty());
    }
}
