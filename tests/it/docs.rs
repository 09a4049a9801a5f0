//! The documentation: its links lead somewhere, its command lines are ones that the program takes,
//! and the pages with sessions show what the program prints.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use clap::{CommandFactory as _, Parser as _};
use lpips::cli::Cli;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page that people read, with its text.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = fs_err::read_dir(root().join("docs")).unwrap().map(|page| page.unwrap().path());
    let pages = docs.filter(|page| page.extension().is_some_and(|extension| extension == "md"));
    let others = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"];
    let mut pages: Vec<PathBuf> = pages.chain(others.map(|name| root().join(name))).collect();
    pages.sort();
    pages.into_iter().map(|page| (page.clone(), fs_err::read_to_string(page).unwrap())).collect()
}

/// The blocks of code of these languages.
fn blocks(text: &str, languages: &[&str]) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else { continue };
        let block: Vec<&str> =
            lines.by_ref().take_while(|line| !line.trim_start().starts_with("```")).collect();
        if languages.contains(&language) {
            blocks.push(block.join("\n"));
        }
    }
    blocks
}

/// What a heading is called in a link.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|&c| c.is_alphanumeric() || " -_".contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

#[test]
fn links_lead_to_files_and_headings() {
    let mut checked = 0;
    for (page, text) in pages() {
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        for target in targets.filter(|target| !target.contains("://")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file =
                if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let shown = page.display();
            assert!(file.exists(), "{shown}: nothing is at `{target}`");
            if !heading.is_empty() {
                let there = anchors(&fs_err::read_to_string(&file).unwrap());
                assert!(there.contains(heading), "{shown}: no heading `{target}` among {there:?}");
            }
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked} links");
}

/// The arguments of each call of `lpips` in a script, found by a shell that has no other program.
fn calls(script: &str) -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    // Where shells keep their completions.
    for of in [".local/share/bash-completion/completions", ".zfunc", ".config/fish/completions"] {
        fs_err::create_dir_all(folder.path().join(of)).unwrap();
    }
    let script = format!(
        "lpips() {{ printf '%s\\0' lpips \"$@\" >>calls; printf '\\n\\0' >>calls; }}\n{script}\n"
    );
    let mut shell = Command::new("/bin/bash");
    let shell = shell.args(["-c", &script]).current_dir(folder.path()).env("PATH", "/nowhere");
    shell.env("HOME", folder.path()).output().unwrap();
    let calls = fs_err::read_to_string(folder.path().join("calls")).unwrap_or_default();
    let mut words: Vec<String> = calls.split('\0').map(str::to_owned).collect();
    words.pop();
    words.split(|word| word == "\n").filter(|call| !call.is_empty()).map(<[_]>::to_vec).collect()
}

