//! `--reuse`: finished pairs of other runs are taken over, and the tables are those of a run that
//! scored everything.

use std::path::Path;

use crate::support::{data, lpips, stderr};

const FIRST: &str = "ref,dist,method\nhr/1.png,a/1.png,a\nhr/2.png,a/2.png,a\n";

/// References `hr`, and the images of two methods, one of which is new.
fn set() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in [
        ("blur2_ref", "hr/1"),
        ("identical_ref", "hr/2"),
        ("blur2_dist", "a/1"),
        ("identical_dist", "a/2"),
        ("blur2_ref", "b/1"),
        ("identical_ref", "b/2"),
    ] {
        let to = folder.path().join(format!("{to}.png"));
        fs_err::create_dir_all(to.parent().unwrap()).unwrap();
        fs_err::copy(data(&format!("golden/images/{from}.png")), to).unwrap();
    }
    let write = |name: &str, text: &str| fs_err::write(folder.path().join(name), text).unwrap();
    write("first.csv", FIRST);
    let more = "hr/1.png,b/1.png,b\nhr/2.png,b/2.png,b\n";
    write("second.csv", &format!("{FIRST}{more}"));
    run(folder.path(), "eval first.csv -o first -q", 0);
    folder
}

fn run(folder: &Path, line: &str, exit: i32) -> String {
    let output = lpips(folder, &line.split(' ').collect::<Vec<_>>());
    let printed = stderr(&output);
    assert_eq!(output.status.code(), Some(exit), "{line}\n{printed}");
    printed
}

fn tables(folder: &Path, run: &str) -> [Vec<u8>; 2] {
    ["pairs.csv", "summary.csv"].map(|name| fs_err::read(folder.join(run).join(name)).unwrap())
}

fn provenance(folder: &Path, run: &str) -> serde_json::Value {
    let text = fs_err::read_to_string(folder.join(run).join("run.json")).unwrap();
    let run: serde_json::Value = serde_json::from_str(&text).unwrap();
    run["provenance"].clone()
}

#[test]
fn a_new_method_costs_its_own_pairs_and_the_tables_are_those_of_a_run_from_scratch() {
    let folder = set();
    let at = folder.path();
    run(at, "eval second.csv -o scratch -q --group-by method", 0);
    let printed = run(at, "eval second.csv -o grown --reuse first --group-by method", 0);
    assert!(printed.contains("took 2 pairs from `first`\n"), "{printed}");
    assert!(!printed.contains("resuming"), "{printed}");
    assert_eq!(tables(at, "grown"), tables(at, "scratch"));
    let reused = &provenance(at, "grown")["reused"];
    assert_eq!((&reused[0]["run"], &reused[0]["pairs"]), (&"first".into(), &2.into()));
    let events = run(at, "eval second.csv -o counted --reuse first --progress jsonl", 0);
    let last: serde_json::Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["expected"]), (&"finished".into(), &2.into()), "{events}");
    // Everything is there already: regrouped, nothing is scored.
    let printed = run(at, "eval second.csv -o regrouped --reuse grown --group-by item", 0);
    assert!(printed.contains("took 4 pairs from `grown`\n"), "{printed}");
    // What was taken can be taken again, and a run that took can be resumed.
    let printed = run(at, "eval second.csv -o grown --reuse first --group-by method", 0);
    assert!(printed.contains("resuming: 4 of 4 pairs are done"), "{printed}");
    assert_eq!(tables(at, "grown"), tables(at, "scratch"));
}

#[test]
fn changed_images_and_other_settings_are_scored_again() {
    let folder = set();
    let at = folder.path();
    fs_err::copy(at.join("b/1.png"), at.join("a/1.png")).unwrap();
    let printed = run(at, "eval second.csv -o changed --reuse first", 0);
    assert!(printed.contains("took 1 pair from `first`\n"), "{printed}");
    run(at, "eval second.csv -o scratch -q", 0);
    assert_eq!(tables(at, "changed"), tables(at, "scratch"));
    // Elsewhere the same paths lead to other files: contents decide.
    fs_err::create_dir(at.join("else")).unwrap();
    for name in ["hr", "a", "b"] {
        std::os::unix::fs::symlink(at.join(name), at.join("else").join(name)).unwrap();
    }
    fs_err::copy(at.join("first.csv"), at.join("else/first.csv")).unwrap();
    let printed = run(at, "eval else/first.csv -o elsewhere --reuse first", 0);
    assert!(printed.contains("took 1 pair from `first`\n"), "{printed}");
    let printed = run(at, "eval first.csv -o other --reuse first --crop-border 2", 6);
    assert!(
        printed.contains("`--reuse first` has no column of this run; expected one of"),
        "{printed}"
    );
    assert!(printed.contains("|crop:2|") && printed.contains("|crop:0|"), "{printed}");
    assert!(!at.join("other").exists());
    run(at, "eval first.csv -o other --reuse nothing", 6);
}
