//! Columns that others computed, joined by id.

use std::path::Path;
use std::process::Output;

use crate::maps::set;
use crate::support::{lpips, stderr};

const COLUMNS: &str = "niqe=lower,musiq=higher,note";

fn write(folder: &Path, name: &str, text: &str) {
    fs_err::write(folder.join(name), text).unwrap();
}

/// Scores the PSNR of m.csv, which needs no trunk, with what is joined.
fn eval(folder: &Path, run: &str, options: &[&str]) -> Output {
    let fixed = ["eval", "m.csv", "-o", run, "--metrics", "psnr_y"];
    lpips(folder, &[&fixed, options].concat())
}

fn read(folder: &Path, run: &str, name: &str) -> String {
    fs_err::read_to_string(folder.join(run).join(name)).unwrap()
}

#[test]
fn columns_are_joined_summarised_ranked_and_marked_as_foreign() {
    let set = set(&["a", "b", "c"]);
    let at = set.path();
    write(at, "other.csv", "musiq,id,niqe,note\n71.5,b,3.25,7\n70,a,4.5,8\n60,c,2,inf\n");
    let join = format!("other.csv:{COLUMNS}");
    let joined = eval(at, "run", &["--join", &join]);
    let printed = stderr(&joined);
    assert_eq!(joined.status.code(), Some(0), "{printed}");
    for expected in [
        "niqe, mean (lower is better)",
        "musiq, mean (higher is better)",
        "note, mean (not ranked",
        "signature of niqe: foreign|column:niqe|protocol:unknown|better:lower|lpips:",
    ] {
        assert!(printed.contains(expected), "{expected}\n{printed}");
    }
    let pairs = read(at, "run", "pairs.csv");
    let header = pairs.lines().next().unwrap();
    assert!(header.ends_with("psnr_y,niqe,musiq,note,status,error_code,error"), "{header}");
    let expected = [[4.5, 70.0, 8.0], [3.25, 71.5, 7.0], [2.0, 60.0, f64::INFINITY]];
    for (line, expected) in pairs.lines().skip(1).zip(expected) {
        let cells: Vec<&str> = line.split(',').collect();
        let values = cells[8..11].iter().map(|cell| cell.parse::<f64>().unwrap());
        assert_eq!(values.collect::<Vec<_>>(), expected, "{line}");
    }
    let facts: serde_json::Value = serde_json::from_str(&read(at, "run", "run.json")).unwrap();
    assert_eq!(facts["fingerprint"]["columns"]["niqe"]["metric"], "foreign");
    assert_eq!(facts["provenance"]["joined"][1]["file"], "other.csv");
    assert_eq!(facts["provenance"]["joined"][1]["better"], "higher");
    assert!(read(at, "run", "summary.csv").contains("\nmusiq,3,3,0,yes,"));

    // The same command keeps them, one without them drops them, and one with others has those.
    assert_eq!(eval(at, "run", &["--join", &join]).status.code(), Some(0));
    assert_eq!(read(at, "run", "pairs.csv"), pairs);
    assert_eq!(eval(at, "run", &[]).status.code(), Some(0));
    assert!(!read(at, "run", "pairs.csv").contains("niqe"));
    assert_eq!(eval(at, "run", &["--join", "other.csv:niqe=lower"]).status.code(), Some(0));
    assert!(read(at, "run", "pairs.csv").contains("psnr_y,niqe,status"));
}

