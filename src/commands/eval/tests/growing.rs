//! Runs that grow: what other runs have is taken, column by column, and the rest is scored.
//! The tables are those of a run that scored everything.

use super::*;
use crate::column::{Fingerprint, Origin};

impl Small {
    /// The configuration of runs with the LPIPS columns of these models, and others.
    fn set_columns(&mut self, models: &[usize], others: Vec<Column>) {
        let job = &mut self.config.job;
        let (column, model) = &self.lpips;
        let of_model = |&number: &usize| {
            let mut column = column.clone();
            if let Origin::Model { index, .. } = &mut column.from {
                *index = number;
            }
            column.name = format!("lpips_{number}");
            column.fingerprint = Fingerprint::new("lpips").with("net", number);
            column
        };
        let columns = models.iter().map(of_model).chain(others).collect();
        let count = models.iter().max().map_or(0, |largest| largest + 1);
        job.models = vec![model.clone(); count];
        job.columns = columns;
    }

    fn reuse(&mut self, runs: &[&str]) {
        self.config.reuse = runs.iter().map(|run| self.folder.path().join(run)).collect();
    }

    /// Runs the command and returns the pairs that were scored, by models.
    fn score(&self, run: &str) -> Scores {
        self.run_counted(run, Disk::default()).unwrap()
    }

    fn provenance(&self, run: &str) -> serde_json::Value {
        let text = fs_err::read_to_string(self.folder.path().join(run).join(names::RUN)).unwrap();
        let run: serde_json::Value = serde_json::from_str(&text).unwrap();
        run["provenance"]["reused"].clone()
    }

    /// Adds the pairs of a method to the manifest.
    fn add_method(&self, method: u8) {
        let at = |name: &str| self.folder.path().join(name);
        let mut manifest = fs_err::read_to_string(at("m.csv")).unwrap();
        for item in 0..3u8 {
            let bytes = fs_err::read(at(&format!("d{item}0.pgm"))).unwrap();
            let from = bytes[bytes.len() - 1];
            let changed = bytes.iter().map(|&byte| if byte == from { byte + 9 } else { byte });
            let name = format!("d{item}{method}.pgm");
            fs_err::write(at(&name), changed.collect::<Vec<u8>>()).unwrap();
            manifest += &format!("r{item}.pgm,{name},{item},{method}\n");
        }
        fs_err::write(at("m.csv"), manifest).unwrap();
    }
}

#[test]
fn columns_of_two_runs_are_joined_and_a_third_is_computed() {
    let mut small = Small::new();
    let psnr = psnr_rgb(&small.config.job);
    small.set_columns(&[0, 1], vec![psnr.clone()]);
    let scores = small.score("scratch");
    assert_eq!(scores, Scores::from([(vec![0, 1], GOOD)]));
    let expected = small.tables("scratch");

    small.set_columns(&[0], Vec::new());
    small.score("first");
    small.set_columns(&[1], Vec::new());
    small.score("second");
    small.set_columns(&[0, 1], vec![psnr]);
    small.reuse(&["first", "second"]);
    // No model is computed.
    assert_eq!(small.score("joined"), Scores::new());
    assert_eq!(small.tables("joined"), expected);
    let reused = small.provenance("joined");
    assert_eq!(reused[0]["columns"], serde_json::json!({ "lpips_0": GOOD }));
    assert_eq!(reused[1]["columns"], serde_json::json!({ "lpips_1": GOOD }));
    assert_eq!((&reused[0]["pairs"], &reused[1]["pairs"]), (&GOOD.into(), &GOOD.into()));

    small.reuse(&["second"]);
    assert_eq!(small.score("half"), Scores::from([(vec![0], GOOD)]));
    assert_eq!(small.tables("half"), expected);
}

#[test]
fn eight_methods_that_become_nine_cost_the_pairs_of_one() {
    let mut small = Small::new();
    (4..9).for_each(|method| small.add_method(method));
    let pairs = GOOD + 5 * 3;
    assert_eq!(small.score("night"), Scores::from([(vec![0], pairs)]));
    small.add_method(9);
    small.reuse(&["night"]);
    assert_eq!(small.score("next"), Scores::from([(vec![0], 3)]));
    assert_eq!(small.provenance("next")[0]["pairs"], pairs);
    // Without anything new nothing is scored, whatever the tables are grouped by.
    small.reuse(&["next"]);
    small.config.group_by = vec!["item".to_owned()];
    assert_eq!(small.score("grouped"), Scores::new());
    let grouped = small.tables("grouped");
    small.reuse(&[]);
    small.score("scratch");
    assert_eq!(grouped, small.tables("scratch"));
}

