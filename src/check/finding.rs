//! What was found, by code.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::pair::Difference;

/// Examples that are kept of one code; all are counted.
const EXAMPLES_MAX: usize = 1000;

/// Whether pairs cannot be scored, or should be looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A run would have failed rows, or numbers that mean nothing.
    Error,
    /// A run would be complete.
    Warning,
}

/// One thing that was found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Example {
    /// The id of the pair or the place in the manifest; empty if the message names it all.
    pub place: String,
    /// What, with the path.
    pub message: String,
}

/// Everything that bears one code.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// Whether it fails pairs.
    pub severity: Severity,
    /// A stable code such as `E_SIZE`.
    pub code: String,
    /// What the code stands for.
    pub meaning: &'static str,
    /// How often it was found.
    pub count: usize,
    /// The first of them, in scoring order.
    pub examples: Vec<Example>,
}

/// All findings; errors first, then by code.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Findings(BTreeMap<(Severity, String), Finding>);

impl Findings {
    /// Adds an example.
    pub fn add(&mut self, code: &str, place: &str, message: String) {
        let finding = self.of(code);
        finding.count += 1;
        if finding.examples.len() < EXAMPLES_MAX {
            finding.examples.push(Example { place: place.to_owned(), message });
        }
    }

    /// Counts what is known to be there and was not kept.
    pub fn add_untold(&mut self, code: &str, count: usize) {
        if count > 0 {
            self.of(code).count += count;
        }
    }

    /// The findings, errors first.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.0.values()
    }

    /// How many codes of a severity there are.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.iter().filter(|finding| finding.severity == severity).count()
    }

    fn of(&mut self, code: &str) -> &mut Finding {
        let is_warning = code.starts_with("W_");
        let severity = if is_warning { Severity::Warning } else { Severity::Error };
        self.0.entry((severity, code.to_owned())).or_insert_with(|| Finding {
            severity,
            code: code.to_owned(),
            meaning: meaning(code),
            count: 0,
            examples: Vec::new(),
        })
    }
}

fn meaning(code: &str) -> &'static str {
    match code {
        "E_MANIFEST" => "a row of the manifest cannot be used",
        "E_UNMATCHED" => "a file has no partner",
        "E_AMBIGUOUS" => "two files of a folder have the same name without extension",
        "E_NAME" => "the name of a file is not UTF-8",
        "E_MISSING" => "a file does not exist",
        "E_READ" => "a file cannot be read",
        "E_EMPTY" => "a file has no bytes",
        "E_NOT_IMAGE" => "a file is no image",
        "E_UNSUPPORTED" => "an image of a kind that is not scored",
        "E_DECODE" => "a file is damaged",
        "E_TOO_LARGE" => "an image has more pixels than --max-pixels allows",
        "E_TOO_SMALL" => "an image is smaller than the net accepts",
        "E_SIZE" => "ref and dist have different sizes",
        "E_MASK" => "a mask is missing or does not fit its images",
        "E_ALL_IDENTICAL" => "all distorted images are their references",
        "W_IDENTICAL" => "dist is ref, byte for byte",
        "W_SAME_DIST" => "two methods have the same file for one reference",
        "W_DUPLICATE" => "the same two files stand in two rows",
        _ => {
            let difference = Difference::ALL.into_iter().find(|one| one.code() == code);
            difference.map_or("a pair cannot be scored", Difference::explanation)
        }
    }
}
