//! Runs that grow: by columns of other runs, and in their own directory. What is there is not
//! computed again, and every file is that of a run from scratch.

use std::collections::BTreeMap;
use std::path::Path;

use lpips::net::Net;

use crate::maps::set;
use crate::support::{lpips, stderr, trunk};

/// The folder of the published weights, where `dists` and vgg find VGG16.
const WEIGHTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/weights");

/// Runs a command that must succeed, and returns how many images went through a trunk, and what it
/// printed.
fn run(folder: &Path, line: &str) -> (usize, String) {
    let mut args: Vec<&str> = line.split(' ').collect();
    args.extend(["--device", "cpu", "-v", "--weights-dir", WEIGHTS]);
    let output = lpips(folder, &args);
    let printed = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{line}\n{printed}");
    let mut lines = printed.lines();
    let passes = lines.find_map(|line| line.strip_prefix("images that went through a trunk: "));
    (passes.unwrap_or_else(|| panic!("{printed}")).parse().unwrap(), printed)
}

/// Every file of a run that must not depend on how it came about, by name.
fn files(folder: &Path, run: &str) -> BTreeMap<String, Vec<u8>> {
    let run = folder.join(run);
    let tables = ["pairs.csv", "summary.csv"].map(|name| run.join(name));
    let maps = walkdir::WalkDir::new(run.join("maps")).into_iter().filter_map(Result::ok);
    let maps = maps.filter(|entry| entry.file_type().is_file()).map(|entry| entry.into_path());
    let name = |path: &Path| path.strip_prefix(&run).unwrap().display().to_string();
    tables.into_iter().chain(maps).map(|path| (name(&path), fs_err::read(&path).unwrap())).collect()
}

fn reused(folder: &Path, run: &str) -> serde_json::Value {
    let text = fs_err::read_to_string(folder.join(run).join("run.json")).unwrap();
    let run: serde_json::Value = serde_json::from_str(&text).unwrap();
    run["provenance"]["reused"].clone()
}

#[test]
fn nets_and_metrics_are_added_to_those_of_other_runs() {
    if trunk(Net::Vgg).is_none() {
        return;
    }
    let set = set(&["a", "b", "c"]);
    let at = set.path();
    let (of_alex, _) = run(at, "eval m.csv -o alex --per-layer");
    assert_eq!(of_alex, 6);
    for (name, options, passes, line) in [
        ("nets", "--net alex,vgg", 6, "took 3 pairs from `alex` (lpips_alex 3)\n"),
        ("pixels", "--metrics lpips,psnr_y", 0, "took 3 pairs from `alex` (lpips_alex 3)\n"),
        ("all", "--metrics psnr_y,lpips,dists", 6, "took 3 pairs from `alex` (lpips_alex 3)\n"),
    ] {
        let (grown, printed) = run(at, &format!("eval m.csv -o {name} {options} --reuse alex"));
        assert_eq!(grown, passes, "{printed}");
        assert!(printed.contains(line), "{printed}");
        run(at, &format!("eval m.csv -o {name}.scratch {options}"));
        assert_eq!(files(at, name), files(at, &format!("{name}.scratch")), "{name}");
        let expected = serde_json::json!({ "lpips_alex": 3 });
        assert_eq!(reused(at, name)[0]["columns"], expected, "{name}");
    }
    // Columns of two runs, and layers of both.
    let two = "--net vgg,alex --metrics lpips,psnr_y,dists --per-layer";
    let (passes, printed) = run(at, &format!("eval m.csv -o two {two} --reuse nets --reuse all"));
    assert_eq!(passes, 0, "{printed}");
    let of_nets = "took 3 pairs from `nets` (lpips_alex 3, lpips_vgg 3)\n";
    let of_all = "took 3 pairs from `all` (dists 3, psnr_y 3)\n";
    assert!(printed.contains(of_nets) && printed.contains(of_all), "{printed}");
    run(at, &format!("eval m.csv -o two.scratch {two}"));
    assert_eq!(files(at, "two"), files(at, "two.scratch"));
}

#[test]
fn a_column_is_computed_again_where_an_image_or_a_mask_has_changed() {
    let set = set(&["a", "b", "c"]);
    let at = set.path();
    fs_err::create_dir(at.join("masks")).unwrap();
    for item in ["r0", "r1", "r2"] {
        fs_err::copy(at.join("r0.pgm"), at.join(format!("masks/{item}.pgm"))).unwrap();
    }
    run(at, "eval m.csv -o base --mask masks");
    fs_err::copy(at.join("d0.pgm"), at.join("d1.pgm")).unwrap();
    let touched = fs_err::OpenOptions::new().write(true).open(at.join("d0.pgm")).unwrap();
    touched.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    fs_err::copy(at.join("d2.pgm"), at.join("masks/r2.pgm")).unwrap();
    let options = "--mask masks --metrics lpips,psnr_rgb";
    run(at, &format!("eval m.csv -o scratch {options}"));
    // By content, only the image and the mask that were replaced differ.
    for (name, verify, passes) in [("content", " --verify-inputs", 4), ("times", "", 6)] {
        let (grown, printed) =
            run(at, &format!("eval m.csv -o {name} {options} --reuse base{verify}"));
        assert_eq!(grown, passes, "{printed}");
        assert_eq!(files(at, name), files(at, "scratch"), "{name}");
    }
}

