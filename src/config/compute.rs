//! The device of a job and its settings: contradictions are refused, nothing is opened yet. It does
//! not depend on a command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::error::Refusal;
use crate::eval::{ConvChoice, Device, Gpus, Precision, cpu, cuda};
use crate::memory::{self, Available};
use crate::scheduler;

/// The device of a job and its settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compute {
    /// The device.
    pub device: Device,
    /// Arithmetic of the trunk.
    pub precision: Precision,
    /// The engine of convolutions on GPUs.
    pub conv: ConvChoice,
    /// Folders that are searched for CUDA's libraries before all others.
    pub libraries: Vec<PathBuf>,
    /// Decoding threads, and computing threads of the CPU.
    pub threads: usize,
    /// Pairs per batch; the evaluator decides if absent.
    pub batch: Option<NonZeroUsize>,
    /// The memory that there was when the program started.
    pub memory: Available,
}

/// What is chosen where nothing is asked for.
impl Default for Compute {
    fn default() -> Compute {
        Compute {
            device: Device::Auto,
            precision: Precision::Fp32,
            conv: ConvChoice::Auto,
            libraries: Vec::new(),
            threads: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            batch: None,
            memory: memory::available(memory::Setting::Auto, &scheduler::environment),
        }
    }
}

impl Compute {
    /// The same settings.
    ///
    /// # Errors
    /// A [`Refusal`] for a setting of GPUs together with the CPU.
    pub fn checked(self) -> Result<Compute, Refusal> {
        match self.cuda_option() {
            Some(option) if self.device == Device::Cpu => {
                Err(Refusal::usage(format!("`{option}` needs CUDA, and `--device cpu` is not"))
                    .hint("leave one of them out"))
            }
            _ => Ok(self),
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

    /// The settings of the CPU evaluator.
    #[must_use]
    pub fn cpu(&self) -> cpu::Config {
        let pairs_max = self.batch.map(NonZeroUsize::get);
        cpu::Config {
            threads: self.threads,
            pairs_max,
            isa: None,
            memory: Some(self.memory.clone()),
        }
    }

    /// The settings of the CUDA evaluator on `gpus`; it calls `notify` for each that it loses.
    #[must_use]
    pub fn cuda(&self, gpus: Gpus, notify: fn(&str)) -> cuda::Config {
        cuda::Config {
            gpus,
            precision: self.precision,
            conv: self.conv,
            pairs_max: self.batch.map(NonZeroUsize::get),
            memory: Some(self.memory.clone()),
            limits: cuda::Limits::USUAL,
            notify,
        }
    }
}
