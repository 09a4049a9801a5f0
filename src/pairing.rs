//! Folders and patterns become pairs: by names, never by order.
//!
//! This module reads names of files, and refuses to look into them. A file without a partner is a
//! [`Problem`], or counted as left out where that was asked for; nothing is dropped in silence.

mod all;
mod fields;
mod folders;
mod outline;
mod pattern;
mod walk;

use std::collections::BTreeSet;

use crate::code::Code;
use crate::decimal::counted;
use crate::error::Refusal;

pub use self::all::all_pairs;
pub use self::fields::{Patterns, pair_by_pattern};
pub use self::folders::{Folder, Folders, pair_by_name};
pub use self::outline::{Outline, Sample, Values};
pub use self::pattern::Pattern;

/// Problems that a refusal lists.
const LISTED_MAX: usize = 5;
/// Problems and names that are kept; all are counted.
const KEPT_MAX: usize = 10_000;

/// One pair of files, with paths as the folders were typed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Row {
    /// The reference.
    pub reference: String,
    /// The distorted image.
    pub distorted: String,
    /// Unique name of the pair; empty where the manifest's default is meant.
    pub id: String,
    /// What is being reproduced.
    pub item: String,
    /// Who made the distorted image; may be empty.
    pub method: String,
    /// A value for each of [`Pairing::fields`]; empty where a pattern has no such field.
    pub fields: Vec<String>,
}

/// A file that cannot be paired.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Its code.
    pub code: Code,
    /// Which file, and which one may have been meant.
    pub message: String,
}

/// Files that are no images by their names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ignored {
    /// Files and folders whose names start with a dot.
    pub hidden: usize,
    /// Files with other extensions, and links to nothing with such names.
    pub others: usize,
    /// Links to a folder above them; what is there was found already.
    pub loops: usize,
}

/// Names of which the first are kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names {
    /// The first of them.
    pub kept: Vec<String>,
    /// How many there are.
    pub count: usize,
}

impl Names {
    fn push(&mut self, name: String) {
        self.count += 1;
        if self.kept.len() < KEPT_MAX {
            self.kept.push(name);
        }
    }
}

/// The outcome for all folders.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pairing {
    /// Names of the fields of patterns that are carried to the output.
    pub fields: Vec<String>,
    /// By reference, then by method.
    pub rows: Vec<Row>,
    /// What could not be paired.
    pub problems: Vec<Problem>,
    /// Problems beyond those that are kept.
    pub more_problems: usize,
    /// Files without a partner, where only pairs were asked for.
    pub left_out: Names,
    /// Images that match no pattern, each with the nearest miss.
    pub unmatched: Names,
    /// What deserves a look, and hinders nothing.
    pub warnings: Vec<String>,
    /// What was left out by its name.
    pub ignored: Ignored,
    /// The remedy for most of the problems.
    pub hint: Option<String>,
}

impl Pairing {
    /// Why the files cannot be scored; `None` if every file has its partner.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        let count = self.problems.len() + self.more_problems;
        if count == 0 {
            return None;
        }
        let mut text = format!("{} cannot be paired; nothing was paired by order", files(count));
        for problem in self.problems.iter().take(LISTED_MAX) {
            text.push_str(&format!("\n  {}", problem.message));
        }
        if count > LISTED_MAX {
            text.push_str(&format!(
                "\n  and {} more; `lpips check` lists them",
                count - LISTED_MAX
            ));
        }
        Some(Refusal::inputs(text).hint(self.hint.clone().unwrap_or_else(
            || match self.rows.len() {
                0 => "rename or remove them, or list the pairs in a manifest".to_owned(),
                1 => "`--intersect` scores the 1 pair that is complete".to_owned(),
                pairs => format!("`--intersect` scores the {pairs} pairs that are complete"),
            },
        )))
    }

    /// What was paired and what was left out, for people.
    #[must_use]
    pub fn note(&self) -> String {
        let Ignored { hidden, others, loops } = self.ignored;
        let items: BTreeSet<&str> = self.rows.iter().map(|row| row.item.as_str()).collect();
        let mut note = format!(
            "paired {} by name: {}",
            counted(items.len(), "reference"),
            counted(self.rows.len(), "pair")
        );
        if self.left_out.count > 0 {
            note.push_str(&format!(
                "; left out {} without a partner, such as `{}`",
                files(self.left_out.count),
                self.left_out.kept[0]
            ));
        }
        if hidden + others > 0 {
            note.push_str(&format!(
                "; ignored {} and {others} without the name of an image",
                counted(hidden, "hidden file")
            ));
        }
        if loops > 0 {
            note.push_str(&format!("; skipped {} to a folder above", counted(loops, "link")));
        }
        if let Some(first) = self.unmatched.kept.first() {
            let count = files(self.unmatched.count);
            note.push_str(&format!("; {count} matched no pattern, such as {first}"));
        }
        note
    }

    fn problem(&mut self, code: Code, message: String) {
        if self.problems.len() < KEPT_MAX {
            self.problems.push(Problem { code, message });
        } else {
            self.more_problems += 1;
        }
    }

    /// Adds what a walk could not read and what it ignored.
    fn absorb(&mut self, problems: Vec<Problem>, ignored: Ignored) {
        self.problems.extend(problems);
        self.ignored.hidden += ignored.hidden;
        self.ignored.others += ignored.others;
        self.ignored.loops += ignored.loops;
    }
}

fn files(count: usize) -> String {
    counted(count, "file")
}
