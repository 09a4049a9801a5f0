//! What all processes of a run have agreed on. The first comer freezes it.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::maps::Kept;
use super::tables::MetricColumn;
use super::{Fingerprint, RunDir, names};
use crate::error::Refusal;
use crate::hash::sha256_hex_of;
use crate::scheduler::ArrayBase;

/// Version of the format.
const FORMAT: u32 = 1;
/// Differences that people are told of.
const TOLD_MAX: usize = 5;

/// The content of plan.json.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Version of the format.
    pub format: u32,
    /// Into how many shards the pairs are dealt.
    pub shards: u32,
    /// Pairs of the manifest.
    pub pairs: usize,
    /// Name of the copy of the manifest in the run directory.
    pub manifest: String,
    /// The metric columns.
    pub metrics: Vec<MetricColumn>,
    /// Which spatial maps are kept.
    pub maps: Option<Kept>,
    /// Whether pairs.csv has a column per layer.
    pub per_layer: bool,
    /// Columns that summary.csv is grouped by.
    pub group_by: Vec<String>,
    /// How the array that began the run numbered its tasks.
    pub array: Option<ArrayBase>,
    /// Everything that decides the numbers.
    pub fingerprint: Value,
}

/// A plan that is in the run directory.
#[derive(Clone, PartialEq, Debug)]
pub struct Frozen {
    /// The plan.
    pub plan: Plan,
    /// SHA-256 of the file.
    pub sha256: String,
}

impl Plan {
    /// A plan to freeze.
    ///
    /// # Errors
    /// Never, unless a fingerprint cannot be told as JSON.
    pub fn new(fingerprint: &Fingerprint, pairs: usize) -> anyhow::Result<Plan> {
        Ok(Plan {
            format: FORMAT,
            shards: 1,
            pairs,
            manifest: String::new(),
            metrics: fingerprint.metrics.iter().map(MetricColumn::of).collect(),
            maps: None,
            per_layer: false,
            group_by: Vec::new(),
            array: None,
            fingerprint: serde_json::to_value(fingerprint)?,
        })
    }

    /// The plan of the run in `run_dir`, if one has begun there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(run_dir: &RunDir) -> anyhow::Result<Option<Frozen>> {
        let path = run_dir.file(names::PLAN);
        let text = match fs_err::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let refusal = || {
            Refusal::inputs(format!("`{}` is no plan of this version of lpips", path.display()))
                .hint("go on with the program that began the run, or name another folder with `-o`")
        };
        let plan: Plan = serde_json::from_slice(&text).with_context(refusal)?;
        if plan.format != FORMAT {
            return Err(refusal().into());
        }
        Ok(Some(Frozen { plan, sha256: sha256_hex_of(&mut text.as_slice())? }))
    }

    /// Freezes this plan in the run directory if nobody has frozen one, and gives back the one that
    /// is frozen. Runs of several numerics classes are one run only if `allow_mixed`.
    ///
    /// # Errors
    /// A [`Refusal`] that names what differs between this plan and the frozen one.
    pub fn freeze(&self, run_dir: &RunDir, allow_mixed: bool) -> anyhow::Result<Frozen> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        let path = run_dir.file(names::PLAN);
        run_dir.create_once(&path, |file| Ok(file.write_all(&text)?))?;
        let frozen = Plan::read(run_dir)?.context("plan.json is gone")?;
        let mut found = Vec::new();
        let [theirs, ours] = [serde_json::to_value(&frozen.plan)?, serde_json::to_value(self)?];
        differences("", &theirs, &ours, &mut found);
        found.retain(|one| {
            // `scheduler::resolve` has reconciled it.
            one.field != "array" && !one.field.starts_with("array.")
        });
        if allow_mixed {
            found.retain(|one| one.field != NUMERICS_CLASS);
        }
        match refusal(run_dir, &found) {
            None => Ok(frozen),
            Some(refusal) => Err(refusal.into()),
        }
    }
}

const NUMERICS_CLASS: &str = "numerics_class";

/// One field in which two plans differ.
#[derive(Clone, PartialEq, Debug)]
struct Different {
    field: String,
    theirs: String,
    ours: String,
}

