//! The flow with the fake evaluator: nothing is lost, doubled or put beside the wrong row.

mod lending;
mod stopping;

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::batch::Pair;
use crate::code::Code;
use crate::column::Value;
use crate::eval::fake::{FakeEvaluator, OnSubmit};
use crate::manifest::Location;
use crate::progress::{Style, Verbosity};
use crate::run::RunDir;
use crate::run::journal::EndReason;
use crate::run::journal::header;
use crate::run::plan::Plan;
use crate::run::plan::tests::plan;
use crate::run::records::Records;
use crate::shard::Shard;

/// A PGM file whose samples are all `value`.
fn write_image(folder: &Path, name: &str, width: usize, height: usize, value: u8) {
    let mut bytes = format!("P5 {width} {height} 255\n").into_bytes();
    bytes.extend(std::iter::repeat_n(value, width * height));
    fs_err::write(folder.join(name), bytes).unwrap();
}

struct Outcome {
    result: anyhow::Result<Counts>,
    records: BTreeMap<Row, Record>,
}

fn run_fake(folder: &Path, manifest: &str, threads: usize, fake: &mut FakeEvaluator) -> Outcome {
    run_until(folder, manifest, threads, fake, &Stop::default())
}

/// As `run_fake`, with pairs among all images of an item.
fn run_items(folder: &Path, manifest: &str, threads: usize, fake: &mut FakeEvaluator) -> Outcome {
    let flow = Setup { grouping: Grouping::Item, threads, ..Setup::default() };
    flow.run(folder, manifest, fake, &Stop::default())
}

fn run_until(
    folder: &Path,
    manifest: &str,
    threads: usize,
    fake: &mut dyn Evaluator,
    stop: &Stop,
) -> Outcome {
    Setup { threads, ..Setup::default() }.run(folder, manifest, fake, stop)
}

/// Settings of the flow.
struct Setup {
    grouping: Grouping,
    threads: usize,
    decoded_bytes_max: u64,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup { grouping: Grouping::Reference, threads: 1, decoded_bytes_max: u64::MAX }
    }
}

impl Setup {
    fn run(self, folder: &Path, manifest: &str, fake: &mut dyn Evaluator, stop: &Stop) -> Outcome {
        let Setup { grouping, threads, decoded_bytes_max } = self;
        let path = folder.join("m.csv");
        fs_err::write(&path, manifest).unwrap();
        let manifest = Manifest::open(Location::of(&path)).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let run_dir = RunDir::open(scratch.path()).unwrap();
        let mut plan = Plan { shards: 1, pairs: manifest.len(), ..plan() };
        plan.columns[0].parts = 1;
        let frozen = plan.freeze(&run_dir, false).unwrap();
        let mut attempt = Attempt::begin(&run_dir, header(Shard::WHOLE, &frozen.sha256)).unwrap();
        let mut progress = Progress::new(manifest.len(), Style::Off, Verbosity::Quiet);
        let rules = image::Rules::default();
        let columns: Vec<_> = frozen.plan.columns.iter().cloned().map(Some).collect();
        let flow = Flow {
            manifest: &manifest,
            rows: manifest.order(),
            rules: &rules,
            threads,
            decoded_bytes_max,
            on_error: OnError::Row,
            columns: &columns,
            known: Known::Nothing,
            grouping,
            masks: None,
            stop,
        };
        let mut sink = Sink::new(&mut attempt, None, &mut progress);
        let result = run(&flow, fake, &mut sink);
        let result = result.map(|()| sink.counts);
        attempt.end(EndReason::Finished, 0.0, Vec::new()).unwrap();
        let records = Records::open(&run_dir, &frozen, &manifest, None).unwrap();
        let mut reader = records.reader(1);
        let rows = 0..manifest.len() as Row;
        let records = rows.filter_map(|row| Some((row, reader.read(row).unwrap()?))).collect();
        Outcome { result, records }
    }
}

/// Twelve references with three methods each; values distinguish every image.
fn grid(folder: &Path) -> String {
    let mut manifest = "ref,dist,item,method\n".to_owned();
    for item in 0..12u8 {
        let width = 8 + usize::from(item % 3);
        write_image(folder, &format!("r{item}.pgm"), width, 4, 200 + item);
        for method in 0..3u8 {
            write_image(folder, &format!("d{item}{method}.pgm"), width, 4, 10 * method + item);
        }
    }
    // Method by method, so that rows of one reference are far apart.
    for method in 0..3 {
        for item in 0..12 {
            manifest += &format!("r{item}.pgm,d{item}{method}.pgm,{item},{method}\n");
        }
    }
    manifest
}

