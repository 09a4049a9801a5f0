//! Gaps: a method, a scale or another value that only distorted images have, and that lacks some of
//! the references.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Pairing;
use super::super::pattern::Pattern;
use super::matching::{Link, Matching, Reading};
use super::position;
use crate::code::Code;
use crate::decimal::counted;
use crate::shell;

/// References by folder: those are of one folder whose fields are equal but for the last.
type Folders<'a> = BTreeMap<&'a [String], BTreeSet<usize>>;

/// Distorted images of one pattern with equal values of the fields that references have not.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Series<'a> {
    /// Index of the references' pattern.
    of: usize,
    /// Index of the distorted images' pattern.
    by: usize,
    values: Vec<&'a str>,
}

impl Matching<'_> {
    /// A series that has one reference of a folder must have all of them. If it has none, that is a
    /// warning; where only pairs were asked for, so is every gap.
    pub(super) fn find_gaps(&self, links: &[Link], pairing: &mut Pairing) {
        let mut series: BTreeMap<Series<'_>, Folders<'_>> = BTreeMap::new();
        let mut all: BTreeMap<usize, Folders<'_>> = BTreeMap::new();
        for &(reference, distorted) in links {
            let of = &self.reference.readings[reference];
            let by = &self.distorted.readings[distorted];
            let values = self.own(of.pattern, by.pattern).map(|at| by.values[at].as_str());
            let key = Series { of: of.pattern, by: by.pattern, values: values.collect() };
            let folder = folder(of);
            series.entry(key).or_default().entry(folder).or_default().insert(reference);
            all.entry(of.pattern).or_default().entry(folder).or_default().insert(reference);
        }
        for (key, has) in &series {
            self.find_gaps_of(key, has, &all[&key.of], pairing);
        }
    }

    fn find_gaps_of(
        &self,
        key: &Series<'_>,
        has: &Folders<'_>,
        all: &Folders<'_>,
        pairing: &mut Pairing,
    ) {
        let name = self.name(key);
        if let Some(absent) = all.keys().find(|folder| !has.contains_key(*folder)) {
            let pattern = &self.reference.patterns[key.of];
            let first = named(pattern.fields().iter(), absent.iter().map(String::as_str));
            let count = all.len() - has.len();
            pairing.warnings.push(match count {
                1 => format!("{name} has no image of {first}"),
                _ => format!("{name} has no image of {count} folders, such as {first}"),
            });
        }
        let mut missing = 0;
        for (folder, references) in has {
            for reference in all[folder].difference(references) {
                missing += 1;
                if !self.intersect {
                    let path = &self.files[self.reference.readings[*reference].file];
                    let message = format!("`{path}` has no partner of {name}, which has others");
                    pairing.problem(Code::Unmatched, message);
                }
            }
        }
        if missing > 0 && self.intersect {
            let count = counted(missing, "reference");
            pairing.warnings.push(format!("{name} lacks {count} that others have"));
        }
    }

    /// Positions of the fields that the distorted images of pattern `by` have and the references of
    /// pattern `of` have not.
    fn own(&self, of: usize, by: usize) -> impl Iterator<Item = usize> {
        let reference = &self.reference.patterns[of];
        let fields = self.distorted.patterns[by].fields().iter().enumerate();
        fields.filter(|(_, field)| position(reference, field).is_none()).map(|(at, _)| at)
    }

    /// `method=edsr, scale=4`; the pattern if it has no field of its own.
    fn name(&self, key: &Series<'_>) -> String {
        let pattern: &Pattern = &self.distorted.patterns[key.by];
        let fields = self.own(key.of, key.by).map(|at| &pattern.fields()[at]);
        match (key.values.is_empty(), &pattern.method) {
            (false, _) => named(fields, key.values.iter().copied()),
            (true, Some(method)) => format!("method={method}"),
            (true, None) => shell::option("--dist", &pattern.text),
        }
    }
}

/// All values but the last.
fn folder(reading: &Reading) -> &[String] {
    &reading.values[..reading.values.len().saturating_sub(1)]
}

fn named<'a>(
    fields: impl Iterator<Item = &'a String>,
    values: impl Iterator<Item = &'a str>,
) -> String {
    let pairs = fields.zip(values).map(|(field, value)| format!("{field}={value}"));
    pairs.collect::<Vec<_>>().join(", ")
}
