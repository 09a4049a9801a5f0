//! Hints that hold a command line: typed as they are printed, they work. What needs a GPU or a
//! network is only parsed.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use clap::{CommandFactory as _, Parser as _};
use lpips::cli::Cli;

use crate::support::{data, lpips, stderr};

/// Folders of pairs in which something is missing or named differently.
fn set() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let golden = |name: &str| data(&format!("golden/images/{name}.png"));
    for (from, to) in [
        ("blur2_ref", "hr/1.png"),
        ("identical_ref", "hr/2.png"),
        ("blur2_dist", "plain/1.png"),
        ("identical_dist", "plain/2.png"),
        ("blur2_dist", "dash/1-x4.png"),
        ("identical_dist", "dash/2-x4.png"),
        ("blur2_ref", "upper/a_1_HR.png"),
        ("blur2_dist", "lower/a_1_SR.png"),
        ("blur2_dist", "a blank/1 x4.png"),
        ("identical_dist", "a blank/2 x4.png"),
        ("blur2_dist", "part/1.png"),
        ("blur2_dist", "scales/1x2.png"),
        ("blur2_dist", "scales/1x4.png"),
    ] {
        let to = folder.path().join(to);
        fs_err::create_dir_all(to.parent().unwrap()).unwrap();
        fs_err::copy(golden(from), to).unwrap();
    }
    let write = |name: &str, text: &str| fs_err::write(folder.path().join(name), text).unwrap();
    write("array.json", r#"[{"ref":"hr/1.png","dist":"plain/1.png"}]"#);
    write("pairs.csv", "ref,dist\nhr/1.png,plain/1.png\n");
    folder
}

fn bash(folder: &Path, line: &str) -> Output {
    let program = format!("lpips() {{ '{}' \"$@\"; }}; {line}", env!("CARGO_BIN_EXE_lpips"));
    let mut command = Command::new("bash");
    command.args(["-c", &program]).current_dir(folder).env_remove("LPIPS_WEIGHTS_DIR");
    command.output().unwrap()
}

