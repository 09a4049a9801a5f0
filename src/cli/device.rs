//! Options that say what to compute with.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use crate::eval::ConvChoice;
use crate::eval::{Device, Precision};
use crate::memory;

/// What it is computed with.
#[derive(Debug, Args)]
pub struct DeviceArgs {
    /// Where to compute: auto, cpu, cuda, cuda:all, or GPUs such as cuda:0,2
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: Device,

    /// Arithmetic of the trunk
    #[arg(long, value_enum, default_value = "fp32")]
    pub precision: Precision,

    #[allow(missing_docs, reason = "a doc comment would become the help of the group")]
    #[command(flatten)]
    pub cuda: CudaArgs,

    /// Pairs per batch; the scores do not depend on it. `auto` follows the size of the images and,
    /// on GPUs, the free memory
    #[arg(long, value_name = "N|auto", default_value = "auto")]
    pub batch: BatchSize,

    /// Threads that decode, and threads that compute [default: one per processor]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroUsize>,

    /// Memory that the program may take, such as 800M or 16G. `auto` is the least of what the
    /// machine, its control groups (containers), Slurm and `ulimit -v` leave
    #[arg(long, value_name = "LIMIT|auto", default_value = "auto")]
    pub memory: memory::Setting,
}

/// How CUDA's libraries are used.
#[derive(Clone, Debug, Args)]
pub struct CudaArgs {
    /// What convolves on GPUs
    #[arg(long, value_enum, default_value = "auto")]
    pub conv: ConvChoice,

    /// Folder to look for CUDA's libraries in before all others; may be given several times, and in
    /// the environment variable LPIPS_CUDA_LIBS
    #[arg(long, value_name = "DIR")]
    pub cuda_libs: Vec<PathBuf>,
}

/// Largest number of threads that can be requested.
const THREADS_MAX: usize = 1 << 12;

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|threads: &NonZeroUsize| threads.get() <= THREADS_MAX);
    number.ok_or_else(|| format!("expected a number from 1 to {THREADS_MAX}"))
}

/// Largest number of pairs in a batch that can be requested.
const PAIRS_MAX: usize = 1 << 16;

/// Pairs of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatchSize {
    /// The evaluator decides.
    Auto,
    /// At most so many.
    Pairs(NonZeroUsize),
}

impl std::str::FromStr for BatchSize {
    type Err = String;

    fn from_str(text: &str) -> Result<BatchSize, String> {
        match (text, text.parse::<NonZeroUsize>()) {
            ("auto", _) => Ok(BatchSize::Auto),
            (_, Ok(pairs)) if pairs.get() <= PAIRS_MAX => Ok(BatchSize::Pairs(pairs)),
            _ => Err(format!("expected a number from 1 to {PAIRS_MAX}, or `auto`")),
        }
    }
}
