//! PSNR and SSIM as columns of a run: presets against golden values, shards, infinite values, and
//! images that are too small.

use std::collections::HashMap;
use std::path::Path;

use lpips::net::Net;

use crate::support::{csv, data, lpips, stderr, trunk};

/// Runs the program, which must end with `exit`; what it said to people.
fn run(folder: &Path, args: &[&str], exit: i32) -> String {
    let output = lpips(folder, args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(exit), "{args:?}: {text}");
    text
}

/// A table by id and column; of a golden one the rows that were cut by `crop`.
fn cells(path: &Path, crop: Option<&str>) -> HashMap<(String, String), String> {
    let table = csv(path);
    let crop_at = table[0].iter().position(|name| name == "crop");
    let mut cells = HashMap::new();
    for row in &table[1..] {
        if crop.is_some() && crop_at.map(|at| row[at].as_str()) != crop {
            continue;
        }
        for (name, cell) in table[0].iter().zip(row) {
            cells.insert((row[0].clone(), name.clone()), cell.clone());
        }
    }
    cells
}

/// A preset, the border that it cuts, and each column with the golden one.
type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const PRESETS: [Case; 5] = [
    ("basicsr:4", "4", &[("psnr_y", "psnr_y"), ("ssim_y", "ssim_y")]),
    ("kair:4", "4", &[("psnr_y_rounded", "psnr_y_rounded"), ("ssim_y_rounded", "ssim_y_rounded")]),
    ("ntire-x4", "4", &[("psnr_y", "psnr_y"), ("ssim_y", "ssim_y")]),
    (
        "sr-diffusion",
        "0",
        &[("psnr_y", "psnr_y_capped"), ("ssim_y_rounded_clamped", "ssim_y_rounded_clamped")],
    ),
    (
        "pyiqa-default",
        "0",
        &[
            ("psnr_yiq", "psnr_yiq_capped"),
            ("ssim_yiq_rounded_clamped", "ssim_yiq_rounded_clamped"),
            ("ssim_rgb_clamped", "ssim_rgb_clamped"),
        ],
    ),
];

/// pairs.csv has nine digits.
fn is_close(found: &str, expected: &str) -> bool {
    let [found, expected]: [f64; 2] = [found, expected].map(|text| text.parse().unwrap());
    found == expected || (found / expected - 1.0).abs() <= 6e-9
}

#[test]
fn every_preset_gives_its_golden_values() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = data("golden/pairs.csv").display().to_string();
    for (preset, crop, columns) in PRESETS {
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let names = names.join(",");
        let name = preset.replace(':', "");
        let args = ["eval", &manifest, "-o", &name, "--preset", preset, "--metrics", &names];
        run(folder.path(), &args, 0);
        let found = cells(&folder.path().join(&name).join("pairs.csv"), None);
        let mut golden = cells(&data("golden/companions.csv"), Some(crop));
        golden.extend(cells(&data("golden/fidelity.csv"), Some(crop)));
        let mut count = 0;
        for (of_run, of_golden) in columns {
            for ((id, name), expected) in golden.iter().filter(|((_, name), _)| name == of_golden) {
                let cell = &found[&(id.clone(), (*of_run).to_owned())];
                // The sides of one pair are no multiples of 4, and this preset cuts them first.
                if preset == "ntire-x4"
                    && ["contrast_odd", "blur2", "tiny_31_wide"].contains(&&**id)
                {
                    continue;
                }
                assert!(is_close(cell, expected), "{preset}, {name} of {id}: {cell}, {expected}");
                count += 1;
            }
        }
        assert_eq!(count, columns.len() * if preset == "ntire-x4" { 7 } else { 10 }, "{preset}");
    }
}

/// What pyiqa adds under the logarithm changes the PSNR of RGB as it does that of luma.
#[test]
fn psnr_of_a_preset_is_capped() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = data("golden/pairs.csv").display().to_string();
    let args = ["eval", &manifest, "-o", "run", "--preset", "pyiqa-default"];
    run(folder.path(), &[&args[..], &["--metrics", "psnr_rgb"]].concat(), 0);
    let found = cells(&folder.path().join("run/pairs.csv"), None);
    let golden = cells(&data("golden/companions.csv"), Some("0"));
    for ((id, _), plain) in golden.iter().filter(|((_, name), _)| name == "psnr_rgb") {
        let plain: f64 = plain.parse().unwrap();
        let expected = -10.0 * (10f64.powf(-plain / 10.0) + 1e-8).log10();
        let cell = &found[&(id.clone(), "psnr_rgb".to_owned())];
        assert!(is_close(cell, &expected.to_string()), "{id}: {cell}, {expected}");
    }
}

