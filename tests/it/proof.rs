//! The proof before a run counts as complete: what is removed, damaged, moved or planted in a run
//! directory, before or during a run, never gives exit code 0 with a pair missing or a number of
//! another pair.

use std::path::PathBuf;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use crate::resume::Set;
use crate::support::{lpips, stderr};

fn journal(set: &Set, run: &str, attempt: u32) -> PathBuf {
    set.path().join(format!("{run}/journal/0-of-1.attempt-{attempt}"))
}

/// Waits until an attempt has finished rows, and suspends its process.
fn suspend(set: &Set, child: &mut Child, run: &str, attempt: u32) {
    let has_rows = || {
        let text = fs_err::read_to_string(journal(set, run, attempt)).unwrap_or_default();
        text.contains("{\"pair\":")
    };
    while !has_rows() {
        assert_eq!(child.try_wait().unwrap(), None, "ended before it was suspended");
        std::thread::yield_now();
    }
    signal(child, Signal::STOP);
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Changes the JSON of those lines of a journal for which `change` gives another one; checksums
/// are those of the new lines.
fn rewrite(path: &PathBuf, change: impl Fn(usize, &str) -> Option<String>) {
    let text = fs_err::read_to_string(path).unwrap();
    let line = |(index, line): (usize, &str)| match change(index, &line[9..]) {
        Some(json) => format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())),
        None => format!("{line}\n"),
    };
    let lines: String = text.lines().enumerate().map(line).collect();
    fs_err::write(path, lines).unwrap();
}

/// Flips a bit in the middle of line `index`.
fn damage(path: &PathBuf, index: usize) {
    let mut bytes = fs_err::read(path).unwrap();
    let before: usize =
        bytes.split_inclusive(|&byte| byte == b'\n').take(index).map(<[u8]>::len).sum();
    bytes[before + 40] ^= 1;
    fs_err::write(path, bytes).unwrap();
}

#[test]
fn a_journal_or_directory_that_is_removed_during_a_run_is_not_complete_and_not_safe() {
    let set = Set::new();
    for (run, ends) in [("journal", Signal::CONT), ("folder", Signal::TERM)] {
        let mut child = set.start(run, &[]);
        suspend(&set, &mut child, run, 1);
        match run {
            "journal" => fs_err::remove_file(journal(&set, run, 1)).unwrap(),
            _ => fs_err::remove_dir_all(set.path().join(run)).unwrap(),
        }
        signal(&child, ends);
        signal(&child, Signal::CONT);
        let output = child.wait_with_output().unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(5), "{text}");
        assert!(text.contains("was removed or replaced while the run"), "{text}");
        assert!(!text.contains("are safe"), "{text}");
        assert!(!set.path().join(run).join("run.json").exists());
    }
    let again = set.eval("journal", &[]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(set.eval("whole", &[]).status.code(), Some(0));
    assert_eq!(set.tables("journal"), set.tables("whole"));
}

#[test]
fn a_row_that_is_damaged_during_a_run_is_missing_and_named() {
    let set = Set::new();
    let mut first = set.start("run", &[]);
    suspend(&set, &mut first, "run", 1);
    signal(&first, Signal::TERM);
    signal(&first, Signal::CONT);
    assert_eq!(first.wait().unwrap().code(), Some(143));

    let mut second = set.start("run", &[]);
    suspend(&set, &mut second, "run", 2);
    damage(&journal(&set, "run", 1), 1);
    signal(&second, Signal::CONT);
    let output = second.wait_with_output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("`run` lacks 1 of 96 pairs\n  missing: `bicubic/0`"), "{text}");
    assert!(!set.path().join("run/pairs.csv").exists());

    let again = set.eval("run", &[]);
    assert!(stderr(&again).contains("resuming: 95 of 96 pairs are done"), "{}", stderr(&again));
    assert_eq!(set.eval("whole", &[]).status.code(), Some(0));
    assert_eq!(set.tables("run"), set.tables("whole"));
}

#[test]
fn a_damaged_first_line_or_a_reformatted_plan_costs_no_row() {
    let set = Set::new();
    assert_eq!(set.eval("run", &[]).status.code(), Some(0));
    let expected = set.tables("run");
    damage(&journal(&set, "run", 1), 0);
    let plan = set.path().join("run/plan.json");
    let value: serde_json::Value =
        serde_json::from_str(&fs_err::read_to_string(&plan).unwrap()).unwrap();
    fs_err::write(&plan, value.to_string()).unwrap();

    let merged = lpips(set.path(), &["merge", "run"]);
    assert_eq!(merged.status.code(), Some(0), "{}", stderr(&merged));
    assert!(
        stderr(&merged).contains("note: 1 journal with a damaged first line"),
        "{}",
        stderr(&merged)
    );
    assert_eq!(set.tables("run"), expected);
    assert_eq!(set.run_json("run")["provenance"]["attempts_unknown"], 1);
    let again = set.eval("run", &[]);
    assert_eq!(again.status.code(), Some(0));
    assert!(stderr(&again).contains("resuming: 96 of 96 pairs are done"), "{}", stderr(&again));
    assert_eq!(set.tables("run"), expected);

    // The header of a reformatted plan is found, too.
    let merged = lpips(set.path(), &["merge", "run"]);
    assert_eq!(merged.status.code(), Some(0), "{}", stderr(&merged));
    assert_eq!(set.run_json("run")["provenance"]["attempts"][0]["how"], "finished");
}

