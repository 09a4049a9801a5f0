//! Cells of text in the tables.

/// Stands in the group cells of the row of all pairs.
pub const ALL: &str = "*";

/// How cells of text are written: ids, paths, carried columns, groups and reasons.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TextCells {
    /// As the manifest has them.
    #[default]
    Unchanged,
    /// With a `'` before what a spreadsheet would take for a formula: `=`, `+`, `-`, `@`, a tab or
    /// a carriage return at the start.
    Safe,
}

impl TextCells {
    /// Whether `--csv-safe` was given.
    #[must_use]
    pub fn of(is_safe: bool) -> TextCells {
        if is_safe { TextCells::Safe } else { TextCells::Unchanged }
    }

    /// The cell that holds `text`.
    #[must_use]
    pub fn write(self, text: String) -> String {
        match self {
            TextCells::Safe if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => {
                format!("'{text}")
            }
            TextCells::Unchanged | TextCells::Safe => text,
        }
    }
}

/// The cell of a group, which is never [`ALL`]: a `*` after any number of `\` gets one `\` more.
#[must_use]
pub fn group_cell(text: &str) -> String {
    match text.trim_start_matches('\\') {
        ALL => format!("\\{text}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_differs_from_all_pairs_and_from_other_groups() {
        let cells = ["*", "\\*", "\\\\*", "**", "x*", ""].map(group_cell);
        assert_eq!(cells, ["\\*", "\\\\*", "\\\\\\*", "**", "x*", ""]);
    }

    #[test]
    fn formulas_become_text() {
        for (text, safe) in [("=1", "'=1"), ("@x", "'@x"), ("\t=1", "'\t=1"), ("a=1", "a=1")] {
            assert_eq!(TextCells::Safe.write(text.to_owned()), safe);
            assert_eq!(TextCells::Unchanged.write(text.to_owned()), text);
        }
    }
}
