//! The batch scripts on a real Slurm cluster of one node, which the test starts and ends.
//!
//! Needs root and Debian's slurm-wlm; without them it prints SKIPPED, unless LPIPS_REQUIRE_SLURM=1.
//! A cluster takes its time, so this test waits for it, but never relies on how long anything takes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::support::{data, lpips, stderr};
use rustix::process::{Pid, Signal, kill_process};

/// References, each with three distorted images.
const REFERENCES: usize = 60;
const SHARDS: u32 = 4;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/slurm").join(name)
}

/// A running cluster, a set of pairs, and the tables of a single run over it.
struct Cluster {
    folder: tempfile::TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let stop =
            Command::new(script("local_cluster")).arg("stop").arg(self.path("slurm")).status();
        if !stop.is_ok_and(|status| status.success()) {
            eprintln!("the cluster in {} could not be stopped", self.folder.path().display());
        }
    }
}

impl Cluster {
    /// `None` where there is no Slurm.
    fn start() -> Option<Cluster> {
        let has_slurm = Command::new("slurmctld").arg("-V").output().is_ok();
        if !has_slurm || !rustix::process::geteuid().is_root() {
            let required =
                std::env::var_os("LPIPS_REQUIRE_SLURM").is_some_and(|value| value == "1");
            assert!(!required, "LPIPS_REQUIRE_SLURM=1, but there is no Slurm or no root");
            eprintln!("SKIPPED: needs root and Debian's slurm-wlm; `apt-get install slurm-wlm`");
            return None;
        }
        let mut builder = tempfile::Builder::new();
        // The daemon of munge, which is another user, has its socket below.
        builder.permissions(std::fs::Permissions::from_mode(0o755));
        let cluster = Cluster { folder: builder.tempdir().unwrap() };
        let slurm = cluster.path("slurm");
        let started =
            Command::new(script("local_cluster")).arg("start").arg(slurm).output().unwrap();
        assert!(started.status.success(), "{}", stderr(&started));

        let mut manifest = "ref,dist,item,method\n".to_owned();
        for number in 0..REFERENCES {
            let name = ["astronaut.png", "coffee.png", "rocket.png"][number % 3];
            let reference = format!("r{number}.png");
            fs_err::copy(data("sr/hr").join(name), cluster.path(&reference)).unwrap();
            for method in ["bicubic", "lanczos", "nearest"] {
                let dist = data("sr").join(method).join(name);
                manifest += &format!("{reference},{},{number},{method}\n", dist.display());
            }
        }
        fs_err::write(cluster.path("m.csv"), manifest).unwrap();
        let args = [&["eval", "m.csv", "-o", "whole"], OPTIONS].concat();
        let whole = lpips(cluster.folder.path(), &args);
        assert_eq!(whole.status.code(), Some(0), "{}", stderr(&whole));
        Some(cluster)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path());
        command.env("SLURM_CONF", self.path("slurm/slurm.conf"));
        command.env("LPIPS", env!("CARGO_BIN_EXE_lpips"));
        command
    }

    /// Gives back what a command prints, which must succeed.
    fn output(&self, command: &mut Command) -> String {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Submits tasks of an array over `run`; gives back the number of the job.
    fn submit(&self, tasks: &str, run: &str) -> String {
        let mut sbatch = self.command("sbatch");
        sbatch.args(["--parsable", "--cpus-per-task=1", &format!("--array={tasks}")]);
        sbatch.arg(script("array.sbatch")).arg(SHARDS.to_string()).args([run, "m.csv"]);
        self.output(sbatch.args(OPTIONS))
    }

    /// Waits until a job is over.
    fn wait(&self, job: &str) {
        let is_known = || {
            let squeue = self.command("squeue").args(["-h", "-j", job]).output().unwrap();
            !String::from_utf8(squeue.stdout).unwrap().trim().is_empty()
        };
        while is_known() {
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until the first attempt at `shard` has finished a row; gives back its process.
    fn wait_for_rows(&self, run: &str, shard: u32) -> Pid {
        let journal = self.path(&format!("{run}/journal/{shard}-of-{SHARDS}.attempt-1"));
        loop {
            let text = fs_err::read_to_string(&journal).unwrap_or_default();
            assert!(!text.contains("{\"end\":"), "it ended before it was interrupted");
            if text.contains("{\"pair\":") {
                let pid = text.split_once("\"pid\":").unwrap().1.split(',').next().unwrap();
                return Pid::from_raw(pid.parse().unwrap()).unwrap();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn merge(&self, run: &str) -> Output {
        lpips(self.folder.path(), &["merge", run])
    }

    fn assert_whole(&self, run: &str) {
        for table in ["pairs.csv", "summary.csv"] {
            let [found, expected] = [run, "whole"]
                .map(|run| fs_err::read_to_string(self.path(run).join(table)).unwrap());
            assert!(found == expected, "{run}/{table} differs from the single run");
        }
    }

    /// What the tasks of a run say, for messages.
    fn logs(&self) -> String {
        let entries = fs_err::read_dir(self.folder.path()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let logs = paths.filter(|path| path.extension().is_some_and(|of| of == "log"));
        logs.map(|path| fs_err::read_to_string(path).unwrap()).collect()
    }
}

const OPTIONS: &[&str] = &["--group-by", "method", "--threads", "1", "--batch", "1"];

#[test]
fn runs_on_a_cluster_end_as_the_single_run_whatever_happens_to_their_tasks() {
    let Some(cluster) = Cluster::start() else { return };
    an_array_and_a_dependent_merge(&cluster);
    a_task_that_is_stopped_requeues_itself(&cluster);
    merge_prints_the_line_that_fills_what_is_missing(&cluster);
    one_job_of_several_processes(&cluster);
}

fn an_array_and_a_dependent_merge(cluster: &Cluster) {
    let job = cluster.submit("0-3", "array");
    let mut sbatch = cluster.command("sbatch");
    sbatch.args(["--parsable", &format!("--dependency=afterany:{job}")]);
    let merge = cluster.output(sbatch.arg(script("merge.sbatch")).arg("array"));
    cluster.wait(&merge);
    cluster.assert_whole("array");
}

fn a_task_that_is_stopped_requeues_itself(cluster: &Cluster) {
    let job = cluster.submit("0-3", "stopped");
    cluster.wait_for_rows("stopped", 2);
    cluster.output(cluster.command("scancel").args(["--signal=TERM", &format!("{job}_2")]));
    cluster.wait(&job);
    let merged = cluster.merge("stopped");
    assert_eq!(merged.status.code(), Some(0), "{}\n{}", stderr(&merged), cluster.logs());
    cluster.assert_whole("stopped");
    let run = fs_err::read_to_string(cluster.path("stopped/run.json")).unwrap();
    let run: serde_json::Value = serde_json::from_str(&run).unwrap();
    let attempts = run["provenance"]["attempts"].as_array().unwrap();
    let of_shard = attempts.iter().filter(|one| one["shard"] == "2/4");
    let printed: Vec<_> = of_shard.map(|one| (one["how"].clone(), one["job"].clone())).collect();
    let name = format!("{job}_2");
    assert_eq!(printed, ["stopped", "finished"].map(|how| (how.into(), name.as_str().into())));
}

fn merge_prints_the_line_that_fills_what_is_missing(cluster: &Cluster) {
    // Only two tasks are submitted, and one of them is killed.
    let job = cluster.submit("1,3", "killed");
    let pid = cluster.wait_for_rows("killed", 3);
    kill_process(pid, Signal::KILL).unwrap();
    cluster.wait(&job);
    let before = |attempt: u32| cluster.path(&format!("killed/journal/1-of-4.attempt-{attempt}"));
    assert!(before(1).exists());

    let merged = cluster.merge("killed");
    let printed = stderr(&merged);
    assert_eq!(merged.status.code(), Some(3), "{printed}\n{}", cluster.logs());
    assert!(printed.contains("shard 0/4: ") && printed.contains("it never began"), "{printed}");
    assert!(
        printed.contains("shard 3/4: ") && printed.contains(&format!("job {job}_3")),
        "{printed}"
    );
    let line = String::from_utf8(merged.stdout).unwrap();
    let line = line.trim();
    assert!(line.starts_with("sbatch --array=0,2-3 ") && !line.contains('\n'), "{line}");

    let submitted = cluster.output(cluster.command("bash").args(["-c", line]));
    cluster.wait(submitted.rsplit(' ').next().unwrap());
    let merged = cluster.merge("killed");
    assert_eq!(merged.status.code(), Some(0), "{}\n{}", stderr(&merged), cluster.logs());
    cluster.assert_whole("killed");
    assert!(!before(2).exists(), "shard 1 was complete");
}

fn one_job_of_several_processes(cluster: &Cluster) {
    let mut sbatch = cluster.command("sbatch");
    sbatch.args(["--parsable", "--ntasks-per-node=3", "--gpus-per-node=0", "--cpus-per-task=1"]);
    sbatch.arg(script("gpus.sbatch")).args(["job", "m.csv"]);
    let job = cluster.output(sbatch.args(OPTIONS));
    cluster.wait(&job);
    cluster.assert_whole("job");
}
