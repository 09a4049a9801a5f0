//! Small runs whose disk fails, tears or dies at every step, one after another.

mod growing;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use clap::Parser as _;

use super::*;
use crate::cli::{Cli, Command};
use crate::column::Column;
use crate::config::Job;
use crate::eval::fake::{FakeEvaluator, OnSubmit};
use crate::eval::{Evaluator, Model, NoModels};
use crate::fidelity::{Channels, Kind, Metric};
use crate::manifest::Location;
use crate::run::disk::Disk;
use crate::run::disk::faults::Fault;
use crate::run::names;
use crate::run::plan::Plan;

/// Pairs that can be scored; one more cannot.
const GOOD: usize = 9;

/// A folder with images, a manifest, and a run that was never interrupted.
struct Small {
    folder: tempfile::TempDir,
    config: Config,
    /// The column of LPIPS, and its model.
    lpips: (Column, Model),
    expected: Tables,
}

/// What must not depend on interruptions.
#[derive(PartialEq, Debug)]
struct Tables {
    pairs: String,
    summary: String,
    fingerprint: serde_json::Value,
    counts: [serde_json::Value; 3],
}

impl Small {
    fn new() -> Small {
        Small::with_columns(|_| {})
    }

    /// As `new`, with other columns.
    fn with_columns(change: impl FnOnce(&mut Job)) -> Small {
        // Thousands of files are made durable, which takes long on a disk and proves no more.
        let memory = Path::new("/dev/shm");
        let folder = match tempfile::tempdir_in(memory) {
            Ok(folder) => folder,
            Err(_) => tempfile::tempdir().unwrap(),
        };
        let at = |name: &str| folder.path().join(name);
        let mut manifest = "ref,dist,item,method\n".to_owned();
        for item in 0..3u8 {
            // Two sizes, so that batches are open side by side.
            let width = 6 + usize::from(item / 2);
            let write = |name: &str, value: u8| {
                let mut bytes = format!("P5 {width} 4 255\n").into_bytes();
                bytes.extend(std::iter::repeat_n(value, width * 4));
                fs_err::write(at(name), bytes).unwrap();
            };
            write(&format!("r{item}.pgm"), 200 + item);
            for method in 0..3u8 {
                write(&format!("d{item}{method}.pgm"), 40 * method + item);
                manifest += &format!("r{item}.pgm,d{item}{method}.pgm,{item},{method}\n");
            }
        }
        manifest += "r0.pgm,gone.pgm,0,3\n";
        fs_err::write(at("m.csv"), manifest).unwrap();
        let path = at("m.csv").display().to_string();
        let line = ["lpips", "eval", &path, "-o", "unused", "-q", "--threads", "1"];
        let line = line.into_iter().chain(["--group-by", "method"]);
        let Command::Eval(args) = Cli::parse_from(line).command else { panic!("not eval") };
        let mut config = Config::resolve(*args).unwrap();
        // As many layers as the fake evaluator has.
        config.job.columns.iter_mut().for_each(|column| column.parts = 1);
        let lpips = (config.job.columns[0].clone(), config.job.models[0].clone());
        change(&mut config.job);
        let nothing = Tables {
            pairs: String::new(),
            summary: String::new(),
            fingerprint: serde_json::Value::Null,
            counts: [const { serde_json::Value::Null }; 3],
        };
        let mut small = Small { folder, config, lpips, expected: nothing };
        assert_eq!(small.run("whole", Disk::default()).unwrap(), GOOD);
        small.expected = small.tables("whole");
        assert_eq!(small.expected.counts, [GOOD + 1, GOOD, 1].map(serde_json::Value::from));
        small
    }

    /// Runs the command with fake evaluators and returns how many pairs they scored.
    fn run(&self, run: &str, disk: Disk) -> anyhow::Result<usize> {
        Ok(self.run_counted(run, disk)?.values().sum())
    }

