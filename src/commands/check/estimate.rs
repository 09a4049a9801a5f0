//! Estimates a job's time and host memory from a small batch and a few of its files.

use std::time::Instant;

use serde::Serialize;

use crate::batch::{BatchShape, Group, Grouping};
use crate::check::Report;
use crate::eval::{Evaluator, HostMemory, score_pairs};
use crate::fidelity::Metric;
use crate::image::{self, Image, Pixels, Rules, Size};
use crate::net::NetSpec;
use crate::net::plan::Plan;
use crate::pipeline::DECODED_PER_THREAD;

/// Side, in pixels, of the images that the device is timed with.
const TIMED_SIDE: usize = 256;
/// Pairs in the batch that it is timed with: enough for all threads, and quickly done.
const TIMED_PAIRS: usize = 4;

/// The estimate for the chosen device.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Estimate {
    pub(super) device: String,
    /// Of scoring and decoding; measured with a small batch and a few of the files.
    pub(super) seconds: f64,
    /// The peak of host memory.
    pub(super) memory_bytes: u64,
    /// Pairs that the memory can never hold.
    pub(super) too_large: Option<TooLarge>,
}

/// Pairs that fail as `E_TOO_LARGE`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct TooLarge {
    pub(super) pairs: u64,
    /// What the first of them needs, and what there is.
    pub(super) reason: String,
}

/// What time and memory depend on beside the images.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) rules: &'a Rules,
    pub(super) specs: &'a [&'static NetSpec],
    pub(super) fidelity: &'a [Metric],
    pub(super) threads: usize,
    /// Memory that decoded images may take, in bytes.
    pub(super) decoded_bytes_max: u64,
    pub(super) rows: usize,
    /// See [`crate::check::Question`].
    pub(super) grouping: Grouping,
}

/// Times the device and the decoders on a small amount of work, and scales it to the job.
pub(super) fn estimate(
    report: &Report,
    job: Job<'_>,
    evaluator: &mut dyn Evaluator,
) -> anyhow::Result<Estimate> {
    let flops = |size: Size| -> f64 {
        let plans =
            job.specs.iter().filter_map(|spec| Plan::new(spec, size.height, size.width).ok());
        plans.map(|plan| plan.flops() as f64).sum()
    };
    let timed = Size { width: TIMED_SIDE, height: TIMED_SIDE };
    let seconds_per_flop = match job.specs {
        [] => 0.0,
        _ => time_pair(timed, evaluator)? / (2.0 * flops(timed)),
    };
    let measured_per_pixel = time_measuring(timed, job.fidelity) / job.threads as f64;
    let seconds_per_pixel = time_decoding(report, job.rules) / job.threads as f64;
    let mut seconds = 0.0;
    let mut memory_bytes = 0;
    let mut too_large: Option<TooLarge> = None;
    let admission = evaluator.admission();
    for (shape, work) in &report.work {
        if let Err(reason) = admission(*shape) {
            let reason = format!("{}: {reason}", shape.size);
            too_large.get_or_insert(TooLarge { pairs: 0, reason }).pairs += work.pairs;
            continue;
        }
        let pixels = (shape.size.width * shape.size.height) as f64;
        let per_image = flops(shape.size) * seconds_per_flop + pixels * seconds_per_pixel;
        seconds += work.images as f64 * per_image;
        seconds += work.pairs as f64 * pixels * measured_per_pixel;
        let (images, pairs) = (work.images as usize, work.pairs as usize);
        let group = Group { grouping: job.grouping, images, pairs };
        memory_bytes =
            memory_bytes.max(peak(evaluator.host_memory(*shape, group), *shape, group, job));
    }
    memory_bytes += 64 * job.rows as u64;
    Ok(Estimate { device: evaluator.describe().device, seconds, memory_bytes, too_large })
}

/// The peak of memory while images of one shape are decoded and scored.
fn peak(scorer: HostMemory, shape: BatchShape, group: Group, job: Job<'_>) -> u64 {
    let held = if group.grouping == Grouping::Item { group.images } else { 0 };
    let image_bytes = (shape.image_bytes() as u64).max(1);
    // What is admitted: whole images, and at least one beside another that is being decoded.
    let most = (job.decoded_bytes_max / image_bytes).max(3);
    // While an image is decoded it takes twice its memory.
    let decoded = |images: usize| {
        let queued = (DECODED_PER_THREAD * job.threads).min(images) + job.threads.min(images);
        ((queued + held) as u64).min(most) * image_bytes
    };
    // The first batch is scored after its images were decoded and dropped.
    let later = group.images.saturating_sub(scorer.images);
    let scoring = scorer.staging + scorer.scoring + decoded(later);
    scorer.fixed + scoring.max(decoded(group.images))
}

/// Seconds per pixel of a pair for all `metrics`.
fn time_measuring(size: Size, metrics: &[Metric]) -> f64 {
    let image = timed_image(size);
    let started = Instant::now();
    for metric in metrics {
        // A border may leave nothing of it: then there is no time to add.
        std::hint::black_box(metric.measure(&image, &image).ok());
    }
    started.elapsed().as_secs_f64() / (size.width * size.height) as f64
}

fn timed_image(size: Size) -> Image {
    let samples = (0..size.samples()).map(|index| (index * 31 % 251) as u8).collect();
    Image::new(size, Pixels::U8(samples))
}

/// Seconds per pair, measured the second time.
fn time_pair(size: Size, evaluator: &mut dyn Evaluator) -> anyhow::Result<f64> {
    let image = timed_image(size);
    // Copies: an image that several pairs of a batch share would go through the trunk once.
    let pairs = || (0..TIMED_PAIRS).map(|_| (image.clone(), image.clone()));
    score_pairs(evaluator, pairs())?;
    let started = Instant::now();
    score_pairs(evaluator, pairs())?;
    Ok(started.elapsed().as_secs_f64() / TIMED_PAIRS as f64)
}

/// Seconds per pixel of the sampled files; 0 if none can be decoded.
fn time_decoding(report: &Report, rules: &Rules) -> f64 {
    let started = Instant::now();
    let decoded = report.samples.iter().filter_map(|path| image::decode(path, rules).ok());
    let pixels: usize = decoded.map(|image| image.size.width * image.size.height).sum();
    if pixels == 0 { 0.0 } else { started.elapsed().as_secs_f64() / pixels as f64 }
}