#[test]
fn a_finished_run_gets_other_tables_and_maps_in_its_own_directory() {
    let set = set(&["a", "b", "c"]);
    let at = set.path();
    let metrics = "--metrics lpips,psnr_rgb";
    run(at, &format!("eval m.csv -o run {metrics}"));
    let whole = [" --group-by item", " --per-layer", " --group-by method,item --per-layer", ""];
    for (index, options) in whole.into_iter().enumerate() {
        let (passes, printed) = run(at, &format!("eval m.csv -o run {metrics}{options}"));
        assert_eq!(passes, 0, "{printed}");
        run(at, &format!("eval m.csv -o scratch{index} {metrics}{options}"));
        assert_eq!(files(at, "run"), files(at, &format!("scratch{index}")), "{options}");
    }
    // Maps of all pairs, then of the worst, then of all again: only what lacks a map is scored.
    for (index, (options, passes, without)) in [
        (" --spatial-worst 1", 2, "resuming: 2 of 3 pairs are done, 1 without their maps"),
        (" --spatial --per-layer", 4, "resuming: 1 of 3 pairs is done, 2 without their maps"),
        (" --spatial-worst 2", 0, "resuming: 3 of 3 pairs are done\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let (scored, printed) = run(at, &format!("eval m.csv -o run {metrics}{options}"));
        assert_eq!(scored, passes, "{printed}");
        assert!(printed.contains(without), "{printed}");
        assert!(!printed.contains("scored twice"), "{printed}");
        run(at, &format!("eval m.csv -o maps{index} {metrics}{options}"));
        assert_eq!(files(at, "run"), files(at, &format!("maps{index}")), "{options}");
    }
    // `merge` writes what the last command has asked for.
    let before = files(at, "run");
    assert!(lpips(at, &["merge", "run", "-q"]).status.success());
    assert_eq!(files(at, "run"), before);
    // Maps would become those of other scores.
    let refused = lpips(at, &["eval", "m.csv", "-o", "run", "--metrics", "lpips,psnr_rgb"]);
    let printed = stderr(&refused);
    assert_eq!(refused.status.code(), Some(6), "{printed}");
    assert!(printed.contains("`run` has spatial maps, which this command does not"), "{printed}");
    assert!(printed.contains("or remove `run/maps`"), "{printed}");
    fs_err::remove_dir_all(at.join("run/maps")).unwrap();
    run(at, &format!("eval m.csv -o run {metrics}"));
    assert_eq!(files(at, "run"), files(at, "scratch3"));
}

#[test]
fn maps_and_layers_of_pairs_that_other_runs_have() {
    let set = set(&["a", "b", "c", "d"]);
    let at = set.path();
    run(at, "eval m.csv -o base --metrics lpips,psnr_rgb");
    for (name, options, passes) in [
        // Every pair is scored for its map; the values of pixels are taken.
        ("all", "--metrics lpips,psnr_rgb --spatial", 8),
        // Two pairs are.
        ("worst", "--metrics lpips,psnr_rgb --spatial-worst 2 --per-layer", 4),
        // A column is missing, so that every pair is scored.
        ("more", "--metrics lpips,ssim_rgb --spatial-worst 2", 8),
        ("layers", "--per-layer", 0),
    ] {
        let (scored, printed) = run(at, &format!("eval m.csv -o {name} {options} --reuse base"));
        assert_eq!(scored, passes, "{name}\n{printed}");
        run(at, &format!("eval m.csv -o {name}.scratch {options}"));
        assert_eq!(files(at, name), files(at, &format!("{name}.scratch")), "{name}");
    }
    assert_eq!(reused(at, "all")[0]["columns"], serde_json::json!({ "psnr_rgb": 4 }));
    let both = serde_json::json!({ "lpips_alex": 4, "psnr_rgb": 4 });
    assert_eq!(reused(at, "worst")[0]["columns"], both);
}

/// The size of a pair in pairs.csv is that of the images that every column sees.
#[test]
fn a_border_that_is_cut_for_one_column_alone_is_another_run() {
    let set = set(&["a", "b"]);
    let at = set.path();
    run(at, "eval m.csv -o all --metrics psnr_rgb --crop-border 2");
    let refused = lpips(
        at,
        &[
            "eval",
            "m.csv",
            "-o",
            "one",
            "--metrics",
            "psnr_rgb",
            "--crop-border",
            "psnr:2",
            "--reuse",
            "all",
        ],
    );
    assert_eq!(refused.status.code(), Some(6), "{}", stderr(&refused));
    let (_, printed) =
        run(at, "eval m.csv -o again --metrics psnr_rgb,ssim_rgb --crop-border 2 --reuse all");
    assert!(printed.contains("took 2 pairs from `all` (psnr_rgb 2)"), "{printed}");
}