/// The command lines between backquotes of the hint.
fn commands(printed: &str) -> Vec<String> {
    let (_, hint) = printed.split_once("hint: ").unwrap_or_else(|| panic!("no hint in {printed}"));
    hint.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// `line` with the options of a hint: an option that stands once in both is replaced.
fn with_options(line: &str, options: &str) -> String {
    let name = options.split([' ', '=']).next().unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    match words.iter().position(|word| *word == name) {
        Some(at) if name == "--ref" || name == "--dist" => {
            let kept: Vec<&str> = [&words[..at], &words[at + 2..]].concat();
            format!("{} {options}", kept.join(" "))
        }
        _ => format!("{line} {options}"),
    }
}

#[test]
fn options_that_a_hint_names_work_as_they_are_printed() {
    let folder = set();
    for (index, (line, expected)) in [
        ("--ref hr --dist dash", "--dist-suffix=-x4"),
        ("--ref hr --dist 'a blank'", "--dist-suffix ' x4'"),
        ("--ref upper --dist lower", "--ref-suffix _HR --dist-suffix _SR"),
        ("--ref upper --dist lower --dist-suffix _SR", "--ref-suffix _HR"),
        ("--ref upper --dist lower --ref-suffix _HR", "--dist-suffix _SR"),
        ("--ref hr --dist dash --intersect", "--dist-suffix=-x4"),
        ("--ref hr --dist part", "--intersect"),
        ("--ref hr --dist scales --dist-suffix x4", "--intersect"),
        ("--ref hr/{item}.png --dist part/{item}.png", "--intersect"),
        ("--ref hr --dist plain/{item}.png", "--ref 'hr/{item}.png'"),
        ("--ref hr/{item}.png --dist plain", "--dist 'plain/{item}.png'"),
    ]
    .into_iter()
    .enumerate()
    {
        let line = format!("lpips eval -q -o run{index} {line}");
        let refused = bash(folder.path(), &line);
        assert!(!refused.status.success(), "{line}");
        let options = commands(&stderr(&refused))[0].clone();
        assert!(options.contains(expected), "{line}: `{options}` is not `{expected}`");
        let line = with_options(&line, &options);
        let output = bash(folder.path(), &line);
        assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
    }
}

#[test]
fn commands_that_a_hint_names_work_as_they_are_printed() {
    let folder = set();
    let at = folder.path();
    // A table of UTF-32, as some databases export it.
    let utf_32: Vec<u8> = "\u{feff}ref,dist\nhr/1.png,plain/1.png\n"
        .chars()
        .flat_map(|c| u32::from(c).to_le_bytes())
        .collect();
    fs_err::write(at.join("wide.csv"), utf_32).unwrap();
    for (file, made) in [("array.json", "made.jsonl"), ("wide.csv", "made.csv")] {
        let refused = bash(at, &format!("lpips eval {file} -o run -q"));
        let command = commands(&stderr(&refused))[0].replace("FILE", file).replace("NEW", made);
        let command = if command.contains('>') { command } else { format!("{command} > {made}") };
        let converted = bash(at, &command);
        assert!(converted.status.success(), "{command}: {}", stderr(&converted));
        let output = bash(at, &format!("lpips eval {made} -o {made}.run -q"));
        assert_eq!(output.status.code(), Some(0), "{command}: {}", stderr(&output));
    }
    // Other settings than those of the run in this folder.
    let output = bash(at, "lpips eval pairs.csv -o first --metrics psnr_rgb -q");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let line = "lpips eval pairs.csv --metrics psnr_rgb,psnr_y";
    let options = commands(&stderr(&bash(at, &format!("{line} -o first"))))[1].clone();
    assert_eq!(options, "--reuse first");
    let output = bash(at, &format!("{line} -o second {options}"));
    assert!(stderr(&output).contains("took 1 pair from `first`"), "{}", stderr(&output));
    // A run of shards whose tables are not written yet.
    let output = bash(at, "lpips eval pairs.csv -o part.run --shard 0/1 -q; rm part.run/run.json");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let refused = bash(at, "lpips compare part.run part.run");
    let command = commands(&stderr(&refused))[0].clone();
    assert_eq!(command, "lpips merge part.run");
    let merged = bash(at, &command);
    assert_eq!(merged.status.code(), Some(0), "{}", stderr(&merged));
}

#[test]
fn merge_writes_again_what_compare_finds_damaged() {
    let folder = set();
    let at = folder.path();
    let output = bash(at, "lpips eval pairs.csv -o run -q");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for (file, content) in [("run.json", "{"), ("pairs.csv", "id,lpips_alex\n")] {
        let before = fs_err::read(at.join("run/pairs.csv")).unwrap();
        fs_err::write(at.join("run").join(file), content).unwrap();
        let refused = bash(at, "lpips compare run run");
        let printed = stderr(&refused);
        assert_eq!(refused.status.code(), Some(6), "{file}: {printed}");
        let command = commands(&printed)[0].clone();
        assert_eq!(command, "lpips merge run", "{file}");
        let merged = bash(at, &command);
        assert_eq!(merged.status.code(), Some(0), "{}", stderr(&merged));
        assert_eq!(fs_err::read(at.join("run/pairs.csv")).unwrap(), before, "{file}");
        assert_eq!(bash(at, "lpips compare run run").status.code(), Some(0), "{file}");
    }
}

#[test]
fn the_command_for_a_machine_without_weights_is_that_of_the_program() {
    let folder = set();
    let at = folder.path();
    let refused =
        lpips(at, &["eval", "pairs.csv", "-o", "run", "--net", "vgg", "--weights-dir", "."]);
    let named = commands(&stderr(&refused));
    assert_eq!(named[0], "lpips weights fetch vgg");
    assert!(named[1].starts_with("python3 scripts/fetch_weights.py vgg"), "{named:?}");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/fetch_weights.py");
    assert!(script.is_file());
}

/// Text between backquotes in string literals of the sources that begins with `lpips `. Continued
/// lines are joined.
fn command_lines_of_sources() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in walkdir::WalkDir::new(sources).into_iter().map(Result::unwrap) {
        if entry.path().extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs_err::read_to_string(entry.path()).unwrap();
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        let code: Vec<&str> = text.lines().filter(is_code).collect();
        let code = code.join("\n");
        let parts: Vec<&str> = code.split("\\\n").map(str::trim_start).collect();
        let code = parts.concat();
        for line in code.lines() {
            let quoted = line.split('`').skip(1).step_by(2);
            found.extend(quoted.filter(|text| text.starts_with("lpips ")).map(str::to_owned));
        }
    }
    found
}

#[test]
fn every_command_line_in_a_message_is_one_that_the_program_takes() {
    let found = command_lines_of_sources();
    assert!(found.len() > 10, "{found:?}");
    for expected in [
        "lpips weights fetch vgg",
        "lpips doctor",
        "lpips doctor --selftest --json",
        "lpips doctor --selftest --device cuda",
        "lpips weights import {name}",
    ] {
        assert!(found.contains(expected), "no `{expected}` among {found:#?}");
    }
    for line in &found {
        // As it is printed.
        let line = line.replace("{net}", "vgg");
        let words: Vec<&str> = line.split(' ').collect();
        // A command that is only named takes no arguments here.
        let program = Cli::command();
        let named = program.find_subcommand(words[1]);
        assert!(named.is_some(), "`{line}`: no command `{}`", words[1]);
        if words.len() > 2
            && let Err(error) = Cli::try_parse_from(&words)
        {
            panic!("`{line}`: {error}");
        }
    }
}
