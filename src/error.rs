//! Exit codes, and errors that carry one.
//!
//! There are two kinds of failure. A [`Failure`] is a row: one pair could not be scored, and the
//! run continues. Everything else ends the run as an [`anyhow::Error`]; a [`Refusal`] in its chain
//! holds the exit code and the remedy.

use serde::{Deserialize, Serialize};

use crate::code::{Code, Recorded};
use crate::system;

/// The hint of an output file that cannot be written.
pub const DISK_HINT: &str =
    "check whether the disk is full or over quota, then run the same command again";

/// The exit codes of the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// The command did everything that was requested.
    Complete = 0,
    /// A bug in the program.
    Internal = 1,
    /// Unknown or contradictory options.
    Usage = 2,
    /// Finished, but pairs failed or are missing.
    PairsFailed = 3,
    /// A gate failed or could not be decided.
    Gate = 4,
    /// The environment: weights, devices, drivers, a full disk.
    Environment = 5,
    /// The inputs: manifest, folders, an output directory that is in use.
    Inputs = 6,
    /// Stopped by SIGINT; the same command resumes.
    Interrupted = 130,
    /// Stopped by SIGTERM, SIGUSR1 or SIGUSR2; the same command resumes.
    Terminated = 143,
}

/// Why a run cannot start or continue, with its exit code.
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

    /// Puts `place`, such as a file and a line, before the message.
    #[must_use]
    pub fn prefixed(mut self, place: &str) -> Refusal {
        self.message.insert_str(0, place);
        self
    }

    /// Whether `error`, in which this stands, blames an input for a fault of the machine.
    fn is_of_machine(&self, error: &anyhow::Error) -> bool {
        self.exit == Exit::Inputs && system::is_of_machine(error.as_ref())
    }

    /// The text that follows `hint: `, if there is one.
    #[must_use]
    pub fn remedy(&self) -> Option<&str> {
        self.hint.as_deref()
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

/// The exit code of an error that ended a run. What the system refused without a [`Refusal`] is an
/// error of the environment, and so is an input that the machine cannot read.
#[must_use]
pub fn exit_of(error: &anyhow::Error) -> Exit {
    match error.downcast_ref::<Refusal>() {
        Some(refusal) if refusal.is_of_machine(error) => Exit::Environment,
        Some(refusal) => refusal.exit,
        None if system::errno(error.as_ref()).is_some() => Exit::Environment,
        None => Exit::Internal,
    }
}

/// The lines that report an error to people: what happened, and the remedy if one is known.
#[must_use]
pub fn render(error: &anyhow::Error) -> String {
    let hint = hint_of(error).map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    format!("error: {error:#}{hint}")
}

/// The remedy of an error, if one is known.
pub(crate) fn hint_of(error: &anyhow::Error) -> Option<&str> {
    match error.downcast_ref::<Refusal>() {
        Some(refusal) if !refusal.is_of_machine(error) => refusal.hint.as_deref(),
        _ => system::errno(error.as_ref()).map(system::remedy),
    }
}

/// Why a pair has no score: the `error_code` and `error` cells of its row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// Its code.
    pub code: Recorded,
    /// What happened, where, expected and found.
    pub message: String,
}

impl Failure {
    /// A failure with its code and a sentence.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code: code.into(), message: message.into() }
    }
}

/// Names between backquotes, with commas.
#[must_use]
pub fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
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
    fn a_failure_with_the_code_of_another_version_stays_readable() {
        let text = r#"{"code":"E_OLD","message":"no"}"#;
        let failure: Failure = serde_json::from_str(text).unwrap();
        assert_eq!(failure.code.as_str(), "E_OLD");
        assert_eq!(serde_json::to_string(&failure).unwrap(), text);
        let known = Failure::new(Code::Size, "no");
        let text = serde_json::to_string(&known).unwrap();
        assert_eq!(serde_json::from_str::<Failure>(&text).unwrap(), known);
    }

    #[test]
    fn an_error_without_a_refusal_is_internal() {
        assert_eq!(exit_of(&anyhow::anyhow!("oh")), Exit::Internal);
        assert_eq!(render(&anyhow::anyhow!("oh")), "error: oh");
    }

    #[test]
    fn what_the_system_refuses_is_of_the_environment() {
        let error = std::io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
        let error = anyhow::Error::new(error).context("cannot open it");
        assert_eq!(exit_of(&error), Exit::Environment);
        assert!(render(&error).contains("\nhint: raise the limit of open files"));
        let error = error.context(Refusal::inputs("cannot read `m.csv`").hint("name a file"));
        assert_eq!(exit_of(&error), Exit::Environment);
        assert!(render(&error).contains("\nhint: raise the limit of open files"));
    }
}
