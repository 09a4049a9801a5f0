//! Options of `lpips doctor`.

use std::path::PathBuf;

use clap::Args;

use super::CudaArgs;
use crate::eval::{Device, Precision};
use crate::net::Net;

pub(super) const EXAMPLES: &str = "\
Examples:
  lpips doctor
  lpips doctor --selftest
  lpips doctor --selftest --device cuda:all --net alex --precision fp32

The self-test scores built-in pairs and compares them with float64: every net (with a trunk \
computed from a formula where weights are absent), precision and convolution engine. It reports \
the worst deviation, whether bits are the same in every batch, and how many pairs per second the \
device scores.

Exit codes: 0 all is well; 2 usage; 5 the device cannot be used, or a bound is broken.";

/// Arguments of `lpips doctor`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    /// Score the built-in pairs on the device
    #[arg(long)]
    pub selftest: bool,

    /// Which device: auto, cpu, cuda, cuda:all, or GPUs such as cuda:0,2
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: Device,

    /// Nets of the self-test, separated by commas [default: all]
    #[arg(long, value_enum, value_delimiter = ',', requires = "selftest")]
    pub net: Vec<Net>,

    /// Precisions of the self-test, separated by commas [default: all that the device has]
    #[arg(long, value_enum, value_delimiter = ',', requires = "selftest")]
    pub precision: Vec<Precision>,

    #[allow(missing_docs, reason = "a doc comment would become the help of the group")]
    #[command(flatten)]
    pub cuda: CudaArgs,

    /// Leave the measurement of speed out
    #[arg(long, requires = "selftest")]
    pub quick: bool,

    /// Sides of the square images that speed is measured with, separated by commas [default: 256,
    /// and 1024 on GPUs]
    #[arg(long, value_name = "N,N", value_delimiter = ',', requires = "selftest")]
    #[arg(value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(31..=8192))]
    #[arg(conflicts_with = "quick")]
    pub sides: Vec<usize>,

    /// The only folder to take trunk weights from
    #[arg(long, value_name = "DIR")]
    pub weights_dir: Option<PathBuf>,

    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}
