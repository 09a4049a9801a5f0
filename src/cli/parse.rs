//! Reads the arguments of the process.

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

use super::Cli;

impl Cli {
    /// The arguments of this process. It ends here with help, or with an error of usage.
    #[must_use]
    pub fn of_this_process() -> Cli {
        Cli::try_parse().unwrap_or_else(|error| match error.kind() {
            ErrorKind::InvalidUtf8 => not_utf8().exit(),
            _ => error.exit(),
        })
    }
}

/// Names the arguments at fault, which clap does not.
fn not_utf8() -> clap::Error {
    let args = std::env::args_os().skip(1).filter(|arg| arg.to_str().is_none());
    let names: Vec<String> = args.map(|arg| format!("`{}`", arg.display())).collect();
    let text = format!(
        "expected arguments in UTF-8, found {}\nhint: rename the file, or name a link to it whose \
         name is UTF-8\n",
        names.join(", ")
    );
    Cli::command().error(ErrorKind::InvalidUtf8, text)
}
