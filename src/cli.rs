//! The command line as it was typed. Every option is an enum, a number or a path; nothing is
//! looked up or decided here.

mod compare;
mod device;
mod doctor;
mod merge;
mod metric;
mod parse;
mod report;
mod shell;
mod values;
mod weights;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand};

pub use self::compare::CompareArgs;
pub use self::device::{BatchSize, CudaArgs, DeviceArgs};
pub use self::doctor::DoctorArgs;
pub use self::merge::MergeArgs;
pub use self::metric::{MetricArgs, PixelArgs};
pub use self::report::ReportArgs;
pub use self::shell::{CompletionsArgs, ManArgs};
pub use self::weights::{WeightsArgs, WeightsCommand};
use crate::net::weights::embedded;
use crate::pipeline::OnError;
use crate::progress::Style;
use crate::shard::ShardArg;

const EXIT_CODES: &str = "\
Exit codes: 0 complete; 1 internal error; 2 usage; 3 finished, but pairs failed or are missing; 4 \
a gate failed or could not be decided; 5 environment (GPU, weights, disk); 6 inputs (manifest, \
folders, run directory, failed check, --on-error stop); 130 stopped by SIGINT and 143 by SIGTERM, \
SIGUSR1 or SIGUSR2: the same command resumes.

Documentation: share/doc/lpips of a package, docs of the sources; begin with index.md and tour.md.";

/// Exact LPIPS for whole data sets of image pairs.
#[derive(Debug, Parser)]
#[command(
    name = "lpips",
    version = short_version(),
    long_version = long_version(),
    about,
    after_help = EXIT_CODES,
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

fn short_version() -> String {
    format!("{} (commit {})", env!("CARGO_PKG_VERSION"), env!("LPIPS_COMMIT"))
}

fn long_version() -> String {
    let hashes = embedded().into_iter().map(|(name, sha256)| format!("\n  {name:18} {sha256}"));
    format!("{}\nembedded weights, SHA-256:{}", short_version(), hashes.collect::<String>())
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Score pairs of images: one by one and aggregated
    Eval(Box<EvalArgs>),
    /// Find everything that is wrong with the inputs, from headers or by decoding them
    Check(Box<CheckArgs>),
    /// Join the shards of a run, or list what is missing
    Merge(MergeArgs),
    /// Compare runs pair by pair: intervals, verdicts, and gates for CI
    Compare(Box<CompareArgs>),
    /// Rank methods: tables for papers and READMEs, and one HTML page with the pairs to look at
    Report(Box<ReportArgs>),
    /// Show, verify, fetch, import or export trunk and lin weights
    Weights(WeightsArgs),
    /// List devices, drivers and libraries, and test whether a device scores correctly
    Doctor(DoctorArgs),
    /// Print a script that completes commands and options in a shell
    Completions(CompletionsArgs),
    /// Print the man page of the program or of one command
    Man(ManArgs),
}

const EVAL_USAGE: &str = "\
lpips eval [OPTIONS] MANIFEST|- -o RUN_DIR
       lpips eval [OPTIONS] --ref DIR --dist DIR... -o RUN_DIR
       lpips eval [OPTIONS] --ref PATTERN --dist PATTERN -o RUN_DIR
       lpips eval [OPTIONS] --all-pairs DIR -o RUN_DIR
       lpips eval [OPTIONS] --pair REF DIST [-o RUN_DIR]";

const CHECK_USAGE: &str = "\
lpips check [OPTIONS] MANIFEST|-
       lpips check [OPTIONS] --ref DIR --dist DIR...
       lpips check [OPTIONS] --ref PATTERN --dist PATTERN
       lpips check [OPTIONS] --all-pairs DIR
       lpips check [OPTIONS] --pair REF DIST";