const METRICS: [&str; 2] = ["--metrics", "ssim-rgb,psnr_y,ssim_y,psnr_rgb"];

/// No trunk is loaded and no device is asked for, so options of devices change nothing.
#[test]
fn pixels_are_scored_in_shards_and_merged_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = data("golden/pairs.csv").display().to_string();
    let eval = |name: &str, more: &[&str]| {
        let args = [&["eval", &manifest, "-o", name], &METRICS[..], more].concat();
        run(folder.path(), &args, 0)
    };
    let text = eval("whole", &["--device", "cuda", "--threads", "2"]);
    assert!(text.contains("W_INFINITE in 1 pair"), "{text}");
    assert!(text.contains("signature of psnr_y: psnr_y|luma:bt601|round:no|peak:255|"), "{text}");
    let header = &csv(&folder.path().join("whole/pairs.csv"))[0];
    assert_eq!(header[7..11], ["ssim_rgb", "psnr_y", "ssim_y", "psnr_rgb"]);

    for shard in ["0/2", "1/2"] {
        eval("parts", &["--shard", shard, "--threads", "1"]);
    }
    let merged = run(folder.path(), &["merge", "parts"], 0);
    assert!(merged.contains("psnr_y, mean (higher is better)"), "{merged}");
    for name in ["pairs.csv", "summary.csv"] {
        let read = |run: &str| fs_err::read_to_string(folder.path().join(run).join(name)).unwrap();
        assert_eq!(read("whole"), read("parts"), "{name}");
    }

    let found = cells(&folder.path().join("whole/pairs.csv"), None);
    let golden = cells(&data("golden/companions.csv"), Some("0"));
    let is_ours = |name: &str| header[7..11].iter().any(|one| one == name);
    for ((id, name), expected) in golden.iter().filter(|((_, name), _)| is_ours(name)) {
        let cell = &found[&(id.clone(), name.clone())];
        assert!(is_close(cell, expected), "{name} of {id}: {cell}, {expected}");
    }
    assert_eq!(found[&("identical".to_owned(), "psnr_y".to_owned())], "inf");
}

