//! What a job computes with: contradictions refused, nothing opened yet.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::cli::{BatchSize, DeviceArgs};
use crate::error::Refusal;
use crate::eval::{ConvChoice, Device, Gpus, Precision, cpu, cuda};

/// What a job computes with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compute {
    /// Where.
    pub device: Device,
    /// In which arithmetic.
    pub precision: Precision,
    /// What convolves on GPUs, and where libraries are.
    pub conv: ConvChoice,
    /// Folders that are searched for CUDA's libraries before all others.
    pub libraries: Vec<PathBuf>,
    /// Decoding threads, and computing threads of the CPU.
    pub threads: usize,
    /// Pairs per batch; the evaluator decides if absent.
    pub batch: Option<NonZeroUsize>,
}

impl Compute {
    /// Resolves the options.
    ///
    /// # Errors
    /// A [`Refusal`] where the CPU is asked for what only GPUs do.
    pub fn resolve(args: &DeviceArgs) -> Result<Compute, Refusal> {
        let DeviceArgs { device, precision, cuda, batch, threads } = args;
        let processors = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let compute = Compute {
            device: device.clone(),
            precision: *precision,
            conv: cuda.conv,
            libraries: cuda.cuda_libs.clone(),
            threads: threads.map_or_else(processors, NonZeroUsize::get),
            batch: match *batch {
                BatchSize::Auto => None,
                BatchSize::Pairs(pairs) => Some(pairs),
            },
        };
        match compute.cuda_option() {
            Some(option) if compute.device == Device::Cpu => {
                Err(Refusal::usage(format!("`{option}` needs CUDA, and `--device cpu` is not"))
                    .hint("leave one of them out"))
            }
            _ => Ok(compute),
        }
    }

    /// An option that means nothing without CUDA.
    #[must_use]
    pub fn cuda_option(&self) -> Option<String> {
        match self.conv {
            _ if self.precision != Precision::Fp32 => {
                Some(format!("--precision {}", self.precision))
            }
            ConvChoice::Cudnn => Some("--conv cudnn".to_owned()),
            ConvChoice::Cublas => Some("--conv cublas".to_owned()),
            ConvChoice::Auto => None,
        }
    }

    /// How the CPU is to be used.
    #[must_use]
    pub fn cpu(&self) -> cpu::Config {
        let pairs_max = self.batch.map(NonZeroUsize::get);
        cpu::Config { threads: self.threads, pairs_max, isa: None }
    }

    /// How these GPUs are to be used; `notify` is told of those that are lost.
    #[must_use]
    pub fn cuda(&self, gpus: Gpus, notify: fn(&str)) -> cuda::Config {
        cuda::Config {
            gpus,
            precision: self.precision,
            conv: self.conv,
            libraries: self.libraries.clone(),
            pairs_max: self.batch.map(NonZeroUsize::get),
            notify,
        }
    }
}
