//! Arguments of `lpips completions` and `lpips man`.

use clap::Args;

pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  lpips completions bash > ~/.local/share/bash-completion/completions/lpips
  lpips completions zsh > ~/.zfunc/_lpips
  lpips completions fish > ~/.config/fish/completions/lpips.fish";

/// Arguments of `lpips completions`.
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

pub(super) const MAN_EXAMPLES: &str = "\
Examples:
  lpips man | man -l -
  lpips man eval > lpips-eval.1
  lpips man weights fetch";

/// Arguments of `lpips man`.
#[derive(Debug, Args)]
#[command(after_help = MAN_EXAMPLES)]
pub struct ManArgs {
    /// The command, such as `eval` or `weights fetch`; the program itself if there is none
    pub command: Vec<String>,
}