    /// As `run`; the pairs by the models that scored them.
    fn run_counted(&self, run: &str, disk: Disk) -> anyhow::Result<Scores> {
        let scores = Arc::new(Mutex::new(Scores::new()));
        let open = |models: &[usize]| -> anyhow::Result<Box<dyn Evaluator>> {
            Ok(match models {
                [] => Box::new(NoModels),
                models => Box::new(counting(models, Arc::clone(&scores))),
            })
        };
        let mut evaluators = Evaluators::new(self.config.job.models.len(), Box::new(open))?;
        self.run_on(run, disk, &mut evaluators)?;
        drop(evaluators);
        Ok(std::mem::take(&mut scores.lock().unwrap()))
    }

    fn run_on(
        &self,
        run: &str,
        disk: Disk,
        evaluators: &mut Evaluators<'_>,
    ) -> anyhow::Result<Exit> {
        let run_dir = RunDir::open_on(&self.folder.path().join(run), disk)?;
        let manifest = open_manifest(&self.config, self.folder.path())?;
        // No live process, so that the next one finds it dead.
        let mut owner = Owner::this_process(&|_: &str| None);
        owner.process_start += 1;
        let on = evaluators.describe();
        let started = Started::start(&self.config, manifest, &run_dir, &on, owner)?;
        score(started, &self.config, &OwnGates::default(), &run_dir, evaluators, &Stop::default())
    }

    fn tables(&self, run: &str) -> Tables {
        let folder = self.folder.path().join(run);
        let text = |name: &str| fs_err::read_to_string(folder.join(name)).unwrap();
        let run: serde_json::Value = serde_json::from_str(&text(names::RUN)).unwrap();
        let counts = ["expected", "scored", "failed"].map(|key| run["provenance"][key].clone());
        Tables {
            pairs: text(names::PAIRS),
            summary: text(names::SUMMARY),
            fingerprint: run["fingerprint"].clone(),
            counts,
        }
    }

    /// Pairs whose scores are safe in a run that was interrupted.
    fn safe(&self, run: &str) -> usize {
        let run_dir = RunDir::open(&self.folder.path().join(run)).unwrap();
        let Some(frozen) = Plan::read(&run_dir).unwrap() else { return 0 };
        let manifest = Manifest::open(Location::of(&self.folder.path().join("m.csv"))).unwrap();
        Records::open(&run_dir, &frozen, &manifest, None).unwrap().scored()
    }
}

/// How many pairs evaluators have scored, by their models.
type Scores = BTreeMap<Vec<usize>, usize>;

/// A fake evaluator of some models, which counts.
fn counting(models: &[usize], scores: Arc<Mutex<Scores>>) -> FakeEvaluator {
    let mut fake = FakeEvaluator::new(2, 2);
    fake.factors = models.iter().map(|&model| (model + 1) as f64).collect();
    let models = models.to_vec();
    fake.on_submit = OnSubmit::new(move |batch| {
        *scores.lock().unwrap().entry(models.clone()).or_default() += batch.pairs().len();
    });
    fake
}

#[test]
fn whatever_step_goes_wrong_the_next_run_ends_as_if_nothing_had() {
    let small = Small::new();
    let mut most_safe = 0;
    let mut steps = [0; 4];
    for (fault, steps) in
        [Fault::Fail, Fault::Tear, Fault::Kill, Fault::TearAndKill].into_iter().zip(&mut steps)
    {
        loop {
            let run = format!("{fault:?}{steps}");
            let disk = Disk::with_fault(fault, *steps);
            let first = small.run(&run, disk.clone());
            if !disk.is_broken() {
                break;
            }
            // No fault is passed over in silence.
            assert!(first.is_err(), "{run}");
            let safe = small.safe(&run);
            let scored = small.run(&run, Disk::default()).unwrap();
            assert_eq!(scored, GOOD - safe, "{run}: what is safe is not scored again");
            assert_eq!(small.tables(&run), small.expected, "{run}");
            most_safe = most_safe.max(safe);
            *steps += 1;
        }
    }
    assert_eq!(most_safe, GOOD, "the last steps are those of the tables");
    assert!(steps.iter().all(|&of_fault| of_fault == steps[0] && of_fault > 40), "{steps:?}");
}

#[test]
fn a_run_that_is_interrupted_again_and_again_ends() {
    let small = Small::new();
    // Every attempt dies some steps later than the one before.
    for at in 0.. {
        let disk = Disk::with_fault(Fault::TearAndKill, at);
        let ended = small.run("again", disk.clone());
        if !disk.is_broken() {
            ended.unwrap();
            break;
        }
    }
    assert_eq!(small.tables("again"), small.expected);
}

