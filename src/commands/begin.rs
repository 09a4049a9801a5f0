//! From decisions to a run that has begun: the pairs, the plan, the claim on a shard, and what is
//! left to do.

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::eval::Description;
use crate::manifest::{Entry, Manifest};
use crate::progress::tell;
use crate::run::attempt::Attempt;
use crate::run::journal::Header;
use crate::run::maps::Maps;
use crate::run::owner::Owner;
use crate::run::plan::{Frozen, Plan};
use crate::run::records::Records;
use crate::run::resume::{Question, Rest};
use crate::run::tables::GroupColumn;
use crate::run::{Fingerprint, RunDir, names};
use crate::scheduler;
use crate::shard::{Shard, ShardArg};
use crate::source::Located;

/// Name of the variable in which a batch script says how it was called, for `lpips merge`.
const SCRIPT_VARIABLE: &str = "LPIPS_SCRIPT";

/// The pairs, and how they are grouped.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) manifest: Manifest,
    pub(super) group_by: Vec<GroupColumn>,
}

impl Inputs {
    /// Reads the manifest, which is brought into the folder `spool` if it is no file yet.
    pub(super) fn open(config: &Config, spool: &Path) -> anyhow::Result<Inputs> {
        let Located { location, pairing } = config.job.source.locate(spool)?;
        if let Some(pairing) = &pairing {
            if let Some(refusal) = pairing.refusal() {
                return Err(refusal.into());
            }
            if config.speaks() {
                tell(&pairing.note());
            }
        }
        let manifest = Manifest::open(location)?;
        let columns = config.group_by.iter().map(|name| GroupColumn::find(name, &manifest));
        let group_by = columns.collect::<Result<_, _>>()?;
        Ok(Inputs { manifest, group_by })
    }
}

/// A run that has a plan, and of which this process has a shard.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) inputs: Inputs,
    pub(super) frozen: Frozen,
    pub(super) shard: Shard,
    pub(super) attempt: Attempt,
    pub(super) maps: Option<Maps>,
    pub(super) rest: Rest,
}

impl Begun {
    /// Freezes the plan or agrees with the frozen one, takes the shard, and looks at what is done.
    pub(super) fn begin(
        config: &Config,
        mut inputs: Inputs,
        run_dir: &RunDir,
        on: &Description,
        owner: Owner,
    ) -> anyhow::Result<Begun> {
        let numbered = Plan::read(run_dir)?.and_then(|frozen| frozen.plan.array);
        let given = config.shard.unwrap_or(ShardArg::Given(Shard::WHOLE));
        let (shard, array) = scheduler::resolve(given, &scheduler::environment, numbered)?;
        let manifest = &mut inputs.manifest;
        let extension = manifest.format().extension();
        let plan = Plan {
            shards: shard.count,
            array,
            manifest: format!("{}.{extension}", names::MANIFEST),
            maps: config.maps(),
            per_layer: config.per_layer,
            group_by: config.group_by.clone(),
            ..Plan::new(&fingerprint(config, manifest, on), manifest.len())?
        };
        let frozen = plan.freeze(run_dir, config.allow_mixed)?;
        let copy = run_dir.keep_manifest(&frozen.plan.manifest, manifest.path())?;
        manifest.read_copy(copy)?;
        let attempt = Attempt::begin(run_dir, header(&frozen, shard, on, owner))?;

        // After the claim, so that nobody adds to what is read here.
        let records = Records::open(run_dir, &frozen, Some(shard))?;
        let files_of = |entry: &Entry| files_of(entry, manifest, config);
        let (verify, threads) = (config.verify, config.job.compute.threads);
        let question = Question { manifest, shard, records: &records, verify, threads };
        let mut rest = Rest::of(question, &files_of)?;
        let mut maps = config.maps().map(|kept| Maps::new(run_dir, kept));
        if let Some(maps) = &mut maps {
            let mut is_kept = vec![true; manifest.len()];
            rest.rows.iter().for_each(|&row| is_kept[row as usize] = false);
            let without = maps.restore(manifest, &records, &|row| is_kept[row as usize])?;
            rest.add(&without, manifest);
        }
        if !rest.rows.is_empty() {
            run_dir.unfinish()?;
        }
        Ok(Begun { inputs, frozen, shard, attempt, maps, rest })
    }
}

/// The files that a row is made from.
fn files_of(entry: &Entry, manifest: &Manifest, config: &Config) -> Vec<PathBuf> {
    let mut files =
        [&entry.reference, &entry.distorted].map(|path| manifest.resolve(path)).to_vec();
    // A mask that is not there any more is one file too few.
    files.extend(config.masks.iter().flat_map(|masks| masks.find(&entry.item)));
    files
}

fn header(frozen: &Frozen, shard: Shard, on: &Description, owner: Owner) -> Header {
    let script = scheduler::environment(SCRIPT_VARIABLE).filter(|script| !script.trim().is_empty());
    Header {
        format: Header::format(),
        plan_sha256: frozen.sha256.clone(),
        shard,
        owner,
        device: on.device.clone(),
        numerics_class: on.numerics_class.clone(),
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        program_commit: env!("LPIPS_COMMIT").to_owned(),
        command: std::env::args().collect(),
        script: script.map(|script| script.trim().to_owned()),
        started: jiff::Timestamp::now().to_string(),
    }
}

fn fingerprint(config: &Config, manifest: &Manifest, on: &Description) -> Fingerprint {
    Fingerprint {
        metrics: config.job.metrics.clone(),
        lpips_version: config.job.protocol.version,
        mode: config.job.protocol.mode,
        input_range: config.job.rules.range.name(),
        input: config.job.protocol.input,
        epsilon: config.job.protocol.epsilon,
        pixel_rules: config.job.rules,
        precision: config.job.compute.precision.name(),
        numerics_class: on.numerics_class.clone(),
        manifest_sha256: manifest.sha256().to_owned(),
    }
}
