//! Scores the same resident batch as often as each line on stdin says, and prints the seconds that
//! one time took and the first pair's distance.
//!
//! A script can alternate it with other programs that do the same (scripts/bench_peers.py).
//! Usage: resident --net NET --side N --batch N --threads N [--weights-dir DIR]

use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use clap::Parser;
use lpips::eval::cpu::{Config, CpuEvaluator};
use lpips::eval::{Model, score_pairs};
use lpips::image::{Image, Pixels, Size};
use lpips::net::Net;
use lpips::net::weights::{Lin, SearchPath, Trunk, Version};

#[derive(Parser)]
struct Args {
    #[arg(long, value_enum)]
    net: Net,
    /// Width and height.
    #[arg(long)]
    side: usize,
    /// Pairs with two images each.
    #[arg(long)]
    batch: usize,
    #[arg(long)]
    threads: usize,
    #[arg(long)]
    weights_dir: Option<PathBuf>,
}

/// Smooth waves with noise: every layer of the trunk has something to do.
fn image(side: usize, seed: usize) -> Image {
    let sample = |index: usize| {
        let (y, x) = (index / 3 / side, index / 3 % side);
        let noise = (index * 7919 + seed * 104_729) % 61;
        (((x + 2 * y + 40 * (index % 3)) / 2 + noise) % 256) as u8
    };
    let size = Size { width: side, height: side };
    Image::new(size, Pixels::U8((0..size.samples()).map(sample).collect()))
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let trunk =
        Trunk::load(args.net, &SearchPath::new(args.weights_dir.as_deref()).find(args.net)?)?;
    let version = Version::V0_1;
    let lin = Some(Lin::load(args.net, version)?.layers);
    let config =
        Config { threads: args.threads, pairs_max: Some(args.batch), isa: None, memory: None };
    let mut evaluator = CpuEvaluator::new(vec![Model::published(trunk, version, lin)], config)?;
    let images: Vec<Image> = (0..2 * args.batch).map(|seed| image(args.side, seed)).collect();

    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lock().lines() {
        let count: u32 = line?.parse()?;
        let started = Instant::now();
        // Batches are filled while another is scored.
        let pairs = (0..count).flat_map(|_| images.chunks_exact(2));
        let scores = score_pairs(&mut evaluator, pairs.map(|pair| (&pair[0], &pair[1])))?;
        let seconds = started.elapsed().as_secs_f64() / f64::from(count);
        let first = scores.into_iter().flatten().next().context("no score")??;
        let value = first.total();
        writeln!(out, "{seconds:.9} {value:.9}")?;
    }
    Ok(())
}
