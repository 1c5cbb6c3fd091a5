//! What a save costs the guest, and what it takes.

use std::time::{Duration, Instant};

use anyhow::Result;
use vmferry_benches::Figures;
use vmferry_tests::linux::Report;
use vmferry_tests::{Backend, Guest, Release, Vmferry};

use super::Scale;
use super::way::{Mode, Saved, Saver, save};

/// Between two saves the guest is left alone for so long, and its work is counted.
const REST: Duration = Duration::from_secs(3);

/// The figures of one way to save.
#[derive(Default)]
struct Row {
    pause: Figures,
    silence: Figures,
    total: Figures,
    stored: Figures,
    work: Figures,
    peak: Figures,
}

pub(super) fn run(scale: Scale, modes: &[Mode]) -> Result<()> {
    println!("\n# Save");
    println!(
        "pause: from STOP to RESUME, ms; silence: the longest time without a heartbeat (every 100 ms), ms"
    );
    println!(
        "total: until all is on disk, s; stored: MiB; work: the guest's, during the save over before, %"
    );
    println!("peak: memory of all processes of vmferry together, MiB");
    for release in Release::ALL {
        for backend in [Backend::Anonymous, Backend::SharedMemfd] {
            let guest = scale.guest(release, backend).start()?;
            guest.wait_until_filled()?;
            for mode in modes.iter().copied() {
                // QEMU 7.2 under TCG loses pages that change while they are sent.
                if (release, mode) != (Release::V7_2, Mode::Live) {
                    println!("\n{release}, {}, mode {}", name(backend), mode.name());
                    compare(&guest, mode, scale)?;
                }
            }
        }
    }
    Ok(())
}

fn name(backend: Backend) -> &'static str {
    match backend {
        Backend::Anonymous => "anonymous memory",
        Backend::SharedMemfd => "shared memfd",
        Backend::Huge2M => "huge pages",
    }
}

fn compare(guest: &Guest, mode: Mode, scale: Scale) -> Result<()> {
    let vmferry = Vmferry::new()?;
    let mut rows: [Row; 4] = Default::default();
    for _ in 0..scale.rounds {
        for (row, saver) in std::iter::zip(&mut rows, Saver::ALL) {
            if !saver.saves_in(mode) {
                continue;
            }
            guest.command("rewrite 5")?;
            let rested = Instant::now();
            std::thread::sleep(REST);
            let stored = match saver {
                Saver::Vmferry | Saver::Socket => super::way::stored(vmferry.store()).unwrap_or(0),
                Saver::Zstd | Saver::Raw => 0,
            };
            let saved = save(guest, mode, saver, &vmferry)?;
            row.add(guest, rested, &saved, stored);
        }
    }
    let ways = std::iter::zip(&rows, Saver::ALL);
    for (row, saver) in ways.filter(|(_, saver)| saver.saves_in(mode)) {
        println!(
            "  {:<18} pause {:.1}  silence {:.0}  total {:.2}  stored {:.0}  work {:.0}  peak {:.0}",
            saver.name(),
            row.pause,
            row.silence,
            row.total,
            row.stored,
            row.work,
            row.peak
        );
    }
    let [ours, zstd, raw, socket] = &rows;
    if Saver::Socket.saves_in(mode) {
        println!(
            "  total: socket / memory {:.2}; work: memory / socket {:.2}",
            socket.total.over(&ours.total),
            ours.work.over(&socket.work),
        );
    }
    println!(
        "  total: zstd / vmferry {:.2}, cat / vmferry {:.2}; pause of the first save {:.1}, of the third {:.1}",
        zstd.total.over(&ours.total),
        raw.total.over(&ours.total),
        ours.pause.round(0).unwrap_or(f64::NAN),
        ours.pause.round(2).unwrap_or(f64::NAN),
    );
    Ok(())
}

impl Row {
    fn add(&mut self, guest: &Guest, rested: Instant, saved: &Saved, stored_before: u64) {
        const MIB: f64 = (1 << 20) as f64;
        let lines = guest.console().lines();
        let mut beats: Vec<Instant> = vec![saved.began];
        let (mut before, mut during) = (Vec::new(), Vec::new());
        for line in lines.iter().filter(|line| line.at > rested) {
            match Report::parse(&line.text) {
                Report::Heartbeat(_) if line.at > saved.began => beats.push(line.at),
                // It counts for the second before it was said.
                Report::Work(work) if line.at < saved.began => before.push(work),
                Report::Work(work) => during.push(work),
                _ => {}
            }
        }
        beats.retain(|at| *at < saved.ended + Duration::from_millis(200));
        beats.push(saved.ended);
        beats.sort_unstable();
        let gaps = beats.windows(2).map(|pair| pair[1] - pair[0]);
        self.silence
            .push(gaps.max().unwrap_or_default().as_secs_f64() * 1e3);
        if let Some(pause) = saved.pause {
            self.pause.push(pause.as_secs_f64() * 1e3);
        }
        self.total.push((saved.ended - saved.began).as_secs_f64());
        let bytes = saved.bytes.saturating_sub(stored_before);
        self.stored
            .push(f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) * 1024.0 / MIB);
        if let (Some(before), Some(during)) = (mean(&before), mean(&during)) {
            self.work.push(during / before * 100.0);
        }
        if let Some(peak) = saved.peak_mib {
            self.peak.push(peak);
        }
    }
}

fn mean(counts: &[u64]) -> Option<f64> {
    let sum: f64 = counts
        .iter()
        .map(|count| f64::from(u32::try_from(*count).unwrap_or(u32::MAX)))
        .sum();
    (!counts.is_empty()).then(|| sum / f64::from(u32::try_from(counts.len()).unwrap_or(u32::MAX)))
}
