//! Exit codes, and errors that carry one.
//!
//! There are two kinds of failure. A [`Failure`] is a row: one pair could not be scored, and the
//! run goes on. Everything else ends the run as an [`anyhow::Error`]; a [`Refusal`] in its chain
//! says with which exit code, and what helps.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// See [`nearest_file`].
const SIBLINGS_MAX: usize = 5000;

/// What the program's exit code says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Everything that was asked for is done.
    Complete = 0,
    /// A fault of the program.
    Internal = 1,
    /// Unknown or contradictory options.
    Usage = 2,
    /// Finished, but pairs failed or are missing.
    PairsFailed = 3,
    /// The environment: weights, devices, drivers, a full disk.
    Environment = 5,
    /// The inputs: manifest, folders, an output directory that is in use.
    Inputs = 6,
    /// Stopped by SIGINT; the same command goes on.
    Interrupted = 130,
    /// Stopped by SIGTERM, SIGUSR1 or SIGUSR2; the same command goes on.
    Terminated = 143,
}

/// Why a run cannot be done or go on, with its exit code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The exit code.
    pub exit: Exit,
    message: String,
    hint: Option<String>,
}

impl Refusal {
    /// A refusal with the text that follows `error: `.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Refusal {
        Refusal { exit, message: message.into(), hint: None }
    }

    /// [`Exit::Inputs`].
    #[must_use]
    pub fn inputs(message: impl Into<String>) -> Refusal {
        Refusal::new(Exit::Inputs, message)
    }

    /// [`Exit::Environment`].
    #[must_use]
    pub fn environment(message: impl Into<String>) -> Refusal {
        Refusal::new(Exit::Environment, message)
    }

    /// [`Exit::Usage`].
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Refusal {
        Refusal::new(Exit::Usage, message)
    }

    /// Puts the place before the message.
    #[must_use]
    pub fn prefixed(mut self, place: &str) -> Refusal {
        self.message.insert_str(0, place);
        self
    }

    /// Adds the remedy, the text that follows `hint: `.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Refusal {
        self.hint = Some(hint.into());
        self
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// The exit code of an error that ended a run.
#[must_use]
pub fn exit_of(error: &anyhow::Error) -> Exit {
    error.downcast_ref::<Refusal>().map_or(Exit::Internal, |refusal| refusal.exit)
}

/// The lines that tell people of an error: what, and the remedy if one is known.
#[must_use]
pub fn render(error: &anyhow::Error) -> String {
    let hint = error.downcast_ref::<Refusal>().and_then(|refusal| refusal.hint.as_ref());
    let hint = hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    format!("error: {error:#}{hint}")
}

/// Why a pair has no score: the `error_code` and `error` cells of its row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// A stable code such as `E_SIZE`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

impl Failure {
    /// A failure with a stable code and a sentence.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Failure {
        Failure { code: code.to_owned(), message: message.into() }
    }
}

/// Names between backquotes, with commas.
#[must_use]
pub fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The candidate that was most probably meant by `name`, or `None` if none looks like it.
///
/// A candidate whose stem continues the name's stem, or the reverse (`0801.png` and
/// `0801_x4.png`, but not `080.png`), comes before one with a few other letters.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let stem = stem(name);
    let most_changes = (name.chars().count() / 3).max(1);
    let cost = |candidate: &str| {
        let other = self::stem(candidate);
        let (short, long) = if stem.len() < other.len() { (stem, other) } else { (other, stem) };
        if long.strip_prefix(short).is_some_and(|rest| continues(short, rest)) {
            return Some((0, long.len() - short.len()));
        }
        if candidate.len().abs_diff(name.len()) > 4 * most_changes {
            return None;
        }
        let changes = strsim::osa_distance(name, candidate);
        (changes <= most_changes).then_some((1, changes))
    };
    let costs = candidates.filter_map(|candidate| Some((cost(candidate)?, candidate)));
    costs.min().map(|(_, candidate)| candidate)
}

/// The name in the folder of `path` that was most probably meant by a `path` that does not exist.
/// Folders of more than some thousand entries are not searched, since many files may be missing.
#[must_use]
pub fn nearest_file(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let entries = fs_err::read_dir(folder.unwrap_or(Path::new("."))).into_iter().flatten();
    let siblings: Vec<String> = entries
        .take(SIBLINGS_MAX + 1)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    if siblings.len() > SIBLINGS_MAX {
        return None;
    }
    let name = path.file_name()?.to_string_lossy();
    nearest(&name, siblings.iter().map(String::as_str)).map(str::to_owned)
}

/// Whether `rest` is an addition to `short`, and not the end of its last word or number.
fn continues(short: &str, rest: &str) -> bool {
    let is_digit = |c: char| c.is_ascii_digit();
    match (short.chars().next_back(), rest.chars().next()) {
        (Some(_), None) => true,
        (Some(last), Some(next)) => match (is_digit(last), is_digit(next)) {
            (true, true) => false,
            (false, false) => !next.is_alphanumeric() || short.chars().count() > 2,
            _ => true,
        },
        (None, _) => false,
    }
}

fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_refusal_keeps_its_code_and_hint_under_more_context() {
        let refusal = Refusal::inputs("no column `ref`").hint("add one");
        let error = anyhow::Error::new(refusal).context("cannot read `m.csv`");
        assert_eq!(exit_of(&error), Exit::Inputs);
        assert_eq!(render(&error), "error: cannot read `m.csv`: no column `ref`\nhint: add one");
    }

    #[test]
    fn a_refusal_can_be_the_context_of_a_cause() {
        let cause: Result<(), _> = Err(std::io::Error::other("disk full"));
        let error = cause.context(Refusal::environment("cannot write")).unwrap_err();
        assert_eq!(exit_of(&error), Exit::Environment);
        assert_eq!(render(&error), "error: cannot write: disk full");
    }

    #[test]
    fn the_nearest_name_is_a_longer_one_or_one_with_a_slip() {
        let near = |name, candidates: &[&'static str]| nearest(name, candidates.iter().copied());
        assert_eq!(near("0801.png", &["0802.png", "0801_x4.png"]), Some("0801_x4.png"));
        assert_eq!(near("0801_x4.png", &["0801.png", "0802_x4.png"]), Some("0801.png"));
        assert_eq!(near("dst", &["ref", "dist"]), Some("dist"));
        assert_eq!(near("metod", &["item", "method"]), Some("method"));
        assert_eq!(near("astronaut.png", &["butterfly.png"]), None);
        assert_eq!(near("2", &["20", "2_x4"]), Some("2_x4"));
        assert_eq!(near("a", &["apple"]), None);
        assert_eq!(near("a", &[]), None);
    }

    #[test]
    fn an_error_without_a_refusal_is_internal() {
        assert_eq!(exit_of(&anyhow::anyhow!("oh")), Exit::Internal);
    }
}
