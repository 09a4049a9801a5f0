//! What is noted of the inputs of a run beside its rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How the pairs came about, as far as the manifest does not show it. It decides nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct InputNotes {
    /// How the user's manifest is written, where that differs from CSV, TSV or JSON lines in UTF-8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dialect: Vec<String>,
    /// The absolute path of the folder that the paths of the manifest are relative to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// How many files without a partner were left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: usize,
    /// Their paths, at most the first 10,000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out_files: Vec<String>,
}

impl InputNotes {
    /// Whether there is nothing to note.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == InputNotes::default()
    }
}

/// How much was taken from a run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Taken {
    /// The run directory, as it was typed.
    pub run: String,
    /// SHA-256 of its plan.
    pub plan_sha256: String,
    /// Pairs of which it gave at least one column.
    pub pairs: usize,
    /// The number of values that it gave of each column of this run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, usize>,
}

impl Taken {
    /// Adds what was taken from the same run.
    pub fn add(&mut self, more: &Taken) {
        self.pairs += more.pairs;
        for (column, count) in &more.columns {
            *self.columns.entry(column.clone()).or_default() += count;
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde takes")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}
