//! The `vmferry` command.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tracing_subscriber::EnvFilter;
use vmferry_cli::args::{Cli, Command};
use vmferry_cli::settings::Settings;
use vmferry_cli::{command, exit, guardian, ui};

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("VMFERRY_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(|| ui::HarmlessStderr)
        .init();
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            ui::error(&error);
            match error.downcast_ref::<ui::Interrupted>() {
                Some(ui::Interrupted(signal)) => {
                    ExitCode::from(128 + u8::try_from(*signal).unwrap_or(2))
                }
                None => ExitCode::from(exit::COULD_NOT),
            }
        }
    }
}

fn run(mut cli: Cli) -> Result<ExitCode> {
    Settings::load()?.fill(&mut cli)?;
    let global = &cli.global;
    match cli.command {
        Command::Save(save) => command::save::run(global, &save),
        Command::Restore(restore) => command::restore::run(global, &restore),
        Command::Serve(serve) => command::serve::run(global, &serve),
        Command::Recover(recover) => command::recover::run(global, &recover),
        Command::List(list) => command::list::run(global, &list),
        Command::Inspect(inspect) => command::inspect::run(global, &inspect),
        Command::Map(map) => command::map::run(global, &map),
        Command::Report(report) => command::report::run(global, &report),
        Command::Diff(diff) => command::diff::run(global, &diff),
        Command::Verify(verify) => command::verify::run(global, &verify),
        Command::Export(export) => command::export::run(global, &export),
        Command::Convert(convert) => command::convert::run(global, &convert),
        Command::Delete(delete) => command::delete::run(global, &delete),
        Command::Completions(completions) => command::help::completions(&completions),
        Command::Man(man) => command::help::man(&man),
        Command::Guardian => Ok(guardian::run_as_guardian().map(|()| ExitCode::SUCCESS)?),
    }
}
