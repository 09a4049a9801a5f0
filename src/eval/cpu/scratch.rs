//! Scratch memory of a walk. It grows to what is needed and is reused from batch to batch.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::floats::Floats;
use super::tensor::Tensor;

/// Scratch memory of all computing threads.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    threads: Vec<Mutex<ThreadScratch>>,
    /// Transformed tiles that all threads work on together.
    pub(super) shared_tiles: Floats,
}

/// Scratch memory of one thread.
#[derive(Debug, Default)]
pub(super) struct ThreadScratch {
    /// Transformed tiles and their products.
    pub(super) tiles: Floats,
    pub(super) band: BandScratch,
}

/// What a thread needs for a band of a stage.
#[derive(Debug, Default)]
pub(super) struct BandScratch {
    /// Output of the first convolution, for one image.
    pub(super) first: Tensor,
    /// Output of the second convolution, for all images.
    pub(super) maps: Floats,
}

impl Scratch {
    /// For the threads of the current rayon pool.
    pub(super) fn new() -> Scratch {
        let threads = (0..rayon::current_num_threads()).map(|_| Mutex::default()).collect();
        Scratch { threads, ..Scratch::default() }
    }

    /// The part of the calling thread. It holds no state, so a panic cannot have damaged it.
    pub(super) fn of_thread(&self) -> MutexGuard<'_, ThreadScratch> {
        let thread = &self.threads[rayon::current_thread_index().unwrap_or(0)];
        thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
