//! Manifests as spreadsheets, data frames and pipes give them: scored where they have one meaning,
//! refused with a remedy where they have not.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{csv, data, lpips, stderr};

/// Two pairs in `hr` and `sr`.
fn pairs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["hr", "sr"] {
        fs_err::create_dir(folder.path().join(name)).unwrap();
    }
    for (from, to) in [
        ("blur2_ref", "hr/0"),
        ("blur2_dist", "sr/0"),
        ("identical_ref", "hr/1"),
        ("identical_dist", "sr/1"),
    ] {
        let to = folder.path().join(format!("{to}.png"));
        fs_err::copy(data(&format!("golden/images/{from}.png")), to).unwrap();
    }
    folder
}

const PLAIN: &str = "ref,dist\nhr/0.png,sr/0.png\nhr/1.png,sr/1.png\n";

fn scores(folder: &Path, run: &str) -> Vec<Vec<String>> {
    let rows = csv(&folder.join(run).join("pairs.csv"));
    rows.into_iter().map(|row| row[3..].to_vec()).collect()
}

#[test]
fn exports_are_scored_as_the_plain_table_is_and_the_dialect_is_recorded() {
    let folder = pairs();
    let at = folder.path();
    let write = |name: &str, bytes: &[u8]| fs_err::write(at.join(name), bytes).unwrap();
    write("plain.csv", PLAIN.as_bytes());
    let output = lpips(at, &["eval", "plain.csv", "-o", "plain"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let utf_16: Vec<u8> =
        format!("\u{feff}{PLAIN}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let index = ",ref,dist\n0,hr/0.png,sr/0.png\n1,hr/1.png,sr/1.png\n";
    for (name, bytes, dialect) in [
        ("semicolon", PLAIN.replace(',', ";").into_bytes(), "semicolons separate the cells"),
        ("utf_16", utf_16, "the text is UTF-16"),
        ("index", index.into(), "the first column has no name, holds row numbers and is ignored"),
        (
            "trailing",
            PLAIN.replace('\n', ",\r\n").into_bytes(),
            "the last columns have no name, are empty and are ignored",
        ),
        (
            "blanks",
            PLAIN.replace(',', ", ").into_bytes(),
            "blanks after separators belong to no cell",
        ),
    ] {
        write(&format!("{name}.csv"), &bytes);
        let output = lpips(at, &["eval", &format!("{name}.csv"), "-o", name]);
        let printed = stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{name}: {printed}");
        assert!(printed.contains(&format!("manifest `{name}.csv`: {dialect}\n")), "{printed}");
        assert_eq!(scores(at, name), scores(at, "plain"), "{name}");
        let run = fs_err::read_to_string(at.join(name).join("run.json")).unwrap();
        let run: serde_json::Value = serde_json::from_str(&run).unwrap();
        assert_eq!(run["provenance"]["inputs"]["dialect"][0], dialect);
        // The run's copy is read in the same way.
        let output = lpips(at, &["eval", &format!("{name}.csv"), "-o", name]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", stderr(&output));
        assert!(stderr(&output).contains("2 of 2 pairs are done"), "{}", stderr(&output));
    }
    let run = fs_err::read_to_string(at.join("plain/run.json")).unwrap();
    assert!(!run.contains("dialect"), "{run}");
}

#[test]
fn tables_of_several_meanings_are_refused_with_remedies_that_work() {
    let folder = pairs();
    let at = folder.path();
    let sized = "ref,dist,width,height\nhr/0.png,sr/0.png,9,9\n";
    let array = r#"[{"ref":"hr/0.png","dist":"sr/0.png"}]"#;
    for (name, text, expected) in [
        ("sized.csv", sized, "hint: rename it, for example to `input_width`"),
        ("array.json", array, "hint: "),
        ("two.csv", "ref;dist|x\na;b|c\n", "no column `ref`; found `ref;dist|x`"),
        ("index.csv", ",ref,dist\na,hr/0.png,sr/0.png\n", "its column has no name\nhint: name"),
        ("extra.csv", "ref,dist\nhr/0.png,sr/0.png,\n", "hint: remove the separators that end"),
    ] {
        fs_err::write(at.join(name), text).unwrap();
        let output = lpips(at, &["eval", name, "-o", "run"]);
        assert_eq!(output.status.code(), Some(6), "{name}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{name}: {}", stderr(&output));
    }
}

/// Runs a line of bash, in which `lpips` is the program.
fn bash(folder: &Path, line: &str) -> std::process::Output {
    let program = format!("lpips() {{ '{}' \"$@\"; }}; {line}", env!("CARGO_BIN_EXE_lpips"));
    let mut command = Command::new("bash");
    command.args(["-c", &program]).current_dir(folder).stdin(Stdio::null());
    command.output().unwrap()
}

#[test]
fn pipes_are_manifests_and_stdout_is_a_table() {
    let folder = pairs();
    let at = folder.path();
    fs_err::write(at.join("m.csv"), PLAIN).unwrap();
    let expected =
        String::from_utf8(bash(at, "lpips eval m.csv -o run -q; cat run/pairs.csv").stdout);
    let expected = expected.unwrap();
    assert_eq!(expected.lines().count(), 3, "{expected}");
    for line in [
        "lpips eval m.csv -o - -q",
        "cat m.csv | lpips eval - -o - -q",
        "cat m.csv | lpips eval /dev/stdin -o - -q",
        "lpips eval <(cat m.csv) -o - -q",
        "mkfifo f; cat m.csv > f & lpips eval f -o - -q",
        "lpips eval --ref hr --dist sr -o - -q | sed 's/^[01],[01],/hr&/; s/^hr\\([01]\\),\\([01]\\)/hr\\/\\1,hr\\/\\2/'",
    ] {
        let output = bash(at, line);
        assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{line}");
    }
    // A reader that leaves early is no error.
    let output = bash(at, "lpips eval m.csv -o - -q | true; echo ${PIPESTATUS[0]}");
    assert_eq!(output.stdout, b"0\n", "{}", stderr(&output));
    let output = bash(at, "printf 'ref;dist;\\n' | lpips eval - -o run2");
    assert!(stderr(&output).contains("manifest `stdin`: "), "{}", stderr(&output));
}
