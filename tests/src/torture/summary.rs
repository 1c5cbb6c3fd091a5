//! What all runs of a record say.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Cell;
use super::record::Run;

/// A table: a line for each cell, and the failures below it.
pub fn table(runs: &[Run]) -> String {
    let mut by_cell: BTreeMap<&str, Vec<&Run>> = BTreeMap::new();
    for run in runs {
        by_cell.entry(&run.cell).or_default().push(run);
    }
    let mut text = String::from(
        "cell                      runs  failed  lost    ticks ms: median     most   longest silence ms   recover ms: most   to tick   what failed\n",
    );
    for cell in Cell::all() {
        let name = cell.to_string();
        if let Some(runs) = by_cell.get(name.as_str()) {
            line(&mut text, &name, runs);
            if !cell.is_promised() {
                text.push_str("    (nothing can be done for this one, and it does not count)\n");
            }
        }
    }
    let _ = writeln!(text, "\n{} runs, {} failed", runs.len(), failures(runs));
    text
}

/// How many runs failed, of the cells that the guest is to outlive.
pub fn failures(runs: &[Run]) -> usize {
    let promised: Vec<_> = Cell::all()
        .into_iter()
        .filter(Cell::is_promised)
        .map(|cell| cell.to_string())
        .collect();
    let failed = |run: &&Run| !run.is_good() && promised.contains(&run.cell);
    runs.iter().filter(failed).count()
}

fn line(text: &mut String, name: &str, runs: &[&Run]) {
    let failed = runs.iter().filter(|run| !run.is_good()).count();
    let lost = runs.iter().filter(|run| run.lost).count();
    let ticks = sorted(runs.iter().filter_map(|run| run.ticks_ms));
    let gaps = sorted(runs.iter().map(|run| run.gap_ms));
    let recover = sorted(runs.iter().filter_map(|run| Some(run.recover_ms?.0)));
    let to_tick = sorted(runs.iter().filter_map(|run| run.recover_ms?.1));
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for kind in runs.iter().flat_map(|run| run.faults.keys()) {
        *kinds.entry(kind).or_default() += 1;
    }
    let kinds: Vec<_> = kinds
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    let figure =
        |value: Option<&f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"));
    let _ = writeln!(
        text,
        "{name:<25} {:>5} {failed:>7} {lost:>5} {:>19} {:>8} {:>20} {:>18} {:>9}   {}",
        runs.len(),
        figure(ticks.get(ticks.len() / 2)),
        figure(ticks.last()),
        figure(gaps.last()),
        figure(recover.last()),
        figure(to_tick.last()),
        kinds.join(", "),
    );
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}
