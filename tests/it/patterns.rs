//! Folders and patterns end to end: what is scored, what is refused, and whether the remedies work.

use std::path::Path;

use crate::support::{csv, data, lpips, stderr};

/// Copies golden images to paths below a fresh folder.
fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in files {
        let to = folder.path().join(to);
        fs_err::create_dir_all(to.parent().unwrap()).unwrap();
        fs_err::copy(data(&format!("golden/images/{from}.png")), to).unwrap();
    }
    folder
}

fn run(folder: &Path, line: &str, exit: i32) -> String {
    let args: Vec<&str> = line.split(' ').collect();
    let output = lpips(folder, &args);
    let printed = stderr(&output);
    assert_eq!(output.status.code(), Some(exit), "{line}\n{printed}");
    printed + &String::from_utf8(output.stdout).unwrap()
}

fn column(rows: &[Vec<String>], name: &str) -> Vec<String> {
    let at = rows[0].iter().position(|column| column == name).unwrap();
    rows[1..].iter().map(|row| row[at].clone()).collect()
}

const RESULTS: &[(&str, &str)] = &[
    ("blur2_ref", "hr/A/1.png"),
    ("blur2_dist", "out/m/A/x4/1x4.png"),
    ("blur2_ref", "out/n/A/x4/1x4.png"),
    ("contrast_odd_ref", "hr/B/2.png"),
    ("contrast_odd_dist", "out/m/B/x4/2x4.png"),
    ("contrast_odd_dist", "out/m/B/x2/2x2.png"),
];
const PATTERNS: &str =
    "--ref hr/{dataset}/{item}.png --dist out/{method}/{dataset}/x4/{item}x4.png";

#[test]
fn a_tree_of_results_is_scored_by_its_fields() {
    let folder = tree(RESULTS);
    let at = folder.path();
    let printed = run(at, &format!("eval {PATTERNS} -o run --group-by dataset,method"), 0);
    for expected in [
        "paired 2 references by name: 3 pairs; 1 file matched no pattern, such as \
         `out/m/B/x2/2x2.png`: `x2` is not `x4` in `out/{method}/{dataset}/x4/{item}x4.png`",
        "warning: method=n has no image of dataset=B",
    ] {
        assert!(printed.contains(expected), "no `{expected}` in {printed}");
    }
    let rows = csv(&at.join("run/pairs.csv"));
    assert_eq!(column(&rows, "id"), ["m/A/1", "n/A/1", "m/B/2"]);
    assert_eq!(column(&rows, "item"), ["A/1", "A/1", "B/2"]);
    assert_eq!(column(&rows, "dataset"), ["A", "A", "B"]);
    assert_eq!(column(&rows, "lpips_alex")[1], "0.0");
}

#[test]
fn an_unknown_group_lists_the_fields_of_the_patterns() {
    let folder = tree(RESULTS);
    let at = folder.path();
    let printed = run(at, &format!("eval {PATTERNS} -o run --group-by datset"), 2);
    let expected = "no column `datset` to group by\n\
                    hint: did you mean `dataset`? pairs can be grouped by: item, method, dataset";
    assert!(printed.contains(expected), "{printed}");
    assert!(!at.join("run").exists());
    // Fields of either side, and the carried columns of a manifest.
    let scales = "--ref hr/{dataset}/{item}.png --dist out/m/{dataset}/x{scale}/{item}x{scale}.png";
    let printed = run(at, &format!("eval {scales} -o run --group-by size --intersect"), 2);
    assert!(printed.contains("grouped by: item, method, dataset, scale\n"), "{printed}");
    fs_err::write(at.join("m.csv"), "ref,dist,note\nhr/A/1.png,out/m/A/x4/1x4.png,n\n").unwrap();
    let printed = run(at, "eval m.csv -o run --group-by nte", 2);
    assert!(printed.contains("did you mean `note`? pairs can be grouped by: item, method, note\n"));
}

