//! The thread of one GPU, which makes and uses everything of that GPU alone.
//!
//! A fault that is not a matter of memory gives the GPU up: the thread waits for what is still
//! running, says why, puts the batches that it had taken back into the queue, and ends.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::Settings;
use super::device::Device;
use super::driver::{Fault, FaultKind, Gpu};
use super::queue::{Message, Queue};
use crate::error::Refusal;
use crate::eval::Model;

/// The life of a GPU's thread.
pub(super) fn serve(
    gpu: Gpu,
    models: Arc<Vec<Model>>,
    settings: &Settings,
    queue: &Queue,
    sender: &Sender<Message>,
) {
    let ordinal = gpu.ordinal;
    // The receiver lives as long as the threads do, unless the program ends.
    let tell = |message| drop(sender.send(message));
    let lost = LostByPanic { ordinal, sender };
    match Device::open(gpu, models, settings) {
        Err(fault) => tell(Message::Lost(ordinal, fault)),
        Ok((mut device, opened)) => {
            tell(Message::Ready(opened));
            if let Err(fault) = device.work(queue, sender) {
                // Nothing may read the batches' memory when others take them. A lost device has
                // stopped, and says so by an error.
                drop(device.context.synchronize());
                // Told before another GPU can finish the run with what this one gives back.
                tell(Message::Lost(ordinal, fault));
                let batches = std::mem::take(&mut device.open);
                queue.give_back(batches.into_iter().map(|open| open.batch));
            }
        }
    }
    std::mem::forget(lost);
}

/// Says that the thread died, when it unwinds.
struct LostByPanic<'a> {
    ordinal: usize,
    sender: &'a Sender<Message>,
}

impl Drop for LostByPanic<'_> {
    fn drop(&mut self) {
        let fault = Fault::new("the thread", "died of a fault of this program", FaultKind::Fatal);
        drop(self.sender.send(Message::Lost(self.ordinal, fault)));
    }
}

/// Why a GPU cannot be used, and what helps.
pub(super) fn refusal(ordinal: usize, fault: &Fault) -> Refusal {
    let hint = match fault.kind {
        FaultKind::OutOfMemory => {
            "see what else uses the GPU with `nvidia-smi`, name another one with `--device \
             cuda:N`, or use `--precision fp16`"
        }
        FaultKind::Unsupported => "try the other engine with `--conv cublas`",
        FaultKind::Fatal => {
            "run `lpips doctor --selftest --device cuda`; `nvidia-smi` and `dmesg` tell of \
             faults of the GPU"
        }
    };
    Refusal::environment(format!("CUDA {ordinal} cannot be used: {fault}")).hint(hint)
}
