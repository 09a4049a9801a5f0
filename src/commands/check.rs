//! `lpips check`: everything that is wrong with the inputs in one report, and what the job takes.

use std::io::Write as _;
use std::time::Instant;

use serde::Serialize;

use super::evaluator;
use crate::batch::{BatchShape, Pair};
use crate::check::{Finding, Question, Report};
use crate::cli::CheckArgs;
use crate::code::Severity;
use crate::config::Preflight;
use crate::error::Exit;
use crate::eval::{Evaluator, Wait};
use crate::image::{self, Image, Pixels, Rules};
use crate::image::{Depth, Size};
use crate::manifest::Manifest;
use crate::net::Net;
use crate::net::plan::Plan;
use crate::progress::humanized;
use crate::source::Source;

/// Examples of one code that people are shown.
const SHOWN_MAX: usize = 5;
/// Side of the images that the device is timed with.
const TIMED_SIDE: usize = 256;
/// Pairs of the batch that it is timed with: enough for all threads, and soon done.
const TIMED_PAIRS: usize = 4;
/// Decoded images that may wait for each decoding thread; see the head of the pipeline.
const WAITING_PER_THREAD: u64 = 4;

/// What the job would take on the chosen device.
#[derive(Clone, PartialEq, Debug, Serialize)]
struct Estimate {
    device: String,
    /// Of scoring and decoding; measured with a small batch and a few of the files.
    seconds: f64,
    /// Of host memory.
    memory_bytes: u64,
}

/// What decides how long decoding takes, and what rows take.
#[derive(Clone, Copy)]
struct Job<'a> {
    rules: &'a Rules,
    threads: usize,
    rows: usize,
    /// See [`Question`].
    are_cliques: bool,
}

/// Prints the report on stdout.
///
/// # Errors
/// When the inputs cannot be examined at all, or stdout is closed; after the report, when weights
/// are missing or the device cannot be used.
pub fn run(args: CheckArgs) -> anyhow::Result<Exit> {
    let json = args.json;
    let Preflight { source, nets, models, rules, masks, compute } = Preflight::resolve(args)?;
    let spool = tempfile::tempdir()?;
    let located = source.locate(spool.path())?;
    let (manifest, faults) = Manifest::examine(located.location)?;
    let mut report = Report::of_manifest(&faults, located.pairing.as_ref());
    let are_cliques = matches!(source, Source::AllPairs(_));
    report.examine(&Question {
        manifest: &manifest,
        rules: &rules,
        nets: &nets,
        masks: masks.as_ref(),
        are_cliques,
        threads: compute.threads,
    })?;

    // Whatever the device or the weights are like, the inputs are reported.
    let estimate = models.and_then(|models| {
        let mut evaluator = evaluator::open(models, &compute, !json)?;
        let job =
            Job { rules: &rules, threads: compute.threads, rows: manifest.len(), are_cliques };
        match report.scorable {
            0 => Ok(None),
            _ => estimate(&report, job, &nets, &mut *evaluator).map(Some),
        }
    });
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &document(&report, &estimate))?;
        writeln!(out)?;
    } else {
        let estimate = estimate.as_ref().ok().and_then(Option::as_ref);
        writeln!(out, "{}", text(&report, estimate))?;
    }
    estimate?;
    let is_good = report.findings.count(Severity::Error) == 0 && report.pairs > 0;
    Ok(if is_good { Exit::Complete } else { Exit::Inputs })
}

fn document(report: &Report, estimate: &anyhow::Result<Option<Estimate>>) -> serde_json::Value {
    let findings: Vec<&Finding> = report.findings.iter().collect();
    let sizes = report.work.iter().map(|(shape, work)| {
        let Size { width, height } = shape.size;
        serde_json::json!({
            "width": width, "height": height, "pairs": work.pairs, "images": work.images,
        })
    });
    serde_json::json!({
        "pairs": report.pairs,
        "scorable": report.scorable,
        "errors": report.findings.count(Severity::Error),
        "warnings": report.findings.count(Severity::Warning),
        "findings": findings,
        "sizes": sizes.collect::<Vec<_>>(),
        "estimate": estimate.as_ref().ok(),
        "environment": estimate.as_ref().err().map(|error| format!("{error:#}")),
    })
}

