//! From a resolved configuration to a started run: the pairs, the plan, the claim on a shard, and
//! the rows that remain.

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::Refusal;
use crate::eval::Description;
use crate::manifest::{Entry, Manifest};
use crate::progress::print_line;
use crate::run::attempt::Attempt;
use crate::run::inputs::{InputNotes, Taken};
use crate::run::joined;
use crate::run::journal::Header;
use crate::run::maps::Maps;
use crate::run::outputs::Outputs;
use crate::run::owner::Owner;
use crate::run::plan::{Frozen, Plan};
use crate::run::records::Records;
use crate::run::resume::{Examined, Remaining};
use crate::run::reuse::Reuse;
use crate::run::tables::GroupColumn;
use crate::run::{RunDir, names};
use crate::scheduler;
use crate::shard::{Shard, ShardArg};
use crate::source::Located;

/// Name of the variable in which a batch script states how it was called, for `lpips merge`.
const SCRIPT_VARIABLE: &str = "LPIPS_SCRIPT";

/// Reads the manifest, which must have the columns that pairs are grouped by, and notes how its
/// pairs came about. If it is not a file yet, it is written to the folder `spool` first.
pub(super) fn open_manifest(
    config: &Config,
    spool: &Path,
) -> anyhow::Result<(Manifest, InputNotes)> {
    let Located { location, pairing } = config.job.source.locate(spool)?;
    let mut notes = InputNotes::default();
    if let Some(pairing) = pairing {
        if let Some(refusal) = pairing.refusal() {
            return Err(refusal.into());
        }
        if config.speaks() {
            print_line(&pairing.note());
            pairing.warnings.iter().for_each(|warning| print_line(&format!("warning: {warning}")));
        }
        notes.left_out = pairing.left_out.count;
        notes.left_out_files = pairing.left_out.kept;
    }
    let name = location.name.clone();
    let manifest = Manifest::open(location)?;
    notes.dialect = manifest.dialect().to_vec();
    notes.folder = absolute(manifest.folder());
    if !notes.dialect.is_empty() && config.speaks() {
        print_line(&format!("manifest `{name}`: {}", notes.dialect.join("; ")));
    }
    GroupColumn::find_all(&config.group_by, &manifest)?;
    Ok((manifest, notes))
}

/// The folder as other processes may name it; the working folder if it is empty.
fn absolute(folder: &Path) -> Option<String> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    fs_err::canonicalize(folder).ok()?.to_str().map(str::to_owned)
}

/// A run that has a plan, and of which this process has claimed a shard.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) manifest: Manifest,
    pub(super) frozen: Frozen,
    pub(super) shard: Shard,
    pub(super) attempt: Attempt,
    pub(super) maps: Option<Maps>,
    /// The rows that were finished when this process began, and those that it has taken.
    pub(super) records: Records,
    pub(super) remaining: Remaining,
    /// The other runs.
    pub(super) reuse: Reuse,
    /// What they give.
    pub(super) taken: Vec<Taken>,
}

