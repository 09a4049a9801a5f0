//! What a GPU does when its memory is short: with less of it the same work takes longer and gives
//! the same bits, and a pair that does not fit even alone gets no score.

use super::{Device, SLOTS_MAX};
use crate::eval::cuda::driver::{Fault, FaultKind};
use crate::eval::cuda::memory::{Activations, Needs};
use crate::eval::cuda::nets::shown;

impl Device {
    /// Runs `attempt`. Each time that memory is short, waits for what is in flight and runs it
    /// again with less: one slot less, and at last without the memory for other sizes. Returns
    /// `Ok(Err(..))` with the reason where that does not suffice; the GPU is as good as before.
    pub(super) fn with_less_memory<T>(
        &mut self,
        attempt: impl Fn(&mut Device) -> Result<T, Fault>,
    ) -> Result<Result<T, String>, Fault> {
        let mut is_alone = false;
        loop {
            match attempt(self) {
                Err(fault) if fault.kind == FaultKind::OutOfMemory => {
                    self.finish_all()?;
                    // A rehearsal that failed may still be running.
                    self.context.synchronize()?;
                    self.slots.clear();
                    if self.slots_max > 1 {
                        self.slots_max -= 1;
                        continue;
                    }
                    self.activations = Activations::EMPTY;
                    self.needs = Needs::default();
                    if is_alone {
                        self.slots_max = SLOTS_MAX;
                        return Ok(Err(self.too_large(&fault)));
                    }
                    is_alone = true;
                }
                other => return other.map(Ok),
            }
        }
    }

    /// Why a pair does not fit, even alone.
    fn too_large(&self, fault: &Fault) -> String {
        let needed = shown(self.requested.total());
        let free = self.context.memory().map_or_else(|_| "?".to_owned(), |(free, _)| shown(free));
        let gpu = self.gpu.ordinal;
        format!("it takes {needed} of GPU memory, {free} are free on CUDA {gpu} ({fault})")
    }
}
