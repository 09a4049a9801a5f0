//! Host memory, counted by the allocator. It is bounded by configuration plus 64 bytes a row, shown
//! with the fake evaluator: from a manifest to both tables, and looking up what another run has.
//! What the CPU evaluator takes grows with the width of the images, and not with their height or the
//! number of sizes.
//!
//! A check runs 50,000 rows. More take longer, and about 500 bytes of disk a row:
//!
//! ```sh
//! LPIPS_ROWS=10000000 cargo test --test memory -- --nocapture
//! ```
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]
#![allow(unsafe_code, reason = "an allocator that counts is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lpips::batch::Grouping;
use lpips::column::{Better, Column, Fingerprint, Origin};
use lpips::eval::cpu::{Config, CpuEvaluator};
use lpips::eval::fake::FakeEvaluator;
use lpips::eval::{Model, score_pairs};
use lpips::image::{Image, Pixels, Rules, Size, Verify};
use lpips::manifest::{Entry, Location, Manifest};
use lpips::metric::Reduction;
use lpips::net::Net;
use lpips::net::weights::{Lin, Trunk, Version};
use lpips::pipeline::{self, Flow, OnError, Sink};
use lpips::progress::{Progress, Style, Verbosity};
use lpips::run::RunDir;
use lpips::run::attempt::Attempt;
use lpips::run::cells::TextCells;
use lpips::run::inputs::InputNotes;
use lpips::run::journal::{EndReason, Header};
use lpips::run::known::Known;
use lpips::run::owner::Owner;
use lpips::run::plan::{Frozen, Plan};
use lpips::run::records::Records;
use lpips::run::resume::Remaining;
use lpips::run::reuse::Reuse;
use lpips::run::tables::{GroupColumn, Tables};
use lpips::shard::Shard;
use lpips::signals::Stop;

/// The promise.
const BYTES_PER_ROW: usize = 64;
/// What everything else may take: staging, decoded images, buffers of files.
const CONFIGURED_BYTES: usize = 4 << 20;
/// References; each has very many rows.
const REFERENCES: usize = 97;
const METHODS: usize = 8;

static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, which counts the bytes that are in use.
struct Counting;

