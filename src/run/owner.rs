//! Which process works on a shard, and when another one may.
//!
//! The rule, which docs/slurm.md states for users: a shard whose last attempt has not recorded its
//! end is free
//! 1. at once, if this is the same job, requeued: the scheduler ended the earlier process;
//! 2. at once, if it ran on this machine and its process has ended;
//! 3. otherwise after [`SILENCE_MAX_S`] without a sign of life, by the file server's clock.
//!
//! A live process that is taken for dead does no damage: it writes to a journal of its own, and its
//! rows have the same values.

use serde::{Deserialize, Serialize};

use crate::scheduler::Environment;

/// Seconds from one sign of life to the next.
pub const SIGN_EVERY_S: u64 = 20;
/// Seconds without a sign after which a process on another machine is taken for dead.
pub const SILENCE_MAX_S: u64 = 120;

/// A process, and the job it belongs to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Owner {
    /// Name of the machine.
    pub host: String,
    /// Identifies this boot of this machine and this namespace of process numbers.
    pub machine: String,
    /// Number of the process.
    pub pid: u32,
    /// When the process started, in the kernel's ticks since boot; process numbers are reused.
    pub process_start: u64,
    /// The scheduler's job, if there is one.
    pub job: Option<Job>,
}

/// A job of the scheduler.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Its number; requeueing keeps it.
    pub id: String,
    /// As the scheduler's tools show it: `120`, or `118_3` for task 3 of an array.
    pub name: String,
    /// How often it was requeued.
    pub restart: u32,
    /// Process of the job's step.
    pub process: u32,
}

/// Whether a shard may be taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// No process works on it, and how that is known.
    Free(&'static str),
    /// A process works on it.
    Held,
}

impl Owner {
    /// This process.
    #[must_use]
    pub fn this_process(env: Environment<'_>) -> Owner {
        let pid = std::process::id();
        Owner {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            machine: machine(),
            pid,
            process_start: process_start(pid).unwrap_or(0),
            job: Job::of(env),
        }
    }

    /// The host, the job and the process, for messages.
    #[must_use]
    pub fn description(&self) -> String {
        let Owner { host, pid, job, .. } = self;
        let job = job.as_ref().map(|job| format!(", job {}", job.name)).unwrap_or_default();
        format!("host {host}{job}, process {pid}")
    }

    /// Whether the process `other` may take the shard of `self`, whose last sign of life was
    /// `silence_s` seconds ago. `runs` says whether the process of an owner on this machine runs.
    #[must_use]
    pub fn standing(
        &self,
        other: &Owner,
        silence_s: u64,
        runs: impl FnOnce(&Owner) -> bool,
    ) -> Standing {
        if let (Some(before), Some(now)) = (&self.job, &other.job) {
            let is_same = before.id == now.id && before.process == now.process;
            if is_same && now.restart > before.restart {
                return Standing::Free("its job was requeued");
            }
        }
        if self.machine == other.machine && !self.machine.is_empty() {
            return if runs(self) { Standing::Held } else { Standing::Free("its process is gone") };
        }
        if silence_s > SILENCE_MAX_S {
            return Standing::Free("it gave no sign of life for two minutes");
        }
        Standing::Held
    }

    /// Whether the process, which is on this machine, runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        process_start(self.pid).is_some_and(|start| start == self.process_start)
    }
}

impl Job {
    fn of(env: Environment<'_>) -> Option<Job> {
        let id = env("SLURM_JOB_ID")?;
        let name = match (env("SLURM_ARRAY_JOB_ID"), env("SLURM_ARRAY_TASK_ID")) {
            (Some(array), Some(task)) => format!("{array}_{task}"),
            _ => id.clone(),
        };
        let number = |name: &str| env(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        let [restart, process] = ["SLURM_RESTART_COUNT", "SLURM_PROCID"].map(number);
        Some(Job { id, name, restart, process })
    }
}

/// Empty where the system does not report it.
fn machine() -> String {
    let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let space = fs_err::read_link("/proc/self/ns/pid").unwrap_or_default();
    match boot.trim() {
        "" => String::new(),
        boot => format!("{boot} {}", space.display()),
    }
}

/// Field 22 of /proc/PID/stat; `None` if there is no such process, or it is a dead one whose parent
/// has not noticed.
fn process_start(pid: u32) -> Option<u64> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses that may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(machine: &str, job: Option<(&str, u32)>) -> Owner {
        let job = job.map(|(id, restart)| Job {
            id: id.to_owned(),
            name: id.to_owned(),
            restart,
            process: 0,
        });
        let host = machine.to_owned();
        Owner { host, machine: machine.to_owned(), pid: 7, process_start: 1, job }
    }

    fn is_free(before: &Owner, other: &Owner, silence_s: u64, runs: bool) -> bool {
        before.standing(other, silence_s, |_| runs) != Standing::Held
    }

    #[test]
    fn on_one_machine_the_process_decides_whatever_the_clock_says() {
        let (a, b) = (owner("m", None), owner("m", None));
        assert!(!is_free(&a, &b, 1_000_000, true));
        assert!(is_free(&a, &b, 0, false));
    }

    #[test]
    fn between_machines_silence_decides() {
        let (a, b) = (owner("m", Some(("1", 0))), owner("n", Some(("2", 0))));
        // No process on n can ask for m's processes.
        assert!(!is_free(&a, &b, SILENCE_MAX_S, false));
        assert!(is_free(&a, &b, SILENCE_MAX_S + 1, true));
        let unknown = owner("", None);
        assert!(!is_free(&unknown, &unknown, 0, false), "a system that does not report it");
    }

    #[test]
    fn a_requeued_job_takes_over_at_once() {
        let before = owner("m", Some(("1", 0)));
        assert!(is_free(&before, &owner("n", Some(("1", 1))), 0, true));
        assert!(is_free(&before, &owner("m", Some(("1", 1))), 0, true));
        // The same job twice at a time, or another job: not.
        assert!(!is_free(&before, &owner("n", Some(("1", 0))), 0, true));
        assert!(!is_free(&before, &owner("n", Some(("2", 1))), 0, true));
    }

    #[test]
    fn this_process_runs_and_a_dead_one_does_not() {
        let none = |_: &str| None;
        let this = Owner::this_process(&none);
        assert!(this.runs() && this.job.is_none() && !this.machine.is_empty());
        let mut earlier = this.clone();
        earlier.process_start += 1;
        assert!(!earlier.runs(), "the number came again");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let mut dead = this;
        dead.pid = child.id();
        child.wait().unwrap();
        assert!(!dead.runs());
    }

    #[test]
    fn a_task_of_an_array_is_named_as_people_know_it() {
        let env = |name: &str| {
            let value = match name {
                "SLURM_JOB_ID" => "121",
                "SLURM_ARRAY_JOB_ID" => "118",
                "SLURM_ARRAY_TASK_ID" => "3",
                "SLURM_RESTART_COUNT" => "2",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let job = Job::of(&env).unwrap();
        assert_eq!((job.name.as_str(), job.restart), ("118_3", 2));
    }
}
