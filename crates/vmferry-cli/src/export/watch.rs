//! How far an export is, and whether it is still wanted.

use anyhow::Result;

use crate::ui::{Progress, ProgressStyle, Signals, Snapshot};

/// Progress of an export; ends it when a signal asks for it.
#[derive(Debug)]
pub struct Watch {
    progress: Progress,
    signals: Signals,
    snapshot: Snapshot,
}

impl Watch {
    /// Of an export of so many bytes of memory.
    ///
    /// # Errors
    /// Signals cannot be caught.
    pub fn new(style: ProgressStyle, total: u64) -> Result<Self> {
        let mut snapshot = Snapshot::default();
        snapshot.ram.total = total;
        Ok(Self {
            progress: Progress::new(style, "export"),
            signals: Signals::catch()?,
            snapshot,
        })
    }

    /// Bytes have been written, or left out because they are zero.
    ///
    /// # Errors
    /// [`Interrupted`](crate::ui::Interrupted).
    pub fn advance(&mut self, data: u64, zero: u64) -> Result<()> {
        let ram = &mut self.snapshot.ram;
        ram.transferred += data + zero;
        ram.duplicate += zero;
        if let Ok(interrupted) = self.signals.receiver().try_recv() {
            return Err(interrupted.into());
        }
        self.progress.show("exported", &self.snapshot);
        Ok(())
    }

    /// Bytes of memory that were not zero, and bytes that were.
    pub fn counted(&self) -> (u64, u64) {
        let ram = &self.snapshot.ram;
        (ram.transferred - ram.duplicate, ram.duplicate)
    }
}
