//! `lpips doctor --selftest --device cuda`: passes, and finds what is wrong.

use serde_json::Value;

use crate::machine::{Machine, Ran, is_simulated};

/// The self-test of alex without its measurement of speed, and its rows.
fn selftest(machine: &Machine, options: &[&str]) -> (Ran, Vec<Value>) {
    let fixed = "doctor --selftest --quick --device cuda --net alex --json";
    let args: Vec<&str> = fixed.split(' ').chain(options.iter().copied()).collect();
    let folder = tempfile::tempdir().unwrap();
    let ran = machine.lpips(folder.path(), &args);
    let report: Value = serde_json::from_slice(&ran.output.stdout).unwrap();
    let rows = report["selftest"].as_array().unwrap().clone();
    (ran, rows)
}

#[test]
fn it_passes_on_both_engines_in_both_precisions() {
    let (ran, rows) = selftest(&Machine::new(), &["--precision", "fp32,fp16"]);
    ran.expect(0);
    let of_engine = |engine| {
        let plain = ["fp32", "fp16"].map(|precision| (engine, precision, "published"));
        plain.into_iter().chain([(engine, "fp16", "overflows")])
    };
    let kinds = ["cudnn", "cublas"].into_iter().flat_map(of_engine);
    assert_eq!(rows.len(), 6);
    for (row, (engine, precision, trunk)) in rows.iter().zip(kinds) {
        let words = ["engine", "precision", "trunk", "status"].map(|name| row[name].as_str());
        assert_eq!(words, [engine, precision, trunk, "ok"].map(Some));
        let invariant = (trunk == "published").then_some(true);
        assert_eq!(row["invariant"].as_bool(), invariant);
        let total = row["deviation"]["total"].as_f64().unwrap();
        assert!(total > 0.0 && total <= row["bound"]["total"].as_f64().unwrap(), "{row}");
    }
}

#[test]
fn it_finds_a_wrong_kernel_and_a_convolution_that_depends_on_the_batch() {
    if !is_simulated() {
        return;
    }
    for (fault, reason) in [
        ("swap_arguments=tap_pool3_nchw_f32_c64:8:9", "instead of"),
        ("micro_batch_follows_batch", "bits depend on the batch"),
    ] {
        let machine = Machine::new().plant(fault);
        let (ran, rows) = selftest(&machine, &["--precision", "fp32", "--conv", "cudnn"]);
        assert_eq!(ran.output.status.code(), Some(5), "{fault}: {}", ran.stderr());
        assert_eq!(rows[0]["status"], "failed", "{fault}");
        assert!(rows[0]["reason"].as_str().unwrap().contains(reason), "{fault}: {}", rows[0]);
    }
}

#[test]
fn it_finds_overflows_that_nothing_notices() {
    if !is_simulated() {
        return;
    }
    // Of a library whose ReLU loses NaN in every algorithm, the program uses the convolution alone.
    let options = ["--precision", "fp16", "--conv", "cudnn"];
    let (ran, rows) = selftest(&Machine::new().plant("drops_nan"), &options);
    ran.expect(0);
    assert_eq!((rows.len(), rows[1]["trunk"].as_str()), (2, Some("overflows")));
}
