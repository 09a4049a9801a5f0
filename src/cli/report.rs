//! Options of `lpips report`.

use std::path::PathBuf;

use clap::Args;

use crate::compare::decimal::Confidence;

pub(super) const EXAMPLES: &str = "\
Examples:
  lpips report results
  lpips report results --html report.html
  lpips report results --latex table.tex --digits 3
  lpips report results --group-by dataset,scale --html report.html
  lpips report edsr-run swinir-run hat.csv --metric lpips_alex:lower --id-column name
  lpips report results --html report.html --root /scratch/job7=/data

A run is a run directory, a pairs.csv, or another CSV file with `--id-column` and `--metric \
NAME:lower|higher`; RUN@METHOD is one method of a run. Methods of all runs are joined by item. \
docs/reports.md explains the table and the page.

Exit codes: 0 written; 2 usage; 5 environment; 6 inputs.";

/// Arguments of `lpips report`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReportArgs {
    /// `[LABEL=]RUN[@METHOD]`
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<String>,

    /// Write one HTML file with table, charts and pairs
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Write the table as Markdown; `-` is stdout [default: - if no other output is named]
    #[arg(long, value_name = "FILE|-")]
    pub markdown: Option<PathBuf>,

    /// Write the table as LaTeX, for the package booktabs
    #[arg(long, value_name = "FILE|-")]
    pub latex: Option<PathBuf>,

    /// Write a row for each group, metric and method as CSV
    #[arg(long, value_name = "FILE|-")]
    pub csv: Option<PathBuf>,

    /// Write everything but charts and pairs as JSON
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,

    /// Rank methods within these columns, separated by commas [default: as the first run was
    /// started, without `method`]
    #[arg(long, value_name = "COL,COL", value_delimiter = ',')]
    pub group_by: Option<Vec<String>>,

    /// Metric columns, separated by commas; methods are listed by the first [default: all that all
    /// runs have]
    #[arg(long, value_name = "NAME[:lower|higher]", value_delimiter = ',')]
    pub metric: Vec<String>,

    /// Column of ids in a CSV file that lpips did not write
    #[arg(long, value_name = "NAME")]
    pub id_column: Option<String>,

    /// Accept that this field of the fingerprints differs; may be given several times
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    pub allow: Vec<String>,

    /// How many of the worst, the most regressed and the most disputed items the page shows
    #[arg(long, value_name = "N", default_value_t = 6)]
    pub worst: usize,

    /// Largest size of the page in MB; items that do not fit are left out, and counted there
    #[arg(long, value_name = "MB", default_value_t = 20.0, value_parser = budget)]
    pub budget: f64,

    /// Images are below NEW now, and were below OLD; may be given several times
    #[arg(long, value_name = "OLD=NEW")]
    pub root: Vec<String>,

    /// Digits after the decimal point; more are printed where ranks need them
    #[arg(long, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u8).range(0..=12))]
    pub digits: u8,

    /// Level of the tests and of the intervals of differences, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = Confidence::USUAL)]
    pub confidence: Confidence,

    /// Put `'` before cells of the CSV that spreadsheets would take for formulas
    #[arg(long)]
    pub csv_safe: bool,
}

fn budget(text: &str) -> Result<f64, String> {
    let megabytes = text.parse().ok().filter(|megabytes| (0.1..=1000.0).contains(megabytes));
    megabytes.ok_or_else(|| "expected a number from 0.1 to 1000".to_owned())
}
