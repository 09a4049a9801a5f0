//! The program end to end: files, messages, exit codes.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::{csv, data, lpips, stderr};

const SAMPLES: &str = "tests/data/sr/manifest.csv";

fn samples() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(SAMPLES).display().to_string()
}

/// A manifest beside copies of two golden pairs, in a fresh folder.
fn small_set(manifest: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["blur2_ref", "blur2_dist", "identical_ref", "identical_dist", "contrast_odd_ref"] {
        let name = format!("{name}.png");
        fs_err::copy(data(&format!("golden/images/{name}")), folder.path().join(&name)).unwrap();
    }
    fs_err::write(folder.path().join("m.csv"), manifest).unwrap();
    folder
}

#[test]
fn the_sample_set_is_scored_and_grouped_by_method() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["eval", &samples(), "-o", "run", "--group-by", "method", "--per-layer"];
    let output = lpips(folder.path(), &args);
    let printed = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(output.stdout.is_empty(), "stdout is for data");

    let pairs = csv(&folder.path().join("run/pairs.csv"));
    let header = "id,item,method,ref,dist,width,height,lpips_alex,lpips_alex_layer0,\
                  lpips_alex_layer1,lpips_alex_layer2,lpips_alex_layer3,lpips_alex_layer4,\
                  status,error_code,error";
    assert_eq!(pairs[0].join(","), header);
    let manifest = csv(Path::new(&samples()));
    assert_eq!(pairs.len(), manifest.len());
    for (pair, row) in pairs.iter().zip(&manifest).skip(1) {
        assert_eq!(&pair[3], &row[0], "manifest order");
        assert_eq!(pair[13], "ok");
        let layers: f64 = pair[8..13].iter().map(|cell| cell.parse::<f64>().unwrap()).sum();
        assert!((layers - pair[7].parse::<f64>().unwrap()).abs() < 1e-7);
    }

    let summary = csv(&folder.path().join("run/summary.csv"));
    let header = "method,metric,expected,scored,failed,complete,mean,std,ci95_low,ci95_high,\
                  median,p05,p95,min,max";
    assert_eq!(summary[0].join(","), header);
    assert_eq!(summary[1][..2], ["*", "lpips_alex"]);
    let mean = |method: &str| -> f64 {
        summary.iter().find(|row| row[0] == method).unwrap()[6].parse().unwrap()
    };
    assert!(mean("lanczos") < mean("nearest"), "lanczos looks better than nearest");

    // The ranking and the files, for people.
    let place =
        |text: &str| printed.find(text).unwrap_or_else(|| panic!("no `{text}` in {printed}"));
    assert!(place("lpips_alex by method") < place("nearest"));
    assert!(place("lanczos") < place("nearest"));
    for file in ["run/summary.csv", "run/pairs.csv", "run/run.json"] {
        place(file);
    }
    let run: serde_json::Value =
        serde_json::from_str(&fs_err::read_to_string(folder.path().join("run/run.json")).unwrap())
            .unwrap();
    let fingerprint = &run["fingerprint"]["columns"]["lpips_alex"];
    assert_eq!((&fingerprint["v"], &fingerprint["prec"]), (&"0.1".into(), &"fp32".into()));
    let [trunk, lin] = [lpips::net::weights::ALEX_SHA256, lpips::net::weights::LIN_SHA256];
    assert_eq!(fingerprint["weights"], format!("{trunk}+{lin}"));
    let signature = run["signatures"]["lpips_alex"].as_str().unwrap();
    assert!(printed.contains(signature), "{printed}");
    assert_eq!(run["provenance"]["scored"], manifest.len() - 1);
}