fn text(report: &Report, estimate: Option<&Estimate>) -> String {
    let mut text = String::new();
    for Finding { severity, code, meaning, count, examples, .. } in report.findings.iter() {
        let severity = match severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        text.push_str(&format!("{severity}: {code} ({count}): {meaning}\n"));
        for example in examples.iter().take(SHOWN_MAX) {
            let place = match example.place.as_str() {
                "" => String::new(),
                place => format!("{place}: "),
            };
            text.push_str(&format!("    {place}{}\n", example.message));
        }
        if *count > SHOWN_MAX {
            text.push_str(&format!("    and {} more; see --json\n", count - SHOWN_MAX));
        }
    }
    let images: u64 = report.work.values().map(|work| work.images).sum();
    text.push_str(&format!("{} of {} pairs can be scored", report.scorable, report.pairs));
    let sizes: Vec<Size> = report.work.keys().map(|shape| shape.size).collect();
    match (sizes.first(), sizes.last()) {
        (Some(first), Some(last)) if first == last => {
            text.push_str(&format!(": {images} images of {first}"));
        }
        (Some(first), Some(last)) => {
            text.push_str(&format!(": {images} images of {first} to {last}"));
        }
        _ => {}
    }
    let [errors, warnings] = [Severity::Error, Severity::Warning].map(|s| report.findings.count(s));
    text.push_str(&match (errors, warnings) {
        (0, 0) => "; nothing stands against it".to_owned(),
        (0, warnings) => format!("; {warnings} kinds of warnings, no error"),
        (errors, warnings) => format!("; {errors} kinds of errors, {warnings} of warnings"),
    });
    if let Some(Estimate { device, seconds, memory_bytes }) = estimate {
        let gigabytes = *memory_bytes as f64 / 1e9;
        let time = humanized(*seconds);
        text.push_str(&format!("\n{device}: about {time}, {gigabytes:.1} GB of memory"));
    }
    text
}

/// Times the device and the decoders with a little work, and scales it to the job's.
fn estimate(
    report: &Report,
    job: Job<'_>,
    nets: &[Net],
    evaluator: &mut dyn Evaluator,
) -> anyhow::Result<Estimate> {
    let flops = |size: Size| -> f64 {
        let plans =
            nets.iter().filter_map(|net| Plan::new(net.spec(), size.height, size.width).ok());
        plans.map(|plan| plan.flops() as f64).sum()
    };
    let timed = Size { width: TIMED_SIDE, height: TIMED_SIDE };
    let seconds_per_flop = time_pair(timed, evaluator)? / (2.0 * flops(timed));
    let seconds_per_pixel = time_decoding(report, job.rules) / job.threads as f64;
    let mut seconds = 0.0;
    let mut memory_bytes = 0;
    for (shape, work) in &report.work {
        let pixels = (shape.size.width * shape.size.height) as f64;
        let per_image = flops(shape.size) * seconds_per_flop + pixels * seconds_per_pixel;
        seconds += work.images as f64 * per_image;
        let clique = job.are_cliques.then_some(work.images as usize);
        let waiting = WAITING_PER_THREAD * job.threads as u64 + clique.unwrap_or(0) as u64;
        let waiting = waiting * shape.image_bytes() as u64;
        memory_bytes = memory_bytes.max(evaluator.memory_bytes(*shape, clique) + waiting);
    }
    memory_bytes += 64 * job.rows as u64;
    Ok(Estimate { device: evaluator.describe().device, seconds, memory_bytes })
}

/// Seconds a pair, of a batch that follows a first one.
fn time_pair(size: Size, evaluator: &mut dyn Evaluator) -> anyhow::Result<f64> {
    let samples = (0..size.samples()).map(|index| (index * 31 % 251) as u8).collect();
    let image = Image::new(size, Pixels::U8(samples));
    let mut seconds = 0.0;
    for _ in 0..2 {
        let shape = BatchShape { size, depth: Depth::U8 };
        let batch = evaluator.lend(shape)?;
        let mut batch = batch.ok_or_else(|| anyhow::anyhow!("no staging buffer is free"))?;
        while batch.pairs().len() < TIMED_PAIRS && batch.has_room(2) {
            let (reference, distorted) = (batch.push_image(&image), batch.push_image(&image));
            batch.push_pair(0, Pair { reference, distorted });
        }
        let pairs = batch.pairs().len();
        let started = Instant::now();
        evaluator.submit(batch)?;
        evaluator.collect(Wait::Block)?;
        seconds = started.elapsed().as_secs_f64() / pairs as f64;
    }
    Ok(seconds)
}

/// Seconds per pixel of the sampled files; 0 if none can be decoded after all.
fn time_decoding(report: &Report, rules: &Rules) -> f64 {
    let started = Instant::now();
    let decoded = report.samples.iter().filter_map(|path| image::decode(path, rules).ok());
    let pixels: usize = decoded.map(|image| image.size.width * image.size.height).sum();
    if pixels == 0 { 0.0 } else { started.elapsed().as_secs_f64() / pixels as f64 }
}
