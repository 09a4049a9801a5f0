//! What is noted of the inputs of a run beside its rows.

use serde::{Deserialize, Serialize};

/// How the pairs came about, as far as the manifest does not show it. It decides nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct InputNotes {
    /// How the user's manifest is written, where that differs from CSV, TSV or JSON lines in UTF-8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dialect: Vec<String>,
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

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde takes")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}
