//! How much memory a program takes at its worst, with everything that it starts.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Watches a process and its children until it is asked.
#[derive(Debug)]
pub struct PeakMemory {
    stop: Arc<AtomicBool>,
    watcher: Option<JoinHandle<HashMap<u32, u64>>>,
}

impl PeakMemory {
    /// Begins to watch the process `pid`.
    pub fn watch(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let watcher = std::thread::spawn(move || {
            let mut peaks = HashMap::new();
            while !stopped.load(Ordering::Relaxed) {
                look(pid, &mut peaks);
                std::thread::sleep(Duration::from_millis(20));
            }
            peaks
        });
        Self {
            stop,
            watcher: Some(watcher),
        }
    }

    /// The sum of the peaks of all of them, in MiB.
    pub fn mib(mut self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        let peaks = self.watcher.take().and_then(|watcher| watcher.join().ok());
        let kib: u64 = peaks.unwrap_or_default().values().sum();
        u32::try_from(kib).map_or(f64::NAN, f64::from) / 1024.0
    }
}

/// The kernel keeps the peak of each process; it only has to be read before the process has gone.
fn look(root: u32, peaks: &mut HashMap<u32, u64>) {
    let field = |pid: u32, name: &str| -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in all {
        // Nothing that is watched here has grandchildren.
        let ours = pid == root || field(pid, "PPid:") == Some(root.into());
        if let (true, Some(kib)) = (ours, field(pid, "VmHWM:")) {
            peaks.insert(pid, kib);
        }
    }
}