#[test]
fn every_row_gets_the_score_of_its_own_images() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = grid(folder.path());
    for (threads, pairs_max, buffers) in [(1, 1, 1), (1, 4, 1), (2, 3, 2), (4, 64, 6)] {
        let mut fake = FakeEvaluator::new(pairs_max, buffers);
        let outcome = run_fake(folder.path(), &manifest, threads, &mut fake);
        // Each method has 12 differences, of 200, 190 or 180.
        let sums = vec![(12.0 * (200.0 + 190.0 + 180.0), 36)];
        assert_eq!(outcome.result.unwrap(), Counts { scored: 36, sums, ..Counts::default() });
        for method in 0..3 {
            for item in 0..12 {
                let record = &outcome.records[&(method * 12 + item)];
                let expected = f64::from(200 + item) - f64::from(10 * method + item);
                assert_eq!(record.values, [Some(Value::sum(vec![expected]))]);
                assert_eq!(record.size, Some((8 + item as usize % 3, 4)));
            }
        }
        assert_eq!(fake.batches.iter().map(|batch| batch.1).sum::<usize>(), 36);
    }
}

#[test]
fn k_methods_against_one_reference_are_k_plus_one_images() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = grid(folder.path());
    let mut fake = FakeEvaluator::new(64, 6);
    run_fake(folder.path(), &manifest, 1, &mut fake).result.unwrap();
    // Three sizes, each with four references of three methods.
    assert_eq!(fake.batches, [(16, 12); 3]);
}

#[test]
fn a_group_that_a_batch_holds_is_not_cut() {
    let folder = tempfile::tempdir().unwrap();
    for name in 0..15 {
        write_image(folder.path(), &format!("{name}.pgm"), 8, 8, name);
    }
    let batches = |methods: u8| {
        let groups = (0..4).flat_map(|item| (0..methods).map(move |method| (item, method)));
        let rows =
            groups.map(|(item, method)| format!("{item}.pgm,{}.pgm,{item},{method}\n", 4 + method));
        let manifest = "ref,dist,item,method\n".to_owned() + &rows.collect::<String>();
        let mut fake = FakeEvaluator::new(8, 6);
        run_fake(folder.path(), &manifest, 2, &mut fake).result.unwrap();
        fake.batches
    };
    assert_eq!(batches(3), [(8, 6), (8, 6)]);
    assert_eq!(batches(5), [(6, 5); 4]);
    // No batch holds nine pairs, so all are filled.
    assert_eq!(batches(9), [(9, 8), (10, 8), (10, 8), (10, 8), (5, 4)]);
}

/// Many decoders are done in any order; were that the order of pairs, too, a batch could hold a
/// reference twice.
#[test]
fn batches_are_the_same_whichever_thread_decodes() {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = "ref,dist,method\n".to_owned();
    for item in 0..40 {
        write_image(folder.path(), &format!("r{item}.pgm"), 16, 16, item);
        for method in 0..4 {
            write_image(folder.path(), &format!("d{item}{method}.pgm"), 16, 16, 10 * method);
            manifest += &format!("r{item}.pgm,d{item}{method}.pgm,{method}\n");
        }
    }
    // The last two have room for one image, and for none.
    let ample = u64::MAX;
    for (threads, decoded_bytes_max) in [(1, ample), (2, ample), (7, ample), (3, 1600), (2, 0)] {
        let mut fake = FakeEvaluator::new(8, 6);
        let setup = Setup { threads, decoded_bytes_max, ..Setup::default() };
        let outcome = setup.run(folder.path(), &manifest, &mut fake, &Stop::default());
        assert_eq!(outcome.result.unwrap().scored, 160);
        assert_eq!(fake.batches, [(10, 8); 20]);
    }
}

