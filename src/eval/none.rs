//! The evaluator of a run without models. It computes nothing, so its numerics class is that of
//! columns of pixels, whose bits are the same everywhere.

use super::{Description, Evaluator, HostMemory, Scored, Wait};
use crate::batch::{Batch, BatchShape, Group};

/// It takes no batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoModels;

impl Evaluator for NoModels {
    fn describe(&self) -> Description {
        Description { device: "CPU, no trunk".to_owned(), numerics_class: "pixels".to_owned() }
    }

    fn host_memory(&self, _shape: BatchShape, _group: Group) -> HostMemory {
        HostMemory::default()
    }

    fn acquire(&mut self, _shape: BatchShape, _group: Group) -> anyhow::Result<Option<Batch>> {
        Ok(None)
    }

    fn passes(&self) -> u64 {
        0
    }

    fn submit(&mut self, _batch: Batch) -> anyhow::Result<()> {
        anyhow::bail!("a run without models has no batches")
    }

    fn collect(&mut self, _wait: Wait) -> anyhow::Result<Option<Scored>> {
        Ok(None)
    }
}
