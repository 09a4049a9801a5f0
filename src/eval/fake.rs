//! An evaluator without a network, for tests of the pipeline and for measuring it alone.

use std::collections::VecDeque;

use super::{Description, Distance, Evaluator, HostMemory, Scored, Wait, lending};
use crate::batch::{Batch, BatchShape, Group, Grouping, Lender};

/// Memory of images that is kept to be lent again.
const FREE_BYTES_MAX: usize = 32 << 20;

/// The distance of a model is the difference of the first samples, as they are stored, times a
/// factor.
#[derive(Debug)]
pub struct FakeEvaluator {
    pairs_max: usize,
    /// Batches that may be in use at a time, and that are.
    batches_max: usize,
    acquired: usize,
    /// Where the memory of images comes from.
    pub lender: Lender,
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
    /// One model with the factor 1. Batches of at most `pairs_max` pairs; at most `batches_max` of
    /// them in use at a time.
    #[must_use]
    pub fn new(pairs_max: usize, batches_max: usize) -> FakeEvaluator {
        FakeEvaluator {
            pairs_max,
            batches_max,
            acquired: 0,
            lender: lending::ordinary(FREE_BYTES_MAX),
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
        let staging = (self.batches_max * images * shape.image_bytes()) as u64;
        HostMemory { staging, images, ..HostMemory::default() }
    }

    fn lender(&self) -> Lender {
        self.lender.clone()
    }

    fn acquire(&mut self, shape: BatchShape, group: Group) -> anyhow::Result<Option<Batch>> {
        if self.acquired == self.batches_max {
            return Ok(None);
        }
        self.acquired += 1;
        let images = 2 * self.pairs_max;
        let capacity = match group.grouping {
            Grouping::Item => Group { grouping: Grouping::Item, images, pairs: usize::MAX },
            _ => Group { grouping: Grouping::Reference, images, pairs: self.pairs_max },
        };
        Ok(Some(Batch::new(shape, capacity)))
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
        self.acquired -= 1;
        let rows = batch.into_rows();
        self.done.push_back(Scored { rows, size, scores });
        Ok(())
    }

    fn collect(&mut self, _wait: Wait) -> anyhow::Result<Option<Scored>> {
        Ok(self.done.pop_front())
    }
}
