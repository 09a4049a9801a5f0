//! Gates in scripts: exit codes through shells, pipes and make, the recipes of docs/ci.md, and the
//! steps of action.yml.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::compare::{pair_of, stdout};
use crate::maps;
use crate::support::{lpips, stderr};

/// Whether a program is there. If not, the test prints SKIPPED, or fails under `variable`.
fn has(program: &str, arguments: &[&str], variable: &str) -> bool {
    let output = Command::new(program).args(arguments).output();
    let is_there = output.is_ok_and(|output| output.status.success());
    if !is_there {
        let required = std::env::var(variable).is_ok_and(|value| value == "1");
        assert!(!required, "{variable}=1, but `{program} {}` fails", arguments.join(" "));
        eprintln!("SKIPPED: `{program} {}` fails", arguments.join(" "));
    }
    is_there
}

fn file(name: &str) -> String {
    fs_err::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// A shell with the program on its PATH, and with these stand-ins for other programs.
fn shell(folder: &Path, script: &str, stand_ins: &[(&str, &str)]) -> Command {
    let bin = folder.join("bin");
    fs_err::create_dir_all(&bin).unwrap();
    let program = bin.join("lpips");
    if !program.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_lpips"), program).unwrap();
    }
    for (name, text) in stand_ins {
        let path = bin.join(name);
        fs_err::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(&path, mode).unwrap();
    }
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new("bash");
    command.args(["-c", script]).current_dir(folder);
    command.env("PATH", format!("{}:{path}", bin.display()));
    command
}

#[test]
fn gates_end_scripts() {
    let folder = pair_of(&[0.0; 8], &[0.01; 8]);
    let program = env!("CARGO_BIN_EXE_lpips");
    let gate =
        |limit: &str| format!("'{program}' compare base.csv new.csv --fail-if 'mean > {limit}'");
    let run = |shell: &str, arguments: &[&str]| {
        let mut command = Command::new(shell);
        command.current_dir(folder.path()).args(arguments).output().unwrap()
    };
    let sh = |limit| run("sh", &["-ec", &format!("{}; echo after", gate(limit))]);
    assert_eq!(sh("0.005").status.code(), Some(4));
    assert!(!stdout(&sh("0.005")).contains("after"));
    assert!(sh("0.5").status.success() && stdout(&sh("0.5")).contains("after"));

    let piped = |limit| {
        let line = format!("set -o pipefail; {} | cat > report.txt", gate(limit));
        run("bash", &["-c", &line]).status.code()
    };
    assert_eq!((piped("0.005"), piped("0.5")), (Some(4), Some(0)));
    // The reader leaves at once; the gate still decides.
    let line = format!("set -o pipefail; {} | true", gate("0.005"));
    assert_eq!(run("bash", &["-c", &line]).status.code(), Some(4));

    let make = |limit: &str| {
        fs_err::write(folder.path().join("Makefile"), format!("gate:\n\t{}\n", gate(limit)))
            .unwrap();
        run("make", &["gate"])
    };
    if !has("make", &["--version"], "LPIPS_REQUIRE_MAKE") {
        return;
    }
    let failed = make("0.005");
    assert_eq!(failed.status.code(), Some(2), "make ends with 2 whatever a recipe ends with");
    assert!(stderr(&failed).contains("Error 4"), "{}", stderr(&failed));
    assert!(make("0.5").status.success());
}

/// The recipe of docs/ci.md.
#[test]
fn pytest_fails_with_a_gate() {
    if !has("python3", &["-m", "pytest", "--version"], "LPIPS_REQUIRE_PYTEST") {
        return;
    }
    let folder = pair_of(&[0.0; 8], &[0.1; 8]);
    let guide = file("docs/ci.md");
    let recipe = guide.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let run = |new: &str| {
        let recipe = recipe.replace("\"baseline\", \"run\"", &format!("\"base.csv\", \"{new}\""));
        fs_err::write(folder.path().join("test_quality.py"), recipe).unwrap();
        let pytest = "python3 -m pytest -q -p no:cacheprovider";
        shell(folder.path(), pytest, &[]).output().unwrap().status.code()
    };
    assert_eq!((run("new.csv"), run("base.csv")), (Some(1), Some(0)));
}

/// A distorted image of [`maps::set`], and what it looks like while it is almost its reference.
fn distorted(folder: &Path, number: usize) -> (PathBuf, Vec<u8>) {
    let mut near = fs_err::read(folder.join(format!("r{number}.pgm"))).unwrap();
    near.iter_mut().rev().take(36).for_each(|sample| *sample ^= 8);
    (folder.join(format!("d{number}.pgm")), near)
}

/// Six pairs that are almost identical, and a run of them as the baseline.
fn scored(baseline: &str) -> tempfile::TempDir {
    let folder = maps::set(&["a", "b", "c", "d", "e", "f"]);
    for number in 0..6 {
        let (path, near) = distorted(folder.path(), number);
        fs_err::rename(&path, path.with_extension("far")).unwrap();
        fs_err::write(path, near).unwrap();
    }
    fs_err::rename(folder.path().join("m.csv"), folder.path().join("pairs.csv")).unwrap();
    let output = lpips(folder.path(), &["eval", "pairs.csv", "-o", baseline]);
    assert!(output.status.success(), "{}", stderr(&output));
    folder
}

