//! Right values: golden ones, the same bits in any batch, and bounds of lower precision.

use std::collections::BTreeMap;
use std::path::Path;

use std::sync::Arc;

use lpips::eval::Model;
use lpips::net::Net;
use lpips::net::weights::{Trunk, Version};
use lpips::selftest::overflowing;

use crate::job::{Evaluated, Job};
use crate::machine::{Machine, is_real, is_simulated};
use crate::support::{data, trunk, write_squeeze, write_trunk};

/// What is promised of one value (docs/numerics.md).
fn tolerance(id: &str, value: f64, relative: f64) -> f64 {
    let relative = if id == "near_identical" { relative.max(2e-3) } else { relative };
    if id == "identical" { 0.0 } else { relative * value.abs() + 1e-8 }
}

/// Golden pairs of a net in one version and mode: id, then total and layers.
fn expected(net: Net, version: &str, mode: &str) -> BTreeMap<String, Vec<f64>> {
    let mut reader = csv::Reader::from_path(data("golden/expected.csv")).unwrap();
    let rows = reader.records().map(Result::unwrap);
    let wanted = rows.filter(|row| row[1] == *net.name() && &row[2] == version && &row[3] == mode);
    let values = |row: csv::StringRecord| {
        let values = row.iter().skip(4).filter(|cell| !cell.is_empty());
        (row[0].to_owned(), values.map(|cell| cell.parse().unwrap()).collect())
    };
    wanted.map(values).collect()
}

fn golden(ids: &[&str]) -> Job {
    let image = |id: &str, side: &str| data(&format!("golden/images/{id}_{side}.png"));
    let pair = |&id: &&str| (id.to_owned(), image(id, "ref"), image(id, "dist"));
    Job::of(&ids.iter().map(pair).collect::<Vec<_>>())
}

const ALL: [&str; 10] = [
    "sr4_bicubic",
    "jpeg10",
    "blur2",
    "noise20",
    "contrast_odd",
    "identical",
    "grey",
    "tiny_31_wide",
    "near_identical",
    "flat_grey_vs_black",
];
const SMALL: [&str; 3] = ["contrast_odd", "identical", "tiny_31_wide"];

/// Largest relative deviation of a total from float64; asserts the given bounds on the way.
#[track_caller]
fn compare(
    evaluated: &Evaluated,
    (net, version, mode): (Net, &str, &str),
    (total, layer): (f64, f64),
) -> f64 {
    evaluated.ran.expect(0);
    let values = evaluated.values();
    let expected = expected(net, version, mode);
    let column = format!("{mode}_{net}");
    let mut worst = 0.0f64;
    assert!(!values.is_empty());
    for (id, row) in &values {
        let expected = &expected[id];
        let found = row[&column];
        let deviation = (found - expected[0]).abs();
        assert!(
            deviation <= tolerance(id, expected[0], total),
            "{id}: {found}, not {}",
            expected[0]
        );
        for (index, expected) in expected[1..].iter().enumerate() {
            let found = row[&format!("{column}_layer{index}")];
            let deviation = (found - expected).abs();
            assert!(
                deviation <= tolerance(id, *expected, layer),
                "{id} {index}: {found}, {expected}"
            );
        }
        if id != "near_identical" && expected[0] > 0.0 {
            worst = worst.max(deviation / expected[0]);
        }
    }
    worst
}

/// The promise for fp32.
const FP32: (f64, f64) = (1e-5, 3e-5);

#[test]
fn alex_agrees_with_float64_through_both_engines() {
    let job = golden(&ALL);
    for engine in ["cudnn", "cublas"] {
        for version in ["0.1", "0.0"] {
            for (mode, option) in [("lpips", None), ("baseline", Some("--baseline"))] {
                let mut options =
                    vec!["--device", "cuda", "--conv", engine, "--per-layer", "--lpips-version"];
                options.push(version);
                options.extend(option);
                let evaluated = job.eval(&Machine::new(), &options);
                let worst = compare(&evaluated, (Net::Alex, version, mode), FP32);
                eprintln!("alex {version} {mode} {engine}: worst total {worst:.1e}");
            }
        }
    }
}

fn weights() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("weights").display().to_string()
}

/// On a real machine there is nothing to remove.
fn without_cublas(machine: Machine) -> Machine {
    if is_real() { machine } else { machine.without("libcublas.so.12") }
}

