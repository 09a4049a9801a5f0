//! Bad inputs end to end: each has its message, its remedy and its exit code, and nothing is lost.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::{csv, data, lpips, stderr};

/// Folders `hr` and `x4` with two references and what was made of them, and files of every trouble.
fn set() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["hr", "x4", "bad", "only_text", "hr2"] {
        fs_err::create_dir(at(name)).unwrap();
    }
    let golden = |name: &str| data(&format!("golden/images/{name}.png"));
    for (from, to) in [
        ("blur2_ref", "hr/1.png"),
        ("contrast_odd_ref", "hr/2.png"),
        ("blur2_dist", "x4/1_x4.png"),
        ("contrast_odd_dist", "x4/2_x4.png"),
        ("blur2_dist", "bad/1.png"),
        ("blur2_ref", "bad/2.png"),
        ("blur2_ref", "hr2/1.png"),
        ("contrast_odd_ref", "hr2/2.png"),
    ] {
        fs_err::copy(golden(from), at(to)).unwrap();
    }
    let whole = fs_err::read(golden("blur2_ref")).unwrap();
    fs_err::write(at("cut.png"), &whole[..whole.len() / 2]).unwrap();
    fs_err::write(at("empty.png"), "").unwrap();
    fs_err::write(at("text.png"), "no image").unwrap();
    fs_err::write(at("only_text/a.txt"), "").unwrap();
    for name in ["x4/.DS_Store", "x4/notes.txt"] {
        fs_err::write(at(name), "").unwrap();
    }
    folder
}

fn expect_exit(output: &Output, exit: i32, expected: &[&str]) -> String {
    let printed = stderr(output);
    assert_eq!(output.status.code(), Some(exit), "{printed}");
    for text in expected {
        assert!(printed.contains(text), "no `{text}` in {printed}");
    }
    printed
}

#[test]
fn each_bad_input_is_refused_with_its_remedy() {
    let folder = set();
    let manifest = |name: &str, text: &[u8]| fs_err::write(folder.path().join(name), text).unwrap();
    manifest("pairs.csv", b"ref,dist\nhr/1.png,x4/1_x4.png\n");
    manifest("ids.csv", b"ref,dist,id\nhr/1.png,x4/1_x4.png,a\nhr/2.png,x4/2_x4.png,a\n");
    manifest("no_header.csv", b"hr/1.png,x4/1_x4.png\n");
    manifest("other.csv", b"ref,dst\nhr/1.png,x4/1_x4.png\n");
    manifest("reserved.csv", b"ref,dist,error\nhr/1.png,x4/1_x4.png,0\n");
    manifest("latin1.csv", b"ref,dist\nhr/\xe9.png,x4/1_x4.png\n");
    manifest("header_only.csv", b"ref,dist\n");
    manifest("empty.csv", b"");
    manifest("means.csv", b"ref,dist,mean\nhr/1.png,x4/1_x4.png,3\n");
    manifest("cells.csv", b"ref,dist\nhr/1.png\n");
    manifest("lines.jsonl", b"{\"ref\":\"hr/1.png\",\"dist\":\"x4/1_x4.png\"}\n{\"ref\":\n");
    let cases: &[(&str, i32, &[&str])] = &[
        (
            "pair.csv",
            6,
            &[
                "cannot read the manifest `pair.csv`: there is no such file\nhint",
                "hint: did you mean `pairs.csv`?",
            ],
        ),
        ("hr", 6, &["hint: to pair folders by name, use `--ref DIR --dist DIR`"]),
        ("hr/1.png", 6, &["header is not UTF-8", "--pair REF DIST"]),
        ("ids.csv", 6, &["line 3: the id `a` appears again", "hint: give each row its own `id`"]),
        ("no_header.csv", 6, &["no column `ref`", "hint: the first line names the columns"]),
        ("other.csv", 6, &["no column `dist`; found `ref`, `dst`", "hint: rename `dst` to `dist`"]),
        ("reserved.csv", 6, &["the column `error` has the name", "hint: rename it"]),
        ("latin1.csv", 6, &["line 2, column 4: not UTF-8", "hint: save the manifest as UTF-8"]),
        (
            "header_only.csv",
            6,
            &["there is no row below the header", "hint: write one line per pair"],
        ),
        ("empty.csv", 6, &["there is no header", "at least `ref,dist`"]),
        ("cells.csv", 6, &["line 2: expected 2 cells, found 1", "hint: write a cell for each"]),
        ("lines.jsonl", 6, &["line 2: not a JSON object", "hint: write one object a line"]),
        (
            "--ref hr --dist x4",
            6,
            &[
                "4 files cannot be paired; nothing was paired by order",
                "`hr/1.png` has no partner in `x4`; nearest name: `1_x4.png`",
                "hint: `--dist-suffix _x4` would pair 2 of them",
            ],
        ),
        ("--ref hr --dist none", 6, &["cannot read the folder `none`"]),
        ("--ref hr --dist only_text", 6, &["`only_text` holds no image", "hint: files with these"]),
        ("--ref hr --dist x4 --dist x4", 2, &["--dist `x4` is given twice"]),
        ("pairs.csv --ref hr --dist x4", 2, &["cannot be used with"]),
        ("pairs.csv --size-policy modcrop:0", 2, &["modcrop:N` with N of at least 1"]),
        (
            "means.csv --group-by mean",
            2,
            &["summary.csv has a column of that name", "hint: rename"],
        ),
        ("pairs.csv --group-by methd", 2, &["no column `methd`", "did you mean `method`?"]),
    ];
    for (line, exit, expected) in cases {
        let args: Vec<&str> = ["eval", "-o", "run"].into_iter().chain(line.split(' ')).collect();
        expect_exit(&lpips(folder.path(), &args), *exit, expected);
        assert!(!folder.path().join("run").exists(), "`{line}` left a run directory");
    }
}