/// Makes every distorted image differ more from its reference.
fn worsen(folder: &Path) {
    for number in 0..6 {
        let (path, _) = distorted(folder, number);
        fs_err::rename(path.with_extension("far"), path).unwrap();
    }
}

/// The script of docs/ci.md that Slurm starts.
#[test]
fn the_nightly_script_ends_with_the_code_of_the_gate() {
    let folder = scored("reference");
    let guide = file("docs/ci.md");
    let script = guide.split("```sh\n#!/bin/sh\n").nth(1).unwrap().split("```").next().unwrap();
    let night = |date: &str| {
        let date = format!("echo {date}");
        let stand_ins = [("date", date.as_str()), ("mail", "cat > mail.txt")];
        shell(folder.path(), script, &stand_ins).output().unwrap()
    };
    let good = night("2026-01-01");
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    assert!(stdout(&good).contains("verdict: identical"), "{}", stdout(&good));
    assert!(!folder.path().join("mail.txt").exists());
    worsen(folder.path());
    let bad = night("2026-01-02");
    assert_eq!(bad.status.code(), Some(4), "{}{}", stdout(&bad), stderr(&bad));
    let mail = fs_err::read_to_string(folder.path().join("mail.txt")).unwrap();
    assert_eq!(mail, "quality gate: exit code 4\n");
}

/// The lines of GitLab's job.
#[test]
fn the_script_of_gitlab_ends_with_the_code_of_the_gate() {
    let folder = scored("baseline");
    let guide = file("docs/ci.md");
    let section = guide.split("## GitLab").nth(1).unwrap();
    let lines = section.lines().filter_map(|line| line.strip_prefix("    - "));
    let script = format!("set -e\n{}", lines.collect::<Vec<_>>().join("\n"));
    let good = shell(folder.path(), &script, &[]).output().unwrap();
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    assert!(folder.path().join("report.md").exists());
    worsen(folder.path());
    fs_err::remove_dir_all(folder.path().join("run")).unwrap();
    assert_eq!(shell(folder.path(), &script, &[]).output().unwrap().status.code(), Some(4));
}

/// A step of action.yml that runs a script.
struct Step {
    /// Names of variables, and of the inputs that they hold.
    env: Vec<(String, String)>,
    script: String,
}

/// The steps of action.yml that run scripts, in order.
fn steps(action: &str) -> Vec<Step> {
    let step = |text: &str| {
        let (head, script) = text.split_once("      run: |\n")?;
        let lines =
            script.lines().take_while(|line| line.is_empty() || line.starts_with("        "));
        let variable = |line: &str| {
            let (name, value) = line.trim().split_once(": ${{ inputs.")?;
            Some((name.to_owned(), value.strip_suffix(" }}")?.to_owned()))
        };
        let script = lines.collect::<Vec<_>>().join("\n");
        Some(Step { env: head.lines().filter_map(variable).collect(), script })
    };
    action.split("    - name: ").skip(1).filter_map(step).collect()
}

#[test]
fn the_action_installs_scores_compares_and_reports() {
    if !has("python3", &["--version"], "LPIPS_REQUIRE_TOOLS") {
        return;
    }
    let folder = scored("base line");
    let steps = steps(&file("action.yml"));
    assert_eq!(steps.len(), 3);
    let run = |inputs: &[(&str, &str)]| {
        let mut codes = Vec::new();
        for file in ["path.txt", "summary.md", "outputs.txt"] {
            fs_err::write(folder.path().join(file), "").unwrap();
        }
        for step in &steps {
            // A runner puts what steps write to GITHUB_PATH before the PATH of later ones.
            let script = format!("PATH=$(cat path.txt):$PATH\n{}", step.script);
            let mut command = Command::new("bash");
            command.args(["-c", &script]).current_dir(folder.path());
            command.env("RUNNER_TEMP", folder.path().join("temp"));
            command.env("GITHUB_PATH", "path.txt").env("GITHUB_OUTPUT", "outputs.txt");
            command.env("GITHUB_STEP_SUMMARY", "summary.md");
            for (variable, input) in &step.env {
                let value = inputs.iter().find(|(name, _)| name == input);
                command.env(variable, value.map_or("", |(_, value)| value));
            }
            codes.push(command.output().unwrap().status.code());
            if codes.last() != Some(&Some(0)) {
                break;
            }
        }
        codes
    };
    let program = env!("CARGO_BIN_EXE_lpips");
    let mut inputs = vec![
        ("lpips", program),
        ("inputs", "pairs.csv"),
        ("run", "run"),
        ("baseline", "base line"),
        ("fail-if", "mean > 0.002 @ 95%\n\nmax > 0.05\n"),
    ];
    assert_eq!(run(&inputs), [Some(0); 3]);
    let read = |name: &str| fs_err::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("outputs.txt"), "verdict=identical\n");
    assert!(read("summary.md").starts_with("### "), "{}", read("summary.md"));
    worsen(folder.path());
    inputs[2].1 = "second";
    assert_eq!(run(&inputs), [Some(0), Some(0), Some(4)]);
    assert_eq!(read("outputs.txt"), "verdict=worse\n");
    inputs[1].1 = "missing.csv";
    assert_eq!(run(&inputs), [Some(0), Some(6)]);
}
