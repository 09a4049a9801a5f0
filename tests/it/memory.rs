//! The limits of memory: what does not fit is a row, and no process is killed.

use std::path::Path;
use std::process::Command;

use crate::support::{csv, lpips, stderr};

/// A small pair, a large pair, a small pair, and their manifest.
fn inputs(folder: &Path, side: usize) {
    let image = |name: &str, side: usize, step: usize| {
        let mut bytes = format!("P6 {side} {side} 255\n").into_bytes();
        bytes.extend((0..3 * side * side).map(|index| (index * step % 251) as u8));
        fs_err::write(folder.join(name), bytes).unwrap();
    };
    for (name, side) in [("a", 64), ("b", side), ("c", 64)] {
        image(&format!("{name}_ref.ppm"), side, 7);
        image(&format!("{name}_dist.ppm"), side, 11);
    }
    let rows = ["a", "b", "c"].map(|name| format!("{name}_ref.ppm,{name}_dist.ppm,{name}\n"));
    fs_err::write(folder.join("m.csv"), "ref,dist,id\n".to_owned() + &rows.concat()).unwrap();
}

fn outcomes(run: &Path) -> Vec<(String, String)> {
    let rows = csv(&run.join("pairs.csv"));
    let column = |name: &str| rows[0].iter().position(|cell| cell == name).unwrap();
    let (status, code) = (column("status"), column("error_code"));
    rows[1..].iter().map(|row| (row[status].clone(), row[code].clone())).collect()
}

#[test]
fn a_pair_that_does_not_fit_is_a_row_and_the_others_are_scored() {
    let folder = tempfile::tempdir().unwrap();
    inputs(folder.path(), 1500);
    let args = ["eval", "m.csv", "--device", "cpu", "-o"];
    let output = lpips(folder.path(), &[&args[..], &["small", "--memory", "220M"]].concat());
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let [ok, large] =
        [("ok", ""), ("failed", "E_TOO_LARGE")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(outcomes(&folder.path().join("small")), [ok.clone(), large, ok.clone()]);
    let table = fs_err::read_to_string(folder.path().join("small/pairs.csv")).unwrap();
    assert!(table.contains("a pair takes") && table.contains("left by `--memory`"), "{table}");

    let output = lpips(folder.path(), &["check", "m.csv", "--device", "cpu", "--memory", "220M"]);
    let report = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(6), "{report}");
    let expected = "E_TOO_LARGE (1): the memory does not hold a pair of 1500x1500: a pair takes";
    assert!(report.contains(expected) && report.contains("left by `--memory`"), "{report}");
    assert!(report.contains("2 of 3 pairs can be scored"), "{report}");
    assert!(!report.contains("no problems"), "{report}");

    // The memory decides only what fits: the scores are the same bits.
    let output = lpips(folder.path(), &[&args[..], &["large", "--memory", "4G"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(outcomes(&folder.path().join("large")), [ok.clone(), ok.clone(), ok]);
    let scores = |run: &str| {
        let rows = csv(&folder.path().join(run).join("pairs.csv"));
        [1, 3].map(|row: usize| rows[row].clone())
    };
    assert_eq!(scores("small"), scores("large"));
}

#[test]
fn a_limit_on_address_space_kills_no_run() {
    let folder = tempfile::tempdir().unwrap();
    inputs(folder.path(), 1200);
    let mut codes = Vec::new();
    for megabytes in [150, 250, 350, 500, 700, 1000, 1500] {
        let program = env!("CARGO_BIN_EXE_lpips");
        let script = format!(
            "ulimit -v {}; exec {program} eval m.csv --device cpu --threads 2 -o run{megabytes}",
            megabytes << 10
        );
        let mut shell = Command::new("sh");
        let output = shell.current_dir(folder.path()).args(["-c", &script]).output().unwrap();
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 3 | 5)), "{megabytes} MB: {code:?} {}", stderr(&output));
        codes.push(code);
    }
    assert!(codes.contains(&Some(3)) && codes.contains(&Some(0)), "{codes:?}");
}

#[test]
fn options_that_cannot_be_numbers_of_pairs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    inputs(folder.path(), 64);
    for batch in ["0", "1000000000", "18446744073709551615", "18446744073709551616"] {
        let output = lpips(folder.path(), &["eval", "m.csv", "-o", "run", "--batch", batch]);
        assert_eq!(output.status.code(), Some(2), "{batch}: {}", stderr(&output));
        assert!(stderr(&output).contains("expected a number from 1 to 65536"), "{batch}");
    }
    let border = "9223372036854775808";
    let output = lpips(folder.path(), &["eval", "m.csv", "-o", "run", "--crop-border", border]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert_eq!(outcomes(&folder.path().join("run"))[0].1, "E_TOO_SMALL");
}