#[test]
fn means_of_the_summary_are_means_of_the_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let output = lpips(folder.path(), &["eval", &samples(), "-o", "run", "--group-by", "method"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for pair in csv(&folder.path().join("run/pairs.csv")).iter().skip(1) {
        for group in [pair[2].as_str(), "*"] {
            let sum = sums.entry(group.to_owned()).or_default();
            *sum = (sum.0 + pair[7].parse::<f64>().unwrap(), sum.1 + 1.0);
        }
    }
    for row in csv(&folder.path().join("run/summary.csv")).iter().skip(1) {
        let (sum, count) = sums[&row[0]];
        assert!((row[6].parse::<f64>().unwrap() - sum / count).abs() < 1e-8);
        assert_eq!(row[3].parse::<f64>().unwrap(), count);
    }
}

#[test]
fn a_failed_pair_is_a_row_and_exit_code_3() {
    let folder = small_set(
        "ref,dist,id,scale\nblur2_ref.png,blur2_dist.png,good,4\nblur2_ref.png,gone.png,gone,4\n\
         identical_ref.png,identical_dist.png,same,2\n\
         blur2_ref.png,contrast_odd_ref.png,odd,2\n",
    );
    let output = lpips(folder.path(), &["eval", "m.csv", "-o", "run", "--group-by", "scale"]);
    let printed = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{printed}");
    assert!(printed.contains("INCOMPLETE"), "{printed}");
    let pairs = csv(&folder.path().join("run/pairs.csv"));
    let cells = |row: usize| (pairs[row][0].as_str(), pairs[row][8].as_str(), &pairs[row][9..]);
    assert_eq!(cells(1).2[..2], ["ok", ""]);
    assert_eq!(
        (cells(2).1, cells(2).2[..2].to_vec()),
        ("", vec!["failed".into(), "E_MISSING".into()])
    );
    assert_eq!((cells(3).0, cells(3).1), ("same", "0.0"));
    assert_eq!(cells(4).2[1], "E_SIZE");
    assert!(cells(4).2[2].contains("67x65"), "{}", cells(4).2[2]);
    let summary = csv(&folder.path().join("run/summary.csv"));
    // scale, metric, expected, scored, failed, complete
    assert_eq!(summary[1][..6], ["*", "lpips_alex", "4", "2", "2", "no"]);
    assert_eq!(summary[2][..6], ["4", "lpips_alex", "2", "1", "1", "no"]);
}

#[test]
fn one_metric_may_fail_while_another_is_filled() {
    let folder = tempfile::tempdir().unwrap();
    let mut pgm = b"P5 40 30 255\n".to_vec();
    pgm.extend((0..1200).map(|i| (i % 251) as u8));
    fs_err::write(folder.path().join("a.pgm"), pgm).unwrap();
    fs_err::write(folder.path().join("m.csv"), "ref,dist\na.pgm,a.pgm\n").unwrap();
    let args = ["eval", "m.csv", "-o", "run", "--net", "alex,squeeze", "--trunk", "random:1"];
    let output = lpips(folder.path(), &args);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let pairs = csv(&folder.path().join("run/pairs.csv"));
    let found = pairs[1][5..].join("|");
    let expected = "40|30||0.0|failed|E_TOO_SMALL|\
                    40x30 is too small: alex needs at least 31 pixels a side";
    assert_eq!(found, expected);
    let summary = csv(&folder.path().join("run/summary.csv"));
    assert_eq!(summary[1][..5], ["lpips_alex", "1", "0", "1", "no"]);
    assert_eq!(summary[2][..5], ["lpips_squeeze", "1", "1", "0", "yes"]);
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_written() {
    let folder = small_set("ref,dist\nblur2_ref.png,blur2_dist.png\n");
    fs_err::create_dir(folder.path().join("weights")).unwrap();
    let held = folder.path().join("held");
    fs_err::create_dir(&held).unwrap();
    fs_err::write(held.join("pairs.csv"), "").unwrap();
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["eval", "none.csv", "-o", "run"], 6, &["`none.csv`"]),
        (&["eval", "m.csv", "-o", "held"], 6, &["holds results of something else", "hint:"]),
        (&["eval", "m.csv", "-o", "m.csv"], 5, &["cannot create the run directory `m.csv`"]),
        (
            &["eval", "m.csv", "-o", "run", "--net", "vgg", "--weights-dir", "weights"],
            5,
            &[
                "no weights for vgg: tried `weights/vgg.safetensors`",
                "hint: run `lpips weights fetch vgg`",
            ],
        ),
        (&["eval", "m.csv", "-o", "run", "--group-by", "metod"], 2, &["`metod`", "item, method"]),
        (&["eval", "m.csv", "-o", "run", "--per-layers"], 2, &["--per-layer"]),
        (&["eval", "m.csv", "-o", "run", "--net", "alx"], 2, &["alex"]),
        (&["eval", "m.csv", "-o", "run", "--batch", "0"], 2, &["--batch"]),
        (&["eval", "m.csv"], 2, &["--output"]),
    ];
    for (args, exit, expected) in cases {
        let output = lpips(folder.path(), args);
        let printed = stderr(&output);
        assert_eq!(output.status.code(), Some(*exit), "{args:?}: {printed}");
        for text in *expected {
            assert!(printed.contains(text), "{args:?}: no `{text}` in {printed}");
        }
        assert!(!folder.path().join("run").exists(), "{args:?} left a run directory");
    }
}

#[test]
fn damaged_weights_are_refused() {
    let folder = small_set("ref,dist\nblur2_ref.png,blur2_dist.png\n");
    let weights = folder.path().join("w");
    fs_err::create_dir(&weights).unwrap();
    fs_err::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/alex.safetensors"),
        weights.join("vgg.safetensors"),
    )
    .unwrap();
    let args = ["eval", "m.csv", "-o", "run", "--net", "vgg", "--weights-dir", "w"];
    let output = lpips(folder.path(), &args);
    let printed = stderr(&output);
    assert_eq!(output.status.code(), Some(5), "{printed}");
    assert!(
        printed.contains("expected SHA-256") && printed.contains("w/vgg.safetensors"),
        "{printed}"
    );
    let output = lpips(folder.path(), &["weights", "verify", "--weights-dir", "w"]);
    assert_eq!(output.status.code(), Some(5));
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.contains("alex     good") && out.contains("vgg      BAD"), "{out}");
}