const EVAL_EXAMPLES: &str = "\
Examples:
  lpips eval pairs.csv -o results
  lpips eval pairs.csv -o results --net alex,vgg --group-by method
  lpips eval --ref hr --dist edsr --dist SwinIR=out/swin --dist-suffix _x4 -o results
  lpips eval --ref 'hr/{dataset}/{item}.png' --dist 'out/{method}/{dataset}/{item}.png' -o results
  { head -n 1 pairs.csv; grep x4 pairs.csv; } | lpips eval - -o results
  lpips eval pairs.csv -o - > scores.csv
  lpips eval --pair hr/0801.png x4/0801.png
  lpips eval pairs.csv -o results --shard auto/16
  lpips eval pairs.csv -o results --spatial-worst 20 --mask masks
  lpips eval pairs.csv -o results --preset lpips+
  lpips eval pairs.csv -o results --metrics psnr_y,ssim_y,lpips --crop-border psnr,ssim:4
  lpips eval pairs.csv -o results --preset basicsr:4
  lpips eval --all-pairs samples -o results
  lpips eval today.csv -o today --reuse yesterday
  lpips eval pairs.csv -o results --join niqe.csv:niqe=lower,musiq=higher

A manifest is CSV, TSV (.tsv) or JSON lines (.jsonl). Columns `ref` and `dist` are paths relative \
to the manifest's folder; `id`, `item` and `method` are optional; all others are carried to the \
output and can be grouped by. With the columns `ref`, `p0`, `p1` and `judge` it is one of \
triplets, and twoafc.csv says how often the metric agrees with people. Folders are paired by \
relative path without extension, never by order. In a manifest from stdin, paths are relative to \
the working folder.

However a run ended, the same command resumes it: finished pairs whose images are unchanged are \
kept, failed ones are retried.

Exit codes: 0 complete; 2 usage; 3 finished, but pairs failed; 4 a gate failed or could not be \
decided; 5 environment; 6 inputs; 143 (130) stopped by a signal (SIGINT).";

const CHECK_EXAMPLES: &str = "\
Examples:
  lpips check pairs.csv
  lpips check --ref hr --dist edsr --dist swinir --net vgg
  lpips check pairs.csv --mask masks --crop-border 4
  lpips check pairs.csv --decode --json > report.json
  lpips check --ref hr/{item}.png --dist out/{method}/{item}x4.png --write-manifest pairs.csv

The inputs are always reported; if weights are missing or a device cannot be used, that is \
reported after them.

Exit codes: 0 no errors found (there may be warnings); 2 usage; 5 environment, \
whatever the inputs are like; 6 some pairs cannot be scored, or all would be compared with \
themselves.";

/// The arguments that name pairs; the others of [`InputArgs`] add to them.
const SOURCES: [&str; 5] = ["manifest", "reference", "distorted", "all_pairs", "pair"];

/// Where the pairs come from.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("inputs").required(true).multiple(true).args(SOURCES))]
pub struct InputArgs {
    /// CSV, TSV or JSON-lines file that names the pairs; `-` reads it from stdin
    #[arg(conflicts_with_all = ["reference", "distorted", "pair", "all_pairs"])]
    pub manifest: Option<PathBuf>,

    /// Folder of references, or a pattern such as 'hr/{dataset}/{item}.png', which may be given
    /// several times; docs/inputs.md
    #[arg(long = "ref", value_name = "DIR|PATTERN", requires = "distorted", id = "reference")]
    pub reference: Vec<PathBuf>,

