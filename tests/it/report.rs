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
    assert!(stderr(&refused).contains("the reference images of 24 items differ in "));
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

/// Two of the sample images by two methods in `images`, scored.
fn small_run(folder: &Path, options: &[&str]) {
    let mut rows = "ref,dist,item,method\n".to_owned();
    for kind in ["hr", "bicubic", "nearest"] {
        fs_err::create_dir_all(folder.join("images").join(kind)).unwrap();
        for name in ["camera", "chelsea"] {
            let path = format!("{kind}/{name}.png");
            let source = crate::support::data(&format!("sr/{path}"));
            fs_err::copy(source, folder.join("images").join(&path)).unwrap();
            if kind != "hr" {
                rows.push_str(&format!("images/hr/{name}.png,images/{path},{name},{kind}\n"));
            }
        }
    }
    fs_err::write(folder.join("m.csv"), rows).unwrap();
    let line: Vec<&str> =
        ["eval", "m.csv", "-o", "run"].into_iter().chain(options.iter().copied()).collect();
    let output = lpips(folder, &line);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

/// The page of a run, and what was printed.
fn page(folder: &Path, options: &[&str]) -> (String, String) {
    let line: Vec<&str> = ["report", "run", "--html", "page.html"]
        .into_iter()
        .chain(options.iter().copied())
        .collect();
    let output = lpips(folder, &line);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    (fs_err::read_to_string(folder.join("page.html")).unwrap(), stderr(&output))
}

#[test]
fn the_page_keeps_to_its_budget_and_repeats_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = crate::support::data("sr/manifest.csv").display().to_string();
    let line = ["eval", &manifest, "-o", "run", "--metrics", "psnr_y"];
    assert_eq!(lpips(folder.path(), &line).status.code(), Some(0));
    let (whole, printed) = page(folder.path(), &[]);
    assert!(printed.contains("no metric of the page has spatial maps"), "{printed}");
    assert!(!whole.contains("did not fit"));
    assert!(page(folder.path(), &[]).0 == whole, "the same bytes again");
    let (small, _) = page(folder.path(), &["--budget", "0.4"]);
    assert!(small.len() <= 400_000, "{}", small.len());
    let cards = |page: &str| page.matches("<article").count();
    let left_out = cards(&whole) - cards(&small);
    assert!(left_out > 0 && small.contains(&format!("{left_out} more items did not fit")));
}

#[test]
fn images_that_have_moved_are_found_by_their_new_root() {
    let folder = tempfile::tempdir().unwrap();
    small_run(folder.path(), &["--metrics", "psnr_y"]);
    fs_err::rename(folder.path().join("images"), folder.path().join("moved")).unwrap();
    let jpegs = |page: &str| page.matches("data:image/jpeg").count();
    let (without, printed) = page(folder.path(), &[]);
    assert_eq!(jpegs(&without), 0);
    assert!(printed.contains("6 images cannot be read"), "{printed}");
    let [old, new] = ["images", "moved"].map(|name| folder.path().join(name).display().to_string());
    let (with, printed) = page(folder.path(), &["--root", &format!("{old}={new}")]);
    assert_eq!(jpegs(&with), 6, "{printed}");
}

#[test]
fn maps_are_those_of_the_run_or_computed() {
    let folder = tempfile::tempdir().unwrap();
    small_run(folder.path(), &["--spatial"]);
    let maps = |page: &str| page.matches("class=\"view map\"").count();
    let (stored, printed) = page(folder.path(), &[]);
    assert_eq!((maps(&stored), stored.matches("class=\"layer l").count()), (4, 4 * 5), "{printed}");
    fs_err::remove_dir_all(folder.path().join("run/maps")).unwrap();
    let (computed, printed) = page(folder.path(), &[]);
    // The same values as the run's: eval and the library compute the same bits.
    assert!(computed == stored, "{printed}");
    // Another image than the one that was scored has another map.
    let images = folder.path().join("images");
    fs_err::copy(images.join("nearest/camera.png"), images.join("bicubic/camera.png")).unwrap();
    let (changed, printed) = page(folder.path(), &[]);
    assert_eq!(maps(&changed), 3);
    assert!(printed.contains("1 maps are left out: computed again"), "{printed}");
}

#[test]
fn names_are_text_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let method = "=a_b & c|d <x> 100% \\end";
    table(&folder.path().join("a.csv"), &[(method, 0.0), ("edsr", 0.1)], 8);
    let markdown = report(folder.path(), &[]);
    assert!(markdown.contains("| =a\\_b &amp; c\\|d &lt;x&gt; 100% \\\\end |"), "{markdown}");
    let latex = report(folder.path(), &["--latex", "-"]);
    let name = "=a\\_b \\& c|d \\textless{}x\\textgreater{} 100\\% \\textbackslash{}end";
    assert!(latex.contains(&format!("1 & {name} &")), "{latex}");
    let csv = report(folder.path(), &["--csv", "-", "--csv-safe"]);
    assert!(csv.contains(&format!("lpips_alex,'{method},yes,1,1,")), "{csv}");
}
