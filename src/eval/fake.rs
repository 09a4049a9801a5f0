//! An evaluator without a network, for tests of the pipeline and for measuring it alone.

use std::collections::VecDeque;

use super::{Description, Distance, Evaluator, HostMemory, Scored, Wait};
use crate::batch::{Batch, BatchShape, Group, Grouping, Staging};

/// The distance of a model is the difference of the first samples, as they are stored, times a
/// factor.
#[derive(Debug)]
pub struct FakeEvaluator {
    pairs_max: usize,
    /// The memory of the batches that may still be acquired.
    buffers: Vec<Box<dyn Staging>>,
    buffer_count: usize,
    done: VecDeque<Scored>,
    /// The factor of each model.
    pub factors: Vec<f64>,
    /// Images and pairs of every batch, in the order of submission.
    pub batches: Vec<(usize, usize)>,
    /// The submission that fails, counted from 1.
    pub fail_at: Option<usize>,
    /// Called with every batch that is submitted.
    pub on_submit: OnSubmit,
}

/// What a test does when a batch is submitted.
#[derive(Default)]
pub struct OnSubmit(Option<Box<Action>>);

type Action = dyn FnMut(&Batch) + Send;

impl OnSubmit {
    /// Calls `act`.
    #[must_use]
    pub fn new(act: impl FnMut(&Batch) + Send + 'static) -> OnSubmit {
        OnSubmit(Some(Box::new(act)))
    }
}

impl std::fmt::Debug for OnSubmit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "an action" } else { "nothing" })
    }
}

impl FakeEvaluator {
    /// One model with the factor 1. Batches of at most `pairs_max` pairs; at most `buffer_count` of
    /// them in use at a time.
    #[must_use]
    pub fn new(pairs_max: usize, buffer_count: usize) -> FakeEvaluator {
        FakeEvaluator {
            pairs_max,
            buffers: (0..buffer_count).map(|_| Box::new(Vec::new()) as _).collect(),
            buffer_count,
            done: VecDeque::new(),
            factors: vec![1.0],
            batches: Vec::new(),
            fail_at: None,
            on_submit: OnSubmit::default(),
        }
    }
}

impl Evaluator for FakeEvaluator {
    fn describe(&self) -> Description {
        Description { device: "fake".to_owned(), numerics_class: "fake".to_owned() }
    }

    fn host_memory(&self, shape: BatchShape, _group: Group) -> HostMemory {
        let images = 2 * self.pairs_max;
        let staging = (self.buffer_count * images * shape.image_bytes()) as u64;
        HostMemory { staging, images, ..HostMemory::default() }
    }

    fn acquire(&mut self, shape: BatchShape, group: Group) -> anyhow::Result<Option<Batch>> {
        let Some(mut buffer) = self.buffers.pop() else { return Ok(None) };
        let images = 2 * self.pairs_max;
        let capacity = match group.grouping {
            Grouping::Item => Group { grouping: Grouping::Item, images, pairs: usize::MAX },
            _ => Group { grouping: Grouping::Reference, images, pairs: self.pairs_max },
        };
        let bytes = images * shape.image_bytes();
        if buffer.bytes().len() < bytes {
            buffer = Box::new(vec![0f32; bytes.div_ceil(size_of::<f32>())]);
        }
        Ok(Some(Batch::new(shape, buffer, capacity)))
    }

    fn passes(&self) -> u64 {
        self.batches.iter().map(|&(images, _)| images as u64).sum()
    }

    fn submit(&mut self, batch: Batch) -> anyhow::Result<()> {
        self.batches.push((batch.image_count(), batch.pairs().len()));
        if let OnSubmit(Some(act)) = &mut self.on_submit {
            act(&batch);
        }
        anyhow::ensure!(self.fail_at != Some(self.batches.len()), "the device is gone");
        let first = |image: usize| f64::from(batch.image(image)[0]);
        let scores = batch
            .pairs()
            .iter()
            .map(|pair| {
                let difference = first(pair.reference) - first(pair.distorted);
                let distance = |factor: &f64| {
                    let layers = vec![factor * difference];
                    Ok(Distance { layers, ..Distance::default() })
                };
                self.factors.iter().map(distance).collect()
            })
            .collect();
        let size = batch.shape().size;
        let (rows, staging) = batch.into_parts();
        self.buffers.push(staging);
        self.done.push_back(Scored { rows, size, scores });
        Ok(())
    }

    fn collect(&mut self, _wait: Wait) -> anyhow::Result<Option<Scored>> {
        Ok(self.done.pop_front())
    }
}