#[test]
fn a_plan_with_other_settings_is_another_run_and_no_advice_removes_rows() {
    let set = Set::new();
    assert_eq!(set.eval("run", &[]).status.code(), Some(0));
    let plan = set.path().join("run/plan.json");
    let text = fs_err::read_to_string(&plan).unwrap();
    let other = text.replace("\"crop\": \"40\"", "\"crop\": \"41\"");
    assert_ne!(other, text);
    fs_err::write(&plan, other).unwrap();
    let merged = lpips(set.path(), &["merge", "run"]);
    let text = stderr(&merged);
    assert_eq!(merged.status.code(), Some(6), "{text}");
    assert!(text.contains("belongs to another run") && !text.contains("remove"), "{text}");
}

#[test]
fn a_record_of_another_pair_or_without_its_layers_does_not_count() {
    let set = Set::new();
    assert_eq!(set.eval("run", &[]).status.code(), Some(0));
    let path = journal(&set, "run", 1);
    let rows = |json: &str| {
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        value["pair"]["row"].as_u64()
    };
    // The scores of rows 0 and 1 swap, and row 2 loses a layer; all checksums are right.
    rewrite(&path, |_, json| match rows(json)? {
        0 => Some(json.replace("\"row\":0,", "\"row\":1,")),
        1 => Some(json.replace("\"row\":1,", "\"row\":0,")),
        2 => {
            let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
            value["pair"]["values"][0]["parts"].as_array_mut().unwrap().pop();
            Some(value.to_string())
        }
        _ => None,
    });
    let merged = lpips(set.path(), &["merge", "run"]);
    let text = stderr(&merged);
    assert_eq!(merged.status.code(), Some(3), "{text}");
    assert!(text.contains("3 lines of journals skipped: of another run or pair"), "{text}");
    assert!(text.contains("lacks 3 of 96 pairs\n  missing: `bicubic/0`, "), "{text}");
    let again = set.eval("run", &[]);
    assert!(stderr(&again).contains("resuming: 93 of 96 pairs are done"), "{}", stderr(&again));
    assert_eq!(set.eval("whole", &[]).status.code(), Some(0));
    assert_eq!(set.tables("run"), set.tables("whole"));
}

#[test]
fn merge_prints_no_command_that_a_journal_made_up() {
    let set = Set::new();
    assert_eq!(set.eval("run", &["--shard", "0/2"]).status.code(), Some(0));
    let path = set.path().join("run/journal/0-of-2.attempt-1");
    let script = set.path().join("a b.sbatch");
    fs_err::write(&script, "").unwrap();
    let good = script.display().to_string().replace(' ', "\\ ");
    for (script, expected) in [
        (format!("{good} 2 run"), format!("sbatch --array=1 '{}' 2 run\n", script.display())),
        (format!("{good} 2 run; touch planted"), String::new()),
        ("--wrap=id".to_owned(), String::new()),
        (format!("{good} \u{1b}[2J"), String::new()),
    ] {
        rewrite(&path, |index, json| {
            let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
            value["begin"].as_object_mut()?["script"] = script.clone().into();
            (index == 0).then(|| value.to_string())
        });
        let merged = lpips(set.path(), &["merge", "run"]);
        assert_eq!(merged.status.code(), Some(3), "{}", stderr(&merged));
        assert_eq!(String::from_utf8(merged.stdout.clone()).unwrap(), expected);
        assert!(!stderr(&merged).contains('\u{1b}'), "{}", stderr(&merged));
    }
}

/// Names with what a terminal obeys, and with a line of their own.
const STEERING: &str = "\u{1b}[31mred\u{9b}5m\nerror: forged\u{202e}";

#[test]
fn names_do_not_steer_the_terminal_nor_begin_lines() {
    let set = crate::maps::set(&["a", "b"]);
    let row = |number: u32, dist: &str| {
        let row = serde_json::json!({
            "id": format!("{number}{STEERING}"), "ref": format!("r{number}.pgm"), "dist": dist,
            "method": STEERING, "note": STEERING,
        });
        row.to_string() + "\n"
    };
    let rows = |dist: &str| row(0, "d0.pgm") + &row(1, dist);
    fs_err::write(set.path().join("good.jsonl"), rows("d1.pgm")).unwrap();
    fs_err::write(set.path().join("other.jsonl"), rows("d0.pgm")).unwrap();
    fs_err::write(set.path().join("bad.jsonl"), rows(&format!("gone{STEERING}.pgm"))).unwrap();
    let eval = ["--group-by", "method,note", "--fail-if", "lpips_alex: mean > 9", "-o"];
    let good: &[&str] = &["eval", "good.jsonl"];
    for (args, exit) in [
        ([good, &eval, &["good"]].concat(), 0),
        ([&["eval", "other.jsonl"], &eval[..], &["other"]].concat(), 0),
        ([&["eval", "bad.jsonl"], &eval[..], &["bad"]].concat(), 4),
        ([good, &["-o", "shard", "--shard", "0/9"]].concat(), 0),
        (vec!["merge", "shard"], 3),
        (vec!["merge", "bad"], 3),
        (vec!["check", "bad.jsonl"], 6),
        (vec!["compare", "good", "other", "--group-by", "note"], 0),
        (vec!["compare", "good", "other", "--history"], 0),
        (vec!["compare", "good", "bad", "--fail-if", "mean > 9"], 4),
    ] {
        let output = lpips(set.path(), &args);
        let text = stderr(&output) + std::str::from_utf8(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(exit), "{args:?}: {text}");
        let steers = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!text.contains(steers), "{args:?}: {text:?}");
        assert!(!text.contains("\nerror: forged"), "{args:?}: {text}");
        let is_named = text.contains("\\u{1b}[31mred\\u{9b}5m\\nerror: forged\\u{202e}");
        assert!(is_named || args.contains(&"shard"), "{args:?} names nothing: {text}");
    }
}
