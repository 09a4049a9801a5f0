//! Every command ends: what would block, be endless or overflow is refused.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::{csv, lpips, stderr};

/// Two pairs of small images, and the manifest `m.csv`.
fn inputs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, step) in [("r0", 7), ("d0", 11), ("r1", 13), ("d1", 17)] {
        let mut bytes = b"P6 40 40 255\n".to_vec();
        bytes.extend((0..3 * 40 * 40).map(|index: usize| (index * step % 251) as u8));
        fs_err::write(folder.path().join(format!("{name}.ppm")), bytes).unwrap();
    }
    let manifest = "ref,dist,id\nr0.ppm,d0.ppm,0\nr1.ppm,d1.ppm,1\n";
    fs_err::write(folder.path().join("m.csv"), manifest).unwrap();
    folder
}

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Runs the program, which must end with `exit` and print `expected` and a remedy.
fn refused(folder: &Path, args: &[&str], exit: i32, expected: &str) {
    let output = lpips(folder, args);
    let printed = stderr(&output);
    assert_eq!(output.status.code(), Some(exit), "{args:?}: {printed}");
    assert!(printed.contains(expected) && printed.contains("hint: "), "{args:?}: {printed}");
}

fn score(folder: &Path, run: &str) -> Output {
    lpips(folder, &["eval", "m.csv", "-q", "-o", run])
}