#[test]
fn folders_are_scored_and_failures_reported_by_code() {
    let folder = set();
    let args = "eval --ref hr --dist x4 --dist-suffix _x4 -o good";
    let args: Vec<&str> = args.split(' ').collect();
    let note = "paired 2 references by name: 2 pairs; ignored 1 hidden file and 1 without the name";
    expect_exit(&lpips(folder.path(), &args), 0, &[note, "2 pairs scored in"]);

    let args: Vec<&str> = "eval --ref hr --dist bad -o run".split(' ').collect();
    let expected = ["1 pair scored, 1 FAILED", "E_SIZE 1, first `2`: ref is 67x65", "INCOMPLETE"];
    expect_exit(&lpips(folder.path(), &args), 3, &expected);
    let run = fs_err::read_to_string(folder.path().join("run/run.json")).unwrap();
    let run: serde_json::Value = serde_json::from_str(&run).unwrap();
    assert_eq!(run["provenance"]["failures"]["E_SIZE"], 1);
    assert_eq!(csv(&folder.path().join("run/summary.csv"))[1][1..5], ["2", "1", "1", "no"]);
}

#[test]
fn one_pair_goes_to_stdout_and_leaves_nothing() {
    let folder = set();
    let args = "eval --pair hr/1.png x4/1_x4.png --device cpu";
    let output = lpips(folder.path(), &args.split(' ').collect::<Vec<_>>());
    // The signature says how the number was made.
    let printed = expect_exit(&output, 0, &[]);
    assert!(printed.starts_with("signature of lpips_alex: lpips|net:alex|"), "{printed}");
    assert_eq!(printed.lines().count(), 1, "{printed}");
    let out = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<&str> = out.lines().collect();
    assert_eq!(rows.len(), 2, "{out}");
    assert!(rows[0].starts_with("id,item,method,ref,dist,width,height,lpips_alex,status"));
    assert!(rows[1].starts_with("hr/1,hr/1,,hr/1.png,x4/1_x4.png,"), "{out}");
    for (file, code) in [
        ("cut.png", "E_DECODE"),
        ("empty.png", "E_EMPTY"),
        ("text.png", "E_NOT_IMAGE"),
        ("x4/1.png", "E_MISSING"),
        ("hr", "E_NOT_FILE"),
    ] {
        let output = lpips(folder.path(), &["eval", "--pair", "hr/1.png", file]);
        expect_exit(&output, 3, &[]);
        let out = String::from_utf8(output.stdout).unwrap();
        assert!(out.contains(&format!(",failed,{code},")), "{out}");
    }
}

#[test]
fn a_manifest_from_stdin_is_kept_with_the_run() {
    let folder = set();
    let mut child = Command::new(env!("CARGO_BIN_EXE_lpips"));
    let child = child.current_dir(folder.path()).args(["eval", "-", "-o", "run", "-q"]);
    let mut child = child.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let rows = b"{\"gt\":\"hr/1.png\",\"pred\":\"x4/1_x4.png\",\"scale\":4}\n";
    child.stdin.take().unwrap().write_all(rows).unwrap();
    assert_eq!(expect_exit(&child.wait_with_output().unwrap(), 0, &[]), "");
    assert_eq!(fs_err::read(folder.path().join("run/manifest.jsonl")).unwrap(), rows);
    let pairs = csv(&folder.path().join("run/pairs.csv"));
    assert_eq!((pairs[0][5].as_str(), pairs[1][5].as_str()), ("scale", "4"));
}

