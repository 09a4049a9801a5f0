//! What the tables state: groups that differ from all pairs, cells that spreadsheets do not run,
//! files that changed during the run.

use crate::maps::{run, set};
use crate::support::csv;

#[test]
fn a_method_with_the_name_of_all_pairs_is_distinguished() {
    let set = set(&["a", "b", "c"]);
    let rows = "ref,dist,method\nr0.pgm,d0.pgm,*\nr0.pgm,d1.pgm,\\*\nr0.pgm,d2.pgm,x\n";
    fs_err::write(set.path().join("m.csv"), rows).unwrap();
    run(set.path(), &["eval", "m.csv", "-o", "run", "--group-by", "method"], 0);
    let summary = csv(&set.path().join("run/summary.csv"));
    let methods: Vec<&str> = summary.iter().skip(1).map(|row| row[0].as_str()).collect();
    assert_eq!(methods, ["*", "\\*", "\\\\*", "x"]);
    assert_eq!(summary[1][2], "3");
    let pairs = csv(&set.path().join("run/pairs.csv"));
    assert_eq!(pairs[1][2], "*", "the pairs have the method as it is");
}

#[test]
fn cells_that_begin_as_formulas_are_neutralised_where_that_is_asked_for() {
    let set = set(&["=1+1", "@a", "b"]);
    let first = |run: &str| csv(&set.path().join(run).join("pairs.csv"));
    run(set.path(), &["eval", "m.csv", "-o", "plain"], 0);
    run(set.path(), &["eval", "m.csv", "-o", "safe", "--csv-safe", "--group-by", "item"], 0);
    let ids = |table: &[Vec<String>]| table.iter().map(|row| row[0].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&first("plain")), ["id", "=1+1", "@a", "b"]);
    assert_eq!(ids(&first("safe")), ["id", "'=1+1", "'@a", "b"]);
    let numbers = |table: Vec<Vec<String>>| -> Vec<Vec<String>> {
        table.into_iter().map(|row| row[5..].to_vec()).collect()
    };
    assert_eq!(numbers(first("plain")), numbers(first("safe")));
    run(set.path(), &["merge", "plain", "--csv-safe"], 0);
    assert_eq!(first("plain"), first("safe"));
}

#[test]
fn a_file_that_two_reads_of_a_run_saw_differently_is_reported() {
    let set = set(&["a", "b", "c", "d", "e", "f"]);
    let rows: String = (0..6).map(|number| format!("r{number}.pgm,d0.pgm\n")).collect();
    fs_err::write(set.path().join("m.csv"), format!("ref,dist\n{rows}")).unwrap();
    run(set.path(), &["eval", "m.csv", "-o", "run", "--shard", "0/2"], 0);
    fs_err::copy(set.path().join("d1.pgm"), set.path().join("d0.pgm")).unwrap();
    run(set.path(), &["eval", "m.csv", "-o", "run", "--shard", "1/2"], 0);
    let text = run(set.path(), &["merge", "run"], 0);
    let expected = "warning: W_CHANGED in 6 pairs: 1 file changed while the run read them, first \
                    `d0.pgm`";
    assert!(text.contains(expected), "{text}");
    let json = fs_err::read_to_string(set.path().join("run/run.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["provenance"]["warnings"]["W_CHANGED"], 6);

    // Scored again, all rows have seen one content.
    for shard in ["0/2", "1/2"] {
        run(set.path(), &["eval", "m.csv", "-o", "run", "--shard", shard], 0);
    }
    assert!(!run(set.path(), &["merge", "run"], 0).contains("W_CHANGED"));
}
