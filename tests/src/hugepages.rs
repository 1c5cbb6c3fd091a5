//! Huge pages for a guest's memory.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::cache::{self, Lock};

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
        let command = format!("sudo sh -c 'echo {} > {POOL}'", before + wanted);
        fs::write(POOL, (before + wanted).to_string())
            .with_context(|| format!("cannot reserve huge pages; this would: {command}"))?;
        let reserved = Self {
            before,
            _lock: lock,
        };
        let got = read()? - before;
        ensure!(
            got >= wanted,
            "the machine gave {got} of {wanted} huge pages: {command}"
        );
        Ok(reserved)
    }
}

impl Drop for Hugepages {
    fn drop(&mut self) {
        let _ = fs::write(POOL, self.before.to_string());
    }
}

fn read() -> Result<u64> {
    let text = fs::read_to_string(POOL).with_context(|| format!("cannot read {POOL}"))?;
    Ok(text.trim().parse()?)
}
