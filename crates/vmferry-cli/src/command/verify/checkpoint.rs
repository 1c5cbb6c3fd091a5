//! Verifying a checkpoint: every digest, every reference, and each device against its description.

use std::sync::{Mutex, PoisonError};

use vmferry_store::Checkpoint;

use super::report::Report;
use super::stream::against_description;
use crate::args::{Global, Verify};
use crate::ui::{self, PassProgress};
use crate::view::count;
use crate::view::devices::Devices;
use crate::view::scan::SectionPlace;

/// Verifies it.
pub(super) fn verify<'a>(
    global: &Global,
    verify: &'a Verify,
    checkpoint: &Checkpoint,
) -> Report<'a> {
    let mut report = Report::new(verify, "checkpoint");
    // It was opened: these have been looked at.
    report.proven("its manifest and the table of its page map, against their digests");
    report.proven("that all its files are there, each with its length");
    if verify.quick {
        report.not_proven("its pages: --quick leaves them unread");
    } else {
        pages(global, &mut report, checkpoint);
    }
    devices(&mut report, checkpoint);
    report
}

fn pages(global: &Global, report: &mut Report<'_>, checkpoint: &Checkpoint) {
    let page = checkpoint.manifest().ram.page_size;
    let total = checkpoint.packed_pages().saturating_mul(page);
    let progress = Mutex::new(PassProgress::new(
        global.progress_style(),
        "verify",
        Some(total),
    ));
    let found = checkpoint.verify_with(&|pages| {
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.show(pages.saturating_mul(page));
    });
    if found.is_sound() {
        report.proven(format!(
            "{} in {}, each against its digest",
            count(found.pages, "page"),
            count(checkpoint.manifest().packs.len() as u64, "pack"),
        ));
        report.proven("that each page of the machine is zero, was never sent, or is in a pack");
    }
    for damage in &found.damages {
        report.damage(damage.to_string());
    }
    if !found.is_sound() {
        let bytes = ui::bytes(found.bytes);
        let pages = count(found.pages, "page");
        report.proven(format!(
            "{pages} against their digests, in {bytes} of packs"
        ));
    }
}

fn devices(report: &mut Report<'_>, checkpoint: &Checkpoint) {
    let stored = match checkpoint.device_state() {
        Ok(stored) => stored,
        // The full verification has said so already.
        Err(_) if !report.is_sound() => return,
        Err(error) => return report.damage(error.to_string()),
    };
    let places: Vec<_> = stored
        .devices()
        .map(|section| SectionPlace {
            offset: section.offset,
            split: section.split,
        })
        .collect();
    let state = stored.to_machine_state();
    report.proven("the state of its devices, against its digest");
    match Devices::new(&state) {
        Ok(devices) => against_description(report, &devices, &places),
        Err(error) => report.format_error(&error),
    }
}