#[test]
fn a_pair_that_cannot_be_scored_is_a_row_and_not_the_end() {
    let folder = tempfile::tempdir().unwrap();
    write_image(folder.path(), "a.pgm", 8, 8, 9);
    write_image(folder.path(), "b.pgm", 8, 8, 5);
    write_image(folder.path(), "wide.pgm", 9, 8, 5);
    fs_err::write(folder.path().join("text.pgm"), "not an image").unwrap();
    let manifest = "ref,dist,id\na.pgm,b.pgm,0\na.pgm,wide.pgm,1\na.pgm,text.pgm,2\n\
                    gone.pgm,b.pgm,3\ntext.pgm,text.pgm,4\na.pgm,b.pgm,5\na.pgm,a.pgm,6\n";
    let mut fake = FakeEvaluator::new(4, 2);
    let outcome = run_fake(folder.path(), manifest, 2, &mut fake);
    let counts = outcome.result.unwrap();
    assert_eq!((counts.scored, counts.failed), (3, 4));
    let codes = [(Code::Missing, 1), (Code::NotImage, 2), (Code::Size, 1)];
    assert_eq!(counts.failure_codes(), codes.map(|(code, n)| (code.to_string(), n)).into());
    assert!(
        counts.failures[Code::Size.as_str()].first.starts_with("`1`: ref is 8x8"),
        "{counts:?}"
    );
    let failure = |row: Row| outcome.records[&row].failure.clone().unwrap();
    assert_eq!(
        failure(1),
        Failure::new(
            Code::Size,
            "ref is 8x8, dist is 9x8: they differ by 1x0 pixels; \
             --size-policy modcrop:2 would make them equal"
        )
    );
    assert!(failure(2).message.contains("text.pgm"), "{:?}", failure(2));
    assert_eq!(failure(3).code, Code::Missing);
    assert!(failure(4).message.contains("text.pgm"), "{:?}", failure(4));
    for (row, expected) in [(0, 4.0), (5, 4.0), (6, 0.0)] {
        assert_eq!(outcome.records[&row].values, [Some(Value::sum(vec![expected]))]);
    }
}

#[test]
fn an_evaluator_that_fails_ends_the_run_and_keeps_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = grid(folder.path());
    let mut fake = FakeEvaluator::new(1, 1);
    fake.fail_at = Some(10);
    let outcome = run_fake(folder.path(), &manifest, 2, &mut fake);
    assert_eq!(outcome.result.unwrap_err().to_string(), "the device is gone");
    assert!(outcome.records.values().all(|record| record.failure.is_none()));
    assert!(outcome.records.len() < 36);
}

/// All pairs of `n` images whose values are their numbers, in the order of their files' names or in
/// that of `--all-pairs`.
fn all_pairs(folder: &Path, n: u8, in_z_order: bool) -> String {
    let mut pairs: Vec<Pair> = Vec::new();
    for i in 0..n {
        write_image(folder, &format!("{i}.pgm"), 8, 8, i);
        pairs.extend((i + 1..n).map(|j| Pair { reference: i.into(), distorted: j.into() }));
    }
    if in_z_order {
        pairs.sort_by_key(|pair| pair.z_order());
    }
    let row = |Pair { reference: i, distorted: j }| format!("{i}.pgm,{j}.pgm,set,{i}-{j}\n");
    "ref,dist,item,id\n".to_owned() + &pairs.into_iter().map(row).collect::<String>()
}

#[test]
fn all_pairs_of_n_images_are_n_images_if_a_batch_holds_them() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = all_pairs(folder.path(), 7, false);
    for threads in [1, 3] {
        // Room for eight images; more pairs than a batch of pairs would have.
        let mut fake = FakeEvaluator::new(4, 2);
        let outcome = run_items(folder.path(), &manifest, threads, &mut fake);
        assert_eq!(outcome.result.unwrap().scored, 21);
        assert_eq!(fake.batches, [(7, 21)]);
        let mut row = 0;
        for i in 0..7 {
            for j in i + 1..7 {
                let expected = f64::from(i) - f64::from(j);
                assert_eq!(outcome.records[&row].values, [Some(Value::sum(vec![expected]))]);
                row += 1;
            }
        }
    }
}

#[test]
fn larger_items_are_cut_into_batches_and_lose_no_pair() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = all_pairs(folder.path(), 30, true) + "gone.pgm,0.pgm,set,gone\n";
    let mut fake = FakeEvaluator::new(4, 2);
    let outcome = run_items(folder.path(), &manifest, 2, &mut fake);
    let counts = outcome.result.unwrap();
    assert_eq!((counts.scored, outcome.records.len()), (435, 436));
    assert_eq!(outcome.records[&435].failure.as_ref().unwrap().code, Code::Missing);
    assert_eq!(fake.batches.iter().map(|batch| batch.1).sum::<usize>(), 435);
    // Pair by pair it would be 870 images.
    let images = fake.batches.iter().map(|batch| batch.0).sum::<usize>();
    assert!(images <= 240, "{images}");
}
