//! What is made of the rows of a run beside their scores.

use serde::{Deserialize, Serialize};

use super::joined::Noted;

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
