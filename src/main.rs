//! The `lpips` program: arguments -> command -> exit code.

use std::process::ExitCode;

use lpips::cli::{Cli, Command};
use lpips::{commands, error, progress, signals};

fn main() -> ExitCode {
    let command = Cli::of_this_process().command;
    let outcome = signals::report_file_limit().and_then(|()| match command {
        Command::Eval(args) => commands::eval::run(*args),
        Command::Check(args) => commands::check::run(*args),
        Command::Merge(args) => commands::merge::run(&args),
        Command::Compare(args) => commands::compare::run(&args),
        Command::Report(args) => commands::report::run(&args),
        Command::Weights(args) => commands::weights::run(&args),
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Completions(args) => commands::shell::completions(&args),
        Command::Man(args) => commands::shell::man(&args),
    });
    let exit = outcome.unwrap_or_else(|error| {
        let exit = error::exit_of(&error);
        progress::print_error(&error, exit as u8);
        exit
    });
    ExitCode::from(exit as u8)
}
