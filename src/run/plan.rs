//! plan.json: what all processes of a run have agreed on. The first one freezes it.

mod format1;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::outputs::{Kept, Outputs};
use super::{RunDir, names};
use crate::column::Column;
use crate::error::Refusal;
use crate::hash::{Xxh3, sha256_hex};
use crate::regular;
use crate::scheduler::ArrayBase;
use crate::shell;

/// Name and version of the format.
const SCHEMA: &str = "lpips-plan/2";
/// Largest file that is read: far more than the columns of any run take.
const BYTES_MAX: u64 = 16 << 20;
/// At most this many differences between two plans are reported.
const REPORTED_MAX: usize = 5;

/// The content of plan.json.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Name and version of the format.
    pub schema: String,
    /// Number of shards that the pairs are dealt to.
    pub shards: u32,
    /// Number of pairs of the manifest.
    pub pairs: usize,
    /// Name of the copy of the manifest in the run directory.
    pub manifest: String,
    /// SHA-256 of the manifest.
    pub manifest_sha256: String,
    /// Within it a pair's bits are equal: evaluator, instruction set, precision.
    pub numerics_class: String,
    /// The metric columns, in the order of pairs.csv, with the settings that decide their numbers.
    pub columns: Vec<Column>,
    /// As [`Outputs::maps`], of the first process. A run of one shard makes what its last process
    /// was asked for.
    pub maps: Option<Kept>,
    /// As [`Outputs::per_layer`], of the first process.
    pub per_layer: bool,
    /// As [`Outputs::group_by`], of the first process.
    pub group_by: Vec<String>,
    /// The first task number of the Slurm array that started the run.
    pub array: Option<ArrayBase>,
}

/// A plan that is in the run directory.
#[derive(Clone, PartialEq, Debug)]
pub struct Frozen {
    /// The plan.
    pub plan: Plan,
    /// SHA-256 of the file as this program writes it: white space and the order of keys do not
    /// count. Of a plan of version 0.1, that of the file.
    pub sha256: String,
    /// SHA-256 of the file that was read.
    file_sha256: String,
    /// Whether version 0.1 wrote it, whose rows do not say which pairs they are of.
    is_of_0_1: bool,
}

impl Frozen {
    /// Whether `sha256` is that of this plan.
    #[must_use]
    pub fn is_of(&self, sha256: &str) -> bool {
        sha256 == self.sha256 || sha256 == self.file_sha256
    }

    /// Whether `hash` is the [`pair_hash`] of this plan and the pair with this identity. Only rows
    /// of a run of version 0.1 may have none.
    #[must_use]
    pub fn binds(&self, hash: Option<Xxh3>, identity: u64) -> bool {
        let Some(hash) = hash else { return self.is_of_0_1 };
        [&self.sha256, &self.file_sha256].iter().any(|sha256| pair_hash(sha256, identity) == hash)
    }
}

/// What binds a record to its run and its pair: XXH3-64 of the SHA-256 of the plan, in hexadecimal,
/// and of [`crate::manifest::Entry::identity`], little-endian.
#[must_use]
pub fn pair_hash(plan_sha256: &str, identity: u64) -> Xxh3 {
    let mut bytes = plan_sha256.as_bytes().to_vec();
    bytes.extend(identity.to_le_bytes());
    Xxh3::of(&bytes)
}

impl Plan {
    /// Name and version of the format that this program writes.
    #[must_use]
    pub fn schema() -> String {
        SCHEMA.to_owned()
    }

    /// What the first process was asked to make of the rows.
    #[must_use]
    pub fn outputs(&self) -> Outputs {
        let Plan { maps, per_layer, ref group_by, .. } = *self;
        Outputs { maps, per_layer, group_by: group_by.clone(), joined: None }
    }

    /// The plan of the run in `run_dir`, which has one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(run_dir: &RunDir) -> anyhow::Result<Frozen> {
        let shown = run_dir.file(names::PLAN);
        Plan::read(run_dir)?.with_context(|| {
            Refusal::environment(format!("`{}` is gone", shown.display()))
                .hint("restore the run directory, or run the command again to score what is lost")
        })
    }

    /// The plan of the run in `run_dir`, if one was started there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(run_dir: &RunDir) -> anyhow::Result<Option<Frozen>> {
        let path = run_dir.file(names::PLAN);
        let text = match regular::read(&path, BYTES_MAX) {
            Ok(text) => text,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (plan, is_current) = parse(&text).with_context(|| {
            Refusal::inputs(format!("`{}` is no plan that this program reads", path.display()))
                .hint(
                    "use the version of lpips that started the run, or name another folder with \
                     `-o`",
                )
        })?;
        let file_sha256 = sha256_hex(&text);
        let sha256 = match is_current {
            true => sha256_hex(&plan.text()?),
            false => file_sha256.clone(),
        };
        Ok(Some(Frozen { plan, sha256, file_sha256, is_of_0_1: !is_current }))
    }

    /// Freezes this plan in the run directory if none is frozen there, and returns the frozen one.
    /// Numerics classes may differ only if `allow_mixed`. The [`Outputs`] of a run of one shard may
    /// differ: they decide nothing.
    ///
    /// # Errors
    /// A [`Refusal`] that names what differs between this plan and the frozen one.
    pub fn freeze(&self, run_dir: &RunDir, allow_mixed: bool) -> anyhow::Result<Frozen> {
        let text = self.text()?;
        let path = run_dir.file(names::PLAN);
        run_dir.create_once(&path, |file| Ok(file.write_all(&text)?))?;
        let frozen = Plan::of(run_dir)?;
        let mut found = differences(&frozen.plan, self);
        if allow_mixed {
            found.retain(|one| one.field != NUMERICS_CLASS);
        }
        match refusal(run_dir, &found) {
            None => Ok(frozen),
            Some(refusal) => Err(refusal.into()),
        }
    }

    /// The content of the file.
    fn text(&self) -> anyhow::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }
}

