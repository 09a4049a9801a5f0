//! The command line as it was typed. Every option is an enum, a number or a path; nothing is
//! looked up or decided here.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::net::Net;
use crate::net::weights::Version;

const EXIT_CODES: &str = "\
Exit codes: 0 complete; 1 internal error; 2 usage; 3 finished, but pairs failed; 5 environment \
(weights, disk); 6 inputs (manifest, run directory).";

/// Exact LPIPS for whole data sets of image pairs.
#[derive(Debug, Parser)]
#[command(name = "lpips", version, about, after_help = EXIT_CODES, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Score the pairs of a manifest: per pair and aggregated
    Eval(EvalArgs),
    /// Show or verify trunk and lin weights
    Weights(WeightsArgs),
}

const EVAL_EXAMPLES: &str = "\
Examples:
  lpips eval pairs.csv -o results
  lpips eval pairs.csv -o results --net alex,vgg --group-by method
  lpips eval pairs.csv -o results --per-layer --threads 8

The manifest is a CSV (or .tsv) file with a header. Columns `ref` and `dist` are paths relative \
to the manifest's folder; `id`, `item` and `method` are optional; all others are carried to the \
output and can be grouped by.

Exit codes: 0 complete; 2 usage; 3 finished, but pairs failed; 5 environment; 6 inputs.";

/// Arguments of `lpips eval`.
#[derive(Debug, Args)]
#[command(after_help = EVAL_EXAMPLES)]
pub struct EvalArgs {
    /// CSV or TSV file that names the pairs
    pub manifest: PathBuf,

    /// Folder for pairs.csv, summary.csv and run.json; must not hold another run
    #[arg(short, long, value_name = "RUN_DIR")]
    pub output: PathBuf,

    /// Trunks to score with, separated by commas: one decode serves all
    #[arg(long, value_enum, value_delimiter = ',', default_value = "alex")]
    pub net: Vec<Net>,

    /// Version of the published metric
    #[arg(long, value_enum, default_value = "0.1")]
    pub lpips_version: Version,

    /// Sum over channels without the lin weights (`lpips=False` in Python)
    #[arg(long)]
    pub baseline: bool,

    /// Add a column per layer to pairs.csv
    #[arg(long)]
    pub per_layer: bool,

    /// Columns to summarize by, separated by commas
    #[arg(long, value_name = "COL,COL", value_delimiter = ',')]
    pub group_by: Vec<String>,

    /// Where to compute
    #[arg(long, value_enum, default_value = "auto")]
    pub device: DeviceArg,

    /// Pairs per batch; the scores do not depend on it [default: chosen from the image size]
    #[arg(long, value_name = "N")]
    pub batch: Option<NonZeroUsize>,

    /// Threads that decode, and threads that compute [default: one per processor]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,

    /// The only folder to take trunk weights from
    #[arg(long, value_name = "DIR")]
    pub weights_dir: Option<PathBuf>,

    /// Say nothing but errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Tell what was decided, too
    #[arg(short, long, action = ArgAction::SetTrue)]
    pub verbose: bool,
}

/// Where to compute.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum DeviceArg {
    /// The best device that works
    Auto,
    /// The CPU
    Cpu,
}

/// Arguments of `lpips weights`.
#[derive(Debug, Args)]
pub struct WeightsArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub command: WeightsCommand,
    /// The only folder to look for trunk weights in
    #[arg(long, value_name = "DIR", global = true)]
    pub weights_dir: Option<PathBuf>,
}

/// What to do with weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Subcommand)]
pub enum WeightsCommand {
    /// Show which weights would be used, and where they are
    List,
    /// Read every file that is found and compare its SHA-256 with the published one
    Verify,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
