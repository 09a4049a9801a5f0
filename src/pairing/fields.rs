//! Pairs of patterns: files whose fields are equal where both sides have them.
//!
//! A file may have several readings. Those count that agree with a file on the other side; a file
//! that still has two, or two references, is ambiguous and refused with both.

mod gaps;
mod lone;
mod matching;

use std::collections::BTreeSet;
use std::path::Path;

use self::matching::{Matching, Reading, Side};
use super::Pairing;
use super::pattern::{Pattern, READINGS_MAX};
use super::walk::{has_image_name, walk};
use crate::code::Code;
use crate::decimal::counted;
use crate::error::Refusal;

/// The field that names the method.
const METHOD: &str = "method";
/// The field that is never carried under its own name.
const ITEM: &str = "item";
/// Misses that a message lists.
const MISSES_LISTED: usize = 3;

/// The patterns of `--ref` and `--dist`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Patterns {
    /// References.
    pub reference: Vec<Pattern>,
    /// Distorted images.
    pub distorted: Vec<Pattern>,
    /// Whether files without a partner are left out rather than problems.
    pub intersect: bool,
}

/// Walks the folders of the patterns and pairs their files.
///
/// # Errors
/// A [`Refusal`] when the patterns cannot be matched with each other, a folder cannot be read, or
/// no file matches a pattern.
pub fn pair_by_pattern(patterns: &Patterns) -> anyhow::Result<Pairing> {
    patterns.check()?;
    let mut pairing = Pairing { fields: patterns.carried(), ..Pairing::default() };
    let files = pairing.walk_all(patterns)?;
    let reference = pairing.read(&patterns.reference, &files);
    let distorted = pairing.read(&patterns.distorted, &files);
    expect_all("--ref", &reference, &files)?;
    expect_all("--dist", &distorted, &files)?;
    let matching = Matching { files: &files, reference, distorted, intersect: patterns.intersect };
    let matched = matching.matched(&mut pairing);
    pairing.rows = matching.rows(&matched.links, &pairing.fields);
    matching.find_lone(&matched, &mut pairing);
    matching.find_gaps(&matched.links, &mut pairing);
    if patterns.intersect && pairing.rows.is_empty() && pairing.problems.is_empty() {
        return Err(matching.nothing_in_common().into());
    }
    Ok(pairing)
}

impl Patterns {
    fn all(&self) -> impl Iterator<Item = &Pattern> {
        self.reference.iter().chain(&self.distorted)
    }

    /// Fields that become columns, in the order in which they first come.
    #[must_use]
    pub fn carried(&self) -> Vec<String> {
        let mut carried: Vec<String> = Vec::new();
        for field in self.all().flat_map(Pattern::fields) {
            if field != METHOD && field != ITEM && !carried.contains(field) {
                carried.push(field.clone());
            }
        }
        carried
    }

    /// Refuses patterns that no file could be paired by.
    fn check(&self) -> Result<(), Refusal> {
        for distorted in &self.distorted {
            let is_shared = |field: &String| {
                self.reference.iter().any(|reference| reference.fields().contains(field))
            };
            if !distorted.fields().iter().any(is_shared) {
                let message = format!("`--dist {distorted}` shares no field with `--ref`");
                return Err(Refusal::usage(message).hint(
                    "use one name on both sides for what is equal in both, such as `{item}`",
                ));
            }
            if distorted.method.is_some() && distorted.fields().iter().any(|one| one == METHOD) {
                let message = format!("`--dist {distorted}` names its method twice");
                return Err(Refusal::usage(message)
                    .hint("keep either the name before `=` or the field `{method}`"));
            }
        }
        Ok(())
    }
}

impl Pairing {
    /// The files below the roots of all patterns, sorted.
    fn walk_all(&mut self, patterns: &Patterns) -> anyhow::Result<Vec<String>> {
        let any_name = patterns.all().any(Pattern::has_extension);
        let mut files: BTreeSet<String> = BTreeSet::new();
        let roots: BTreeSet<String> = patterns.all().map(Pattern::root).collect();
        for root in &roots {
            let below = |path: &str| match root.as_str() {
                "." => path.to_owned(),
                "/" => format!("/{path}"),
                root => format!("{root}/{path}"),
            };
            let is_named = |path: &str| {
                let path = below(path);
                patterns.all().any(|one| one.has_extension() && !one.readings(&path).is_empty())
            };
            let is_taken = |path: &str| has_image_name(path) || (any_name && is_named(path));
            let walked = walk(Path::new(root), &[], &is_taken)?;
            files.extend(walked.files.iter().map(|path| below(path)));
            self.absorb(walked.problems, walked.ignored);
        }
        Ok(files.into_iter().collect())
    }

    fn read<'a>(&mut self, patterns: &'a [Pattern], files: &[String]) -> Side<'a> {
        let mut all = Vec::new();
        for (file, path) in files.iter().enumerate() {
            for (pattern, of) in patterns.iter().enumerate() {
                let readings = of.readings(path);
                if readings.len() > READINGS_MAX {
                    let message =
                        format!("`{path}` can be read as `{of}` in more than {READINGS_MAX} ways");
                    self.problem(Code::Ambiguous, message);
                    continue;
                }
                all.extend(readings.into_iter().map(|values| Reading { file, pattern, values }));
            }
        }
        Side { patterns, readings: all }
    }
}

/// Refuses a pattern that matches no file.
fn expect_all(option: &str, side: &Side<'_>, files: &[String]) -> Result<(), Refusal> {
    let has_files = |index: usize| side.readings.iter().any(|reading| reading.pattern == index);
    let lacking = (0..side.patterns.len()).find(|&index| !has_files(index));
    let Some(pattern) = lacking.map(|index| &side.patterns[index]) else { return Ok(()) };
    let mut misses: Vec<(usize, String)> = Vec::new();
    for path in files {
        let (matched, what) = pattern.miss(path);
        misses.push((matched, format!("\n  `{path}`: {what}")));
    }
    misses.sort_by_key(|(matched, _)| std::cmp::Reverse(*matched));
    let found = match files.len() {
        0 => format!("no image is below `{}`", pattern.root()),
        count => {
            let listed = misses.into_iter().take(MISSES_LISTED).map(|(_, miss)| miss);
            format!("the nearest of {}:{}", counted(count, "file"), listed.collect::<String>())
        }
    };
    Err(Refusal::inputs(format!("no file matches `{option} {pattern}`; {found}"))
        .hint("correct the pattern; a field in braces stands for text without a `/`"))
}

fn position(pattern: &Pattern, field: &str) -> Option<usize> {
    pattern.fields().iter().position(|one| one == field)
}

#[cfg(test)]
mod tests;