#[test]
fn a_new_method_and_a_new_column_cost_what_is_missing() {
    let mut small = Small::new();
    let psnr = psnr_rgb(&small.config.job);
    small.set_columns(&[0], vec![psnr.clone()]);
    small.score("night");
    small.add_method(7);
    small.reuse(&["night"]);
    assert_eq!(small.score("method"), Scores::from([(vec![0], 3)]));
    small.set_columns(&[0, 1], vec![psnr]);
    // Three pairs need both models, the others one.
    assert_eq!(small.score("both"), Scores::from([(vec![0, 1], 3), (vec![1], GOOD)]));
    let both = small.tables("both");
    small.reuse(&[]);
    small.score("scratch");
    assert_eq!(both, small.tables("scratch"));
}

#[test]
fn values_of_pixels_are_taken_from_every_numerics_class() {
    let mut small = Small::new();
    let psnr = psnr_rgb(&small.config.job);
    small.set_columns(&[], vec![psnr.clone()]);
    small.score("pixels");
    small.set_columns(&[0], vec![psnr.clone()]);
    small.reuse(&["pixels"]);
    assert_eq!(small.score("both"), Scores::from([(vec![0], GOOD)]));
    assert_eq!(small.provenance("both")[0]["columns"], serde_json::json!({ "psnr_rgb": GOOD }));
    // And back.
    small.set_columns(&[], vec![psnr]);
    small.reuse(&["both"]);
    small.score("back");
    assert_eq!(small.tables("back").pairs, small.tables("pixels").pairs);
    assert_eq!(small.provenance("back")[0]["columns"], serde_json::json!({ "psnr_rgb": GOOD }));
}

#[test]
fn a_run_that_takes_columns_ends_as_if_it_had_not_been_interrupted() {
    let mut small = Small::new();
    small.set_columns(&[0, 1], Vec::new());
    small.score("scratch");
    let expected = small.tables("scratch");
    small.set_columns(&[1], Vec::new());
    small.score("second");
    small.set_columns(&[0, 1], Vec::new());
    small.reuse(&["second"]);
    for fault in [Fault::Fail, Fault::TearAndKill] {
        for step in 0.. {
            let run = format!("{fault:?}{step}");
            let disk = Disk::with_fault(fault, step);
            let first = small.run(&run, disk.clone());
            if !disk.is_broken() {
                assert!(step > 20, "{step}");
                break;
            }
            assert!(first.is_err(), "{run}");
            let safe = small.safe(&run);
            assert_eq!(small.run(&run, Disk::default()).unwrap(), GOOD - safe, "{run}");
            assert_eq!(small.tables(&run), expected, "{run}");
        }
    }
}

/// A file that is replaced without a new size or time, as only its content shows.
#[test]
fn known_values_of_other_contents_are_not_joined_to_computed_ones() {
    let mut small = Small::new();
    small.set_columns(&[0], Vec::new());
    small.score("first");
    let changed = small.folder.path().join("d11.pgm");
    let modified = fs_err::metadata(&changed).unwrap().modified().unwrap();
    let bytes = fs_err::read(&changed).unwrap();
    let brighter = bytes.iter().map(|&byte| if byte == 41 { 42 } else { byte });
    fs_err::write(&changed, brighter.collect::<Vec<u8>>()).unwrap();
    let file = fs_err::OpenOptions::new().write(true).open(&changed).unwrap();
    file.set_modified(modified).unwrap();
    small.set_columns(&[0, 1], Vec::new());
    small.reuse(&["first"]);
    // The pair is scored again, whole.
    assert_eq!(small.score("grown"), Scores::from([(vec![1], GOOD), (vec![0, 1], 1)]));
    assert_eq!(small.provenance("grown")[0]["pairs"], GOOD - 1);
    small.reuse(&[]);
    small.score("scratch");
    assert_eq!(small.tables("grown"), small.tables("scratch"));
}