/// As `lpips man | head -0` does.
#[test]
fn a_closed_stdout_is_no_error() {
    for args in [&["man"][..], &["completions", "bash"], &["weights", "list"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let program = std::process::Command::new(env!("CARGO_BIN_EXE_lpips"))
            .args(args)
            .stdout(writer)
            .output()
            .unwrap();
        assert_eq!((program.status.code(), stderr(&program)), (Some(0), String::new()), "{args:?}");
    }
}

#[test]
fn weights_are_listed_with_the_remedy_for_absent_ones() {
    let folder = tempfile::tempdir().unwrap();
    let output = lpips(folder.path(), &["weights", "list", "--weights-dir", "."]);
    assert_eq!(output.status.code(), Some(0));
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.contains("alex     embedded in the program"), "{out}");
    assert!(out.contains("no weights for vgg: tried `./vgg.safetensors`"), "{out}");
    let hint =
        "\n         hint: run `lpips weights fetch vgg` (or `python3 scripts/fetch_weights.py vgg";
    assert!(out.contains(hint) && !out.contains("\\n"), "{out}");
}

#[test]
fn words_that_are_no_inputs_are_answered_with_the_options_that_name_them() {
    let folder = tempfile::tempdir().unwrap();
    let tip = "--ref DIR --dist DIR', two images with '--pair REF DIST'";
    let sources =
        "<MANIFEST|--ref <DIR|PATTERN>|--dist <[NAME=]DIR|PATTERN>|--all-pairs <DIR>|--pair";
    for (line, expected) in [
        ("eval hr sr -o run", tip),
        ("check 1.png 2.png", tip),
        ("eval -o run", sources),
        ("check", sources),
        ("check --intersect", "--dist <[NAME=]DIR|PATTERN>"),
    ] {
        let output = lpips(folder.path(), &line.split(' ').collect::<Vec<_>>());
        let printed = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{line}: {printed}");
        assert!(printed.contains(expected), "{line}: {printed}");
    }
    let printed = stderr(&lpips(folder.path(), &["eval", "--metric", "dists"]));
    assert!(printed.contains("'--metrics'") && !printed.contains("two images"), "{printed}");
}

/// pairs.csv of the sample set without its header, sorted by id.
fn scored_rows(folder: &Path, manifest: &str, run: &str, options: &[&str]) -> Vec<Vec<String>> {
    let mut args = vec!["eval", manifest, "-o", run, "--net", "alex", "--per-layer"];
    args.extend(options);
    let output = lpips(folder, &args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let mut rows = csv(&folder.join(run).join("pairs.csv"));
    rows.remove(0);
    rows.sort();
    rows
}

#[test]
fn neither_batch_nor_threads_nor_order_change_a_digit() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = samples();
    let expected = scored_rows(folder.path(), &manifest, "first", &["--batch", "8"]);
    let variants: [&[&str]; 4] = [
        &["--batch", "1", "--threads", "1"],
        &["--batch", "3", "--threads", "1"],
        &["--batch", "3", "--threads", "2"],
        &["--batch", "8", "--threads", "2"],
    ];
    let bytes = |run: &str| fs_err::read(folder.path().join(run).join("pairs.csv")).unwrap();
    for (index, options) in variants.iter().enumerate() {
        let run = format!("variant{index}");
        scored_rows(folder.path(), &manifest, &run, options);
        assert!(bytes(&run) == bytes("first"), "pairs.csv differs with {options:?}");
    }

    // Reversed, and dealt out by method: other neighbours in every batch.
    let text = fs_err::read_to_string(&manifest).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    let header = lines.remove(0);
    let images = Path::new(&manifest).parent().unwrap();
    lines.reverse();
    let reversed = lines.clone();
    lines.sort_by_key(|line| line.rsplit(',').next().map(str::to_owned));
    for (index, order) in [reversed, lines].into_iter().enumerate() {
        // Absolute paths, since the manifest lies elsewhere; the id stays what it was.
        let rows: String = order
            .iter()
            .map(|line| {
                let cells: Vec<&str> = line.split(',').collect();
                let path = |cell: &str| images.join(cell).display().to_string();
                format!("{},{},{},{}\n", path(cells[0]), path(cells[1]), cells[2], cells[3])
            })
            .collect();
        let name = format!("order{index}.csv");
        fs_err::write(folder.path().join(&name), format!("{header}\n{rows}")).unwrap();
        let run = format!("order{index}");
        let found = scored_rows(folder.path(), &name, &run, &["--batch", "3"]);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found[0], expected[0], "ids");
            assert_eq!(found[5..], expected[5..], "{}", found[0]);
        }
        assert_eq!(found.len(), expected.len());
    }
}