fn is_absent(error: &anyhow::Error) -> bool {
    let system = error.downcast_ref::<std::io::Error>();
    system.is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// The plan of a file of this format or of format 1, and whether it is of this format.
fn parse(text: &[u8]) -> anyhow::Result<(Plan, bool)> {
    /// The fields that distinguish the formats.
    #[derive(Deserialize)]
    struct Version {
        schema: Option<String>,
        format: Option<u32>,
    }
    match serde_json::from_slice(text)? {
        Version { schema: Some(schema), .. } if schema == SCHEMA => {
            Ok((serde_json::from_slice(text)?, true))
        }
        Version { schema: None, format: Some(1) } => Ok((format1::parse(text)?, false)),
        Version { schema: Some(schema), .. } => {
            anyhow::bail!("expected the schema {SCHEMA}, found {schema}")
        }
        Version { format: Some(format), .. } => {
            anyhow::bail!("expected the schema {SCHEMA}, found format {format}")
        }
        Version { .. } => anyhow::bail!("expected the schema {SCHEMA}, found none"),
    }
}

/// Digits of a hash that a message shows.
const SHA256_SHOWN: usize = 12;
/// The field that has it.
const SHA256: &str = "manifest_sha256";
const NUMERICS_CLASS: &str = "numerics_class";
const GROUP_BY: &str = "group_by";
const PER_LAYER: &str = "per_layer";

/// One field in which two plans differ.
#[derive(Clone, PartialEq, Debug)]
struct Different {
    field: String,
    theirs: String,
    ours: String,
}

/// What differs between a frozen plan and another one. How the array numbers its tasks does not
/// count: [`crate::scheduler::resolve`] has reconciled it. The shards of a run must agree on what
/// is made of their rows; one process alone may ask for something else.
fn differences(theirs: &Plan, ours: &Plan) -> Vec<Different> {
    let mut found = Vec::new();
    let mut compare = |field: &str, of: &dyn Fn(&Plan) -> String| {
        let [theirs, ours] = [theirs, ours].map(of);
        if theirs != ours {
            found.push(Different { field: field.to_owned(), theirs, ours });
        }
    };
    compare("shards", &|plan| plan.shards.to_string());
    compare("pairs", &|plan| plan.pairs.to_string());
    compare("manifest", &|plan| plan.manifest.clone());
    compare(SHA256, &|plan| plan.manifest_sha256.clone());
    let names = |plan: &Plan| {
        let names: Vec<&str> = plan.columns.iter().map(|column| column.name.as_str()).collect();
        names.join(",")
    };
    compare("columns", &names);
    compare(NUMERICS_CLASS, &|plan| plan.numerics_class.clone());
    if theirs.shards > 1 {
        let maps = |plan: &Plan| plan.maps.map_or("none".to_owned(), |kept| kept.to_string());
        compare("maps", &maps);
        compare(PER_LAYER, &|plan| plan.per_layer.to_string());
        let names = |plan: &Plan| match plan.group_by.is_empty() {
            true => "none".to_owned(),
            false => plan.group_by.join(","),
        };
        compare(GROUP_BY, &names);
    }
    for theirs in &theirs.columns {
        let same = ours.columns.iter().find(|ours| ours.name == theirs.name);
        found.extend(same.into_iter().flat_map(|ours| column_differences(theirs, ours)));
    }
    for Different { theirs, ours, .. } in found.iter_mut().filter(|it| it.field == SHA256) {
        // Their first digits tell them apart.
        theirs.truncate(SHA256_SHOWN);
        ours.truncate(SHA256_SHOWN);
    }
    found
}

/// Settings in which two columns of one name differ.
fn column_differences(theirs: &Column, ours: &Column) -> Vec<Different> {
    let [of_theirs, of_ours] = [theirs, ours].map(|column| &column.fingerprint);
    let keys = of_theirs.fields().map(|(key, _)| key);
    let added = of_ours.fields().map(|(key, _)| key).filter(|key| of_theirs.get(key).is_none());
    let different = keys.chain(added).filter(|key| of_theirs.get(key) != of_ours.get(key));
    different
        .map(|key| {
            let shown = |value: Option<&str>| value.unwrap_or("not set").to_owned();
            Different {
                field: format!("{key} of {}", theirs.name),
                theirs: shown(of_theirs.get(key)),
                ours: shown(of_ours.get(key)),
            }
        })
        .collect()
}

fn refusal(run_dir: &RunDir, found: &[Different]) -> Option<Refusal> {
    let first = found.first()?;
    let shown = run_dir.path().display().to_string();
    let reported: Vec<String> = found
        .iter()
        .take(REPORTED_MAX)
        .map(|one| format!("{} `{}` there, `{}` here", one.field, one.theirs, one.ours))
        .collect();
    let more = match found.len().saturating_sub(REPORTED_MAX) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let hint = match first.field.as_str() {
        GROUP_BY | PER_LAYER => {
            "`lpips merge RUN_DIR` with --group-by and --per-layer writes the tables of a finished \
             run again; or name another folder with `-o`"
        }
        NUMERICS_CLASS => {
            "use the same kind of machine (in Slurm: --constraint), or allow it with \
             --allow-mixed-numerics: scores of different kinds agree within the tolerance only"
        }
        _ => &format!(
            "use the options and the manifest that started the run; or name another folder with \
             `-o`, and add `{}` to take over the scores that are the same",
            shell::option("--reuse", &shown)
        ),
    };
    let reported = reported.join("; ");
    Some(Refusal::inputs(format!("`{shown}` holds another run: {reported}{more}")).hint(hint))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::column::{Better, Fingerprint, Origin};
    use crate::metric::Reduction;

    pub(crate) fn column(name: &str) -> Column {
        Column {
            name: name.to_owned(),
            parts: 5,
            better: Better::Lower,
            from: Origin::Model { index: 0, reduction: Reduction::Mean },
            fingerprint: Fingerprint::new("lpips").with("net", "alex").with("crop", 0),
        }
    }

    pub(crate) fn plan() -> Plan {
        Plan {
            schema: Plan::schema(),
            shards: 4,
            pairs: 10,
            manifest: "manifest.csv".to_owned(),
            manifest_sha256: "c".to_owned(),
            numerics_class: "cpu avx2".to_owned(),
            columns: vec![column("lpips_alex")],
            maps: None,
            per_layer: false,
            group_by: Vec::new(),
            array: None,
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

    fn with_setting(plan: &mut Plan, key: &str, value: &str) {
        let fingerprint = &mut plan.columns[0].fingerprint;
        *fingerprint = Fingerprint::new("lpips").with("net", "alex").with(key, value);
    }

    #[test]
    fn the_first_process_decides_and_each_difference_is_named() {
        assert_eq!(refused(|_| {}, false), None);
        assert_eq!(refused(|plan| plan.array = Some(ArrayBase::ZERO), false), None);
        type Change = fn(&mut Plan);
        let cases: [(Change, &str); 8] = [
            (|plan| plan.shards = 8, "shards `4` there, `8` here"),
            (|plan| plan.group_by.push("x".to_owned()), "group_by `none` there, `x` here"),
            (|plan| plan.manifest_sha256 = "d".to_owned(), "manifest_sha256 `c` there, `d` here"),
            (
                |plan| plan.columns.push(column("lpips_vgg")),
                "columns `lpips_alex` there, `lpips_alex,lpips_vgg` here",
            ),
            (|plan| plan.maps = Some(Kept { worst: Some(3) }), "maps `none` there, `the wo"),
            (|plan| with_setting(plan, "crop", "4"), "crop of lpips_alex `0` there, `4` here"),
            (|plan| with_setting(plan, "new", "1"), "crop of lpips_alex `0` there, `not set` here"),
            (|plan| with_setting(plan, "new", "1"), "new of lpips_alex `not set` there, `1` here"),
        ];
        for (change, expected) in cases {
            let refused = refused(change, true).unwrap();
            assert!(refused.contains(expected), "no `{expected}` in {refused}");
        }
    }

    #[test]
    fn numerics_classes_are_mixed_only_if_allowed() {
        let other = |plan: &mut Plan| plan.numerics_class = "cuda sm_90".to_owned();
        assert!(refused(other, false).unwrap().contains("numerics_class `cpu avx2` there"));
        assert_eq!(refused(other, true), None);
    }

    #[test]
    fn plans_of_other_versions_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir::open(folder.path()).unwrap();
        for (text, found) in [
            (r#"{"schema":"lpips-plan/3"}"#, "found lpips-plan/3"),
            (r#"{"format":9}"#, "found format 9"),
            ("{}", "found none"),
        ] {
            fs_err::write(run_dir.file(names::PLAN), text).unwrap();
            let error = format!("{:#}", Plan::read(&run_dir).unwrap_err());
            assert!(error.contains(found), "no `{found}` in {error}");
        }
    }
}