#[test]
fn what_is_no_regular_file_is_no_image() {
    let folder = inputs();
    let at = |name: &str| folder.path().join(name);
    make_fifo(&at("fifo.png"));
    let _socket = UnixListener::bind(at("socket.png")).unwrap();
    let rows = ["fifo.png", "socket.png", "/dev/zero", "."];
    let rows: String = rows.iter().map(|name| format!("{name},d0.ppm,{name}\n")).collect();
    fs_err::write(at("odd.csv"), format!("ref,dist,id\n{rows}")).unwrap();
    let output = lpips(folder.path(), &["eval", "odd.csv", "-q", "-o", "run"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let table = csv(&at("run/pairs.csv"));
    let code = table[0].iter().position(|cell| cell == "error_code").unwrap();
    assert!(table[1..].iter().all(|row| row[code] == "E_NOT_FILE"), "{table:?}");
    let output = lpips(folder.path(), &["check", "odd.csv"]);
    assert_eq!(output.status.code(), Some(6));
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(report.contains("E_NOT_FILE (4)"), "{report}");
}

#[test]
fn files_of_a_run_that_are_none_are_refused() {
    let folder = inputs();
    let run = folder.path().join("run");
    for name in ["plan.json", "manifest.csv", "journal/0-of-1.attempt-1"] {
        for device in [None, Some("/dev/zero")] {
            assert_eq!(score(folder.path(), "run").status.code(), Some(0));
            fs_err::remove_file(run.join(name)).unwrap();
            match device {
                Some(device) => fs_err::os::unix::fs::symlink(device, run.join(name)).unwrap(),
                None => make_fifo(&run.join(name)),
            }
            refused(folder.path(), &["eval", "m.csv", "-o", "run"], 6, "regular file");
            refused(folder.path(), &["merge", "run"], 6, "regular file");
            fs_err::remove_dir_all(&run).unwrap();
        }
    }
}

#[test]
fn weights_that_are_no_files_are_refused() {
    let folder = inputs();
    make_fifo(&folder.path().join("fifo.pth"));
    for (path, kind) in [("fifo.pth", "is a FIFO"), ("/dev/zero", "is a device")] {
        refused(folder.path(), &["eval", "m.csv", "-o", "run", "--trunk", path], 5, kind);
        refused(folder.path(), &["weights", "import", path], 6, kind);
    }
}

#[test]
fn no_number_of_an_option_overflows() {
    let folder = inputs();
    const LARGEST: &str = "18446744073709551615";
    for (option, value, exit) in [
        ("--threads", LARGEST, 2),
        ("--threads", "4097", 2),
        ("--threads", "0", 2),
        ("--batch", LARGEST, 2),
        ("--batch", "1000000000", 2),
        ("--memory", LARGEST, 0),
        ("--memory", "18446744073709551616", 2),
        ("--memory", "1", 5),
        ("--crop-border", LARGEST, 3),
        ("--crop-border", "9223372036854775808", 3),
        ("--size-policy", "modcrop:18446744073709551615", 3),
        ("--max-pixels", LARGEST, 0),
        ("--semantic-layer", LARGEST, 2),
        ("--trunk", "random:18446744073709551615", 0),
        ("--spatial-worst", LARGEST, 0),
        ("--shard", "0/4294967295", 0),
        ("--shard", "18446744073709551615/18446744073709551615", 2),
    ] {
        let run = format!("run{option}{}", value.replace([':', '/'], ""));
        let output = lpips(folder.path(), &["eval", "m.csv", "-q", "-o", &run, option, value]);
        assert_eq!(output.status.code(), Some(exit), "{option} {value}: {}", stderr(&output));
    }
}

#[test]
fn an_argument_that_is_not_utf8_is_named_where_it_is_refused() {
    let folder = inputs();
    let odd = OsStr::from_bytes(b"run\xff");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lpips"));
    let output = command.current_dir(folder.path()).args(["compare", "run"]).arg(odd).output();
    let output = output.unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{printed}");
    assert!(printed.contains("`run\u{fffd}`") && printed.contains("hint: rename"), "{printed}");
}

/// Every field of a plan is replaced by values that no program writes. What the run then is may be
/// refused or not, but no command may panic, abort or allocate by such a number.
#[test]
fn hand_edited_plans_are_refused_or_harmless() {
    let folder = inputs();
    let args = ["eval", "m.csv", "-q", "-o", "run", "--spatial-worst", "2", "--per-layer"];
    assert_eq!(lpips(folder.path(), &args).status.code(), Some(0));
    let path = folder.path().join("run/plan.json");
    let plan: serde_json::Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
    let numbers = ["0", "4294967295", "18446744073709551615", "-1", "1e308", "null", "\"\"", "[]"];
    let mut count = 0;
    for pointer in pointers(&plan) {
        for value in numbers {
            let mut edited = plan.clone();
            *edited.pointer_mut(&pointer).unwrap() = serde_json::from_str(value).unwrap();
            fs_err::write(&path, edited.to_string()).unwrap();
            let output = lpips(folder.path(), &["merge", "run", "-q"]);
            let code = output.status.code();
            let is_expected = matches!(code, Some(0 | 3 | 5 | 6));
            assert!(is_expected, "{pointer} = {value}: {code:?} {}", stderr(&output));
            count += 1;
        }
    }
    assert!(count > 100, "{count} edits");
}

/// Of every value in a document, except those within fingerprints.
fn pointers(document: &serde_json::Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![String::new()];
    while let Some(pointer) = open.pop() {
        match document.pointer(&pointer).unwrap() {
            serde_json::Value::Object(object) if !pointer.ends_with("fingerprint") => {
                open.extend(object.keys().map(|key| format!("{pointer}/{key}")));
            }
            serde_json::Value::Array(list) => {
                open.extend((0..list.len()).map(|index| format!("{pointer}/{index}")));
            }
            _ => {}
        }
        if !pointer.is_empty() {
            found.push(pointer);
        }
    }
    found
}

/// The manifest comes from a pipe that stays open.
#[test]
fn a_signal_before_anything_is_scored_ends_at_once() {
    let folder = inputs();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lpips"));
    command.current_dir(folder.path()).args(["eval", "-", "-o", "run", "--device", "cpu"]);
    command.env("TMPDIR", folder.path()).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The folder for the manifest exists when the program reads it.
    let is_spool = |entry: std::io::Result<fs_err::DirEntry>| {
        entry.unwrap().file_name().to_string_lossy().starts_with("lpips-spool-")
    };
    while !fs_err::read_dir(folder.path()).unwrap().any(is_spool) {
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    // The pipe is still open.
    let _stdin = child.stdin.take();
    assert_eq!(child.wait().unwrap().code(), Some(143));
}
