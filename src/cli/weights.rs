//! What `lpips weights` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::net::Net;
use crate::net::weights::Version;

pub(super) const EXAMPLES: &str = "\
Examples:
  lpips weights fetch vgg
  lpips weights verify vgg
  lpips weights import squeezenet1_1-b8a52dc0.pth
  lpips weights import tuned.pth -o tuned.safetensors
  lpips weights export alex -o alex.safetensors

Weights are searched in --weights-dir alone, or else in LPIPS_WEIGHTS_DIR, in `weights` beside the \
program, and in ~/.local/share/lpips; they are written to the first of --weights-dir, \
LPIPS_WEIGHTS_DIR and ~/.local/share/lpips that is there. Every file is compared with its whole \
SHA-256. Files that are no \
torchvision trunk (tuned ones, or whole state dicts of lpips and pyiqa) are imported with -o and \
used with `--trunk FILE --lin FILE`, which read such files without import, too. Nothing in a file \
is ever run.";

/// Arguments of `lpips weights`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct WeightsArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub command: WeightsCommand,
    /// The only folder to look for trunk weights in, and to write them to
    #[arg(long, value_name = "DIR", global = true)]
    pub weights_dir: Option<PathBuf>,
}

/// What to do with weights.
#[derive(Clone, PartialEq, Eq, Debug, Subcommand)]
pub enum WeightsCommand {
    /// Show which weights would be used, and where they are
    List,
    /// Read every file that is found and compare its SHA-256 with the published one
    Verify {
        /// Trunks that must be there; the others may be absent
        #[arg(value_enum)]
        net: Vec<Net>,
    },
    /// Turn a checkpoint (.pth, .pt, .safetensors) of torchvision, lpips or pyiqa into ours
    Import {
        /// The checkpoint
        file: PathBuf,
        /// Where to write it; by default the folder of weights, for a published trunk alone
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Download torchvision's trunk, verify and import it; run again to resume
    Fetch {
        /// The trunk
        #[arg(value_enum)]
        net: Net,
        /// A mirror of torchvision's file; it is verified alike
        #[arg(long)]
        url: Option<String>,
    },
    /// Write a trunk and its lin weights as one safetensors file, for use elsewhere
    Export {
        /// The trunk
        #[arg(value_enum)]
        net: Net,
        /// Version of the lin weights
        #[arg(long, value_enum, default_value = "0.1")]
        lpips_version: Version,
        /// Where to write it
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
}
