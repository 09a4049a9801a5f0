//! Reads arguments.

use std::ffi::OsString;

use clap::error::ErrorKind;
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
                _ => error.exit(),
            }
        })
    }
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
