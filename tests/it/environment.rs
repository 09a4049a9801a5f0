//! What the machine refuses: it ends a command with 5 and a remedy, and never becomes a failed pair.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::{csv, data, lpips, stderr};

/// A regular file of which every read fails with EIO, as on a lost file server or a bad disk.
const UNREADABLE: &str = "/proc/self/mem";

/// Copies of a golden pair, and a manifest of `pairs` of them; the last distorted image is separate.
fn pairs(count: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = "ref,dist,id\n".to_owned();
    for pair in 0..count {
        for side in ["ref", "dist"] {
            let from = data(&format!("golden/images/blur2_{side}.png"));
            fs_err::copy(from, folder.path().join(format!("{side}{pair}.png"))).unwrap();
        }
        manifest += &format!("ref{pair}.png,dist{pair}.png,{pair}\n");
    }
    fs_err::write(folder.path().join("m.csv"), manifest).unwrap();
    folder
}

/// Runs the program from a shell, which sets limits or redirects its output first.
fn shell(folder: &Path, script: &str) -> Output {
    let mut command = Command::new("sh");
    let script = script.replace("lpips", concat!("exec ", env!("CARGO_BIN_EXE_lpips")));
    command.current_dir(folder).args(["-c", &script]).env_remove("LPIPS_WEIGHTS_DIR");
    command.output().unwrap()
}

fn replace_by_unreadable(path: &Path) {
    fs_err::remove_file(path).unwrap();
    fs_err::os::unix::fs::symlink(UNREADABLE, path).unwrap();
}

#[test]
fn a_lost_file_server_ends_the_run_and_keeps_finished_pairs() {
    let folder = pairs(12);
    let lost = folder.path().join("dist11.png");
    replace_by_unreadable(&lost);
    let args = ["eval", "m.csv", "-o", "run", "--threads", "1", "--batch", "1"];
    let output = lpips(folder.path(), &args);
    let printed = stderr(&output);
    assert_eq!(output.status.code(), Some(5), "{printed}");
    assert!(printed.contains("dist11.png") && printed.contains("Input/output error"), "{printed}");
    assert!(printed.contains("hint: check the disk or the file server"), "{printed}");
    assert!(!folder.path().join("run/pairs.csv").exists(), "no table of an unfinished run");

    fs_err::remove_file(&lost).unwrap();
    fs_err::copy(folder.path().join("dist0.png"), &lost).unwrap();
    let output = lpips(folder.path(), &args);
    let printed = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(printed.contains("resuming: 11 of 12 pairs are done"), "{printed}");
    assert_eq!(csv(&folder.path().join("run/pairs.csv")).len(), 13);
}

#[test]
fn check_reports_a_lost_file_server_as_one() {
    let folder = pairs(2);
    replace_by_unreadable(&folder.path().join("dist1.png"));
    let output = lpips(folder.path(), &["check", "m.csv"]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(stderr(&output).contains("Input/output error"), "{}", stderr(&output));
}

#[test]
fn a_mask_that_the_machine_cannot_read_is_no_failed_pair() {
    let folder = pairs(1);
    fs_err::create_dir(folder.path().join("masks")).unwrap();
    fs_err::os::unix::fs::symlink(UNREADABLE, folder.path().join("masks/ref0.png")).unwrap();
    let output = lpips(folder.path(), &["eval", "m.csv", "-o", "run", "--mask", "masks"]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
}

#[test]
fn too_few_file_descriptors_never_become_failed_pairs() {
    let folder = pairs(3);
    let mut codes = Vec::new();
    for limit in 4..24 {
        let run = format!("ulimit -n {limit}; lpips eval m.csv -o run{limit} --threads 2");
        let output = shell(folder.path(), &run);
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 5 | 127)), "{limit}: {code:?} {}", stderr(&output));
        codes.push(code);
    }
    assert!(codes.contains(&Some(0)) && codes.contains(&Some(5)), "{codes:?}");
}

#[test]
fn threads_that_cannot_be_started_are_an_error_with_a_remedy() {
    let folder = pairs(1);
    // Each thread takes two megabytes of address space for its stack.
    let run = "ulimit -v 600000; lpips eval m.csv -o run --threads 1000";
    let output = shell(folder.path(), run);
    let printed = stderr(&output);
    assert_eq!(output.status.code(), Some(5), "{printed}");
    assert!(printed.contains("cannot start") && printed.contains("lower `--threads`"), "{printed}");
}

#[test]
fn a_missing_folder_for_temporary_files_is_of_the_environment() {
    let folder = pairs(1);
    for command in ["eval m.csv -o run", "check m.csv", "eval --pair ref0.png dist0.png"] {
        for place in ["/nowhere/at/all", "/proc"] {
            let output = shell(folder.path(), &format!("TMPDIR={place} lpips {command}"));
            let printed = stderr(&output);
            assert_eq!(output.status.code(), Some(5), "{command}: {printed}");
            assert!(printed.contains(place) && printed.contains("TMPDIR"), "{command}: {printed}");
        }
    }
}

#[test]
fn a_full_disk_behind_stdout_is_of_the_environment() {
    let folder = pairs(1);
    for command in ["check m.csv", "check m.csv --json", "eval --pair ref0.png dist0.png"] {
        let output = shell(folder.path(), &format!("lpips {command} > /dev/full"));
        let printed = stderr(&output);
        assert_eq!(output.status.code(), Some(5), "{command}: {printed}");
        assert!(
            printed.contains("No space left") && printed.contains("hint: "),
            "{command}: {printed}"
        );
    }
}

#[test]
fn a_closed_pipe_ends_with_the_code_that_the_work_earned() {
    let folder = pairs(1);
    for command in ["check m.csv", "eval --pair ref0.png dist0.png"] {
        let script = format!("{{ lpips {command}; }} | true");
        // The shell would report the code of `true`.
        let script = script.replace("; }", "; echo $? >&2; }").replace("exec ", "");
        let program = env!("CARGO_BIN_EXE_lpips");
        let mut shell = Command::new("sh");
        shell.current_dir(folder.path()).args(["-c", &script.replace("lpips", program)]);
        let output = shell.output().unwrap();
        assert!(stderr(&output).ends_with("0\n"), "{command}: {}", stderr(&output));
    }
}

#[test]
fn the_limit_of_file_sizes_is_an_error_with_a_remedy() {
    let folder = pairs(1);
    let output = shell(folder.path(), "ulimit -f 0; lpips eval m.csv -o run");
    let printed = stderr(&output);
    assert_eq!(output.status.code(), Some(5), "{printed}");
    assert!(printed.contains("File too large"), "{printed}");
}

#[test]
fn a_run_directory_that_cannot_be_written_is_named() {
    let folder = pairs(1);
    let output = lpips(folder.path(), &["eval", "m.csv", "-o", "/proc/run"]);
    let printed = stderr(&output);
    assert_eq!(output.status.code(), Some(5), "{printed}");
    assert!(printed.contains("/proc/run") && printed.contains("hint: "), "{printed}");
}
