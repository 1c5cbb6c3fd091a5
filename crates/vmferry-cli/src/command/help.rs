//! `vmferry completions`, `vmferry man`: made from the same definitions as the help.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::args::{self, Cli};
use crate::ui;

/// Prints completions.
///
/// # Errors
/// Standard output cannot be written.
pub fn completions(completions: &args::Completions) -> Result<ExitCode> {
    let mut text = Vec::new();
    let all = Cli::command();
    // A hidden command would be offered all the same.
    let mut shown = Command::new("vmferry")
        .args(all.get_arguments())
        .subcommands(commands(&all));
    clap_complete::generate(completions.shell, &mut shown, "vmferry", &mut text);
    ui::print_bytes(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a manual page.
///
/// # Errors
/// There is no such command, or standard output cannot be written.
pub fn man(man: &args::Man) -> Result<ExitCode> {
    let mut all = Cli::command();
    all.build();
    let command = match &man.command {
        None => all,
        Some(name) => match commands(&all).find(|command| command.get_name() == name) {
            Some(command) => command.clone(),
            None => {
                let names: Vec<_> = commands(&all).map(Command::get_name).collect();
                bail!(
                    "there is no command '{name}'; there are {}",
                    names.join(", ")
                );
            }
        },
    };
    let mut page = Vec::new();
    let written = Man::new(command).render(&mut page);
    written.context("cannot write the manual page")?;
    ui::print_bytes(&page)?;
    Ok(ExitCode::SUCCESS)
}

/// Those that people should see.
fn commands(all: &Command) -> impl Iterator<Item = &Command> {
    all.get_subcommands()
        .filter(|command| !command.is_hide_set())
}
