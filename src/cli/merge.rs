//! Options of `lpips merge`.

use std::path::PathBuf;

use clap::Args;

pub(super) const EXAMPLES: &str = "\
Examples:
  lpips merge results
  lpips merge results --group-by method,scale

It checks that every pair is there exactly once and writes pairs.csv, summary.csv and run.json. \
If pairs are missing it lists the shards that lack them, and prints the `sbatch --array=` line \
that scores exactly those. It can be run as often as you like, also to group a finished run \
otherwise.

Exit codes: 0 complete; 3 pairs are missing, or failed; 4 a gate failed or could not be decided; 6 \
inputs.";

/// Arguments of `lpips merge`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct MergeArgs {
    /// The run directory
    pub run_dir: PathBuf,

    /// Columns to summarize by, separated by commas [default: as the run was started]
    #[arg(long, value_name = "COL,COL", value_delimiter = ',')]
    pub group_by: Option<Vec<String>>,

    /// Add a column per layer to pairs.csv [default: as the run was started]
    #[arg(long)]
    pub per_layer: bool,

    /// Put a ' before cells of text that begin with = + - @, which spreadsheets take for formulas
    #[arg(long)]
    pub csv_safe: bool,

    /// Exit with 4 under this condition on the scores, such as `lpips_alex: mean > 0.3`; may be
    /// given several times. `lpips compare --help` has the grammar
    #[arg(long, value_name = "COND")]
    pub fail_if: Vec<String>,

    /// Print only errors and what is missing
    #[arg(short, long)]
    pub quiet: bool,
}
