//! Opens the evaluator that a job needs. This module chooses a device and does not depend on what
//! is scored on it.

use anyhow::Context as _;

use crate::config::Compute;
use crate::error::Refusal;
use crate::eval::cpu::CpuEvaluator;
use crate::eval::cuda::CudaEvaluator;
use crate::eval::cuda::probe::Probe;
use crate::eval::{Device, Evaluator, Gpus, Model, NoModels};
use crate::scheduler;

/// The evaluator of a job. `note` gets the reason why [`Device::Auto`] became the CPU, `lost` a
/// line for each GPU that fails later. Without models no device is opened.
///
/// # Errors
/// When the device that was asked for cannot be used.
pub(crate) fn open(
    models: Vec<Model>,
    compute: &Compute,
    note: &mut dyn FnMut(&str),
    lost: fn(&str),
) -> anyhow::Result<Box<dyn Evaluator>> {
    if models.is_empty() {
        return Ok(Box::new(NoModels));
    }
    match &compute.device {
        Device::Cpu => on_cpu(models, compute),
        Device::Cuda(gpus) => on_cuda(models, compute, gpus, lost),
        Device::Auto => {
            let reason = match on_cuda(models.clone(), compute, &Gpus::First, lost) {
                Ok(evaluator) => return Ok(evaluator),
                Err(reason) => reason,
            };
            if let Some(option) = compute.cuda_option() {
                let text = format!("`{option}` needs CUDA");
                return Err(reason.context(
                    Refusal::environment(text)
                        .hint(format!("leave `{option}` out to compute on the CPU")),
                ));
            }
            note(&format!("note: computing on the CPU: {reason:#}"));
            on_cpu(models, compute)
        }
    }
}

/// The GPU of a process that names none: its own among those that several processes of a job see.
fn first(probe: &Probe) -> Gpus {
    match scheduler::local_gpu(&scheduler::environment, probe.gpus.len()) {
        Some(gpu) => Gpus::These(vec![gpu]),
        None => Gpus::First,
    }
}

fn on_cpu(models: Vec<Model>, compute: &Compute) -> anyhow::Result<Box<dyn Evaluator>> {
    let evaluator = CpuEvaluator::new(models, compute.cpu()).with_context(|| {
        Refusal::environment("cannot compute on the CPU")
            .hint("raise `--memory` or the limits of the job, or lower `--threads`")
    });
    Ok(Box::new(evaluator?))
}

fn on_cuda(
    models: Vec<Model>,
    compute: &Compute,
    gpus: &Gpus,
    lost: fn(&str),
) -> anyhow::Result<Box<dyn Evaluator>> {
    let probe = Probe::new(&compute.libraries);
    let gpus = if *gpus == Gpus::First { first(&probe) } else { gpus.clone() };
    Ok(Box::new(CudaEvaluator::open(models, &probe, &compute.cuda(gpus, lost))?))
}
