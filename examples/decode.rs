//! Decodes a file as often as each line on stdin says, and prints the seconds that one time took and
//! the mean of the samples.
//!
//! A script can alternate it with other decoders (scripts/bench_decode.py). Usage: decode FILE

use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
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
        let count: u32 = line?.parse()?;
        let started = Instant::now();
        let mut last = None;
        for _ in 0..count {
            let image = image::decode(&args.file, &rules);
            last = Some(image.map_err(|error| anyhow::anyhow!("{error}"))?);
        }
        let seconds = started.elapsed().as_secs_f64() / f64::from(count);
        let image = last.context("not once")?;
        let sum: f64 = match &image.pixels {
            Pixels::U8(samples) => samples.iter().copied().map(f64::from).sum(),
            Pixels::F32(samples) => samples.iter().copied().map(f64::from).sum(),
        };
        writeln!(out, "{seconds:.9} {:.9}", sum / image.size.samples() as f64)?;
    }
    Ok(())
}
