//! What a scheduler's environment variables say about this process: its shard and its GPU.
//!
//! Slurm and torchrun start the same command many times and number the processes. This module reads
//! those numbers. It does not depend on how work is scheduled.

use serde::{Deserialize, Serialize};

use crate::error::Refusal;
use crate::shard::{Shard, ShardArg};

/// An environment: the value of a variable, if it is set.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of this process.
#[must_use]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// How array tasks are numbered: shard I is task `min + I * step`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ArrayBase {
    /// Task of shard 0.
    pub min: u32,
    /// Difference between the tasks of two successive shards.
    pub step: u32,
}

impl ArrayBase {
    /// `--array=0-N`.
    pub const ZERO: ArrayBase = ArrayBase { min: 0, step: 1 };

    /// The value of `--array=` that selects these shards, with successive ones as ranges.
    #[must_use]
    pub fn array_of(self, shards: &[u32]) -> String {
        let task = |shard: u32| u64::from(self.min) + u64::from(shard) * u64::from(self.step);
        let mut parts: Vec<String> = Vec::new();
        let mut rest = shards;
        while let Some(&first) = rest.first() {
            let neighbours = rest.iter().zip(first..).take_while(|&(&one, next)| one == next);
            let len = neighbours.count();
            let last = rest[len - 1];
            match len {
                1 => parts.push(task(first).to_string()),
                _ if self.step == 1 => parts.push(format!("{}-{}", task(first), task(last))),
                _ => parts.push(format!("{}-{}:{}", task(first), task(last), self.step)),
            }
            rest = &rest[len..];
        }
        parts.join(",")
    }
}

/// The shard of this process, and the numbering of array tasks if it is one.
///
/// The first of these variables that is set decides: `SLURM_ARRAY_TASK_ID`, `SLURM_PROCID`, `RANK`.
/// Array tasks may start at any number and go in steps. If the array has fewer tasks than there are
/// shards, for instance because some tasks were submitted again, its variables do not show where
/// the whole array started. Then the numbering of the array that began the run (`begun`) applies,
/// or numbering from 0.
///
/// # Errors
/// A [`Refusal`] when no variable is set, or its value is not the number of a shard.
pub fn resolve(
    given: ShardArg,
    env: Environment<'_>,
    begun: Option<ArrayBase>,
) -> Result<(Shard, Option<ArrayBase>), Refusal> {
    let count = match given {
        ShardArg::Given(shard) => return Ok((shard, begun)),
        ShardArg::Auto { count } => count,
    };
    if let Some(task) = number(env, "SLURM_ARRAY_TASK_ID")? {
        let base = match (whole_array(env, count)?, begun) {
            (Some(whole), Some(begun)) if whole != begun => {
                return Err(Refusal::inputs(format!(
                    "this array numbers its tasks from {} in steps of {}, the array that began \
                     the run from {} in steps of {}",
                    whole.min, whole.step, begun.min, begun.step
                ))
                .hint(format!("submit it with `--array={}`", begun.array_of(&all(count)))));
            }
            (whole, begun) => whole.or(begun).unwrap_or(ArrayBase::ZERO),
        };
        let offset = task.checked_sub(base.min).filter(|offset| offset % base.step == 0);
        return match offset.map(|offset| offset / base.step) {
            Some(index) if index < count => Ok((Shard { index, count }, Some(base))),
            _ => Err(no_shard("SLURM_ARRAY_TASK_ID", task, count, base)),
        };
    }
    for name in ["SLURM_PROCID", "RANK"] {
        if let Some(index) = number(env, name)? {
            return match index < count {
                true => Ok((Shard { index, count }, begun)),
                false => Err(no_shard(name, index, count, ArrayBase::ZERO)),
            };
        }
    }
    Err(Refusal::usage("`--shard auto` finds no number for this process").hint(
        "it reads SLURM_ARRAY_TASK_ID, SLURM_PROCID and RANK, in this order; without a scheduler, \
             use `--shard I/N`",
    ))
}

fn all(count: u32) -> Vec<u32> {
    (0..count).collect()
}

fn no_shard(name: &str, found: u32, count: u32, base: ArrayBase) -> Refusal {
    let array = base.array_of(&all(count));
    Refusal::usage(format!("{name}={found} is not the number of a shard of `auto/{count}`"))
        .hint(format!("the shards have the numbers {array}"))
}

/// The numbering of this array, if it has one task per shard.
fn whole_array(env: Environment<'_>, count: u32) -> Result<Option<ArrayBase>, Refusal> {
    let [tasks, min, max, step] = ["COUNT", "MIN", "MAX", "STEP"]
        .map(|part| number(env, &format!("SLURM_ARRAY_TASK_{part}")));
    let (Some(tasks), Some(min), Some(max)) = (tasks?, min?, max?) else { return Ok(None) };
    if tasks != count {
        return Ok(None);
    }
    // For a list of tasks, Slurm's STEP is not the difference between successive tasks.
    let steps = [step?.unwrap_or(1), 1];
    let fits = |&step: &u32| {
        step > 0 && u64::from(max - min.min(max)) == u64::from(count - 1) * u64::from(step)
    };
    Ok(steps.into_iter().find(fits).map(|step| ArrayBase { min, step }))
}