#[test]
fn every_command_line_in_the_documentation_is_one_that_the_program_takes() {
    let mut checked = 0;
    for (page, text) in pages() {
        let indented = text.lines().filter_map(|line| line.strip_prefix("    lpips "));
        let indented = indented.map(|line| format!("lpips {line}"));
        for block in blocks(&text, &["sh", "bash"]).into_iter().chain(indented) {
            for call in calls(&block) {
                if let Err(error) = Cli::try_parse_from(&call) {
                    let is_help = !error.use_stderr();
                    assert!(is_help, "{}: `{}`\n{error}", page.display(), call.join(" "));
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 25, "{checked} command lines");
}

/// The examples below the help of a command and of its own commands.
fn examples(command: &clap::Command) -> Vec<String> {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let own = help.lines().filter_map(|line| line.strip_prefix("  ")).map(str::to_owned);
    let own: Vec<String> = own.filter(|line| line.contains("lpips ")).collect();
    own.into_iter().chain(command.get_subcommands().flat_map(examples)).collect()
}

#[test]
fn every_example_of_the_help_is_one_that_the_program_takes() {
    let examples = examples(&Cli::command());
    assert!(examples.len() > 25, "{examples:#?}");
    for example in examples {
        let calls = calls(&example);
        assert!(!calls.is_empty(), "`{example}` calls nothing");
        for call in calls {
            if let Err(error) = Cli::try_parse_from(&call) {
                panic!("`{example}`: {error}");
            }
        }
    }
}

/// Runs a line of a page where `tests/data` is that of the repository.
fn run(folder: &Path, line: &str) -> Output {
    let path = std::env::var("PATH").unwrap();
    let mut shell = Command::new("bash");
    let shell = shell.args(["-c", &format!("exec 2>&1\n{line}")]).current_dir(folder);
    shell.env("PATH", format!("{}:{path}", folder.join("bin").display())).output().unwrap()
}

/// Whether a printed line is the shown one. `…` in it stands for anything; decimals with more than
/// six digits may differ behind the fifth, as they do between processors.
fn agrees(shown: &str, printed: &str) -> bool {
    match shown.split_once('…') {
        Some((start, end)) => {
            printed.len() >= start.len() + end.len()
                && printed.starts_with(start)
                && printed.ends_with(end)
        }
        None => {
            let cells =
                |line: &str| -> Vec<String> { line.split(',').map(str::to_owned).collect() };
            let (shown, printed) = (cells(shown), cells(printed));
            let same = |(a, b): (&String, &String)| {
                let numbers = a.parse::<f64>().and_then(|a| b.parse::<f64>().map(|b| (a, b)));
                a == b || a.len() > 8 && numbers.is_ok_and(|(a, b)| (a - b).abs() <= 1e-5 * a.abs())
            };
            shown.len() == printed.len() && shown.iter().zip(&printed).all(same)
        }
    }
}

/// Compares what a command printed with what the page shows. A line `…` stands for any lines.
fn assert_shown(line: &str, shown: &[&str], printed: &str) {
    // Lines that depend on the machine and its speed.
    let is_certain = |line: &&str| {
        !line.starts_with("note: computing on the CPU") && !line.contains(" pairs/s, ETA ")
    };
    let mut printed_lines = printed.lines().filter(is_certain);
    let mut skips = false;
    for &expected in shown {
        if expected == "…" {
            skips = true;
            continue;
        }
        let found = if skips {
            printed_lines.any(|printed| agrees(expected, printed))
        } else {
            printed_lines.next().is_some_and(|printed| agrees(expected, printed))
        };
        assert!(found, "$ {line}\nexpected `{expected}` in\n{printed}");
        skips = false;
    }
    assert!(skips || printed_lines.next().is_none(), "$ {line}\nprints more:\n{printed}");
}

/// Runs the commands of a page in `folder`, and compares what they print with what it shows.
/// Returns how many there are.
fn follow(page: &str, folder: &Path) -> usize {
    fs_err::create_dir_all(folder.join("bin")).unwrap();
    fs_err::create_dir_all(folder.join("tests")).unwrap();
    symlink(env!("CARGO_BIN_EXE_lpips"), folder.join("bin/lpips")).unwrap();
    symlink(root().join("tests/data"), folder.join("tests/data")).unwrap();
    let text = fs_err::read_to_string(root().join(page)).unwrap();
    let mut commands = 0;
    for block in blocks(&text, &["console"]) {
        for session in format!("\n{block}").split("\n$ ").skip(1) {
            let (line, shown) = session.split_once('\n').unwrap_or((session, ""));
            let printed = String::from_utf8(run(folder, line).stdout).unwrap();
            assert_shown(line, &shown.lines().collect::<Vec<_>>(), &printed);
            commands += 1;
        }
    }
    commands
}

#[test]
fn the_tour_prints_what_it_shows() {
    let folder = tempfile::tempdir().unwrap();
    let commands = follow("docs/tour.md", folder.path());
    assert!(commands >= 15, "{commands} commands");
    assert!(folder.path().join("report.html").exists());
}

#[test]
fn the_page_on_comparing_prints_what_it_shows() {
    let folder = tempfile::tempdir().unwrap();
    let commands = follow("docs/compare.md", folder.path());
    assert!(commands >= 6, "{commands} commands");
}

#[test]
fn the_picture_of_the_terminal_shows_what_the_tour_prints() {
    let read = |name: &str| fs_err::read_to_string(root().join(name)).unwrap();
    let (picture, tour) = (read("docs/pictures/terminal.svg"), read("docs/tour.md"));
    let texts = picture.lines().filter_map(|line| line.strip_suffix("</text>"));
    let texts: Vec<&str> = texts.map(|line| line.split_once('>').unwrap().1).collect();
    assert!(texts.len() > 4, "{texts:?}");
    assert!(tour.contains(&texts.join("\n")), "{texts:#?}");
}