impl Started {
    /// Freezes the plan or checks it against the frozen one, claims the shard, and finds the rows
    /// that remain.
    pub(super) fn start(
        config: &Config,
        (mut manifest, notes): (Manifest, InputNotes),
        run_dir: &RunDir,
        on: &Description,
        owner: Owner,
    ) -> anyhow::Result<Started> {
        let folder = notes.folder.clone().unwrap_or_default();
        let columns = &config.job.columns;
        let (maps, class) = (config.maps, &on.numerics_class);
        let reuse = Reuse::open(&config.reuse, columns, maps, class, &folder)?;
        let numbered = Plan::read(run_dir)?.and_then(|frozen| frozen.plan.array);
        let given = config.shard.unwrap_or(ShardArg::Given(Shard::WHOLE));
        let (shard, array) = scheduler::resolve(given, &scheduler::environment, numbered)?;
        let extension = manifest.format().extension();
        let plan = Plan {
            schema: Plan::schema(),
            shards: shard.count,
            pairs: manifest.len(),
            manifest: format!("{}.{extension}", names::MANIFEST),
            manifest_sha256: manifest.sha256().to_owned(),
            numerics_class: on.numerics_class.clone(),
            columns: config.job.columns.clone(),
            maps: config.maps,
            per_layer: config.per_layer,
            group_by: config.group_by.clone(),
            array,
        };
        manifest.expect_other_than(&run_dir.file(&plan.manifest))?;
        expect_no_maps_unless_kept(run_dir, config)?;
        let frozen = plan.freeze(run_dir, config.allow_mixed)?;
        joined::expect_new_names(&config.joins, columns, manifest.carried())?;
        let copy = run_dir.keep_manifest(&frozen.plan.manifest, manifest.path())?;
        manifest.read_copy(copy)?;
        let manifest = manifest;
        let mut note = |line: &str| {
            if config.speaks() {
                print_line(line);
            }
        };
        let joined = joined::keep(run_dir, &config.joins, &manifest, &mut note)?;
        let outputs = Outputs { joined, ..plan.outputs() };
        let header = header(&frozen, shard, on, owner, &config.job.weights, (notes, outputs));
        let mut attempt = Attempt::begin(run_dir, header)?;

        // After the claim, so that no process adds to the journals that are read here.
        let open_records = || Records::open(run_dir, &frozen, &manifest, Some(shard));
        let mut records = open_records()?;
        let files_of = |entry: &Entry| files_of(entry, &manifest, config);
        let (verify, threads) = (config.verify, config.job.compute.threads);
        let examined = Examined { manifest: &manifest, shard, records: &records, verify, threads };
        let mut remaining = Remaining::of(examined, &files_of)?;
        let taken = reuse.take(&manifest, verify, &files_of, &mut remaining, &mut attempt)?;
        let maps = maps.map(|kept| Maps::new(run_dir, &manifest, columns, kept));
        let mut maps = maps.transpose()?;
        if let Some(maps) = &mut maps {
            if remaining.reused > 0 {
                records = open_records()?;
            }
            let mut is_kept = vec![true; manifest.len()];
            remaining.all().for_each(|row| is_kept[row as usize] = false);
            let without = maps.restore(&manifest, &records, &|row| is_kept[row as usize])?;
            remaining.make_maps(&without, &manifest);
        }
        if !remaining.is_empty() {
            run_dir.unfinish()?;
        }
        Ok(Started { manifest, frozen, shard, attempt, maps, records, remaining, reuse, taken })
    }
}

/// # Errors
/// A [`Refusal`] when the run has spatial maps, and this command would leave them as they are while
/// it scores pairs again.
fn expect_no_maps_unless_kept(run_dir: &RunDir, config: &Config) -> Result<(), Refusal> {
    let folder = run_dir.file(names::MAPS);
    if config.maps.is_some() || !folder.exists() {
        return Ok(());
    }
    let (run, maps) = (run_dir.path().display(), folder.display());
    Err(Refusal::inputs(format!("`{run}` has spatial maps, which this command does not keep"))
        .hint(format!("add `--spatial` or `--spatial-worst N`, or remove `{maps}`")))
}

/// The files that a row is made from.
fn files_of(entry: &Entry, manifest: &Manifest, config: &Config) -> Vec<PathBuf> {
    let mut files =
        [&entry.reference, &entry.distorted].map(|path| manifest.resolve(path)).to_vec();
    // A mask that was removed makes the list of files shorter than that of stamps.
    files.extend(config.masks.iter().flat_map(|masks| masks.find(&entry.item)));
    files
}

fn header(
    frozen: &Frozen,
    shard: Shard,
    on: &Description,
    owner: Owner,
    weights: &[String],
    (inputs, outputs): (InputNotes, Outputs),
) -> Header {
    let script = scheduler::environment(SCRIPT_VARIABLE).filter(|script| !script.trim().is_empty());
    Header {
        format: Header::format(),
        plan_sha256: frozen.sha256.clone(),
        shard,
        owner,
        device: on.device.clone(),
        weights: weights.to_vec(),
        numerics_class: on.numerics_class.clone(),
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        program_commit: env!("LPIPS_COMMIT").to_owned(),
        command: std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect(),
        script: script.map(|script| script.trim().to_owned()),
        inputs,
        outputs: Some(outputs),
        started: jiff::Timestamp::now().to_string(),
    }
}
