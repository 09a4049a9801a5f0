//! Findings, grouped by code.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::code::{Code, Severity};

/// At most so many examples of a code are kept; all are counted.
const EXAMPLES_MAX: usize = 1000;

/// One occurrence of a finding.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Example {
    /// The id of the pair or the place in the manifest; empty if the message names it all.
    pub place: String,
    /// What is wrong, with the path.
    pub message: String,
}

/// All occurrences of one code.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// Whether it fails a pair.
    pub severity: Severity,
    /// Its code.
    pub code: Code,
    /// What the code stands for.
    pub meaning: &'static str,
    /// What helps.
    pub remedy: &'static str,
    /// How often it was found.
    pub count: usize,
    /// The first occurrences, in scoring order.
    pub examples: Vec<Example>,
}

/// All findings, in the order of their codes: errors first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Findings(BTreeMap<Code, Finding>);

impl Findings {
    /// Adds an example.
    pub fn add(&mut self, code: Code, place: &str, message: String) {
        let finding = self.of(code);
        finding.count += 1;
        if finding.examples.len() < EXAMPLES_MAX {
            finding.examples.push(Example { place: place.to_owned(), message });
        }
    }

    /// Counts occurrences without examples.
    pub fn add_count(&mut self, code: Code, count: usize) {
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

    fn of(&mut self, code: Code) -> &mut Finding {
        self.0.entry(code).or_insert_with(|| Finding {
            severity: code.severity(),
            code,
            meaning: code.meaning(),
            remedy: code.remedy(),
            count: 0,
            examples: Vec::new(),
        })
    }
}
