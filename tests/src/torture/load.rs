//! Other work on the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Result;

/// Threads that compress all the time, at ordinary priority; dropping it ends them.
#[derive(Debug)]
pub(super) struct Load {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// So many threads.
    pub(super) fn start(threads: u32) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let start = |_| {
            let over = Arc::clone(&over);
            std::thread::Builder::new()
                .name("load".into())
                .spawn(move || compress(&over))
        };
        let threads = (0..threads).map(start).collect::<Result<_, _>>()?;
        Ok(Self { over, threads })
    }
}

fn compress(over: &AtomicBool) {
    // Numbers as text: neither noise nor all the same.
    let text: String = (0..200_000_u64).map(|n| (n * n).to_string()).collect();
    while !over.load(Ordering::Relaxed) {
        let compressed = zstd::encode_all(text.as_bytes(), 3).unwrap_or_default();
        std::hint::black_box(compressed);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
