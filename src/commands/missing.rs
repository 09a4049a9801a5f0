//! The last proof of a run before its tables: every pair of the plan has an outcome in the journals
//! as they are on disk. Pairs that have none are listed.

use std::collections::BTreeMap;

use crate::batch::Row;
use crate::decimal::counted;
use crate::manifest::Manifest;
use crate::progress::{print_line, shown};
use crate::run::RunDir;
use crate::run::plan::Plan;
use crate::run::records::Records;
use crate::shard::Shard;

/// At most this many ids are printed.
const IDS_MAX: usize = 20;

/// The pairs of a run, or of one shard of it, that have no outcome.
#[derive(Debug, Default)]
pub(super) struct Missing {
    /// How many.
    pub(super) count: usize,
    /// How many pairs were expected.
    expected: usize,
    /// Ids of the first of them.
    ids: Vec<String>,
    /// Missing and expected pairs of each shard that lacks some.
    pub(super) by_shard: BTreeMap<u32, (usize, usize)>,
}

impl Missing {
    /// Looks for the pairs of all shards, or of `of`.
    ///
    /// # Errors
    /// When the manifest cannot be read.
    pub(super) fn find(
        manifest: &Manifest,
        plan: &Plan,
        records: &Records,
        of: Option<Shard>,
    ) -> anyhow::Result<Missing> {
        let all = 0..manifest.len() as Row;
        let mut missing = Missing { expected: manifest.len(), ..Missing::default() };
        if all.clone().all(|row| records.outcome(row).is_some()) {
            return Ok(missing);
        }
        let mut rows = manifest.rows()?;
        for row in all {
            let entry = rows.read(row)?;
            let index = Shard::index_of(&entry.reference, plan.shards);
            if of.is_some_and(|shard| shard.index != index) {
                missing.expected -= 1;
                continue;
            }
            let (absent, expected) = missing.by_shard.entry(index).or_default();
            *expected += 1;
            if records.outcome(row).is_none() {
                *absent += 1;
                missing.count += 1;
                if missing.ids.len() < IDS_MAX {
                    missing.ids.push(entry.id);
                }
            }
        }
        missing.by_shard.retain(|_, (absent, _)| *absent > 0);
        Ok(missing)
    }

    /// Prints how many pairs are missing, and which.
    pub(super) fn report(&self, run_dir: &RunDir) {
        let Missing { count, expected, ids, .. } = self;
        let folder = run_dir.path().display();
        print_line(&format!("error: `{folder}` lacks {count} of {}", counted(*expected, "pair")));
        let ids: Vec<String> = ids.iter().map(|id| format!("`{}`", shown(id))).collect();
        let more = match count - ids.len() {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        print_line(&format!("  missing: {}{more}", ids.join(", ")));
    }
}