#[test]
fn vgg_agrees_with_float64() {
    if trunk(Net::Vgg).is_none() {
        return;
    }
    for (engine, ids) in [("cudnn", &SMALL[..]), ("cublas", &SMALL[2..])] {
        let options = ["--device", "cuda", "--net", "vgg", "--per-layer", "--conv", engine];
        let weights = weights();
        let options = [&options[..], &["--weights-dir", &weights]].concat();
        let job = golden(ids);
        let evaluated = job.eval(&Machine::new(), &options);
        compare(&evaluated, (Net::Vgg, "0.1", "lpips"), FP32);
    }
}

#[test]
fn squeeze_agrees_with_float64_however_its_fire_modules_are_written() {
    let weights = tempfile::tempdir().unwrap();
    let trunk = write_squeeze(weights.path());
    // cuDNN may write an expand's half of the channels in place, or refuse to; without cuBLAS, it
    // writes the other half, too.
    let refusing = || Machine::new().set("FAKE_CUDNN_PARTS", 0);
    let machines = [
        ("cudnn", Machine::new()),
        ("cudnn", refusing()),
        ("cudnn", without_cublas(refusing())),
        ("cublas", Machine::new()),
    ];
    for (engine, machine) in machines {
        let options = ["--device", "cuda", "--net", "squeeze", "--per-layer", "--conv", engine];
        let options = [&options[..], &["--trunk", &trunk]].concat();
        let job = golden(&SMALL);
        let evaluated = job.eval(&machine, &options);
        compare(&evaluated, (Net::Squeeze, "0.1", "lpips"), FP32);
    }
}

#[test]
fn what_cudnn_does_not_write_in_place_is_copied_there() {
    let weights = tempfile::tempdir().unwrap();
    let trunk = write_squeeze(weights.path());
    let job = golden(&["tiny_31_wide"]);
    for precision in ["fp32", "tf32", "fp16"] {
        let options = ["--device", "cuda", "--net", "squeeze", "--trunk", &trunk];
        let options = [&options[..], &["--per-layer", "--precision", precision]].concat();
        let in_place = job.eval(&without_cublas(Machine::new()), &options);
        let machine = without_cublas(Machine::new().set("FAKE_CUDNN_PARTS", 0));
        let copied = job.eval(&machine, &options);
        assert_eq!(copied.table(), in_place.table(), "{precision}");
        // Two halves of each of eight fire modules when they are scored, and of four, which have
        // all shapes of them, in rehearsal (in fp16 once more, with NaN).
        let [copied, others] = [copied, in_place].map(|one| one.ran.calls("cuMemcpy2DAsync_v2"));
        let rehearsals = if precision == "fp16" { 2 } else { 1 };
        assert_eq!(copied - others, 16 + rehearsals * 8, "{precision}");
    }
}

#[test]
fn bits_do_not_depend_on_company() {
    let job = Job::noise(4, 3);
    for engine in ["cudnn", "cublas"] {
        let eval = |machine: &Machine, options: &[&str]| {
            let fixed = ["--conv", engine, "--per-layer"];
            job.eval(machine, &[&fixed[..], options].concat()).table()
        };
        let machine = Machine::new();
        let alone = eval(&machine, &["--device", "cuda", "--batch", "1"]);
        for batch in ["2", "5", "auto"] {
            let found = eval(&machine, &["--device", "cuda", "--batch", batch]);
            assert_eq!(found, alone, "--batch {batch}, {engine}");
        }
        let machine = machine.gpus(2);
        assert_eq!(eval(&machine, &["--device", "cuda:all", "--batch", "1"]), alone, "{engine}");
        // Other pairs in the same batches: the rows in reverse.
        let manifest = fs_err::read_to_string(job.folder().join("m.csv")).unwrap();
        let (header, rows) = manifest.split_once('\n').unwrap();
        let mut reversed: Vec<&str> = rows.lines().rev().collect();
        reversed.insert(0, header);
        fs_err::write(job.folder().join("m.csv"), reversed.join("\n")).unwrap();
        let sorted = |table: &str| {
            let mut lines: Vec<String> = table.lines().map(String::from).collect();
            lines.sort();
            lines
        };
        let found = eval(&machine, &["--device", "cuda", "--batch", "3"]);
        assert_eq!(sorted(&found), sorted(&alone), "reversed, {engine}");
        fs_err::write(job.folder().join("m.csv"), manifest).unwrap();
    }
}

