//! A run directory that version 0.1 wrote (tests/data/run_0_1) is read, merged and resumed.

use std::path::Path;

use lpips::run::finished::Finished;

use crate::support::{csv, data, lpips, stderr};

/// Copies the run to a folder where it may be changed.
fn copy(to: &Path) {
    let from = data("run_0_1/run");
    fs_err::create_dir_all(to.join("journal")).unwrap();
    for name in ["plan.json", "manifest.csv", "journal/0-of-1.attempt-1"] {
        fs_err::copy(from.join(name), to.join(name)).unwrap();
    }
}

fn files_of(folder: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_run_of_0_1_is_opened_for_reading_and_nothing_is_created() {
    let folder = tempfile::tempdir().unwrap();
    copy(folder.path());
    let before = files_of(folder.path());
    let run = Finished::open(folder.path()).unwrap();
    let column = &run.columns()[0];
    assert_eq!((column.name.as_str(), column.parts, run.len()), ("lpips_alex", 5, 4));
    let signature = column.fingerprint.signature();
    assert!(signature.starts_with("lpips|net:alex|v:0.1|mode:lin|range:0..1|"), "{signature}");
    let rows: Vec<_> = run.rows().unwrap().collect::<Result<_, _>>().unwrap();
    let table = csv(&data("run_0_1/run/pairs.csv"));
    for (row, cells) in rows.iter().zip(&table[1..]) {
        assert_eq!([&row.entry.id, &row.entry.carried[0]], [&cells[0], &cells[5]]);
        match row.record.total(0) {
            Some(total) => assert!((total - cells[8].parse::<f64>().unwrap()).abs() < 1e-9),
            None => assert_eq!(row.record.failure.as_ref().unwrap().code.to_string(), cells[15]),
        }
    }
    assert_eq!(files_of(folder.path()), before);
}

#[test]
fn a_run_that_lacks_rows_is_not_finished() {
    let folder = tempfile::tempdir().unwrap();
    copy(folder.path());
    drop_row_0(folder.path());
    let error = Finished::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("is not finished: it lacks 1 of 4 pairs"), "{error}");
}

/// Removes the outcome of the first row from the journal.
fn drop_row_0(run: &Path) {
    let path = run.join("journal/0-of-1.attempt-1");
    let journal = fs_err::read_to_string(&path).unwrap();
    let kept = journal.lines().filter(|line| !line.contains(r#"{"pair":{"row":0,"#));
    fs_err::write(&path, kept.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

#[test]
fn merging_a_run_of_0_1_writes_the_same_tables() {
    let folder = tempfile::tempdir().unwrap();
    copy(folder.path());
    let output = lpips(folder.path(), &["merge", "."]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("signature of lpips_alex: lpips|"), "{}", stderr(&output));
    for name in ["pairs.csv", "summary.csv"] {
        let [old, new] = [data("run_0_1/run"), folder.path().to_owned()]
            .map(|run| fs_err::read_to_string(run.join(name)).unwrap());
        assert_eq!(new, old, "{name}");
    }
    let run = fs_err::read_to_string(folder.path().join("run.json")).unwrap();
    let run: serde_json::Value = serde_json::from_str(&run).unwrap();
    assert_eq!(run["schema"], "lpips-run/2");
    assert_eq!(run["fingerprint"]["columns"]["lpips_alex"]["net"], "alex");
    assert_eq!(run["provenance"]["attempts"][0]["program_version"], "0.1.0");
}

#[test]
fn a_run_of_0_1_is_resumed_with_its_options_and_refused_with_others() {
    let folder = tempfile::tempdir().unwrap();
    copy(folder.path());
    drop_row_0(folder.path());
    let run = folder.path().to_str().unwrap();
    // Files of a checkout have other times, and this machine may be of another class.
    let start = ["eval", "run_0_1/pairs.csv", "-o", run, "--group-by", "method", "--per-layer"];
    let resumed = [&start[..], &["--verify-inputs", "--allow-mixed-numerics"]].concat();
    let eval = |more: &[&str]| lpips(&data(""), &[&resumed[..], more].concat());
    let output = eval(&["--alpha", "white"]);
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
    let expected = "alpha of lpips_alex `drop` there, `white` here";
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));

    let output = eval(&[]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let expected = "resuming: 2 of 4 pairs are done, 1 that failed is retried";
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    let [old, new] =
        [data("run_0_1/run"), folder.path().to_owned()].map(|run| csv(&run.join("pairs.csv")));
    assert_eq!(new[2..4], old[2..4], "rows that were kept");
    let [old, new] = [&old[1][8], &new[1][8]].map(|cell| cell.parse::<f64>().unwrap());
    assert!((new - old).abs() < 1e-5 * old, "{new} and {old}");
}
