//! `vmferry completions`, `vmferry man`.

use clap::Args;
use clap_complete::Shell;

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
      vmferry completions bash > ~/.local/share/bash-completion/completions/vmferry
      vmferry completions zsh > ~/.zfunc/_vmferry
      vmferry completions fish > ~/.config/fish/completions/vmferry.fish")]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

/// Print a manual page
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  Read one:
      vmferry man inspect | man -l -

  Install them:
      vmferry man > ~/.local/share/man/man1/vmferry.1
      vmferry man inspect > ~/.local/share/man/man1/vmferry-inspect.1")]
pub struct Man {
    /// The command that it is about; without one, about vmferry as a whole
    pub command: Option<String>,
}
