//! `lpips report` from the command line: tables, groups, several runs, unfinished runs, errors.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::{lpips, stderr};

const HEADER: &str =
    "id,item,method,ref,dist,scale,width,height,lpips_alex,psnr_y,status,error_code,error";

/// A table of methods that are worse than the first by these, on `items` items and two scales.
fn table(path: &Path, methods: &[(&str, f64)], items: u32) {
    let mut text = format!("{HEADER}\n");
    for &(method, shift) in methods {
        for scale in [2, 4] {
            for item in 0..items {
                let score = 0.2 + shift + f64::from(item % 7) / 50.0 + f64::from(scale) / 100.0;
                let psnr = 30.0 - 10.0 * score;
                text.push_str(&format!(
                    "{method}/{item}x{scale},{item},{method},hr/{item}.png,{method}/{item}.png,\
                     {scale},64,48,{score:.6},{psnr:.6},ok,,\n"
                ));
            }
        }
    }
    fs_err::write(path, text).unwrap();
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    table(&folder.path().join("a.csv"), &[("edsr", 0.0), ("rcan", 0.02), ("hat_x", 0.03)], 24);
    folder
}

fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn report(folder: &Path, options: &[&str]) -> String {
    let line: Vec<&str> = ["report", "a.csv"].into_iter().chain(options.iter().copied()).collect();
    stdout(&lpips(folder, &line))
}

#[test]
fn markdown_ranks_methods_by_the_first_metric() {
    let folder = folder();
    let text = report(folder.path(), &[]);
    assert!(text.starts_with("edsr has rank 1 of 3 by lpips"), "{text}");
    assert!(text.contains("rcan is worse than edsr by 0.0200 \\[0.0200, 0.0200\\]"), "{text}");
    assert!(text.contains("| 1 | edsr | **0.2850**"), "{text}");
    assert!(text.contains("| 3 | hat\\_x |"), "{text}");
    assert!(text.contains("lpips\\_alex ↓ | psnr\\_y ↑"), "{text}");
    // Nothing is known of the settings of a table.
    assert!(text.contains("the protocol of lpips\\_alex is unknown"), "{text}");
    assert_eq!(report(folder.path(), &[]), text, "the same bytes again");
}

#[test]
fn groups_are_columns_and_have_ranks_of_their_own() {
    let folder = folder();
    let text = report(folder.path(), &["--group-by", "scale,method", "--metric", "lpips_alex"]);
    let header = "| method | scale=2: lpips\\_alex ↓ | scale=4: lpips\\_alex ↓ |";
    assert!(text.contains(header), "{text}");
    assert!(text.contains("| edsr | **0.2750** (rank 1) | **0.2950** (rank 1) |"), "{text}");
    let latex = report(folder.path(), &["--group-by", "scale", "--latex", "-"]);
    for expected in [
        "\\multicolumn{2}{c}{scale=2} & \\multicolumn{2}{c}{scale=4}",
        "\\cmidrule(lr){2-3}\\cmidrule(lr){4-5}",
        "Method & lpips\\_alex~$\\downarrow$ & psnr\\_y~$\\uparrow$",
        "edsr & \\textbf{0.2750}",
        "hat\\_x & ",
        "\\bottomrule",
    ] {
        assert!(latex.contains(expected), "{expected} in {latex}");
    }
}

#[test]
fn json_and_csv_have_a_row_for_each_group_metric_and_method() {
    let folder = folder();
    let json: Value =
        serde_json::from_str(&report(folder.path(), &["--group-by", "scale", "--json", "-"]))
            .unwrap();
    assert_eq!(json["schema"], "lpips-report/1");
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2 * 2 * 3);
    let second = &rows[1];
    assert_eq!((&second["method"], &second["verdict"]), (&"rcan".into(), &"worse".into()));
    assert_eq!(second["rank"], serde_json::json!([2, 2]));
    assert_eq!(second["group"]["scale"], "2");
    assert_eq!([&second["better"], &second["same"], &second["worse"]], [0, 0, 24]);
    let csv = report(folder.path(), &["--csv", "-"]);
    let mut lines = csv.lines();
    assert!(lines.next().unwrap().starts_with("metric,method,complete,rank_low,rank_high,items,"));
    assert!(lines.next().unwrap().starts_with("lpips_alex,edsr,yes,1,1,24,24,0,0,0.285"), "{csv}");
    let two = lpips(folder.path(), &["report", "a.csv", "--csv", "-", "--json", "-"]);
    assert_eq!(two.status.code(), Some(2));
}