#[test]
fn a_finished_run_is_kept_until_an_image_changes() {
    let small = Small::new();
    assert_eq!(small.run("whole", Disk::default()).unwrap(), 0);
    assert_eq!(small.tables("whole"), small.expected);

    // Brighter by one.
    let changed = small.folder.path().join("d11.pgm");
    let bytes = fs_err::read(&changed).unwrap();
    let brighter = bytes.iter().map(|&byte| if byte == 41 { 42 } else { byte });
    fs_err::write(&changed, brighter.collect::<Vec<u8>>()).unwrap();
    let modified = std::time::SystemTime::UNIX_EPOCH;
    fs_err::OpenOptions::new().write(true).open(&changed).unwrap().set_modified(modified).unwrap();
    assert_eq!(small.run("whole", Disk::default()).unwrap(), 1);
    let row = "1/1,1,1,r1.pgm,d11.pgm,6,4,160.000000,";
    let expected = small.expected.pairs.replace(row, &row.replace("160", "159"));
    assert_ne!(expected, small.expected.pairs);
    assert_eq!(small.tables("whole").pairs, expected);

    // A missing image appears.
    fs_err::copy(small.folder.path().join("d00.pgm"), small.folder.path().join("gone.pgm"))
        .unwrap();
    assert_eq!(small.run("whole", Disk::default()).unwrap(), 1);
    assert_eq!(small.tables("whole").counts[2], 0);
}

fn psnr_rgb(job: &Job) -> Column {
    let metric = Metric::new(Kind::Psnr { capped: false }, Channels::Rgb);
    Column::of_pixels(metric, &job.rules)
}

/// The PSNR of [`Small`]: distorted images are 200 - 40 * method darker.
const PSNR_PAIRS: [&str; 10] = [
    "2.11020370",
    "4.04840396",
    "6.54717869",
    "2.11020370",
    "4.04840396",
    "6.54717869",
    "2.11020370",
    "4.04840396",
    "6.54717869",
    "",
];

fn cells(table: &str, name: &str) -> Vec<String> {
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let column = reader.headers().unwrap().iter().position(|header| header == name).unwrap();
    reader.records().map(|row| row.unwrap()[column].to_owned()).collect()
}

#[test]
fn a_column_of_pixels_is_scored_journaled_and_summarised_beside_a_model() {
    let small = Small::with_columns(|job| job.columns.push(psnr_rgb(job)));
    let plain = Small::new();
    let Tables { pairs, summary, fingerprint, .. } = &small.expected;
    assert_eq!(cells(pairs, "psnr_rgb"), PSNR_PAIRS);
    assert_eq!(cells(pairs, "lpips_alex"), cells(&plain.expected.pairs, "lpips_alex"));
    // All pairs and four methods, for both columns.
    assert_eq!(cells(summary, "metric").iter().filter(|name| *name == "psnr_rgb").count(), 5);
    assert!(summary.contains("\n2,psnr_rgb,3,3,0,yes,6.54717869,0.0,"), "{summary}");
    let expected = serde_json::json!({
        "metric": "psnr_rgb", "peak": "255", "pix": "pil", "alpha": "drop", "crop": "0",
        "size": "error",
    });
    assert_eq!(fingerprint["columns"]["psnr_rgb"], expected);
    assert_eq!(
        fingerprint["columns"]["lpips_alex"],
        plain.expected.fingerprint["columns"]["lpips_alex"]
    );
    // It is read back from the journal.
    assert_eq!(small.run("whole", Disk::default()).unwrap(), 0);
    assert_eq!(small.tables("whole"), small.expected);
}

#[test]
fn a_run_of_pixels_alone_takes_no_model() {
    let mut small = Small::new();
    small.config.job.columns = vec![psnr_rgb(&small.config.job)];
    small.config.job.models.clear();
    assert_eq!(small.run_counted("alone", Disk::default()).unwrap(), Scores::new());
    assert_eq!(cells(&small.tables("alone").pairs, "psnr_rgb"), PSNR_PAIRS);
}
