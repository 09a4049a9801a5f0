//! `lpips compare` from the command line: inputs, verdicts, gates, exit codes and outputs.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{data, lpips, stderr};

const HEADER: &str =
    "id,item,method,ref,dist,scale,width,height,lpips_alex,status,error_code,error";

/// A table as `lpips eval` writes it: id, item, method, scale and score of each row; a row without
/// a score failed.
fn table(path: &Path, rows: &[(&str, &str, &str, &str, &str)]) {
    let line = |&(id, item, method, scale, score): &(&str, &str, &str, &str, &str)| {
        let status = if score.is_empty() { "failed,E_READ,gone" } else { "ok,," };
        format!(
            "{id},{item},{method},hr/{item}.png,{method}/{id}.png,{scale},64,48,{score},{status}\n"
        )
    };
    let text: String = rows.iter().map(line).collect();
    fs_err::write(path, format!("{HEADER}\n{text}")).unwrap();
}

/// A table of one method and one pair for each item: 0.5 plus these.
fn scores(path: &Path, changes: &[f64]) {
    let owned: Vec<(String, String)> = changes
        .iter()
        .enumerate()
        .map(|(index, change)| (format!("{index:04}"), format!("{:.9}", 0.5 + change)))
        .collect();
    let rows: Vec<_> = owned
        .iter()
        .map(|(id, score)| (id.as_str(), id.as_str(), "m", "4", score.as_str()))
        .collect();
    table(path, &rows);
}