/// Copies, and equal samples in other bytes. A single pair, or one that differs, is no such method.
#[test]
fn a_method_of_copies_is_warned_of_by_eval_and_merge() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let image = |name: &str, comment: &str, sample: u8| {
        let head = format!("P6\n{comment}32 32\n255\n");
        fs_err::write(at.join(name), [head.as_bytes(), &[sample; 32 * 32 * 3]].concat()).unwrap();
    };
    for (item, sample) in [("1", 10), ("2", 200)] {
        image(&format!("{item}.ppm"), "", sample);
        image(&format!("same{item}.ppm"), "# written again\n", sample);
        image(&format!("other{item}.ppm"), "", sample + 1);
    }
    let rows = "1.ppm,1.ppm,copy\n2.ppm,2.ppm,copy\n1.ppm,1.ppm,single\n1.ppm,1.ppm,mixed\n\
                2.ppm,other2.ppm,mixed\n1.ppm,same1.ppm,same\n2.ppm,same2.ppm,same\n";
    fs_err::write(at.join("m.csv"), format!("ref,dist,method\n{rows}")).unwrap();
    let expected = "warning: W_ALL_IDENTICAL in 4 pairs of 2 methods, first `copy`: all distorted";
    for metrics in ["psnr_rgb", "lpips"] {
        let text = run(at, &["eval", "m.csv", "-o", metrics, "--metrics", metrics], 0);
        assert!(text.contains(expected), "{metrics}: {text}");
        let json = fs_err::read_to_string(at.join(metrics).join("run.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["provenance"]["warnings"]["W_ALL_IDENTICAL"], 4, "{metrics}");
        let text = run(at, &["merge", metrics], 0);
        assert!(text.contains(expected), "{metrics}: {text}");
    }
    // SSIM says nothing about equal samples: only equal files count.
    let text = run(at, &["eval", "m.csv", "-o", "ssim", "--metrics", "ssim_y"], 0);
    let expected = "W_ALL_IDENTICAL in 2 pairs of method `copy`: all distorted";
    assert!(text.contains(expected), "{text}");
}

/// The journal holds it, too, and what is finished is not scored again.
#[test]
fn an_infinite_value_is_in_the_tables_and_survives_resuming() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = data("golden/pairs.csv").display().to_string();
    let args = ["eval", &manifest, "-o", "run", "--metrics", "psnr_rgb", "--verbose"];
    run(folder.path(), &args, 0);
    let summary = csv(&folder.path().join("run/summary.csv"));
    let of = |name: &str| {
        let at = summary[0].iter().position(|column| column == name).unwrap();
        summary[1][at].clone()
    };
    assert_eq!(["mean", "std", "ci95_low", "ci95_high", "max"].map(of), ["inf", "", "", "", "inf"]);
    assert!(of("median").starts_with("26.") && of("min").starts_with("5.98"));
    let json = fs_err::read_to_string(folder.path().join("run/run.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["provenance"]["warnings"]["W_INFINITE"], 1);

    let before = fs_err::read(folder.path().join("run/pairs.csv")).unwrap();
    let text = run(folder.path(), &args, 0);
    assert!(text.contains("resuming: 10 of 10 pairs are done"), "{text}");
    assert_eq!(fs_err::read(folder.path().join("run/pairs.csv")).unwrap(), before);
}

/// A row fails for the metric that cannot be computed, and holds the others.
#[test]
fn images_that_are_too_small_fail_with_the_side_that_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = [b"P5 40 16 255\n".as_slice(), &[7; 640]].concat();
    fs_err::write(folder.path().join("a.pgm"), &bytes).unwrap();
    let other: Vec<u8> = bytes.iter().map(|&byte| if byte == 7 { 8 } else { byte }).collect();
    fs_err::write(folder.path().join("b.pgm"), other).unwrap();
    let options = ["--pair", "a.pgm", "b.pgm", "--metrics", "ssim_y,psnr_rgb"];
    let crop = ["--crop-border", "ssim:3"];
    run(folder.path(), &[&["eval", "-o", "run"], &options[..], &crop].concat(), 3);
    let pairs = csv(&folder.path().join("run/pairs.csv"));
    let expected = [
        "40",
        "16",
        "",
        "48.1308036",
        "failed",
        "E_TOO_SMALL",
        "SSIM needs at least 17 pixels on each side with a border of 3 to cut, found 40x16",
    ];
    assert_eq!(pairs[1][5..], expected);
    let output = lpips(folder.path(), &[&["check"], &options[..], &crop].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(6), "{text}");
    assert!(text.contains("E_TOO_SMALL") && text.contains("at least 17 pixels"), "{text}");
    let args = [&["eval", "-o", "whole"], &options[..]].concat();
    run(folder.path(), &args, 0);
    let checked = lpips(folder.path(), &[&["check"], &options[..]].concat());
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
}

/// Beside LPIPS on the same trunk, and alone.
#[test]
fn dists_is_a_column_like_the_others() {
    if trunk(Net::Vgg).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let manifest = data("golden/pairs.csv").display().to_string();
    let weights = concat!(env!("CARGO_MANIFEST_DIR"), "/weights");
    let options = ["--device", "cpu", "--weights-dir", weights];
    let eval = |name: &str, more: &[&str]| {
        let args = [&["eval", &manifest, "-o", name], &options[..], more].concat();
        run(folder.path(), &args, 0);
        folder.path().join(name).join("pairs.csv")
    };
    let beside = eval("beside", &["--metrics", "dists,psnr_y,lpips", "--net", "vgg"]);
    assert_eq!(csv(&beside)[0][7..10], ["dists", "psnr_y", "lpips_vgg"]);
    let golden = cells(&data("golden/companions.csv"), Some("0"));
    let cell = |path: &Path, id: &str| cells(path, None)[&(id.to_owned(), "dists".into())].clone();
    let alone = eval("alone", &["--metrics", "dists"]);
    let mut count = 0;
    for ((id, _), expected) in golden.iter().filter(|((_, name), _)| name == "dists") {
        let [found, expected]: [f64; 2] =
            [&cell(&beside, id), expected].map(|text| text.parse().unwrap());
        let tolerance = match id.as_str() {
            "identical" => 0.0,
            "near_identical" => 1e-2 * expected,
            _ => 1e-5 * expected + 1e-8,
        };
        let expected = if id == "identical" { 0.0 } else { expected };
        assert!((found - expected).abs() <= tolerance, "{id}: {found} instead of {expected}");
        assert_eq!(cell(&alone, id), cell(&beside, id), "{id}");
        count += 1;
    }
    assert_eq!(count, 10);
}
