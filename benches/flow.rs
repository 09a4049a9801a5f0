//! The flow from files to the journal, beside its decoders alone.
//!
//! `cargo bench --bench flow` writes pairs of PNG and JPEG files of 64x64 and 256x256 to memory
//! (/dev/shm, or a temporary folder where there is none) and prints, for each kind of file, how many
//! pairs a second are decoded by threads that do nothing else, and how many pass through the whole
//! flow: decoded by as many threads, scored by an evaluator that computes nothing, and written to
//! the journal. Both alternate; the medians, the median of the ratios and the ratio of the processor
//! times are printed. The last one does not depend on what else the machine does.
//! `LPIPS_BENCH_ROUNDS` (default 9) says how often, `LPIPS_BENCH_THREADS` (default 2) with how
//! many decoding threads, `LPIPS_BENCH_SIDE` for which size alone.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints and panics")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use lpips::batch::Grouping;
use lpips::column::{Better, Column, Fingerprint, Origin};
use lpips::eval::fake::FakeEvaluator;
use lpips::image::{Pixels, Rules, decode};
use lpips::manifest::{Location, Manifest};
use lpips::metric::Reduction;
use lpips::pipeline::{self, Flow, OnError, Sink};
use lpips::progress::{Progress, Style, Verbosity};
use lpips::random::SplitMix64;
use lpips::run::RunDir;
use lpips::run::attempt::Attempt;
use lpips::run::inputs::InputNotes;
use lpips::run::journal::{EndReason, Header};
use lpips::run::known::Known;
use lpips::run::owner::Owner;
use lpips::run::plan::Plan;
use lpips::shard::Shard;
use lpips::signals::Stop;

/// (side, pairs) of the files, such that a round takes a fraction of a second.
const SIZES: [(usize, usize); 2] = [(64, 3000), (256, 400)];
/// Pairs of a batch, and batches in use at a time: about what a GPU has for images of 256x256.
const PAIRS_MAX: usize = 64;
const BATCHES: usize = 4;

#[derive(Clone, Copy)]
enum Format {
    Png,
    Jpeg,
}

fn main() {
    // Without this argument it is `cargo test`, which only proves that it runs.
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let number = |name: &str, default: usize| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap())
    };
    let rounds = if is_measured { number("LPIPS_BENCH_ROUNDS", 9) } else { 1 };
    let threads = number("LPIPS_BENCH_THREADS", 2);
    println!(
        "| files | decoders alone, pairs/s | flow, pairs/s | flow / decoders | processor time, \
         decoders / flow |\n|---|---:|---:|---:|---:|"
    );
    let only = number("LPIPS_BENCH_SIDE", 0);
    for (side, pairs) in SIZES.into_iter().filter(|&(side, _)| only == 0 || side == only) {
        let pairs = if is_measured { pairs } else { 8 };
        for (format, name) in [(Format::Png, "PNG"), (Format::Jpeg, "JPEG")] {
            let folder = memory_backed();
            let files = write_pairs(folder.path(), side, pairs, format);
            let (mut alone, mut flow, mut busy) = (Vec::new(), Vec::new(), [0.0; 2]);
            // The first round fills caches and is not counted.
            for round in 0..=rounds {
                let mut rates = [0.0; 2];
                for which in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
                    let (took, processor) = match which {
                        0 => timed(|| decode_all(&files, threads)),
                        _ => score_all(folder.path(), round, threads),
                    };
                    rates[which] = pairs as f64 / took;
                    if round > 0 {
                        busy[which] += processor;
                    }
                }
                if round > 0 || !is_measured {
                    alone.push(rates[0]);
                    flow.push(rates[1]);
                }
            }
            let ratios = alone.iter().zip(&flow).map(|(alone, flow)| flow / alone).collect();
            let (alone, flow, ratio) = (median(alone), median(flow), median(ratios));
            let busy = busy[0] / busy[1];
            println!("| {side}x{side} {name} | {alone:.0} | {flow:.0} | {ratio:.3} | {busy:.3} |");
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How many seconds `work` takes, and how many all threads of this process compute meanwhile.
fn timed(work: impl FnOnce()) -> (f64, f64) {
    let (started, before) = (Instant::now(), processor_seconds());
    work();
    (started.elapsed().as_secs_f64(), processor_seconds() - before)
}

/// Seconds that all threads of this process have computed until now, where the system says so.
fn processor_seconds() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs_err::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field, a name in brackets, may hold blanks; fields 14 and 15 are user and system.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / TICKS_PER_SECOND
}

fn memory_backed() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::tempdir_in(folder).unwrap()
}

