//! `lpips completions` and `lpips man`: completion scripts and man pages.

use std::io::Write as _;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Arg, Command, CommandFactory as _};

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
    clap_complete::generate(args.shell, &mut with_lists(Cli::command()), "lpips", &mut script);
    stdout::data().write_all(&script)?;
    Ok(Exit::Complete)
}

/// The command with options whose values are lists: each list of an option's values is one value,
/// since shells complete words.
fn with_lists(command: Command) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|of| of.get_name().to_owned()).collect();
    let command = command.mut_args(|option| match option.get_value_delimiter() {
        Some(_) => listed(option),
        None => option,
    });
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, with_lists))
}

fn listed(option: Arg) -> Arg {
    let values = option.get_possible_values();
    if values.is_empty() {
        return option;
    }
    let several = (1_u32..1 << values.len()).filter(|set| set.count_ones() > 1).map(|set| {
        let named = values.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1);
        let names: Vec<&str> = named.map(|(_, value)| value.get_name()).collect();
        PossibleValue::new(names.join(","))
    });
    let lists: Vec<PossibleValue> = values.iter().cloned().chain(several).collect();
    option.value_parser(PossibleValuesParser::new(lists))
}

/// Prints a man page on stdout.
///
/// # Errors
/// When there is no such command, or stdout cannot be written.
pub fn man(args: &ManArgs) -> anyhow::Result<Exit> {
    let mut program = Cli::command();
    program.build(); // Sets the full names of the commands.
    let mut page = &program;
    for name in &args.command {
        page = find(page, name)?;
    }
    let mut text = Vec::new();
    let page = page.clone().version(env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(page).render(&mut text)?;
    stdout::data().write_all(&text)?;
    Ok(Exit::Complete)
}

fn find<'a>(command: &'a Command, name: &str) -> Result<&'a Command, Refusal> {
    command.find_subcommand(name).ok_or_else(|| {
        let names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        let near = nearest(name, names.iter().copied());
        let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        let refusal = Refusal::usage(format!("there is no command `{name}`"));
        match names.is_empty() {
            true => refusal.hint(format!("`{}` has no commands of its own", command.get_name())),
            false => refusal.hint(format!("{near}commands: {}", names.join(", "))),
        }
    })
}