    /// Folder of distorted images, NAME=DIR to name its method, or a pattern such as
    /// 'out/{method}/{dataset}/{item}_x{scale}.png'; may be given several times
    #[arg(
        long = "dist",
        value_name = "[NAME=]DIR|PATTERN",
        requires = "reference",
        id = "distorted"
    )]
    pub distorted: Vec<PathBuf>,

    /// What names of references end with, before the extension, such as _HR; may be given several
    /// times
    #[arg(long, value_name = "TEXT", requires = "reference", allow_hyphen_values = true)]
    pub ref_suffix: Vec<String>,

    /// What names of distorted images end with, before the extension, such as _x4; may be given
    /// several times
    #[arg(long, value_name = "TEXT", requires = "distorted", allow_hyphen_values = true)]
    pub dist_suffix: Vec<String>,

    /// Score what is on both sides and leave out files without a partner
    #[arg(long, requires = "distorted")]
    pub intersect: bool,

    /// Every two images of a folder, and of each folder below it: how diverse they are
    #[arg(long, value_name = "DIR", conflicts_with_all = ["reference", "distorted", "pair"])]
    pub all_pairs: Option<PathBuf>,

    /// Two files; without -o, `eval` prints their scores to stdout, as CSV
    #[arg(
        long,
        num_args = 2,
        value_names = ["REF", "DIST"],
        conflicts_with_all = ["reference", "distorted"]
    )]
    pub pair: Option<Vec<PathBuf>>,
}

/// Arguments of `lpips eval`.
#[derive(Debug, Args)]
#[command(after_help = EVAL_EXAMPLES, override_usage = EVAL_USAGE)]
pub struct EvalArgs {
    #[allow(missing_docs, reason = "a doc comment would become the help of the group")]
    #[command(flatten)]
    pub inputs: InputArgs,

    /// Folder for pairs.csv, summary.csv and run.json; the same command resumes a run in it. `-`
    /// writes pairs.csv to stdout and keeps nothing
    #[arg(short, long, value_name = "RUN_DIR|-", required_unless_present = "pair")]
    pub output: Option<PathBuf>,

    #[allow(missing_docs, reason = "as above")]
    #[command(flatten)]
    pub metric: MetricArgs,

    /// Add a column per layer to pairs.csv
    #[arg(long)]
    pub per_layer: bool,

    /// Put a ' before cells of text that begin with = + - @, which spreadsheets take for formulas
    #[arg(long)]
    pub csv_safe: bool,

    /// Write a map of where each pair differs to maps/: .npy of float32 and a picture
    #[arg(long, requires = "output", conflicts_with = "semantic_layer")]
    pub spatial: bool,

    /// Write such maps of the N largest distances of each net only
    #[arg(
        long,
        value_name = "N",
        requires = "output",
        conflicts_with_all = ["semantic_layer", "spatial"]
    )]
    pub spatial_worst: Option<NonZeroUsize>,

    /// Columns to summarize by, separated by commas
    #[arg(long, value_name = "COL,COL", value_delimiter = ',')]
    pub group_by: Vec<String>,

    #[allow(missing_docs, reason = "as above")]
    #[command(flatten)]
    pub pixels: PixelArgs,

    #[allow(missing_docs, reason = "as above")]
    #[command(flatten)]
    pub device: DeviceArgs,

    /// Score one of N parts of the pairs, numbered from 0; `auto` takes the number from Slurm
    /// (SLURM_ARRAY_TASK_ID, else SLURM_PROCID) or RANK. `lpips merge` joins the parts
    #[arg(long, value_name = "I/N|auto/N", requires = "output")]
    pub shard: Option<ShardArg>,

    /// Take finished scores of another run instead of computing them, column by column, where
    /// images and settings are the same; may be given several times
    #[arg(long, value_name = "RUN_DIR", requires = "output")]
    pub reuse: Vec<PathBuf>,

    /// Add columns that others computed, by id: those that are named, with the direction that is
    /// better, or all of the file; may be given several times
    #[arg(long, value_name = "FILE.csv[:NAME=lower|higher,...]")]
    pub join: Vec<String>,

    /// When resuming, compare contents of images rather than sizes and times
    #[arg(long, requires = "output")]
    pub verify_inputs: bool,

    /// Let processors or GPUs of different kinds work on one run; their scores agree within the
    /// tolerance only
    #[arg(long, requires = "output")]
    pub allow_mixed_numerics: bool,

    /// Whether a pair that cannot be scored becomes a row, or stops the run
    #[arg(long, value_enum, default_value = "row")]
    pub on_error: OnError,

    /// Exit with 4 under this condition on the scores, such as `lpips_alex: mean > 0.3` or
    /// `max > 0.5`; may be given several times. `lpips compare --help` has the grammar
    #[arg(long, value_name = "COND", conflicts_with = "shard")]
    pub fail_if: Vec<String>,

    /// How to report progress on stderr
    #[arg(long, value_enum, default_value = "auto")]
    pub progress: Style,

    /// Print errors only
    #[arg(short, long, conflicts_with_all = ["verbose", "progress"])]
    pub quiet: bool,

    /// Print decisions, too
    #[arg(short, long, action = ArgAction::SetTrue)]
    pub verbose: bool,
}

