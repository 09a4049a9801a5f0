//! The thread of one GPU, which makes and uses everything of that GPU alone.
//!
//! After a fault other than a lack of memory the GPU is dropped: the thread waits for what is still
//! running, reports the fault, puts the batches that it had taken back into the queue, and ends.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::device::Device;
use super::driver::{Fault, FaultKind, Gpu};
use super::packs::Packs;
use super::queue::{Message, Queue};
use super::{ConvEngine, Settings};
use crate::error::Refusal;

/// The life of a GPU's thread.
pub(super) fn serve(
    gpu: Gpu,
    packs: Arc<Packs>,
    settings: &Settings,
    queue: &Queue,
    sender: &Sender<Message>,
) {
    let ordinal = gpu.ordinal;
    // The receiver lives as long as the threads do, unless the program ends.
    let send = |message| drop(sender.send(message));
    let lost = LostByPanic { ordinal, sender };
    match Device::open(gpu, &packs, settings) {
        Err(fault) => send(Message::Lost(ordinal, fault)),
        Ok((mut device, opened)) => {
            drop(packs);
            send(Message::Ready(opened));
            if let Err(fault) = device.work(queue, sender) {
                // Nothing may still read the memory of the batches when other GPUs take them. A
                // lost device has stopped; then this call returns an error.
                drop(device.context.synchronize());
                // Reported before another GPU can finish the run with the batches of this one.
                send(Message::Lost(ordinal, fault));
                let batches = std::mem::take(&mut device.open);
                queue.give_back(batches.into_iter().map(|open| open.batch));
            }
        }
    }
    std::mem::forget(lost);
}

/// Reports the loss of the GPU if the thread panics.
struct LostByPanic<'a> {
    ordinal: usize,
    sender: &'a Sender<Message>,
}

impl Drop for LostByPanic<'_> {
    fn drop(&mut self) {
        let fault =
            Fault::new("the thread", "panicked, which is a bug of this program", FaultKind::Fatal);
        drop(self.sender.send(Message::Lost(self.ordinal, fault)));
    }
}

/// Why a GPU cannot be used, with a remedy.
pub(super) fn refusal(ordinal: usize, fault: &Fault, engine: ConvEngine) -> Refusal {
    let by_kind = match fault.kind {
        FaultKind::OutOfMemory => {
            "see what else uses the GPU with `nvidia-smi`, name another one with `--device \
             cuda:N`, or use `--precision fp16`"
        }
        FaultKind::Unsupported => match engine {
            ConvEngine::Cudnn | ConvEngine::CudnnAndCublas => {
                "use the other engine with `--conv cublas`"
            }
            ConvEngine::Cublas => "use the other engine with `--conv cudnn`, or `--device cpu`",
        },
        FaultKind::Fatal => {
            "run `lpips doctor --selftest --device cuda`; `nvidia-smi` and `dmesg` report \
             faults of the GPU"
        }
    };
    let hint = fault.remedy.unwrap_or(by_kind);
    Refusal::environment(format!("CUDA {ordinal} cannot be used: {fault}")).hint(hint)
}