#[test]
fn check_prints_the_plan_and_writes_it_as_a_manifest() {
    let folder = tree(RESULTS);
    let at = folder.path();
    let printed = run(at, &format!("check {PATTERNS} --write-manifest plan.csv"), 0);
    for expected in [
        "method: 2 values, with pairs: m (2), n (1)",
        "dataset: 2 values, with pairs: A (2), B (1)",
        "    hr/A/1.png and out/m/A/x4/1x4.png: item A/1, method m",
        "left out: 1 file\n    `out/m/B/x2/2x2.png`: `x2` is not `x4`",
        "3 pairs written to `plan.csv`",
    ] {
        assert!(printed.contains(expected), "no `{expected}` in {printed}");
    }
    run(at, &format!("eval {PATTERNS} -o a -q"), 0);
    run(at, "eval plan.csv -o b -q", 0);
    let [a, b] = ["a", "b"].map(|name| fs_err::read(at.join(name).join("pairs.csv")).unwrap());
    assert_eq!(a, b);
    // Elsewhere paths are absolute.
    fs_err::create_dir(at.join("plans")).unwrap();
    run(at, &format!("check {PATTERNS} --write-manifest plans/p.csv"), 0);
    run(at, "check plans/p.csv", 0);
    let json = run(at, &format!("check {PATTERNS} --json"), 0);
    let json: serde_json::Value = serde_json::from_str(&json[json.find('{').unwrap()..]).unwrap();
    assert_eq!(json["pairing"]["fields"][1]["pairs"]["A"], 2);
    // What is incomplete is not saved.
    fs_err::remove_file(at.join("out/m/A/x4/1x4.png")).unwrap();
    fs_err::remove_file(at.join("out/n/A/x4/1x4.png")).unwrap();
    let printed = run(at, &format!("check {PATTERNS} --write-manifest none.csv"), 6);
    assert!(printed.contains("`none.csv` is not written") && !at.join("none.csv").exists());
    assert!(printed.contains("`hr/A/1.png` has no partner: expected `out/{method}/A/x4/1x4.png`"));
}

#[test]
fn values_that_cannot_be_folders_or_patterns_are_refused() {
    let folder = tree(RESULTS);
    for (line, exit, expected) in [
        ("--ref hr --dist out/{item}.png", 2, "hint: write a pattern on both sides: `--ref 'hr/"),
        ("--ref hr/{item --dist out/{item}.png", 2, "a brace that belongs to no field"),
        ("--ref hr/{id}.png --dist out/{id}.png", 2, "`{id}` has the name of a column"),
        ("--ref hr --ref out --dist out/m", 2, "several --ref are patterns"),
        ("--ref hr/{a}/{b}.png --dist out/{b}.png --dist-suffix _x4", 2, "belongs to folders"),
        ("--ref hr --dist m=", 2, "`--dist m=` names a method and no folder"),
        ("--ref hr --dist ot", 6, "hint: did you mean `out`?"),
    ] {
        let printed = run(folder.path(), &format!("eval {line} -o run"), exit);
        assert!(printed.contains(expected), "no `{expected}` in {printed}");
    }
}

#[test]
fn methods_are_named_and_paths_that_exist_win() {
    let folder = tree(&[
        ("blur2_ref", "hr/1.png"),
        ("blur2_dist", "x4/1.png"),
        ("blur2_dist", "a=b/1.png"),
        ("blur2_dist", "{x}/1.png"),
    ]);
    let at = folder.path();
    run(at, "eval --ref hr --dist M=x4 --dist a=b --dist {x} -o run -q", 0);
    assert_eq!(column(&csv(&at.join("run/pairs.csv")), "method"), ["M", "a=b", "{x}"]);
}

/// Root reads everything, so that the program runs as another user then.
#[test]
fn a_folder_that_cannot_be_read_is_a_finding_beside_the_others() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;

    let folder = tree(&[
        ("blur2_ref", "hr/1.png"),
        ("blur2_dist", "sr/1.png"),
        ("blur2_dist", "sr/2.png"),
        ("blur2_dist", "sr/locked/3.png"),
    ]);
    let at = folder.path();
    let allow = |path: &Path, mode| {
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(at, 0o755);
    allow(&at.join("sr/locked"), 0);
    let line = "check --ref hr --dist sr --net vgg --weights-dir none";
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lpips"));
    command.args(line.split(' ')).current_dir(at);
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("SKIPPED: another user cannot run the program: {error}");
            return;
        }
    };
    allow(&at.join("sr/locked"), 0o755);
    let report = String::from_utf8(output.stdout).unwrap();
    for expected in ["E_READ (1)", "cannot read `sr/locked`: Permission denied", "E_UNMATCHED (1)"]
    {
        assert!(report.contains(expected), "no `{expected}` in {report}");
    }
}