fn count(added: usize, freed: usize) {
    let used = USED.fetch_add(added, Relaxed) + added;
    USED.fetch_sub(freed, Relaxed);
    PEAK.fetch_max(used - freed.min(used), Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Tests take turns, since the allocator counts for all of them together.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `work` takes at its peak, beside what was in use before.
fn peak_of<R>(work: impl FnOnce() -> R) -> usize {
    let before = USED.load(Relaxed);
    PEAK.store(before, Relaxed);
    work();
    PEAK.load(Relaxed) - before
}

/// Small images, and a manifest of `rows` rows in which those of one reference are far apart.
fn write_inputs(folder: &Path, rows: usize) {
    let image = |name: String, value: u8| {
        let mut bytes = b"P5 4 4 255\n".to_vec();
        bytes.extend([value; 16]);
        fs_err::write(folder.join(name), bytes).unwrap();
    };
    (0..REFERENCES).for_each(|index| image(format!("r{index}.pgm"), index as u8));
    (0..METHODS).for_each(|method| image(format!("m{method}.pgm"), 100 + method as u8));
    let file = fs_err::File::create(folder.join("m.csv")).unwrap();
    let mut file = std::io::BufWriter::new(file);
    writeln!(file, "ref,dist,item,method,id").unwrap();
    for row in 0..rows {
        let (item, method) = (row / METHODS, row % METHODS);
        let reference = item % REFERENCES;
        writeln!(file, "r{reference}.pgm,m{method}.pgm,{item},{method},{row}").unwrap();
    }
    file.flush().unwrap();
}

/// The column of the fake evaluator's distance.
fn column() -> Column {
    Column {
        name: "lpips_alex".to_owned(),
        parts: 1,
        better: Better::Lower,
        from: Origin::Model { index: 0, reduction: Reduction::Mean },
        fingerprint: Fingerprint::new("lpips"),
    }
}

/// The manifest, and a run that has begun in the folder `name`.
fn begin(folder: &Path, name: &str) -> (Manifest, RunDir, Frozen, Attempt) {
    let manifest = Manifest::open(Location::of(&folder.join("m.csv"))).unwrap();
    let run_dir = RunDir::open(&folder.join(name)).unwrap();
    run_dir.keep_manifest("m.csv", manifest.path()).unwrap();
    let plan = Plan {
        schema: Plan::schema(),
        shards: 1,
        pairs: manifest.len(),
        manifest: "m.csv".to_owned(),
        manifest_sha256: manifest.sha256().to_owned(),
        numerics_class: "fake".to_owned(),
        columns: vec![column()],
        maps: None,
        per_layer: false,
        group_by: Vec::new(),
        array: None,
    };
    let frozen = plan.freeze(&run_dir, false).unwrap();
    let folder = folder.to_str().unwrap().to_owned();
    let header = Header {
        format: Header::format(),
        plan_sha256: frozen.sha256.clone(),
        shard: Shard::WHOLE,
        owner: Owner::this_process(&|_: &str| None),
        device: "fake".to_owned(),
        weights: Vec::new(),
        numerics_class: "fake".to_owned(),
        program_version: String::new(),
        program_commit: String::new(),
        command: Vec::new(),
        script: None,
        inputs: InputNotes { folder: Some(folder), ..InputNotes::default() },
        outputs: None,
        started: String::new(),
    };
    let attempt = Attempt::begin(&run_dir, header).unwrap();
    (manifest, run_dir, frozen, attempt)
}

/// From the manifest to both tables; how many pairs were scored.
fn run(folder: &Path) -> usize {
    let (manifest, run_dir, frozen, mut attempt) = begin(folder, "run");
    let mut progress = Progress::new(manifest.len(), Style::Off, Verbosity::Quiet);
    // As the program keeps them: a list of what is left.
    let rows: Vec<u32> = manifest.order().to_vec();
    let columns: Vec<Option<Column>> = frozen.plan.columns.iter().cloned().map(Some).collect();
    let flow = Flow {
        manifest: &manifest,
        rows: &rows,
        rules: &Rules::default(),
        threads: 2,
        decoded_bytes_max: u64::MAX,
        on_error: OnError::Row,
        columns: &columns,
        known: Known::Nothing,
        grouping: Grouping::Reference,
        masks: None,
        stop: &Stop::default(),
    };
    let mut fake = FakeEvaluator::new(1024, 2);
    let mut sink = Sink::new(&mut attempt, None, &mut progress);
    pipeline::run(&flow, &mut fake, &mut sink).unwrap();
    let scored = sink.counts.scored;
    attempt.end(EndReason::Finished, 0.0, Vec::new()).unwrap();
    let records = Records::open(&run_dir, &frozen, &manifest, None).unwrap();
    let tables = Tables {
        manifest: &manifest,
        records: &records,
        columns: &frozen.plan.columns,
        per_layer: false,
        group_by: &[GroupColumn::Method],
        text: TextCells::Unchanged,
    };
    let publish = |name, write: &dyn Fn(&mut dyn std::io::Write)| {
        let mut file = std::io::BufWriter::new(fs_err::File::create(folder.join(name)).unwrap());
        write(&mut file);
        file.flush().unwrap();
    };
    publish("pairs.csv", &|file| drop(tables.write_pairs(file).unwrap()));
    let summary = tables.summarize().unwrap();
    assert_eq!(summary.len(), 1 + METHODS);
    assert!(summary.iter().all(|row| row.is_complete()));
    publish("summary.csv", &|file| tables.write_summary(&summary, file).unwrap());
    scored
}

/// Takes every row from the run that [`run`] made; how many bytes that took at most.
fn reuse(folder: &Path, rows: usize) -> usize {
    let (manifest, _run_dir, frozen, mut attempt) = begin(folder, "grown");
    let mut remaining = Remaining { rows: manifest.order().to_vec(), ..Remaining::default() };
    let before = USED.load(Relaxed);
    PEAK.store(before, Relaxed);
    let (runs, at) = ([folder.join("run")], folder.to_str().unwrap());
    let reuse = Reuse::open(&runs, &frozen.plan.columns, None, "fake", at).unwrap();
    let files_of = |entry: &Entry| {
        [&entry.reference, &entry.distorted].map(|path| manifest.resolve(path)).to_vec()
    };
    let verify = Verify::Times;
    let taken = reuse.take(&manifest, verify, &files_of, &mut remaining, &mut attempt).unwrap();
    let bytes = PEAK.load(Relaxed) - before;
    assert_eq!((taken[0].pairs, remaining.reused, remaining.len()), (rows, rows, 0));
    bytes
}

#[test]
fn memory_is_bounded_by_the_number_of_rows() {
    let _alone = alone();
    let rows = std::env::var("LPIPS_ROWS").map_or(50_000, |rows| rows.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    write_inputs(folder.path(), rows);
    let before = USED.load(Relaxed);
    PEAK.store(before, Relaxed);
    assert_eq!(run(folder.path()), rows);
    let taken = PEAK.load(Relaxed) - before;
    let resident = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = resident.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    eprintln!(
        "{rows} rows: {taken} bytes at most, {:.1} a row; {resident}",
        taken as f64 / rows as f64
    );
    let limit = CONFIGURED_BYTES + BYTES_PER_ROW * rows;
    assert!(taken <= limit, "{taken} bytes for {rows} rows");

    let started = std::time::Instant::now();
    let taken = reuse(folder.path(), rows);
    eprintln!(
        "looked up in another run: {taken} bytes at most, {:.1} a row; {:.1} s",
        taken as f64 / rows as f64,
        started.elapsed().as_secs_f64()
    );
    assert!(taken <= limit, "{taken} bytes to look up {rows} rows");
}

fn evaluator(net: Net) -> CpuEvaluator {
    let lin = Some(Lin::random(net, 1).layers);
    let model = Model::published(Trunk::random(net, 1), Version::V0_1, lin);
    let config = Config { threads: 2, pairs_max: None, isa: None, memory: None };
    CpuEvaluator::new(vec![model], config).unwrap()
}

fn score(evaluator: &mut CpuEvaluator, size: Size) {
    let image = |seed: usize| {
        let samples = (0..size.samples()).map(|index| (index * 31 % (251 - seed)) as u8);
        Image::new(size, Pixels::U8(samples.collect()))
    };
    let (reference, distorted) = (image(0), image(1));
    for score in score_pairs(evaluator, [(&reference, &distorted)]).unwrap() {
        assert!(score.into_iter().all(|of_model| of_model.is_ok()));
    }
}

/// Maps are computed in bands, so what a pair takes grows with its width and not with its height,
/// apart from its pixels: those of two images, here and in the evaluator. The maps of the first
/// layer alone would take 47 MB more for images of twice the height.
#[test]
fn memory_of_a_tall_pair_is_that_of_its_pixels() {
    let _alone = alone();
    let mut evaluator = evaluator(Net::Alex);
    let size = |height: usize| Size { width: 64, height };
    score(&mut evaluator, size(16384));
    let taken = peak_of(|| score(&mut evaluator, size(32768)));
    let pixels = 4 * size(32768).samples();
    eprintln!("64x32768 after 64x16384: {taken} bytes, of which pixels {pixels}");
    assert!(taken <= pixels + (24 << 20), "{taken} bytes, of which pixels {pixels}");
}

/// A data set in which every pair has another size.
#[test]
fn many_sizes_take_the_memory_of_the_largest() {
    let _alone = alone();
    let mut evaluator = evaluator(Net::Alex);
    let size = |width: usize, height: usize| Size { width, height };
    let every = |evaluator: &mut CpuEvaluator, swap: bool| {
        for number in 0..200 {
            let (width, height) = (64 + number % 40, 64 + number / 5);
            score(evaluator, if swap { size(height, width) } else { size(width, height) });
        }
    };
    every(&mut evaluator, false);
    score(&mut evaluator, size(103, 103));
    let taken = peak_of(|| every(&mut evaluator, true));
    eprintln!("200 sizes: {taken} bytes more than before");
    assert!(taken <= 1 << 20, "{taken} bytes");
}
