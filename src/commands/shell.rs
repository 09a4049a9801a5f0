//! `lpips completions` and `lpips man`: completion scripts and man pages.

use std::io::Write as _;

use clap::{Command, CommandFactory as _};

use crate::cli::{Cli, CompletionsArgs, ManArgs};
use crate::error::{Exit, Refusal};
use crate::stdout;
use crate::suggest::nearest;

/// Prints a completion script on stdout.
///
/// # Errors
/// When stdout cannot be written.
pub fn completions(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "lpips", &mut script);
    stdout::data().write_all(&script)?;
    Ok(Exit::Complete)
}

/// Prints a man page on stdout.
///
/// # Errors
/// When there is no such command, or stdout cannot be written.
pub fn man(args: &ManArgs) -> anyhow::Result<Exit> {
    let mut program = Cli::command();
    program.build(); // Sets the full names of the commands.
    let page = match &args.command {
        None => program,
        Some(name) => find(&program, name)?.clone(),
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    stdout::data().write_all(&text)?;
    Ok(Exit::Complete)
}

fn find<'a>(program: &'a Command, name: &str) -> Result<&'a Command, Refusal> {
    program.find_subcommand(name).ok_or_else(|| {
        let names: Vec<&str> = program.get_subcommands().map(Command::get_name).collect();
        let near = nearest(name, names.iter().copied());
        let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        Refusal::usage(format!("there is no command `{name}`"))
            .hint(format!("{near}commands: {}", names.join(", ")))
    })
}
