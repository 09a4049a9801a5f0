//! Options of `lpips compare`.

use std::path::PathBuf;

use clap::Args;

use crate::compare::decimal::{Confidence, Decimal};

pub(super) const EXAMPLES: &str = "\
Examples:
  lpips compare runs/main runs/branch
  lpips compare main=runs/41 branch=runs/42 --group-by scale --json compare.json
  lpips compare results --base edsr
  lpips compare results@edsr results@swinir
  lpips compare old new --map-method edsr_v1=edsr_v2 --allow crop
  lpips compare old new --fail-if 'mean > 0.002 @ 95%' --fail-if 'max > 0.05'
  lpips compare old new --fail-if 'lpips_alex[scale=x4]: share(0.01) > 5%' --markdown -
  lpips compare old.csv new.csv --id-column name --metric fid:lower
  lpips compare main branch --null main-again --null main-once-more --fail-if 'mean > 0.001'
  lpips compare --history nightly/*

The first run is the baseline; every other one is compared with it. A run is a run directory, a \
pairs.csv, or another CSV file with `--id-column` and `--metric NAME:lower|higher`. RUN@METHOD is \
one method of a run. Pairs are matched by id, methods of one run by item.

A gate is `[SCOPE:] STAT > LIMIT [@ 95%]`. SCOPE is COLUMN or COLUMN[GROUP=VALUE,...]; STAT is \
mean, median, p90, p95, p99 or max of how much worse the items are, or share(X), the share of \
items that are worse by more than X; LIMIT is a number or N%.

docs/compare.md explains how to use this command, docs/statistics.md what it computes.

Exit codes: 0 compared, and every gate held; 2 usage, also a condition that cannot be read; 4 a \
gate failed or could not be decided; 5 environment; 6 inputs.";

/// Arguments of `lpips compare`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompareArgs {
    /// `[LABEL=]RUN[@METHOD]`: the baseline, then what is compared with it
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<String>,

    /// Compare the other methods of one run with this one
    #[arg(long, value_name = "METHOD")]
    pub base: Option<String>,

    /// Compare every two runs, or with --base every two methods, not only with the baseline
    #[arg(long)]
    pub matrix: bool,

    /// Print one line for each run, in the order given: date, mean, change to the first and to the
    /// one before
    #[arg(long, conflicts_with_all = ["base", "matrix", "null", "fail_if"])]
    pub history: bool,

    /// Metric columns, separated by commas [default: all that both runs have]
    #[arg(long, value_name = "NAME[:lower|higher]", value_delimiter = ',')]
    pub metric: Vec<String>,

    /// Column of ids in a CSV file that lpips did not write
    #[arg(long, value_name = "NAME")]
    pub id_column: Option<String>,

    /// Also compare within groups: columns, separated by commas
    #[arg(long, value_name = "COL,COL", value_delimiter = ',')]
    pub group_by: Vec<String>,

    /// What is independent: items, pairs, or the values of a column; its pairs are averaged first
    #[arg(long, value_name = "item|pair|COL", default_value = "item")]
    pub unit: String,

    /// A method of the baseline has another name in the new run; may be given several times
    #[arg(long, value_name = "OLD=NEW")]
    pub map_method: Vec<String>,

    /// Leave out pairs that are missing or failed on one side, also for gates
    #[arg(long)]
    pub intersect: bool,

    /// Compare although this field of the fingerprints differs; may be given several times
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    pub allow: Vec<String>,

    /// Call runs equivalent if the 90 % interval of the difference lies inside +-X
    #[arg(long, value_name = "X", value_parser = margin)]
    pub margin: Option<Decimal>,

    /// A run of the same model as the others given with this option: what gates reach between them
    /// is the noise floor
    #[arg(long, value_name = "RUN")]
    pub null: Vec<String>,

    /// Exit with 4 under this condition; may be given several times
    #[arg(long, value_name = "COND")]
    pub fail_if: Vec<String>,

    /// Level of the intervals and verdicts, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = Confidence::USUAL)]
    pub confidence: Confidence,

    /// One more than the number of random subsets for more than 20 items
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(100..=100_000_000))]
    pub resamples: u64,

    /// Seed of the random subsets
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// How many pairs to list that changed most
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,

    /// Digits after the decimal point; more are printed where a verdict needs them
    #[arg(long, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u8).range(0..=12))]
    pub digits: u8,

    /// Write the report as Markdown; `-` is stdout
    #[arg(long, value_name = "FILE|-")]
    pub markdown: Option<PathBuf>,

    /// Write the report as JSON
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,

    /// Write means in the form that github-action-benchmark reads
    #[arg(long, value_name = "FILE|-")]
    pub bench_json: Option<PathBuf>,

    /// Write the table as CSV
    #[arg(long, value_name = "FILE|-")]
    pub csv: Option<PathBuf>,

    /// Put `'` before cells of the CSV that spreadsheets would take for formulas
    #[arg(long, requires = "csv")]
    pub csv_safe: bool,
}

fn margin(text: &str) -> Result<Decimal, String> {
    let margin = Decimal::parse(text).filter(|margin| margin.to_f64() > 0.0);
    margin.ok_or_else(|| "expected a number above 0, such as 0.002".to_owned())
}