fn number(env: Environment<'_>, name: &str) -> Result<Option<u32>, Refusal> {
    let Some(text) = env(name) else { return Ok(None) };
    match text.trim().parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(Refusal::usage(format!("{name}: expected a number, found `{text}`"))
            .hint("unset it, or use `--shard I/N`")),
    }
}

/// The index of this process's GPU among `visible` ones, where several processes of a node share
/// them; `None` if the scheduler sets no variable, or shows this process at most one GPU.
#[must_use]
pub fn local_gpu(env: Environment<'_>, visible: usize) -> Option<usize> {
    if visible < 2 {
        return None;
    }
    let local: usize = env("SLURM_LOCALID")?.trim().parse().ok()?;
    Some(local % visible)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    fn auto(count: u32, begun: Option<ArrayBase>, env: &[(&str, &str)]) -> Result<u32, Refusal> {
        let get = |name: &str| {
            let found = env.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        resolve(ShardArg::Auto { count }, &get, begun).map(|(shard, _)| shard.index)
    }

    fn array<'a>(id: &'a str, [count, min, max, step]: [&'a str; 4]) -> Vec<(&'a str, &'a str)> {
        vec![
            ("SLURM_ARRAY_TASK_ID", id),
            ("SLURM_ARRAY_TASK_COUNT", count),
            ("SLURM_ARRAY_TASK_MIN", min),
            ("SLURM_ARRAY_TASK_MAX", max),
            ("SLURM_ARRAY_TASK_STEP", step),
            ("SLURM_PROCID", "0"),
        ]
    }

    #[test]
    fn an_array_may_start_anywhere_and_go_in_steps() {
        assert_eq!(auto(4, None, &array("3", ["4", "0", "3", "1"])), Ok(3));
        assert_eq!(auto(4, None, &array("4", ["4", "1", "4", "1"])), Ok(3));
        assert_eq!(auto(4, None, &array("30", ["4", "0", "30", "10"])), Ok(3));
    }

    #[test]
    fn some_tasks_that_are_submitted_again_are_the_same_shards() {
        // `--array=3,7`: the formula (id - min) / step alone would give shards 0 and 1.
        let again = ["2", "3", "7", "4"];
        assert_eq!(auto(8, None, &array("3", again)), Ok(3));
        assert_eq!(auto(8, Some(ArrayBase::ZERO), &array("7", again)), Ok(7));
        let from_one = Some(ArrayBase { min: 1, step: 1 });
        assert_eq!(auto(8, from_one, &array("3", again)), Ok(2));
        assert_eq!(auto(8, from_one, &array("7", again)), Ok(6));
        let tens = Some(ArrayBase { min: 0, step: 10 });
        assert_eq!(auto(8, tens, &array("70", ["1", "70", "70", "1"])), Ok(7));
        assert!(auto(8, tens, &array("75", ["1", "75", "75", "1"])).is_err());
    }

    #[test]
    fn a_whole_array_that_is_numbered_otherwise_is_refused() {
        let refused = auto(4, Some(ArrayBase::ZERO), &array("1", ["4", "1", "4", "1"]));
        assert_eq!(refused.unwrap_err().exit, Exit::Inputs);
    }

    #[test]
    fn the_array_task_comes_before_the_process_and_that_before_the_rank() {
        let rest = [("SLURM_PROCID", "2"), ("RANK", "1")];
        assert_eq!(auto(4, None, &rest), Ok(2));
        assert_eq!(auto(4, None, &rest[1..]), Ok(1));
        assert_eq!(auto(4, None, &[("SLURM_ARRAY_TASK_ID", "3"), rest[0]]), Ok(3));
        assert_eq!(auto(4, None, &[]).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn a_number_without_a_shard_is_an_error() {
        for env in [
            vec![("SLURM_PROCID", "4")],
            vec![("RANK", "9")],
            vec![("RANK", "x")],
            array("4", ["5", "0", "4", "1"]),
            array("0", ["3", "0", "5", "1"])
                .into_iter()
                .map(|(k, v)| if k.ends_with("ID") { (k, "5") } else { (k, v) })
                .collect(),
        ] {
            let refused = auto(4, None, &env).unwrap_err();
            assert_eq!(refused.exit, Exit::Usage, "{env:?}");
        }
    }

    #[test]
    fn the_line_for_an_array_has_ranges_and_steps() {
        assert_eq!(ArrayBase::ZERO.array_of(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(ArrayBase { min: 1, step: 1 }.array_of(&[2, 6]), "3,7");
        assert_eq!(ArrayBase { min: 0, step: 10 }.array_of(&[0, 1, 2, 7]), "0-20:10,70");
    }

    #[test]
    fn processes_of_one_node_share_its_gpus() {
        let local = |value: &'static str| {
            move |name: &str| (name == "SLURM_LOCALID").then(|| value.to_owned())
        };
        assert_eq!(local_gpu(&local("5"), 4), Some(1));
        assert_eq!(local_gpu(&local("5"), 1), None, "Slurm has narrowed them");
        assert_eq!(local_gpu(&local("0"), 0), None);
        assert_eq!(local_gpu(&|_: &str| None, 4), None);
    }
}
