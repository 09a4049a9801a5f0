//! Runs that are stopped, killed, split and joined: the end is the same as if nothing had happened.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::support::{data, lpips, stderr};
use rustix::process::{Pid, Signal, kill_process};

/// Rows of [`Set`], and references.
const ROWS: usize = 96;
const REFERENCES: usize = 24;

/// A folder with a manifest of many pairs, all of them small parts of a few photographs.
pub(crate) struct Set {
    folder: tempfile::TempDir,
}

impl Set {
    pub(crate) fn new() -> Set {
        let folder = tempfile::tempdir().unwrap();
        let samples =
            ["astronaut", "coffee", "rocket"].map(|name| data(&format!("sr/hr/{name}.png")));
        let mut manifest = "ref,dist,item,method\n".to_owned();
        for number in 0..REFERENCES {
            let source = &samples[number % samples.len()];
            // Another name, another shard.
            let reference = format!("r{number}.png");
            fs_err::copy(source, folder.path().join(&reference)).unwrap();
            for method in ["bicubic", "lanczos", "nearest", "bicubic2"] {
                let name = source.file_name().unwrap().to_str().unwrap();
                let dist = data(&format!("sr/{}/{name}", method.trim_end_matches('2')));
                manifest += &format!("{reference},{},{number},{method}\n", dist.display());
            }
        }
        fs_err::write(folder.path().join("m.csv"), manifest).unwrap();
        Set { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The arguments of a run; one thread and small batches, so that there is much to interrupt.
    fn args<'a>(run: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec!["eval", "m.csv", "-o", run, "--group-by", "method"];
        args.extend(["--threads", "1", "--batch", "2", "--crop-border", "40"]);
        args.extend(more);
        args
    }

    pub(crate) fn eval(&self, run: &str, more: &[&str]) -> Output {
        lpips(self.path(), &Set::args(run, more))
    }

    pub(crate) fn start(&self, run: &str, more: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lpips"));
        command.current_dir(self.path()).args(Set::args(run, more));
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Waits until the first attempt at a shard has finished some rows; its process must not end
    /// before.
    fn wait_for_rows(&self, child: &mut Child, run: &str, shard: &str) {
        let journal = self.path().join(format!("{run}/journal/{shard}.attempt-1"));
        let has_rows = || {
            let text = fs_err::read_to_string(&journal).unwrap_or_default();
            text.contains("{\"pair\":")
        };
        while !has_rows() {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("ended before it was interrupted: {status}");
            }
            std::thread::yield_now();
        }
    }

    /// pairs.csv and summary.csv.
    pub(crate) fn tables(&self, run: &str) -> [String; 2] {
        ["pairs.csv", "summary.csv"]
            .map(|name| fs_err::read_to_string(self.path().join(run).join(name)).unwrap())
    }

    pub(crate) fn run_json(&self, run: &str) -> serde_json::Value {
        let text = fs_err::read_to_string(self.path().join(run).join("run.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

fn assert_success(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
}

#[test]
fn each_signal_ends_a_run_safely_and_the_same_command_goes_on() {
    let set = Set::new();
    assert_success(&set.eval("whole", &[]));
    let expected = set.tables("whole");
    assert_eq!(expected[0].lines().count(), ROWS + 1);
    let cases = [
        (Signal::TERM, "SIGTERM", 143),
        (Signal::INT, "SIGINT", 130),
        (Signal::USR1, "SIGUSR1", 143),
        (Signal::USR2, "SIGUSR2", 143),
    ];
    for (signal, name, code) in cases {
        let mut child = set.start(name, &[]);
        set.wait_for_rows(&mut child, name, "0-of-1");
        kill_process(pid(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let printed = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{printed}");
        assert!(printed.contains(&format!("stopped by {name}: ")), "{printed}");
        assert!(printed.contains(&format!("of {ROWS} pairs are safe in `{name}`")), "{printed}");
        assert!(printed.contains("hint: run the same command again"), "{printed}");
        assert!(!set.path().join(name).join("pairs.csv").exists());

        let output = set.eval(name, &[]);
        assert_success(&output);
        assert!(stderr(&output).contains("resuming: "), "{}", stderr(&output));
        assert_eq!(set.tables(name), expected, "{name}");
        let [found, whole] = [name, "whole"].map(|run| set.run_json(run));
        assert_eq!(found["fingerprint"], whole["fingerprint"]);
        assert_eq!(found["provenance"]["scored"], ROWS);
        assert_eq!(found["provenance"]["attempts"][0]["how"], "stopped");
        assert_eq!(found["provenance"]["attempts"][1]["how"], "finished");
    }
}

#[test]
fn a_second_signal_ends_at_once_and_loses_nothing_that_is_finished() {
    let set = Set::new();
    let mut child = set.start("run", &[]);
    set.wait_for_rows(&mut child, "run", "0-of-1");
    // Both are there when it wakes.
    for signal in [Signal::STOP, Signal::INT, Signal::TERM, Signal::CONT] {
        kill_process(pid(&child), signal).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert!(matches!(output.status.code(), Some(130 | 143)), "{:?}", output.status);
    assert!(!stderr(&output).contains("are safe"), "it took its time: {}", stderr(&output));
    assert_success(&set.eval("run", &[]));
    assert_success(&set.eval("whole", &[]));
    assert_eq!(set.tables("run"), set.tables("whole"));
}

#[test]
fn the_second_of_two_processes_stops_and_names_the_first() {
    let set = Set::new();
    let mut first = set.start("run", &[]);
    set.wait_for_rows(&mut first, "run", "0-of-1");
    kill_process(pid(&first), Signal::STOP).unwrap();
    let second = set.eval("run", &[]);
    let printed = stderr(&second);
    assert_eq!(second.status.code(), Some(6), "{printed}");
    let expected = format!("process {}, since ", first.id());
    assert!(
        printed.contains("the run is being scored by host ") && printed.contains(&expected),
        "{printed}"
    );
    assert!(printed.contains("last sign of life "), "{printed}");

    // Killed, it is passed over at once.
    kill_process(pid(&first), Signal::KILL).unwrap();
    first.wait().unwrap();
    assert_success(&set.eval("run", &[]));
    assert_success(&set.eval("whole", &[]));
    assert_eq!(set.tables("run"), set.tables("whole"));
}

#[test]
fn shards_are_joined_to_the_bytes_of_a_single_run() {
    let set = Set::new();
    assert_success(&set.eval("whole", &["--per-layer"]));
    for shard in ["0/4", "3/4", "1/4"] {
        let output = set.eval("run", &["--per-layer", "--shard", shard]);
        assert_success(&output);
        assert!(stderr(&output).contains("lpips merge run"), "{}", stderr(&output));
    }
    let output = lpips(set.path(), &["merge", "run"]);
    let printed = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{printed}");
    assert!(printed.contains("shard 2/4: ") && printed.contains("it never began"), "{printed}");
    assert!(printed.contains("sbatch --array=2 "), "{printed}");
    assert!(!set.path().join("run/pairs.csv").exists());

    let mut last = set.start("run", &["--per-layer", "--shard", "2/4"]);
    set.wait_for_rows(&mut last, "run", "2-of-4");
    kill_process(pid(&last), Signal::STOP).unwrap();
    let printed = stderr(&lpips(set.path(), &["merge", "run"]));
    assert!(
        printed.contains("being scored by host") && printed.contains("wait for them"),
        "{printed}"
    );
    kill_process(pid(&last), Signal::CONT).unwrap();
    assert_success(&last.wait_with_output().unwrap());

    assert_success(&lpips(set.path(), &["merge", "run"]));
    assert_eq!(set.tables("run"), set.tables("whole"));
    let [found, whole] = ["run", "whole"].map(|run| set.run_json(run));
    assert_eq!(found["fingerprint"], whole["fingerprint"]);
    assert_eq!(found["provenance"]["attempts"].as_array().unwrap().len(), 4);

    // Again, and grouped otherwise.
    assert_success(&lpips(set.path(), &["merge", "run", "-q", "--group-by", "item"]));
    let [pairs, summary] = set.tables("run");
    assert_eq!(pairs, set.tables("whole")[0]);
    assert_eq!(summary.lines().count(), 1 + 1 + REFERENCES);
}

#[test]
fn another_run_in_the_directory_is_refused_by_the_field_that_differs() {
    let set = Set::new();
    assert_success(&set.eval("run", &["--shard", "1/4"]));
    let before = fs_err::read(set.path().join("run/plan.json")).unwrap();
    let manifest = fs_err::read_to_string(set.path().join("m.csv")).unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&["--shard", "1/5"], "shards `4` there, `5` here"),
        (&[], "shards `4` there, `1` here"),
        (&["--shard", "1/4", "--baseline"], "columns `lpips_alex` there, `baseline_alex` here"),
        (&["--shard", "1/4", "--alpha", "black"], "alpha of lpips_alex `drop` there, `black` here"),
        (&["--shard", "1/4", "--per-layer"], "per_layer `false` there, `true` here"),
    ];
    for (more, expected) in cases {
        let output = set.eval("run", more);
        let printed = stderr(&output);
        assert_eq!(output.status.code(), Some(6), "{printed}");
        assert!(
            printed.contains("holds another run") && printed.contains(expected),
            "{more:?}: {printed}"
        );
    }
    fs_err::write(set.path().join("m.csv"), manifest + "r0.png,r1.png,0,x\n").unwrap();
    let printed = stderr(&set.eval("run", &["--shard", "1/4"]));
    assert!(
        printed.contains("manifest_sha256 `") && printed.contains("pairs `96` there"),
        "{printed}"
    );
    assert_eq!(fs_err::read(set.path().join("run/plan.json")).unwrap(), before);
    assert!(!set.path().join("run/journal/1-of-4.attempt-2").exists());
}

#[test]
fn a_number_from_the_environment_names_the_shard() {
    let set = Set::new();
    let eval = |variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lpips"));
        for name in ["SLURM_ARRAY_TASK_ID", "SLURM_PROCID", "RANK"] {
            command.env_remove(name);
        }
        command.current_dir(set.path()).args(Set::args("run", &["--shard", "auto/30"]));
        command.envs(variables.iter().copied()).output().unwrap()
    };
    let output = eval(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("SLURM_ARRAY_TASK_ID, SLURM_PROCID and RANK"));
    assert_eq!(eval(&[("RANK", "30")]).status.code(), Some(2));
    assert_success(&eval(&[("RANK", "7"), ("SLURM_PROCID", "29")]));
    assert!(set.path().join("run/journal/29-of-30.attempt-1").exists());
}

#[test]
fn a_manifest_from_stdin_is_kept_and_must_stay_the_same() {
    let set = Set::new();
    let text = fs_err::read_to_string(set.path().join("m.csv")).unwrap();
    let few: String = text.lines().take(9).map(|line| format!("{line}\n")).collect();
    let eval = |text: &str| {
        fs_err::write(set.path().join("piped"), text).unwrap();
        let stdin = fs_err::File::open(set.path().join("piped")).unwrap().into_file();
        let mut args = Set::args("run", &[]);
        args[1] = "-";
        let mut command = Command::new(env!("CARGO_BIN_EXE_lpips"));
        command.current_dir(set.path()).args(args).stdin(stdin).output().unwrap()
    };
    assert_success(&eval(&few));
    assert_eq!(fs_err::read_to_string(set.path().join("run/manifest.csv")).unwrap(), few);
    let again = eval(&few);
    assert_success(&again);
    assert!(stderr(&again).contains("resuming: 8 of 8 pairs are done"), "{}", stderr(&again));
    let other = eval(&few.replace("bicubic2", "bicubic3"));
    assert_eq!(other.status.code(), Some(6));
    assert!(stderr(&other).contains("manifest_sha256 `"), "{}", stderr(&other));
}

#[test]
fn contents_are_compared_where_that_is_asked_for() {
    let set = Set::new();
    let text = fs_err::read_to_string(set.path().join("m.csv")).unwrap();
    let few: String = text.lines().take(9).map(|line| format!("{line}\n")).collect();
    fs_err::write(set.path().join("m.csv"), few).unwrap();
    assert_success(&set.eval("run", &[]));
    // The same content, written again.
    let path = set.path().join("r1.png");
    let file = fs_err::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let printed = stderr(&set.eval("run", &["--verify-inputs"]));
    assert!(printed.contains("resuming: 8 of 8 pairs are done"), "{printed}");
    let printed = stderr(&set.eval("run", &[]));
    let expected = "resuming: 4 of 8 pairs are done, 4 whose images have changed are scored again";
    assert!(printed.contains(expected), "{printed}");
}

#[test]
fn maps_of_the_worst_pairs_survive_interruptions_and_shards() {
    let set = Set::new();
    let worst = ["--spatial-worst", "5"];
    assert_success(&set.eval("whole", &worst));
    let maps = |run: &str| {
        let folder = set.path().join(run).join("maps");
        let index = fs_err::read_to_string(folder.join("index.csv")).unwrap();
        let names: Vec<String> = index
            .lines()
            .skip(1)
            .flat_map(|line| line.rsplit(',').take(2).map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let files: Vec<Vec<u8>> =
            names.iter().map(|name| fs_err::read(folder.join(name)).unwrap()).collect();
        (index, files)
    };
    let expected = maps("whole");
    assert_eq!(expected.1.len(), 10);

    let mut child = set.start("stopped", &worst);
    set.wait_for_rows(&mut child, "stopped", "0-of-1");
    kill_process(pid(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    assert_success(&set.eval("stopped", &worst));
    assert!(maps("stopped") == expected);

    // A map that is gone is made again.
    let gone = expected.0.lines().nth(1).unwrap().rsplit(',').nth(1).unwrap();
    fs_err::remove_file(set.path().join("stopped/maps").join(gone)).unwrap();
    let printed = stderr(&set.eval("stopped", &worst));
    assert!(printed.contains("resuming: 95 of 96 pairs are done"), "{printed}");
    assert!(maps("stopped") == expected);

    for shard in ["0/2", "1/2"] {
        assert_success(&set.eval("joined", &[worst[0], worst[1], "--shard", shard]));
    }
    assert_success(&lpips(set.path(), &["merge", "joined"]));
    assert!(maps("joined") == expected);
}

#[test]
fn a_pair_is_scored_again_when_its_mask_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, value: usize| {
        let mut bytes = b"P5 40 40 255\n".to_vec();
        bytes.extend((0..1600).map(|index| (index * value % 251) as u8));
        fs_err::write(folder.path().join(name), bytes).unwrap();
    };
    fs_err::create_dir(folder.path().join("masks")).unwrap();
    for (name, value) in [("a.pgm", 3), ("b.pgm", 5), ("masks/x.pgm", 7), ("masks/y.pgm", 1)] {
        write(name, value);
    }
    let manifest = "ref,dist,item\na.pgm,b.pgm,x\na.pgm,b.pgm,y\n";
    fs_err::write(folder.path().join("m.csv"), manifest).unwrap();
    let args = ["eval", "m.csv", "-o", "run", "--mask", "masks"];
    assert_success(&lpips(folder.path(), &args));
    let before = fs_err::read_to_string(folder.path().join("run/pairs.csv")).unwrap();
    write("masks/y.pgm", 2);
    let file = fs_err::OpenOptions::new().write(true).open(folder.path().join("masks/y.pgm"));
    file.unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let printed = stderr(&lpips(folder.path(), &args));
    assert!(printed.contains("resuming: 1 of 2 pairs is done, 1 whose images have"), "{printed}");
    let after = fs_err::read_to_string(folder.path().join("run/pairs.csv")).unwrap();
    let row = |text: &str, index: usize| text.lines().nth(index).unwrap().to_owned();
    assert_eq!(row(&before, 1), row(&after, 1));
    assert_ne!(row(&before, 2), row(&after, 2));
}

#[test]
fn merge_says_where_there_is_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let output = lpips(folder.path(), &["merge", "nowhere"]);
    assert_eq!(output.status.code(), Some(6));
    assert!(stderr(&output).contains("`nowhere` holds no run"), "{}", stderr(&output));
    assert!(!folder.path().join("nowhere").exists());
}

/// The rate and the remaining time are those of the process that prints them.
#[test]
fn the_rate_after_resuming_is_that_of_this_process() {
    let set = crate::maps::set(&["a", "b", "c"]);
    let (missing, aside) = (set.path().join("d2.pgm"), set.path().join("aside"));
    fs_err::rename(&missing, &aside).unwrap();
    let eval = |code: i32| -> serde_json::Value {
        let args = ["eval", "m.csv", "-o", "run", "--metrics", "psnr_y", "--progress", "jsonl"];
        let output = lpips(set.path(), &args);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        let events = stderr(&output);
        let last = events.lines().rfind(|line| line.contains("\"event\":\"finished\"")).unwrap();
        serde_json::from_str(last).unwrap()
    };
    let counts = |event: &serde_json::Value| {
        ["expected", "done", "failed"].map(|name| event[name].as_u64().unwrap())
    };
    assert_eq!(counts(&eval(3)), [3, 3, 1]);
    fs_err::rename(&aside, &missing).unwrap();
    let resumed = eval(0);
    assert_eq!(counts(&resumed), [1, 1, 0], "{resumed}");
    let [rate, elapsed] = ["pairs_per_s", "elapsed_s"].map(|name| resumed[name].as_f64().unwrap());
    assert!((rate * elapsed - 1.0).abs() < 1e-9, "{resumed}");
}
