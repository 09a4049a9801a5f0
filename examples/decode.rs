//! Decodes a file once for every line on stdin, and prints the seconds that it took and the mean of
//! its samples.
//!
//! A script can alternate it with other decoders (scripts/bench_decode.py). Usage: decode FILE

use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use lpips::image::{self, Pixels, Rules};

#[derive(Parser)]
struct Args {
    file: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let rules = Rules::default();
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lock().lines() {
        line?;
        let started = Instant::now();
        let image =
            image::decode(&args.file, &rules).map_err(|error| anyhow::anyhow!("{error}"))?;
        let seconds = started.elapsed().as_secs_f64();
        let sum: f64 = match &image.pixels {
            Pixels::U8(samples) => samples.iter().copied().map(f64::from).sum(),
            Pixels::F32(samples) => samples.iter().copied().map(f64::from).sum(),
        };
        writeln!(out, "{seconds:.9} {:.9}", sum / image.size.samples() as f64)?;
    }
    Ok(())
}