/// Parts of photographs with noise of up to 2 and a manifest of them; the files in the order in
/// which the flow reads them.
fn write_pairs(folder: &Path, side: usize, pairs: usize, format: Format) -> Vec<PathBuf> {
    let photographs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sr/hr");
    let mut paths: Vec<_> =
        fs_err::read_dir(photographs).unwrap().map(|one| one.unwrap().path()).collect();
    paths.sort();
    let photographs: Vec<_> =
        paths.iter().map(|path| decode(path, &Rules::default()).unwrap()).collect();
    let mut random = SplitMix64::new(1);
    let mut files = Vec::new();
    let mut manifest = "ref,dist,id\n".to_owned();
    for pair in 0..pairs {
        let names = ["r", "d"].map(|kind| format!("{kind}{pair:05}"));
        manifest += &format!("{},{},{pair}\n", names[0], names[1]);
        let photograph = &photographs[pair % photographs.len()];
        let Pixels::U8(from) = &photograph.pixels else { panic!("a photograph of bytes") };
        let (width, height) = (photograph.size.width, photograph.size.height);
        let corner = (random.below(width), random.below(height));
        for name in names {
            let mut samples = Vec::with_capacity(3 * side * side);
            for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
                let at = 3 * ((y + corner.1) % height * width + (x + corner.0) % width);
                let noisy =
                    |&sample: &u8| sample.saturating_add(random.below(5) as u8).saturating_sub(2);
                samples.extend(from[at..at + 3].iter().map(noisy));
            }
            let path = folder.join(name);
            fs_err::write(&path, encoded(&samples, side, format)).unwrap();
            files.push(path);
        }
    }
    fs_err::write(folder.join("m.csv"), manifest).unwrap();
    files
}

fn encoded(samples: &[u8], side: usize, format: Format) -> Vec<u8> {
    let mut bytes = Vec::new();
    match format {
        Format::Png => {
            let mut encoder = png::Encoder::new(&mut bytes, side as u32, side as u32);
            encoder.set_color(png::ColorType::Rgb);
            encoder.write_header().unwrap().write_image_data(samples).unwrap();
        }
        Format::Jpeg => {
            let mut encoder = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
            encoder.set_size(side, side);
            encoder.set_quality(92.0);
            encoder.set_fastest_defaults();
            let mut started = encoder.start_compress(&mut bytes).unwrap();
            started.write_scanlines(samples).unwrap();
            started.finish().unwrap().flush().unwrap();
        }
    }
    bytes
}

fn decode_all(files: &[PathBuf], threads: usize) {
    let (next, rules) = (AtomicUsize::new(0), Rules::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    divan::black_box(decode(path, &rules).unwrap());
                }
            });
        }
    });
}

/// The seconds of the flow into the run directory of this round, without the start of the run.
fn score_all(folder: &Path, round: usize, threads: usize) -> (f64, f64) {
    let manifest = Manifest::open(Location::of(&folder.join("m.csv"))).unwrap();
    let run_dir = RunDir::open(&folder.join(format!("run{round}"))).unwrap();
    let column = Column {
        name: "lpips_alex".to_owned(),
        parts: 1,
        better: Better::Lower,
        from: Origin::Model { index: 0, reduction: Reduction::Mean },
        fingerprint: Fingerprint::new("lpips"),
    };
    let plan = Plan {
        schema: Plan::schema(),
        shards: 1,
        pairs: manifest.len(),
        manifest: "m.csv".to_owned(),
        manifest_sha256: manifest.sha256().to_owned(),
        numerics_class: "fake".to_owned(),
        columns: vec![column.clone()],
        maps: None,
        per_layer: false,
        group_by: Vec::new(),
        array: None,
    };
    let frozen = plan.freeze(&run_dir, false).unwrap();
    let header = Header {
        format: Header::format(),
        plan_sha256: frozen.sha256,
        shard: Shard::WHOLE,
        owner: Owner::this_process(&|_: &str| None),
        device: "fake".to_owned(),
        weights: Vec::new(),
        numerics_class: "fake".to_owned(),
        program_version: String::new(),
        program_commit: String::new(),
        command: Vec::new(),
        script: None,
        inputs: InputNotes::default(),
        outputs: None,
        started: String::new(),
    };
    let mut attempt = Attempt::begin(&run_dir, header).unwrap();
    let mut progress = Progress::new(manifest.len(), Style::Off, Verbosity::Quiet);
    let flow = Flow {
        manifest: &manifest,
        rows: manifest.order(),
        rules: &Rules::default(),
        threads,
        decoded_bytes_max: 256 << 20,
        on_error: OnError::Row,
        columns: &[Some(column)],
        known: Known::Nothing,
        grouping: Grouping::Reference,
        masks: None,
        stop: &Stop::default(),
    };
    let mut sink = Sink::new(&mut attempt, None, &mut progress);
    let mut evaluator = FakeEvaluator::new(PAIRS_MAX, BATCHES);
    let seconds = timed(|| pipeline::run(&flow, &mut evaluator, &mut sink).unwrap());
    assert_eq!(sink.counts.scored, manifest.len());
    attempt.end(EndReason::Finished, 0.0, Vec::new()).unwrap();
    seconds
}