#[test]
fn methods_that_lack_items_stand_below_the_line() {
    let folder = folder();
    let path = folder.path().join("a.csv");
    let text = fs_err::read_to_string(&path).unwrap();
    // The best method has lost its hardest items.
    let kept = |line: &&str| !line.starts_with("edsr/6x") && !line.starts_with("edsr/13x");
    let rows: Vec<&str> = text.lines().filter(kept).collect();
    fs_err::write(&path, rows.join("\n")).unwrap();
    let text = report(folder.path(), &[]);
    assert!(text.starts_with("rcan has rank 1 of 2"), "{text}");
    assert!(text.contains("edsr is not ranked and lacks items"), "{text}");
    let last = text.lines().rfind(|line| line.starts_with('|')).unwrap();
    assert!(last.starts_with("| - | edsr | (0."), "{text}");
    assert!(last.contains("INCOMPLETE: 2 of 24 items are missing"), "{text}");
}

#[test]
fn methods_of_several_runs_are_joined_by_item() {
    let folder = folder();
    table(&folder.path().join("b.csv"), &[("edsr", 0.05), ("swin", -0.01)], 24);
    let names = |text: &str| {
        let rows = text.lines().filter(|line| line.starts_with("| ")).skip(2);
        rows.map(|line| line.split(" | ").nth(1).unwrap().to_owned()).collect::<Vec<_>>()
    };
    let text = stdout(&lpips(folder.path(), &["report", "a.csv", "new=b.csv"]));
    assert_eq!(names(&text), ["swin", "a.csv\\@edsr", "rcan", "hat\\_x", "new\\@edsr"], "{text}");
    let one = stdout(&lpips(folder.path(), &["report", "a.csv@rcan", "b.csv@swin"]));
    assert_eq!(names(&one), ["swin", "rcan"]);
    // Equal items with images of another size are other items.
    let path = folder.path().join("b.csv");
    let text = fs_err::read_to_string(&path).unwrap().replace(",64,48,", ",48,64,");
    fs_err::write(&path, text).unwrap();
    let refused = lpips(folder.path(), &["report", "a.csv", "b.csv"]);
    assert_eq!(refused.status.code(), Some(6));
    assert!(stderr(&refused).contains("24 items have other reference images"));
}

#[test]
fn foreign_tables_join_without_pictures() {
    let folder = folder();
    let rows: String = (0..24).map(|item| format!("{item},0.{}\n", 300 + item)).collect();
    fs_err::write(folder.path().join("fid.csv"), format!("name,lpips_alex\n{rows}")).unwrap();
    let line = [
        "report",
        "a.csv@edsr",
        "fid.csv",
        "--id-column",
        "name",
        "--metric",
        "lpips_alex:lower",
        "--html",
        "page.html",
    ];
    let output = lpips(folder.path(), &line);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("tables without the columns ref and dist have no pictures"));
    let page = fs_err::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.contains("tables without the columns ref and dist have no pictures"));
}

#[test]
fn errors_name_the_remedy() {
    let folder = folder();
    let refused = |options: &[&str]| {
        let line: Vec<&str> =
            ["report", "a.csv"].into_iter().chain(options.iter().copied()).collect();
        let output = lpips(folder.path(), &line);
        (output.status.code(), stderr(&output))
    };
    let (code, text) = refused(&["--metric", "lpips_vgg"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("has no column `lpips_vgg`") && text.contains("lpips_alex"), "{text}");
    let (code, text) = refused(&["--group-by", "scal"]);
    assert!(code == Some(2) && text.contains("did you mean `scale`?"), "{text}");
    let (code, text) = refused(&["--root", "here"]);
    assert!(code == Some(2) && text.contains("write OLD=NEW"), "{text}");
    let (code, text) = refused(&["a.csv"]);
    assert!(code == Some(2) && text.contains("two runs are called `a.csv`"), "{text}");
    let (code, text) = refused(&["--html", "-"]);
    assert!(code == Some(2) && text.contains("--html report.html"), "{text}");
    // The images are not where the table says.
    let (code, text) = refused(&["--html", "page.html"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("images cannot be read") && text.contains("--root OLD=NEW"), "{text}");
}

#[test]
fn an_unfinished_run_says_so_first() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sr/manifest.csv");
    let manifest = manifest.display().to_string();
    let line = ["eval", &manifest, "-o", "run", "--shard", "0/2", "--metrics", "psnr_y"];
    assert_eq!(lpips(folder.path(), &line).status.code(), Some(0));
    let output = lpips(folder.path(), &["report", "run", "--html", "page.html"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let page = fs_err::read_to_string(folder.path().join("page.html")).unwrap();
    let (alarm, title) =
        (page.find("INCOMPLETE: the run run").unwrap(), page.find("<h1>").unwrap());
    assert!(alarm < title);
    let text = stdout(&lpips(folder.path(), &["report", "run"]));
    assert!(text.starts_with("**INCOMPLETE: the run run is not finished, "), "{text}");
}
