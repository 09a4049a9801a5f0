//! What is made of the rows of a run beside their scores.

use serde::{Deserialize, Serialize};

use crate::column::{Better, Column, Fingerprint, Origin};

/// Tables and maps that a process was asked for. They decide no number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outputs {
    /// Which spatial maps are kept; none if absent.
    pub maps: Option<Kept>,
    /// Whether pairs.csv has a column per layer.
    pub per_layer: bool,
    /// Columns that summary.csv is grouped by.
    pub group_by: Vec<String>,
    /// Columns that others computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<Noted>,
}

/// Which maps a run keeps of each column that has maps; see
/// [`crate::column::Column::mapped_model`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// How many maps of each, those of the worst values; all if absent.
    pub worst: Option<usize>,
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.worst {
            None => f.write_str("all"),
            Some(worst) => write!(f, "the worst {worst}"),
        }
    }
}

/// What is noted of the columns that were joined.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Noted {
    /// Name, direction and file of each.
    pub columns: Vec<NotedColumn>,
    /// SHA-256 of the copy of their values in the run directory.
    pub sha256: String,
}

/// One column that was joined.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NotedColumn {
    /// Its name.
    pub name: String,
    /// Which direction is better, if it is known.
    pub better: Option<Better>,
    /// The file that it came from, as it was typed.
    pub file: String,
    /// SHA-256 of that file.
    pub file_sha256: String,
}

impl NotedColumn {
    /// As one of a run.
    #[must_use]
    pub fn column(&self) -> Column {
        foreign(&self.name, self.better)
    }
}

/// A joined column as one of a run.
pub(super) fn foreign(name: &str, better: Option<Better>) -> Column {
    let direction = better.map_or("unknown", Better::word);
    let fingerprint = Fingerprint::new("foreign").with("column", name).with("protocol", "unknown");
    Column {
        name: name.to_owned(),
        parts: 0,
        better: better.unwrap_or(Better::Lower),
        from: Origin::Joined { is_ranked: better.is_some() },
        fingerprint: fingerprint.with("better", direction),
    }
}
