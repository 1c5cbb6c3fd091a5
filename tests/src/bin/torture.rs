//! Saves that are killed, stopped and starved, and a guest that has to go on: `./x torture [CELL…]`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use vmferry_tests::torture::{Campaign, Cell, Rules, Run, summary};

/// Disturb saves at random moments, and see whether the guest goes on
#[derive(Debug, Parser)]
#[command(name = "./x torture")]
struct Arguments {
    /// Cells, by the beginnings of their names: '7.2/stop/kill-both', '10.0', '*/live/kill-*' [default: all]
    cells: Vec<String>,
    /// List the cells
    #[arg(long)]
    list: bool,
    /// Print the table of the record, and do nothing
    #[arg(long)]
    summary: bool,
    /// Put the present record away, and begin anew
    #[arg(long)]
    anew: bool,
    /// Runs of each cell [default: 30 for kills, 10 for everything else]
    #[arg(long)]
    runs: Option<u32>,
    /// Milliseconds from the start of the save to the blow [default: at random]
    #[arg(long)]
    moment: Option<f64>,
    /// Threads that work besides
    #[arg(long, default_value_t = Rules::strict().load)]
    load: u32,
    /// Where the record is [default: target/torture]
    #[arg(long)]
    record: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let cells = Cell::named(&arguments.cells)?;
    if arguments.list {
        for cell in cells {
            println!("{cell}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/torture");
    let rules = Rules {
        runs: arguments.runs,
        moment: arguments
            .moment
            .map(|moment| Duration::from_secs_f64(moment / 1e3)),
        load: arguments.load,
        ..Rules::strict()
    };
    let campaign = Campaign::new(rules, &arguments.record.unwrap_or(ours))?;
    if arguments.anew {
        campaign.record().put_away()?;
    }
    if !arguments.summary {
        println!("the record: {}", campaign.record().path().display());
        // In the middle of a run, a disk may be frozen: it is always thawed first.
        let enough = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&enough))?;
        }
        campaign.lead(&cells, &enough, report)?;
    }
    let mut runs = campaign.record().runs()?;
    let names: Vec<_> = cells.iter().map(ToString::to_string).collect();
    runs.retain(|run| names.contains(&run.cell));
    print!("{}", summary::table(&runs));
    if summary::failures(&runs) > 0 {
        eprintln!("what the failures looked like is next to the record");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn report(run: &Run) {
    let faults: Vec<_> = run
        .faults
        .iter()
        .map(|(kind, what)| format!("{kind}: {what}"))
        .collect();
    let verdict = if run.is_good() {
        "good".to_owned()
    } else {
        faults.join("; ")
    };
    println!(
        "{} {}: {} hit after {:.0} ms of {:.0} ({}, {}), ticks after {}, longest silence {:.0} ms, {}: {verdict}",
        run.cell,
        run.run,
        run.hit,
        run.moment_ms,
        run.undisturbed_ms,
        run.aim,
        run.phase,
        run.ticks_ms
            .map_or_else(|| "?".to_owned(), |ticks| format!("{ticks:.0} ms")),
        run.gap_ms,
        run.save,
    );
}