fn refusal(run_dir: &RunDir, found: &[Different]) -> Option<Refusal> {
    let first = found.first()?;
    let shown = run_dir.path().display();
    let told: Vec<String> = found
        .iter()
        .take(TOLD_MAX)
        .map(|one| format!("{} is {} there and {} here", one.field, one.theirs, one.ours))
        .collect();
    let more = match found.len().saturating_sub(TOLD_MAX) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let hint = match first.field.as_str() {
        "group_by" | "per_layer" => {
            "`lpips merge RUN_DIR` with --group-by and --per-layer writes the tables of a finished \
             run again; or name another folder with `-o`"
        }
        NUMERICS_CLASS => {
            "use the same kind of machine (in Slurm: --constraint), or allow it with \
             --allow-mixed-numerics: scores of different kinds agree within the tolerance only"
        }
        _ => {
            "name another folder with `-o`, or use the options and the manifest that began the run"
        }
    };
    let told = told.join("; ");
    Some(Refusal::inputs(format!("`{shown}` holds another run: {told}{more}")).hint(hint))
}

/// Fields in which two values differ, by path.
fn differences(path: &str, theirs: &Value, ours: &Value, found: &mut Vec<Different>) {
    let inner = |key: &str| match path {
        // What people call it needs no such prefix.
        "" | "fingerprint" => key.to_owned(),
        path => format!("{path}.{key}"),
    };
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let added = ours.keys().filter(|&key| !theirs.contains_key(key));
            for key in theirs.keys().chain(added) {
                let [theirs, ours] =
                    [theirs, ours].map(|object| object.get(key).unwrap_or(&Value::Null));
                differences(&inner(key), theirs, ours, found);
            }
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => {
            for (index, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                differences(&format!("{path}[{index}]"), theirs, ours, found);
            }
        }
        (theirs, ours) if theirs == ours => {}
        (theirs, ours) => {
            let [theirs, ours] = [theirs, ours].map(Value::to_string);
            found.push(Different { field: path.to_owned(), theirs, ours });
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn plan() -> Plan {
        Plan {
            format: FORMAT,
            shards: 4,
            pairs: 10,
            manifest: "manifest.csv".to_owned(),
            metrics: vec![MetricColumn { name: "lpips_alex".to_owned(), layers: 5 }],
            maps: None,
            per_layer: false,
            group_by: Vec::new(),
            array: None,
            fingerprint: serde_json::json!({
                "metrics": [{
                    "name": "lpips_alex", "net": "alex", "trunk_sha256": "a", "lin_sha256": "b",
                }],
                "numerics_class": "cpu avx2",
                "manifest_sha256": "c",
            }),
        }
    }

    fn refused(change: impl FnOnce(&mut Plan), allow_mixed: bool) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir::open(folder.path()).unwrap();
        plan().freeze(&run_dir, false).unwrap();
        let mut other = plan();
        change(&mut other);
        other.freeze(&run_dir, allow_mixed).err().map(|error| error.to_string())
    }

    #[test]
    fn the_first_comer_decides_and_each_difference_is_named() {
        assert_eq!(refused(|_| {}, false), None);
        assert_eq!(refused(|plan| plan.array = Some(ArrayBase::ZERO), false), None);
        type Change = fn(&mut Plan);
        let cases: [(Change, &str); 5] = [
            (|plan| plan.shards = 8, "shards is 4 there and 8 here"),
            (|plan| plan.group_by.push("x".to_owned()), "group_by is [] there and [\"x\"] here"),
            (
                |plan| plan.fingerprint["manifest_sha256"] = "d".into(),
                "manifest_sha256 is \"c\" there and \"d\" here",
            ),
            (
                |plan| plan.fingerprint["metrics"][0]["net"] = "vgg".into(),
                "metrics[0].net is \"alex\" there and \"vgg\" here",
            ),
            (|plan| plan.fingerprint["new"] = 1.into(), "new is null there and 1 here"),
        ];
        for (change, expected) in cases {
            let refused = refused(change, true).unwrap();
            assert!(refused.contains(expected), "no `{expected}` in {refused}");
        }
    }

    #[test]
    fn classes_of_numerics_are_mixed_only_if_allowed() {
        let other = |plan: &mut Plan| plan.fingerprint["numerics_class"] = "cuda sm_90".into();
        assert!(refused(other, false).unwrap().contains("numerics_class is \"cpu avx2\" there"));
        assert_eq!(refused(other, true), None);
    }
}
