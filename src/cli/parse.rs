//! Reads arguments.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, Parser as _};

use super::Cli;

impl Cli {
    /// Reads the arguments of this process, without the name of the program. It ends here with
    /// help, or with an error of usage.
    #[must_use]
    pub fn of(arguments: impl IntoIterator<Item = OsString>) -> Cli {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let name = OsString::from("lpips");
        Cli::try_parse_from(std::iter::once(&name).chain(&arguments)).unwrap_or_else(|error| {
            match error.kind() {
                ErrorKind::InvalidUtf8 => not_utf8(&arguments).exit(),
                ErrorKind::UnknownArgument => two_inputs(error, &arguments).exit(),
                _ => error.exit(),
            }
        })
    }
}

/// Adds how two folders or images are named, where a second word was typed behind the manifest.
fn two_inputs(mut error: clap::Error, arguments: &[OsString]) -> clap::Error {
    let unknown = error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
    let takes_inputs =
        arguments.first().is_some_and(|command| command == "eval" || command == "check");
    if takes_inputs && !unknown.starts_with('-') {
        let tip = "two folders are named with '--ref DIR --dist DIR', two images with \
                   '--pair REF DIST'";
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// Names the arguments at fault, which clap does not.
fn not_utf8(arguments: &[OsString]) -> clap::Error {
    let faulty = arguments.iter().filter(|argument| argument.to_str().is_none());
    let names: Vec<String> = faulty.map(|argument| format!("`{}`", argument.display())).collect();
    let text = format!(
        "expected arguments in UTF-8, found {}\nhint: rename the file, or name a link to it whose \
         name is UTF-8\n",
        names.join(", ")
    );
    Cli::command().error(ErrorKind::InvalidUtf8, text)
}
