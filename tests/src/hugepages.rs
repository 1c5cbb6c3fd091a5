//! Huge pages for a guest's memory.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::cache::{self, Lock};
use crate::root::{as_root, run};

const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

/// Reserved huge pages of 2 MiB; dropping it gives them back.
#[derive(Debug)]
pub struct Hugepages {
    before: u64,
    /// The pool is the machine's: one user at a time.
    _lock: Lock,
}

impl Hugepages {
    /// Reserves enough for guests with `mib` MiB altogether.
    ///
    /// # Errors
    /// We may not, or the machine has not so much memory in one piece.
    pub fn reserve(mib: u32) -> Result<Self> {
        let lock = Lock::wait(&cache::folder()?, "hugepages")?;
        let wanted = u64::from(mib.div_ceil(2));
        let before = read()?;
        write(before + wanted).context("cannot reserve huge pages")?;
        let reserved = Self {
            before,
            _lock: lock,
        };
        let got = read()? - before;
        ensure!(
            got >= wanted,
            "the machine gave {got} of {wanted} huge pages of 2 MiB"
        );
        Ok(reserved)
    }
}

impl Drop for Hugepages {
    fn drop(&mut self) {
        let _ = write(self.before);
    }
}

fn write(pages: u64) -> Result<()> {
    run(as_root("sh").args(["-c", &format!("echo {pages} > {POOL}")]))
}

fn read() -> Result<u64> {
    let text = fs::read_to_string(POOL).with_context(|| format!("cannot read {POOL}"))?;
    Ok(text.trim().parse()?)
}