/// The lines that are JSON objects.
fn events(printed: &str) -> Vec<serde_json::Value> {
    let lines = printed.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn on_error_stop_ends_the_run_and_keeps_what_is_finished() {
    let folder = set();
    let rows = "ref,dist,id\nhr/1.png,x4/1_x4.png,good\nhr/1.png,gone.png,bad\n";
    fs_err::write(folder.path().join("m.csv"), rows).unwrap();
    let args = "eval m.csv -o run --on-error stop --threads 1 --batch 1 --progress jsonl";
    let args: Vec<&str> = args.split(' ').collect();
    let output = lpips(folder.path(), &args);
    let printed = expect_exit(
        &output,
        6,
        &["cannot be scored, `bad`: E_MISSING", "\"hint\":\"correct the pair"],
    );
    let events = events(&printed);
    assert_eq!(events[0]["event"], "progress");
    assert_eq!(events.len(), printed.lines().count(), "{printed}");
    let [.., stopped, last] = &events[..] else { panic!("{printed}") };
    assert_eq!((&stopped["event"], &stopped["failed"]), (&"stopped".into(), &1.into()));
    assert_eq!((&last["event"], &last["exit"]), (&"error".into(), &6.into()));
    assert!(last["error"].as_str().unwrap().contains("E_MISSING"), "{last}");
    assert!(!folder.path().join("run/pairs.csv").exists());
}

#[test]
fn a_stream_for_programs_holds_nothing_else() {
    let folder = set();
    let args = "eval --ref hr --dist bad -o run --progress jsonl";
    let output = lpips(folder.path(), &args.split(' ').collect::<Vec<_>>());
    let printed = expect_exit(&output, 3, &[]);
    let events = events(&printed);
    assert_eq!(events.len(), printed.lines().count(), "{printed}");
    let last = events.last().unwrap();
    assert_eq!(last["event"], "finished");
    assert_eq!((&last["done"], &last["failed"]), (&2.into(), &1.into()));
    assert!(last["means"]["lpips_alex"].as_f64().unwrap() > 0.0, "{last}");
    assert_eq!(last["failures"]["E_SIZE"], 1);
    assert_eq!(last["files"].as_array().unwrap().len(), 3);
    assert!(last["pairs_per_s"].as_f64().unwrap() > 0.0);
}

#[test]
fn check_reports_everything_at_once() {
    let folder = set();
    let check = |line: &str| {
        let args: Vec<&str> = std::iter::once("check").chain(line.split(' ')).collect();
        let output = lpips(folder.path(), &args);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (exit, report) = check("--ref hr --dist x4 --dist-suffix _x4");
    assert_eq!(exit, Some(0), "{report}");
    assert!(report.contains("2 of 2 pairs can be scored"), "{report}");
    assert!(report.contains("no problems found") && report.contains("GB of memory"));

    let rows = "ref,dist,id\nhr/1.png,x4/1_x4.png,1\nhr/1.png,gone.png,2\nhr/2.png,bad/2.png,3\n\
                hr/2.png,text.png,4\nhr/2.png,,5\n";
    fs_err::write(folder.path().join("m.csv"), rows).unwrap();
    let (exit, report) = check("m.csv");
    assert_eq!(exit, Some(6), "{report}");
    for text in ["E_MANIFEST (1)", "E_MISSING (1)", "E_NOT_IMAGE (1)", "E_SIZE (1)", "1 of 5 pairs"]
    {
        assert!(report.contains(text), "no `{text}` in {report}");
    }
    let (_, json) = check("m.csv --json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["pairs"], &json["scorable"]), (&5.into(), &1.into()));
    assert_eq!(json["findings"].as_array().unwrap().len(), 4);
    assert!(json["estimate"]["seconds"].as_f64().unwrap() > 0.0);

    let (exit, report) = check("--ref hr --dist hr2");
    assert_eq!(exit, Some(6), "{report}");
    assert!(report.contains("E_ALL_IDENTICAL (1)") && report.contains("W_IDENTICAL (2)"));
}

#[test]
fn check_decodes_on_request_and_finds_what_headers_do_not_show() {
    let folder = set();
    let at = folder.path();
    let mut bytes = fs_err::read(at.join("hr/1.png")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs_err::write(at.join("flipped.png"), bytes).unwrap();
    fs_err::write(at.join("m.csv"), "ref,dist\nhr/1.png,flipped.png\nhr/2.png,bad/2.png\n")
        .unwrap();
    let check = |options: &str| {
        let line = format!("check m.csv --net vgg --weights-dir none{options}");
        let output = lpips(at, &line.split(' ').collect::<Vec<_>>());
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(!check("").contains("E_DECODE"));
    let report = check(" --decode");
    assert!(report.contains("E_DECODE (1)") && report.contains("E_SIZE (1)"), "{report}");
}

#[test]
fn check_reports_the_inputs_without_weights_and_then_names_them() {
    let folder = set();
    fs_err::create_dir_all(folder.path().join("none")).unwrap();
    let line =
        "check --ref hr --dist x4 --dist-suffix _x4 --net vgg --weights-dir none --mask none";
    let output = lpips(folder.path(), &line.split(' ').collect::<Vec<_>>());
    let report = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(report.contains("E_MASK (2)") && report.contains("0 of 2 pairs"), "{report}");
    expect_exit(
        &output,
        5,
        &["no weights for vgg: tried `none/vgg.safetensors`", "weights fetch vgg"],
    );
    let output = lpips(folder.path(), &format!("{line} --json").split(' ').collect::<Vec<_>>());
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["pairs"], &json["estimate"]), (&2.into(), &serde_json::Value::Null));
    assert!(json["environment"].as_str().unwrap().contains("no weights for vgg"), "{json}");
}

#[test]
fn differences_are_counted_and_reported_once() {
    let folder = tempfile::tempdir().unwrap();
    let twins = |name: &str| data(&format!("twins/{name}"));
    for name in ["444_q92_64x48_rgb.jpg", "lossy_alpha_64x48.webp"] {
        fs_err::copy(twins(name), folder.path().join(name)).unwrap();
    }
    let rows = "ref,dist,id\n444_q92_64x48_rgb.jpg,lossy_alpha_64x48.webp,1\n\
                444_q92_64x48_rgb.jpg,444_q92_64x48_rgb.jpg,2\n";
    fs_err::write(folder.path().join("m.csv"), rows).unwrap();
    let output = lpips(folder.path(), &["eval", "m.csv", "-o", "run", "--alpha", "white"]);
    expect_exit(&output, 0, &["warning: W_ALPHA in 1 pair: only one of ref and dist has alpha"]);
    let run = fs_err::read_to_string(folder.path().join("run/run.json")).unwrap();
    let run: serde_json::Value = serde_json::from_str(&run).unwrap();
    assert_eq!(run["provenance"]["warnings"], serde_json::json!({ "W_ALPHA": 1 }));
    assert_eq!(run["fingerprint"]["columns"]["lpips_alex"]["alpha"], "white");
    assert_eq!(csv(&folder.path().join("run/pairs.csv"))[2][7], "0.0", "a file and itself");
}

#[test]
fn shells_and_people_get_what_they_ask_for() {
    let out = |args: &[&str]| {
        let output = lpips(Path::new("."), args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    for (shell, text) in
        [("bash", "_lpips()"), ("zsh", "#compdef lpips"), ("fish", "complete -c lpips")]
    {
        assert!(out(&["completions", shell]).contains(text), "{shell}");
    }
    assert!(out(&["man"]).contains(".TH lpips"));
    assert!(out(&["man", "eval"]).contains("on\\-error"));
    let fetch = out(&["man", "weights", "fetch"]);
    assert!(fetch.contains(".TH lpips-weights-fetch"), "{fetch}");
    assert!(fetch.contains(&format!("fetch {}", env!("CARGO_PKG_VERSION"))), "{fetch}");
    // A second value of a list is completed.
    for shell in ["bash", "zsh", "fish"] {
        let script = out(&["completions", shell]).replace('\\', "");
        assert!(script.contains("alex,vgg"), "{shell}");
    }
    let version = out(&["--version"]);
    assert!(version.contains("commit ") && version.contains(lpips::net::weights::ALEX_SHA256));
    let help = out(&["eval", "--help"]);
    assert!(help.contains("Exit codes:") && help.contains("Examples:"));
    assert!(!help.contains('\u{1b}'), "no colour without a terminal");
    let output = lpips(Path::new("."), &["man", "evl"]);
    expect_exit(&output, 2, &["there is no command `evl`", "did you mean `eval`?"]);
    let output = lpips(Path::new("."), &["man", "eval", "fast"]);
    expect_exit(&output, 2, &["there is no command `fast`", "`eval` has no commands of its own"]);
}
