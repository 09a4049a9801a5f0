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
use lpips::batch::{BatchShape, Group, Pair};
use lpips::eval::cpu::{Config, CpuEvaluator};
use lpips::eval::{Distance, Evaluator as _, Model, Wait};
use lpips::image::{Depth, Size};
use lpips::image::{Image, Pixels};
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
    let size = Size { width: args.side, height: args.side };
    let shape = BatchShape { size, depth: Depth::U8 };

    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lock().lines() {
        let count: u32 = line?.parse()?;
        let started = Instant::now();
        let (mut submitted, mut value) = (0, None);
        // As the pipeline does it: batches are filled while another is scored.
        loop {
            let acquired = match submitted < count {
                true => evaluator.acquire(shape, Group::PAIR)?,
                false => None,
            };
            if let Some(mut batch) = acquired {
                for (row, pair) in images.chunks_exact(2).enumerate() {
                    let reference = batch.push_image(&pair[0]);
                    let distorted = batch.push_image(&pair[1]);
                    batch.push_pair(row as u32, Pair { reference, distorted });
                }
                evaluator.submit(batch)?;
                submitted += 1;
            } else if let Some(scored) = evaluator.collect(Wait::Block)? {
                value = scored.scores[0][0].as_ref().ok().map(Distance::total);
            } else {
                break;
            }
        }
        let seconds = started.elapsed().as_secs_f64() / f64::from(count);
        let value = value.context("no score")?;
        writeln!(out, "{seconds:.9} {value:.9}")?;
    }
    Ok(())
}
