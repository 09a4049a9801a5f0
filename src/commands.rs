//! The program: arguments -> command -> exit code. One module per command.

pub mod check;
pub mod compare;
pub mod doctor;
pub mod eval;
mod finish;
mod gates;
mod inputs;
pub mod merge;
mod messages;
mod missing;
mod outputs;
mod protocol;
mod ranking;
mod references;
pub mod report;
mod rows;
mod script;
pub mod shell;
mod start;
mod threads;
pub mod weights;

use std::ffi::OsString;

use crate::cli::{Cli, Command};
use crate::{error, progress, signals};

/// Runs the program with its arguments, without its name. Returns the exit code.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let command = Cli::of(arguments).command;
    let outcome = signals::report_file_limit().and_then(|()| match command {
        Command::Eval(args) => eval::run(*args),
        Command::Check(args) => check::run(*args),
        Command::Merge(args) => merge::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Weights(args) => weights::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
    });
    let exit = outcome.unwrap_or_else(|error| {
        let exit = error::exit_of(&error);
        progress::print_error(&error, exit as u8);
        exit
    });
    exit as u8
}