/// Compares `base.csv` and `new.csv`.
fn compare(folder: &Path, options: &[&str]) -> Output {
    let mut line = vec!["compare", "base.csv", "new.csv"];
    line.extend(options);
    lpips(folder, &line)
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Text as one line, wherever it was broken.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn json(folder: &Path, options: &[&str]) -> Value {
    let mut line = vec!["--json", "-"];
    line.extend(options);
    let output = compare(folder, &line);
    assert!(!output.stdout.is_empty(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A folder with two tables of these changes.
pub(crate) fn pair_of(base: &[f64], new: &[f64]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    scores(&folder.path().join("base.csv"), base);
    scores(&folder.path().join("new.csv"), new);
    folder
}

fn near(value: &Value, expected: f64) {
    let number = value.as_f64().unwrap();
    assert!((number - expected).abs() < 1e-9, "{number} instead of {expected}");
}

#[test]
fn five_items_cannot_be_decided_and_say_why() {
    let folder = pair_of(&[0.0; 5], &[0.010, 0.020, -0.005, 0.030, 0.015]);
    let report = json(folder.path(), &[]);
    assert_eq!(
        (&report["schema"], &report["verdict"]),
        (&"lpips-compare/1".into(), &"undecided".into())
    );
    let row = &report["rows"][0];
    near(&row["difference"], 0.014);
    near(&row["p"], 0.125);
    near(&row["p_adjusted"], 0.125);
    for absent in ["low", "high", "level", "mde80"] {
        assert!(row[absent].is_null(), "{absent}: {row}");
    }
    assert_eq!([&row["better"], &row["same"], &row["worse"]], [1, 0, 4]);
    assert_eq!(
        (&row["metric"], &row["method"], &row["n"]),
        (&"lpips_alex".into(), &"m".into(), &5.into())
    );
    assert_eq!(row["group"], serde_json::json!({}));
    let text = stdout(&compare(folder.path(), &[]));
    let flattened = flat(&text);
    assert!(flattened.contains("p cannot be below 0.0625"), "{text}");
    assert!(flattened.contains("no interval has more than 93.75%"), "{text}");
    assert!(text.starts_with("verdict: undecided"), "{text}");
    assert!(!text.contains('\u{1b}'), "colours belong to terminals");
}

#[test]
fn eight_items_have_the_exact_interval() {
    let changes = [-0.004, 0.011, 0.007, -0.002, 0.013, 0.005, 0.009, -0.001];
    let folder = pair_of(&[0.0; 8], &changes);
    let row = json(folder.path(), &[])["rows"][0].clone();
    near(&row["p"], 0.09375);
    near(&row["low"], -0.0015);
    near(&row["high"], 0.031 / 3.0);
    near(&row["level"], 0.953_125);
    let row = json(folder.path(), &["--confidence", "90"])["rows"][0].clone();
    near(&row["low"], 0.001 / 3.0);
    assert_eq!(row["verdict"], "worse");
}

#[test]
fn identical_runs_are_identical_and_pass() {
    let folder = pair_of(&[0.1, 0.2, 0.3], &[0.1, 0.2, 0.3]);
    let output = compare(folder.path(), &["--fail-if", "max > 0", "--fail-if", "mean > 0 @ 95%"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = json(folder.path(), &[]);
    let row = &report["rows"][0];
    assert_eq!(report["verdict"], "identical");
    for (key, expected) in [("difference", 0.0), ("low", 0.0), ("high", 0.0), ("p", 1.0)] {
        near(&row[key], expected);
    }
    assert!(stdout(&compare(folder.path(), &[])).starts_with("verdict: identical"));
}

#[test]
fn a_planted_worsening_fires_the_gate_of_the_largest() {
    let mut changes = vec![0.0; 500];
    changes[321] = 0.01;
    let folder = pair_of(&[0.0; 500], &changes);
    let code = |condition: &str| compare(folder.path(), &["--fail-if", condition]).status.code();
    assert_eq!(code("max > 0.005"), Some(4));
    assert_eq!(code("max > 0.01"), Some(0), "as decimals 0.01 is not above 0.01");
    assert_eq!(code("mean > 0.005"), Some(0));
    assert_eq!(code("share(0.005) > 0.1%"), Some(4));
    let text = stdout(&compare(folder.path(), &["--fail-if", "max > 0.005"]));
    assert!(text.contains("gate `max > 0.005` (m) FAILED: 0.0100 against 0.0050"), "{text}");
    assert!(text.contains("hr/0321.png | m/0321.png"), "{text}");
}

#[test]
fn missing_and_failed_pairs_leave_a_gate_undecided() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let row = |id, score| (id, id, "m", "4", score);
    let full = [row("a", "0.1"), row("b", "0.2"), row("c", "0.3"), row("d", "0.4")];
    table(&path("base.csv"), &full);
    table(&path("new.csv"), &[row("a", "0.1"), row("b", ""), row("c", "0.3"), row("e", "0.4")]);
    let gate = ["--fail-if", "mean > 1"];
    assert_eq!(compare(folder.path(), &gate).status.code(), Some(4));
    let report = json(folder.path(), &gate);
    let expected = serde_json::json!({
        "common": 3, "only_base": 1, "only_new": 1, "failed_base": 0, "failed_new": 1
    });
    assert_eq!(report["aligned"], expected);
    assert_eq!(
        (&report["gates"][0]["outcome"], &report["rows"][0]["n"]),
        (&"undecided".into(), &2.into())
    );
    let output = compare(folder.path(), &["--fail-if", "mean > 1", "--intersect"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(compare(folder.path(), &[]).status.code(), Some(0), "no gate, no failure");
}

#[test]
fn the_order_of_rows_changes_no_byte() {
    let changes: Vec<f64> = (0..60).map(|i| f64::from((i * 37) % 23) / 1000.0 - 0.01).collect();
    let folder = pair_of(&[0.0; 60], &changes);
    let options = [
        "--group-by",
        "scale",
        "--top",
        "5",
        "--json",
        "out.json",
        "--markdown",
        "out.md",
        "--csv",
        "out.csv",
    ];
    let all = || {
        let output = compare(folder.path(), &options);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let files = ["out.json", "out.md", "out.csv"];
        let files = files.map(|name| fs_err::read_to_string(folder.path().join(name)).unwrap());
        (stdout(&output), files)
    };
    let expected = all();
    for name in ["base.csv", "new.csv"] {
        let path = folder.path().join(name);
        let text = fs_err::read_to_string(&path).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines[1..].reverse();
        lines[1..].rotate_left(17);
        fs_err::write(&path, lines.join("\n") + "\n").unwrap();
    }
    assert_eq!(all(), expected);
    let one_thread = Command::new(env!("CARGO_BIN_EXE_lpips"))
        .current_dir(folder.path())
        .args(["compare", "base.csv", "new.csv", "--group-by", "scale", "--top", "5"])
        .env("RAYON_NUM_THREADS", "1")
        .output()
        .unwrap();
    assert_eq!(stdout(&one_thread), expected.0);
}

#[test]
fn methods_groups_and_gates_of_groups() {
    let folder = tempfile::tempdir().unwrap();
    let items = ["a", "b", "c", "d", "e", "f"];
    let rows = |worse: f64| -> Vec<(String, String, String, String, String)> {
        let mut rows = Vec::new();
        for (index, item) in items.iter().enumerate() {
            for (method, scale) in [("x", "2"), ("x", "4"), ("y", "2"), ("y", "4")] {
                let change = if method == "y" && scale == "4" { worse } else { 0.0 };
                let score = format!("{:.9}", 0.2 + 0.01 * index as f64 + change);
                let id = format!("{method}/{scale}/{item}");
                rows.push((id, (*item).to_owned(), method.to_owned(), scale.to_owned(), score));
            }
        }
        rows
    };
    for (name, worse) in [("base.csv", 0.0), ("new.csv", 0.02)] {
        let owned = rows(worse);
        let rows: Vec<_> = owned
            .iter()
            .map(|(a, b, c, d, e)| (a.as_str(), b.as_str(), c.as_str(), d.as_str(), e.as_str()))
            .collect();
        table(&folder.path().join(name), &rows);
    }
    let report = json(folder.path(), &["--group-by", "scale"]);
    let named: Vec<String> = report["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| format!("{} {} {} {}", row["method"], row["group"], row["verdict"], row["n"]))
        .collect();
    let expected = [
        r#""x" {} "identical" 6"#,
        r#""x" {"scale":"2"} "identical" 6"#,
        r#""x" {"scale":"4"} "identical" 6"#,
        r#""y" {} "undecided" 6"#,
        r#""y" {"scale":"2"} "identical" 6"#,
        r#""y" {"scale":"4"} "undecided" 6"#,
    ];
    assert_eq!(named, expected, "Holm doubles p = 0.03125");
    let total = &report["rows"][3];
    near(&total["difference"], 0.01);
    near(&total["p"], 0.03125);
    near(&total["p_adjusted"], 0.0625);
    let code = |condition: &str| compare(folder.path(), &["--fail-if", condition]).status.code();
    assert_eq!(code("lpips_alex[scale=4]: mean > 0.015"), Some(4));
    assert_eq!(code("lpips_alex[scale=2]: mean > 0.015"), Some(0));
    assert_eq!(code("lpips_alex[scale=4,method=x]: mean > 0.015"), Some(0));
    assert_eq!(code("lpips_alex: mean > 0.015"), Some(0));
    assert_eq!(code("lpips_alex[scale=8]: mean > 0.015"), Some(2), "a group without pairs");
    assert_eq!(code("lpips_alex[size=8]: mean > 0.015"), Some(2), "no such column");

    let methods = lpips(folder.path(), &["compare", "new.csv", "--base", "x", "--json", "-"]);
    let methods: Value = serde_json::from_slice(&methods.stdout).unwrap();
    assert_eq!(
        (&methods["rows"][0]["method"], &methods["verdict"]),
        (&"y".into(), &"worse".into())
    );
    near(&methods["rows"][0]["difference"], 0.01);
    let at = lpips(folder.path(), &["compare", "new.csv@x", "new.csv@y", "--json", "-"]);
    let at: Value = serde_json::from_slice(&at.stdout).unwrap();
    assert_eq!(at["rows"][0]["difference"], methods["rows"][0]["difference"]);
}

#[test]
fn conditions_that_cannot_be_read_end_with_2_and_a_caret() {
    let folder = pair_of(&[0.0; 3], &[0.0; 3]);
    let cases = [
        ("men > 0", "  men > 0\n  ^^^"),
        ("mean >= 0", "  mean >= 0\n       ^^"),
        ("mean < 0", "  mean < 0\n       ^"),
        ("max > 0 @ 95%", "  max > 0 @ 95%\n          ^"),
        ("lpips_vgg: mean > 0", "  lpips_vgg: mean > 0\n  ^^^^^^^^^"),
        ("lpips_alex[scale=9]: max > 0", "  lpips_alex[scale=9]: max > 0\n                   ^"),
    ];
    for (condition, caret) in cases {
        let output = compare(folder.path(), &["--fail-if", condition]);
        assert_eq!(output.status.code(), Some(2), "{condition}");
        assert!(stderr(&output).contains(caret), "{condition}: {}", stderr(&output));
    }
}

#[test]
fn bad_inputs_say_what_was_read_and_what_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let row = |id, method| (id, id, method, "4", "0.5");
    table(&path("base.csv"), &[row("a", "m"), row("b", "m")]);
    let refused = |code: i32, wanted: &[&str], options: &[&str]| {
        let output = compare(folder.path(), options);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{text}");
        for wanted in wanted {
            assert!(text.contains(wanted), "no `{wanted}` in {text}");
        }
        assert!(text.contains("hint: "), "{text}");
    };
    refused(6, &["`new.csv` does not exist"], &[]);
    table(&path("new.csv"), &[row("a", "m"), row("a", "m")]);
    refused(6, &["`new.csv`: the id `a` comes twice, in lines 2 and 3"], &[]);
    table(&path("new.csv"), &[row("x", "m"), row("y", "m")]);
    refused(6, &["no id in common: `a` there, `x` here"], &[]);
    table(&path("base.csv"), &[row("m/a", "m"), row("m/b", "m")]);
    table(&path("new.csv"), &[row("n/a", "n"), row("n/b", "n")]);
    refused(6, &["no id in common", "--map-method m=n"], &[]);
    let mapped = compare(folder.path(), &["--map-method", "m=n"]);
    assert_eq!(mapped.status.code(), Some(0), "{}", stderr(&mapped));

    let good = fs_err::read_to_string(path("base.csv")).unwrap();
    fs_err::write(path("new.csv"), good.replace(",0.5,", ",0.x5,")).unwrap();
    refused(6, &["`new.csv` line 2: `0.x5` in column `lpips_alex` is no number"], &[]);
    fs_err::write(path("new.csv"), &good[..good.len() - 8]).unwrap();
    refused(6, &["`new.csv` line 3: expected 12 cells, found"], &[]);
    fs_err::write(path("new.csv"), good.replacen(",ok,,", ",ok,,\"oops", 1)).unwrap();
    refused(6, &["`new.csv` line 2: a quoted cell has no end"], &[]);
    fs_err::write(path("new.csv"), good.replacen(",64,48,", ",65,48,", 1)).unwrap();
    refused(6, &["`m/a`", "the images are 64x48 there and 65x48 here"], &[]);
    fs_err::write(path("new.csv"), format!("{HEADER}\n")).unwrap();
    refused(6, &["`new.csv` has no rows"], &[]);
    fs_err::write(path("new.csv"), good).unwrap();
    let gate = ["--fail-if", "lpips_alex[size=x4]: max > 1"];
    refused(2, &["`base.csv` has no column `size`, which `--fail-if` names"], &gate);
    table(&path("base.csv"), &[row("a", ""), row("b", "")]);
    let output = lpips(folder.path(), &["compare", "base.csv@m", "new.csv"]);
    let expected = "the pairs of `base.csv` have no method\nhint: leave out the method `m`";
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    fs_err::write(path("new.csv"), "name,score\na,1\n").unwrap();
    refused(2, &["which columns of `new.csv`"], &[]);

    fs_err::create_dir(path("empty")).unwrap();
    let output = lpips(folder.path(), &["compare", "base.csv", "empty"]);
    assert_eq!(output.status.code(), Some(6));
    assert!(
        stderr(&output).contains("`empty` holds no run: no `plan.json`"),
        "{}",
        stderr(&output)
    );
    let output = lpips(folder.path(), &["compare", "base.csv"]);
    assert_eq!(output.status.code(), Some(2));
    let output = lpips(folder.path(), &["compare", "base.csv@z", "base.csv"]);
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
}

#[test]
fn tables_of_other_programs_are_compared_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let table = |name: &str, scores: [f64; 6]| {
        let rows = scores.iter().enumerate().map(|(index, score)| format!("i{index},{score}\n"));
        let text: String = rows.collect();
        fs_err::write(folder.path().join(name), format!("name,quality\n{text}")).unwrap();
    };
    table("base.csv", [30.0, 31.0, 32.0, 33.0, 34.0, 35.0]);
    table("new.csv", [30.5, 31.5, 32.5, 33.5, 34.5, 35.5]);
    let options = ["--id-column", "name", "--metric", "quality:higher"];
    let report = json(folder.path(), &options);
    assert_eq!((&report["verdict"], &report["rows"][0]["better"]), (&"better".into(), &6.into()));
    assert_eq!(report["signatures"]["quality"], "quality|protocol:unknown");
    let text = flat(&stdout(&compare(folder.path(), &options)));
    assert!(text.contains("the protocol of quality is unknown"), "{text}");
    let lower = compare(
        folder.path(),
        &["--id-column", "name", "--metric", "quality:lower", "--fail-if", "mean > 0.4"],
    );
    assert_eq!(lower.status.code(), Some(4));
    assert_eq!(
        compare(folder.path(), &["--id-column", "nam", "--metric", "quality:lower"]).status.code(),
        Some(2)
    );
}

#[test]
fn infinite_scores_are_left_out_and_leave_gates_undecided() {
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("base.csv"), "id,psnr_y\na,inf\nb,inf\nc,30\n").unwrap();
    fs_err::write(folder.path().join("new.csv"), "id,psnr_y\na,inf\nb,40\nc,31\n").unwrap();
    let report = json(folder.path(), &["--metric", "psnr_y", "--fail-if", "max > 100"]);
    let row = &report["rows"][0];
    assert_eq!((&row["n"], &row["same"], &row["better"]), (&2.into(), &1.into(), &1.into()));
    assert_eq!(
        (&row["base_mean"], &report["gates"][0]["outcome"]),
        (&"inf".into(), &"undecided".into())
    );
}

#[test]
fn a_run_of_0_1_is_compared_with_itself_and_with_another_class() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str, edit: &dyn Fn(&str, String) -> String| {
        let to = folder.path().join(name);
        fs_err::create_dir_all(&to).unwrap();
        for file in ["plan.json", "run.json", "pairs.csv", "manifest.csv"] {
            let text = fs_err::read_to_string(data("run_0_1/run").join(file)).unwrap();
            fs_err::write(to.join(file), edit(file, text)).unwrap();
        }
    };
    copy("a", &|_, text| text);
    copy("b", &|file, text| match file {
        "pairs.csv" => text.replace(",0.363621968,", ",0.363621970,"),
        "run.json" => text.replace("cpu-avx2-fp32", "cuda-sm_90-fp32"),
        _ => text,
    });
    copy("c", &|file, text| match file {
        "plan.json" => text.replace(r#""crop_border": 0"#, r#""crop_border": 4"#),
        _ => text,
    });
    let run = |new: &str, options: &[&str]| {
        let mut line = vec!["compare", "a", new];
        line.extend(options);
        lpips(folder.path(), &line)
    };
    let same = run("b", &[]);
    let text = flat(&stdout(&same));
    assert!(text.starts_with("verdict: identical"), "{text}{}", stderr(&same));
    assert!(text.contains("differences that both numerics classes allow count as 0"), "{text}");
    assert!(text.contains("signature lpips_alex: lpips|net:alex|"), "{text}");
    assert!(text.contains("1 failed in base, 1 failed in new"), "{text}");

    let other = run("c", &[]);
    assert_eq!(other.status.code(), Some(6));
    assert!(
        stderr(&other).contains("`crop` of lpips_alex is `0` in `a` and `4` in `c`"),
        "{}",
        stderr(&other)
    );
    let allowed = run("c", &["--allow", "crop"]);
    assert_eq!(allowed.status.code(), Some(0), "{}", stderr(&allowed));
    assert!(flat(&stdout(&allowed)).contains("compared although `crop`"), "{}", stdout(&allowed));
    assert_eq!(run("c", &["--allow", "crp"]).status.code(), Some(2));

    let history = lpips(folder.path(), &["compare", "--history", "a", "b", "a"]);
    let text = stdout(&history);
    assert_eq!(
        text.lines().filter(|line| line.starts_with("2026-11-29T02:40:14")).count(),
        6,
        "{text}"
    );
}

#[test]
fn the_noise_floor_warns_of_limits_below_it() {
    let folder = pair_of(&[0.0; 8], &[0.001; 8]);
    scores(&folder.path().join("n1.csv"), &[0.0; 8]);
    scores(&folder.path().join("n2.csv"), &[0.0, 0.004, 0.0, 0.0, 0.0, 0.0, 0.0, 0.004]);
    let nulls = ["--null", "n1.csv", "--null", "n2.csv"];
    let with = |condition: &str| {
        let mut options = nulls.to_vec();
        options.extend(["--fail-if", condition]);
        flat(&stdout(&compare(folder.path(), &options)))
    };
    let tight = with("max > 0.002");
    assert!(tight.contains("noise floor of `max > 0.002`"), "{tight}");
    assert!(tight.contains("the limit is below it, try 0.004"), "{tight}");
    assert!(!with("max > 0.005").contains("try"));
    let report = json(folder.path(), &nulls);
    near(&report["noise"][0]["floor"], 0.001);
    near(&report["noise"][1]["floor"], 0.004);
    assert_eq!(compare(folder.path(), &nulls[..2]).status.code(), Some(2), "one run has no noise");
}

#[test]
fn printed_digits_agree_with_the_verdict() {
    let changes: Vec<f64> = (0..12).map(|i| 1e-6 + f64::from(i % 3) * 1e-7).collect();
    let folder = pair_of(&[0.0; 12], &changes);
    let text = stdout(&compare(folder.path(), &[]));
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("verdict: worse"), "{first}");
    assert!(!first.contains("[+0.0000,") && !first.contains("[0.0000,"), "{first}");
    assert!(first.contains("+0.000001 [+0.000001, +0.000001]"), "{first}");
}

#[test]
fn every_output_can_be_written() {
    let folder = pair_of(&[0.0; 8], &[0.01, 0.02, 0.01, 0.02, 0.03, 0.01, 0.02, 0.01]);
    let names = [
        ("--markdown", "r.md"),
        ("--json", "r.json"),
        ("--bench-json", "b.json"),
        ("--csv", "r.csv"),
    ];
    let options: Vec<&str> = names.iter().flat_map(|&(option, name)| [option, name]).collect();
    let output = compare(folder.path(), &options);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let read = |name: &str| fs_err::read_to_string(folder.path().join(name)).unwrap();
    assert!(
        read("r.md").starts_with("### Comparison: worse") && read("r.md").contains("<details>")
    );
    let bench: Value = serde_json::from_str(&read("b.json")).unwrap();
    assert_eq!(bench[0]["name"], "lpips_alex/all/m");
    near(&bench[0]["value"], 0.51625);
    assert!(bench[0]["range"].as_str().unwrap().starts_with("± 0.0"));
    let table = crate::support::csv(&folder.path().join("r.csv"));
    assert_eq!(
        (&table[0][2], &table[1][2], table.len()),
        (&"metric".into(), &"lpips_alex".into(), 2)
    );
    for &(option, _) in &names {
        let output = compare(folder.path(), &[option, "-"]);
        assert!(
            !output.stdout.is_empty() && stderr(&output).starts_with("verdict: worse"),
            "{option}"
        );
    }
    assert_eq!(compare(folder.path(), &["--json", "-", "--csv", "-"]).status.code(), Some(2));
    assert_eq!(compare(folder.path(), &["--json", "no/such/folder.json"]).status.code(), Some(5));
}

#[test]
fn names_cannot_steer_a_terminal_or_add_lines() {
    let folder = tempfile::tempdir().unwrap();
    let text = |score: f64| {
        let row = |i: i32| {
            let score = score + f64::from(i) * 1e-4;
            format!("\"{i}\u{1b}[2J\nverdict: better\",\u{1b}]0;m,{score}\n")
        };
        format!("id,method,v\n{}", (0..6).map(row).collect::<String>())
    };
    fs_err::write(folder.path().join("base.csv"), text(0.1)).unwrap();
    fs_err::write(folder.path().join("new.csv"), text(0.2)).unwrap();
    let output = compare(folder.path(), &["--metric", "v:lower"]);
    let text = stdout(&output);
    assert!(text.starts_with("verdict: worse"), "{text}{}", stderr(&output));
    assert!(!text.contains('\u{1b}') && text.contains("\\u{1b}[2J\\nverdict: better"), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("verdict: ")).count(), 1, "{text}");
}

#[test]
fn markdown_of_hostile_names_stays_small_and_tame() {
    let folder = tempfile::tempdir().unwrap();
    let long = "</details><img src=x onerror=alert(1)>|`".repeat(40);
    let text = |score: f64| {
        let rows =
            (0..4000).map(|i| format!("\"{i}{long}\",{},g{i}\n", score + f64::from(i) * 1e-4));
        format!("id,v,group\n{}", rows.collect::<String>())
    };
    fs_err::write(folder.path().join("base.csv"), text(0.1)).unwrap();
    fs_err::write(folder.path().join("new.csv"), text(0.2)).unwrap();
    let options =
        ["--metric", "v:lower", "--group-by", "group", "--top", "1000", "--markdown", "-"];
    let output = compare(folder.path(), &options);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.len() < 1 << 20, "{} bytes", text.len());
    assert!(!text.contains("<img") && text.contains("more lines are in the other formats"));
    assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
}

#[test]
fn eval_and_merge_have_gates_on_their_own_scores() {
    let folder = tempfile::tempdir().unwrap();
    let image =
        |side| data(&format!("golden/images/tiny_31_wide_{side}.png")).display().to_string();
    let (reference, distorted) = (image("ref"), image("dist"));
    let pair = |conditions: &[&str]| {
        let mut line = vec!["eval", "--device", "cpu", "--pair", &reference, &distorted];
        line.extend(conditions.iter().flat_map(|condition| ["--fail-if", condition]));
        lpips(folder.path(), &line)
    };
    assert_eq!(pair(&["mean > 5", "max > 5"]).status.code(), Some(0));
    let failed = pair(&["lpips_alex: mean > 0.0001", "share(5) > 0"]);
    assert_eq!(failed.status.code(), Some(4), "{}", stderr(&failed));
    assert!(
        stderr(&failed).contains("gate `lpips_alex: mean > 0.0001` FAILED"),
        "{}",
        stderr(&failed)
    );
    assert!(stderr(&failed).contains("gate `share(5) > 0` held"), "{}", stderr(&failed));
    assert_eq!(pair(&["mean > 5 @ 95%"]).status.code(), Some(4), "one item has no interval");
    for (wrong, caret) in [
        ("mean < 5", "  mean < 5\n       ^"),
        ("mean > 5%", "  mean > 5%\n         ^^"),
        ("lpips_vgg: mean > 5", "  lpips_vgg: mean > 5\n  ^^^^^^^^^"),
        ("lpips_alex[set=x]: mean > 5", "  lpips_alex[set=x]: mean > 5\n             ^^^"),
    ] {
        let output = pair(&[wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong}: {}", stderr(&output));
        assert!(stderr(&output).contains(caret), "{wrong}: {}", stderr(&output));
    }

    let rows = format!("a,{reference},{distorted},x\nb,{reference},gone.png,y\n");
    fs_err::write(folder.path().join("m.csv"), format!("id,ref,dist,set\n{rows}")).unwrap();
    let eval = |conditions: &[&str]| {
        let mut line = vec!["eval", "m.csv", "-o", "run", "--device", "cpu", "-q"];
        line.extend(conditions.iter().flat_map(|condition| ["--fail-if", condition]));
        lpips(folder.path(), &line).status.code()
    };
    assert_eq!(eval(&[]), Some(3));
    assert_eq!(eval(&["mean > 5"]), Some(4), "a pair failed, so that the gate is undecided");
    assert_eq!(eval(&["lpips_alex[set=x]: mean > 5"]), Some(3), "the gate held, a pair failed");
    let merge = |condition: &str| {
        let output = lpips(folder.path(), &["merge", "run", "--fail-if", condition]);
        output.status.code()
    };
    assert_eq!(merge("lpips_alex[set=x]: mean > 5"), Some(3));
    assert_eq!(merge("lpips_alex[set=x]: mean > 0"), Some(4));
    assert_eq!(merge("lpips_alex[set=z]: mean > 5"), Some(4), "no pair, no decision");
    assert_eq!(merge("mean >"), Some(2));

    let refused = lpips(
        folder.path(),
        &["eval", "m.csv", "-o", "s", "--shard", "0/2", "--fail-if", "mean > 5"],
    );
    assert_eq!(refused.status.code(), Some(2), "gates of shards are for merge");
}

#[test]
fn runs_of_changed_references_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let image = |name: &str| data(&format!("golden/images/{name}.png"));
    for (name, reference) in [("a", "tiny_31_wide_ref"), ("b", "tiny_31_wide_dist")] {
        let images = folder.path().join(format!("images_{name}"));
        fs_err::create_dir(&images).unwrap();
        fs_err::copy(image(reference), images.join("ref.png")).unwrap();
        fs_err::copy(image("tiny_31_wide_dist"), images.join("dist.png")).unwrap();
        fs_err::write(images.join("m.csv"), "id,ref,dist\none,ref.png,dist.png\n").unwrap();
        let manifest = images.join("m.csv").display().to_string();
        let output =
            lpips(folder.path(), &["eval", &manifest, "-o", name, "--device", "cpu", "-q"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    let output = lpips(folder.path(), &["compare", "a", "b"]);
    assert_eq!(output.status.code(), Some(6));
    let text = stderr(&output);
    assert!(text.contains("the reference has other contents in the two runs"), "{text}");
    let same = lpips(folder.path(), &["compare", "a", "a"]);
    assert_eq!(same.status.code(), Some(0), "{}", stderr(&same));
}