#[test]
fn convolutions_always_see_the_same_number_of_images() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(2, 3);
    let shapes = |batch: &str| {
        let evaluated = job.eval(&Machine::new(), &["--device", "cuda", "--batch", batch]);
        evaluated.ran.expect(0).convolved()
    };
    let alone = shapes("1");
    assert_eq!(alone.len(), 10, "five convolutions for each of two sizes: {alone:?}");
    assert_eq!(shapes("3"), alone);
}

#[test]
fn lower_precision_is_lower_and_within_its_bounds() {
    let job = golden(&ALL);
    let exact = job.eval(&Machine::new(), &["--device", "cuda"]).values();
    let expected = expected(Net::Alex, "0.1", "lpips");
    for engine in ["cudnn", "cublas"] {
        for precision in ["tf32", "fp16"] {
            let options = ["--device", "cuda", "--precision", precision, "--conv", engine];
            let evaluated = job.eval(&Machine::new(), &options);
            evaluated.ran.expect(0);
            let mut worst = 0.0f64;
            for (id, row) in evaluated.values() {
                let (found, expected) = (row["lpips_alex"], expected[&id][0]);
                let deviation = (found - expected).abs() / expected;
                match id.as_str() {
                    "identical" => assert_eq!(found, 0.0),
                    // No low precision resolves it.
                    "near_identical" => continue,
                    _ => {
                        assert!(deviation <= LOW_PRECISION, "{id}, {precision}: {deviation:.1e}");
                        assert_ne!(found, exact[&id]["lpips_alex"], "{precision} is fp32");
                        worst = worst.max(deviation);
                    }
                }
            }
            eprintln!("alex {precision} {engine}: worst total {worst:.1e}");
        }
    }
}

/// Largest relative deviation of alex's totals that the emulation of tf32 and fp16 has found for
/// images that differ visibly (docs/numerics.md).
const LOW_PRECISION: f64 = 1.2e-2;

#[test]
fn pairs_that_overflow_in_fp16_are_scored_in_fp32() {
    let mut trunk = Trunk::formula(Net::Squeeze);
    let first = Arc::make_mut(&mut trunk.convs[0]);
    let values = first.weight.iter_mut().chain(&mut first.bias);
    values.for_each(|value| *value *= OVERFLOWING);
    let weights = tempfile::tempdir().unwrap();
    let trunk = write_trunk(weights.path(), &trunk);
    let job = golden(&["contrast_odd", "tiny_31_wide", "flat_grey_vs_black", "noise20"]);
    let options = ["--device", "cuda", "--net", "squeeze", "--trunk", &trunk];
    let eval = |precision: &str| {
        let options = [&options[..], &["--per-layer", "--precision", precision]].concat();
        let evaluated = job.eval(&Machine::new(), &options);
        evaluated.ran.expect(0);
        evaluated
    };
    let (exact, half) = (eval("fp32"), eval("fp16"));
    let marks = half.column("error_code");
    let (exact, half) = (exact.values(), half.values());
    let mut overflowed = 0;
    for (id, mark) in &marks {
        // The other pairs of the run are not touched.
        assert_eq!(mark == "W_FP16_OVERFLOW", half[id] == exact[id], "{id}: `{mark}`");
        overflowed += usize::from(!mark.is_empty());
    }
    assert!((1..marks.len()).contains(&overflowed), "{overflowed} of {} overflow", marks.len());
}

#[test]
fn an_overflow_that_no_tap_sees_is_noticed_where_the_library_loses_nan() {
    if !is_simulated() {
        return;
    }
    // Features that only convolutions read become infinite, and what they lead to NaN.
    let scaled = overflowing(&Model::published(Trunk::formula(Net::Squeeze), Version::V0_1, None));
    let weights = tempfile::tempdir().unwrap();
    let trunk = write_trunk(weights.path(), &scaled.trunk);
    let job = golden(&["contrast_odd", "tiny_31_wide"]);
    let options = ["--device", "cuda", "--net", "squeeze", "--trunk", &trunk];
    let eval = |machine: Machine, precision: &str| {
        let evaluated = job.eval(&machine, &[&options[..], &["--precision", precision]].concat());
        evaluated.ran.expect(0);
        evaluated
    };
    let exact = eval(Machine::new(), "fp32").values();
    for machine in [Machine::new(), Machine::new().plant("drops_nan")] {
        let half = eval(machine, "fp16");
        assert!(half.column("error_code").values().all(|mark| mark == "W_FP16_OVERFLOW"));
        assert_eq!(half.values(), exact);
    }
}

/// Brings some activations of some of the pairs above 65504, the largest half, and not of all.
const OVERFLOWING: f32 = 20000.0;
