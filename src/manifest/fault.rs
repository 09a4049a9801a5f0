//! Faults of the rows of a manifest, for the person who has to fix the file.

use crate::error::Refusal;

/// Faults that are kept; the others are counted.
pub(super) const FAULTS_KEPT: usize = 1000;
/// Faults that a refusal lists.
const FAULTS_LISTED: usize = 5;

/// Why a row cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Where, such as `line 7` or `line 7, column 12`; lines and columns count from 1.
    pub place: String,
    /// What was expected and found.
    pub message: String,
    /// The remedy.
    pub hint: &'static str,
}

impl Fault {
    pub(super) fn at_line(line: u64, message: impl Into<String>, hint: &'static str) -> Fault {
        Fault { place: format!("line {line}"), message: message.into(), hint }
    }

    /// A fault at the byte `at` of `text`, which starts in line `line`.
    pub(super) fn within(
        text: &str,
        at: usize,
        line: u64,
        message: impl Into<String>,
        hint: &'static str,
    ) -> Fault {
        let before = &text[..at];
        let start = before.rfind(['\n', '\r']).map_or(0, |end| end + 1);
        let (line, column) = (line + line_breaks(before), before[start..].chars().count() + 1);
        Fault { place: format!("line {line}, column {column}"), message: message.into(), hint }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Line breaks of any kind: LF, CR LF, CR.
fn line_breaks(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let is_break = |&at: &usize| match bytes[at] {
        b'\n' => true,
        b'\r' => bytes.get(at + 1) != Some(&b'\n'),
        _ => false,
    };
    (0..bytes.len()).filter(is_break).count() as u64
}

/// Faults of the rows of a manifest.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// The first of them.
    pub kept: Vec<Fault>,
    /// How many there are.
    pub count: usize,
    /// Rows that cannot be read and are not in the index.
    pub left_out: usize,
}

impl Faults {
    pub(super) fn push(&mut self, fault: Fault) {
        self.count += 1;
        if self.kept.len() < FAULTS_KEPT {
            self.kept.push(fault);
        }
    }

    /// The first faults in one refusal; `None` if there is none.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let first = self.kept.first()?;
        let mut text = first.to_string();
        for fault in self.kept.iter().skip(1).take(FAULTS_LISTED - 1) {
            text.push_str(&format!("; {fault}"));
        }
        if self.count > FAULTS_LISTED {
            text.push_str(&format!("; and {} more faults", self.count - FAULTS_LISTED));
        }
        Some(Refusal::inputs(text).hint(first.hint))
    }
}