#[test]
fn shards_merge_with_joined_columns_and_runs_are_compared_by_them() {
    let set = set(&["a", "b", "c"]);
    let at = set.path();
    write(at, "old.csv", "id,niqe\na,3\nb,4\nc,5\n");
    write(at, "new.csv", "id,niqe\na,4\nb,5\nc,7\n");
    assert_eq!(eval(at, "old", &["--join", "old.csv:niqe=lower"]).status.code(), Some(0));
    for shard in ["0/2", "1/2"] {
        let scored = eval(at, "new", &["--join", "new.csv:niqe=lower", "--shard", shard]);
        assert_eq!(scored.status.code(), Some(0), "{}", stderr(&scored));
    }
    // A shard that was given other columns, or none, is named before anything is merged.
    assert_eq!(eval(at, "new", &["--shard", "1/2"]).status.code(), Some(0));
    let merged = lpips(at, &["merge", "new"]);
    assert_eq!(merged.status.code(), Some(6), "{}", stderr(&merged));
    assert!(
        stderr(&merged).contains("hint: run the command of every shard"),
        "{}",
        stderr(&merged)
    );
    let again = eval(at, "new", &["--join", "new.csv:niqe=lower", "--shard", "1/2"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    let merged = lpips(at, &["merge", "new", "--fail-if", "niqe: mean > 5"]);
    assert_eq!(merged.status.code(), Some(4), "{}", stderr(&merged));
    let compared = lpips(at, &["compare", "old", "new", "--metric", "niqe", "--json", "-"]);
    assert_eq!(compared.status.code(), Some(0), "{}", stderr(&compared));
    let report: serde_json::Value = serde_json::from_slice(&compared.stdout).unwrap();
    assert_eq!(report["rows"][0]["metric"], "niqe");
    assert_eq!(report["rows"][0]["worse"], 3);
    assert!(report["signatures"].to_string().contains("protocol:unknown"), "{report}");
    let reported = lpips(at, &["report", "old", "new", "--metric", "niqe", "--csv", "-"]);
    let table = String::from_utf8(reported.stdout.clone()).unwrap();
    assert_eq!(reported.status.code(), Some(0), "{}", stderr(&reported));
    assert!(table.contains("niqe"), "{table}");
    // What the run keeps is what was joined.
    write(at, "new/joined.csv", "id,niqe\na,1\nb,1\nc,1\n");
    let merged = lpips(at, &["merge", "new"]);
    assert_eq!(merged.status.code(), Some(6), "{}", stderr(&merged));
    assert!(stderr(&merged).contains("is not what was joined"), "{}", stderr(&merged));
}

#[test]
fn a_missing_id_is_a_missing_value() {
    let set = set(&["a", "b", "c"]);
    let at = set.path();
    write(at, "other.csv", "id,niqe\na,3\nb,nan\nz,4\n");
    let joined = eval(at, "run", &["--join", "other.csv:niqe=lower"]);
    let printed = stderr(&joined);
    assert_eq!(joined.status.code(), Some(3), "{printed}");
    assert!(printed.contains("warning: W_NOT_JOINED in 2 pairs"), "{printed}");
    assert!(printed.contains("note: `other.csv` has 1 id without a pair"), "{printed}");
    assert!(read(at, "run", "summary.csv").contains("\nniqe,3,1,2,no,3"), "{printed}");
    let gated = eval(at, "run", &["--join", "other.csv:niqe=lower", "--fail-if", "niqe: mean > 9"]);
    assert_eq!(gated.status.code(), Some(4), "{}", stderr(&gated));
}

#[test]
fn what_cannot_be_joined_is_refused_with_its_remedy() {
    let set = set(&["a", "b"]);
    let at = set.path();
    write(at, "good.csv", "id,niqe\na,3\nb,4\n");
    for (name, text) in [
        ("no_id.csv", "name,niqe\na,3\n"),
        ("twice.csv", "id,niqe\na,3\na,4\n"),
        ("text.csv", "id,niqe\na,bad\n"),
        ("other.csv", "id,niqe\nx,3\n"),
        ("clash.csv", "id,psnr_y\na,3\n"),
        ("uneven.csv", "id,niqe\na,3,4\n"),
    ] {
        write(at, name, text);
    }
    for (join, exit, expected) in [
        (
            "absent.csv",
            6,
            "cannot read `absent.csv`: failed to open file `absent.csv`: No such file",
        ),
        ("no_id.csv", 6, "has no column `id`; it has name, niqe"),
        ("twice.csv", 6, "line 3: the id `a` is there twice"),
        ("text.csv", 6, "line 2: `niqe` is `bad`, no number"),
        ("other.csv", 6, "expected ids such as `a`"),
        ("uneven.csv", 6, "`uneven.csv` is no table"),
        ("clash.csv", 2, "pairs.csv has a column `psnr_y` already"),
        ("good.csv:nique=lower", 2, "did you mean `niqe`?"),
        ("good.csv:niqe=up", 2, "`niqe=lower` or `niqe=higher`"),
    ] {
        let refused = eval(at, "run", &["--join", join]);
        let printed = stderr(&refused);
        assert_eq!(refused.status.code(), Some(exit), "{join}: {printed}");
        assert!(printed.contains(expected), "{join}: {printed}");
        assert!(printed.contains("hint: "), "{join}: {printed}");
    }
    let gated = eval(at, "run", &["--join", "good.csv", "--fail-if", "niqe: mean > 9"]);
    assert_eq!(gated.status.code(), Some(2), "{}", stderr(&gated));
}

#[test]
fn a_check_reports_the_pairs_that_a_joined_file_lacks() {
    let set = set(&["a", "b", "c"]);
    let at = set.path();
    write(at, "other.csv", "id,niqe\na,4.5\nb,\n");
    let check = |join: &str| {
        lpips(at, &["check", "m.csv", "--metrics", "psnr_y", "--join", join, "--json"])
    };
    let output = check("other.csv:niqe=lower");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for expected in ["W_NOT_JOINED", "has no value of `niqe`", "has no row of it"] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    write(at, "taken.csv", "id,width\na,4.5\n");
    let output = check("taken.csv");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("pairs.csv has a column `width` already"));
}