/// Arguments of `lpips check`.
#[derive(Debug, Args)]
#[command(after_help = CHECK_EXAMPLES, override_usage = CHECK_USAGE)]
pub struct CheckArgs {
    #[allow(missing_docs, reason = "a doc comment would become the help of the group")]
    #[command(flatten)]
    pub inputs: InputArgs,

    #[allow(missing_docs, reason = "as above")]
    #[command(flatten)]
    pub metric: MetricArgs,

    #[allow(missing_docs, reason = "as above")]
    #[command(flatten)]
    pub pixels: PixelArgs,

    #[allow(missing_docs, reason = "as above")]
    #[command(flatten)]
    pub device: DeviceArgs,

    /// Read columns that others computed, and report the pairs that they lack
    #[arg(long, value_name = "FILE.csv[:NAME=lower|higher,...]")]
    pub join: Vec<String>,

    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,

    /// Decode every image, which finds damage that headers do not show
    #[arg(long)]
    pub decode: bool,

    /// Write the pairs to a manifest (CSV), unless files without a partner remain
    #[arg(long, value_name = "FILE")]
    pub write_manifest: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every line of an `Examples:` block that runs this program must parse, so that help never
    /// shows what does not exist. Redirections and pipes belong to the shell.
    #[test]
    fn the_examples_of_the_help_parse() {
        let blocks = [
            EVAL_EXAMPLES,
            CHECK_EXAMPLES,
            merge::EXAMPLES,
            compare::EXAMPLES,
            doctor::EXAMPLES,
            weights::EXAMPLES,
            shell::COMPLETIONS_EXAMPLES,
            shell::MAN_EXAMPLES,
        ];
        for block in blocks {
            let mut count = 0;
            for line in block.lines().filter(|line| line.starts_with("  ")) {
                let ours = line.split(['|', '>']).find(|part| part.trim().starts_with("lpips "));
                let Some(ours) = ours else { continue };
                count += 1;
                if let Err(error) = Cli::try_parse_from(ours.split_whitespace()) {
                    panic!("`{line}`: {error}");
                }
            }
            assert!(count > 0, "no example in {block}");
        }
    }

    #[test]
    fn contradictory_inputs_are_refused() {
        for line in [
            "lpips eval -o r",
            "lpips eval m.csv --ref a --dist b -o r",
            "lpips eval --ref a -o r",
            "lpips eval --dist b -o r",
            "lpips eval --pair a -o r",
            "lpips eval --pair a b --ref a --dist b -o r",
            "lpips eval m.csv",
            "lpips eval m.csv -o r --size-policy modcrop:0",
            "lpips eval m.csv -o r --max-pixels 0",
            "lpips eval m.csv -o r --spatial --semantic-layer 2",
            "lpips eval m.csv -o r --spatial --spatial-worst 2",
            "lpips eval m.csv -o r --mask m --semantic-layer 2",
            "lpips eval m.csv -o r --baseline --semantic-layer 2",
            "lpips eval --pair a b --spatial",
        ] {
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
        for line in ["lpips eval --pair a b", "lpips eval - -o r", "lpips check --pair a b"] {
            assert!(Cli::try_parse_from(line.split_whitespace()).is_ok(), "{line}");
        }
    }
}
