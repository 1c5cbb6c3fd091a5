//! Verifying a stream: its structure to its last byte, and each device against its description.

use anyhow::Result;
use vmferry::error::Error;
use vmferry::load::{AssumptionKind, Summary};
use vmferry::ram::BlockIndex;

use super::report::Report;
use crate::args::{Global, Verify};
use crate::devices_alone::{DEVICES_ALONE, is_devices_alone};
use crate::place::{SEVERAL_CHANNELS, Stream};
use crate::ui::{self, PassProgress};
use crate::view::count;
use crate::view::devices::{Devices, Undecoded};
use crate::view::scan::{Scan, SectionPlace};
use crate::view::scanned::Scanned;

/// Verifies it.
///
/// # Errors
/// It is no stream, or it cannot be read.
pub(super) fn verify<'a>(
    global: &Global,
    verify: &'a Verify,
    stream: Stream,
) -> Result<Report<'a>> {
    let mut report = Report::new(verify, "stream");
    let mut progress = PassProgress::new(global.progress_style(), "verify", stream.bytes);
    let mut show = |offset| progress.show(offset);
    let scanned = Scanned::read(stream, &mut show)?;
    let may_lack_channels = scanned.may_lack_channels();
    if scanned.container.is_compressed() {
        report.set_decompressed();
    }
    for damage in scanned.findings.damages() {
        report.damage(damage.to_string());
    }
    match scanned.stream_error() {
        Some(Error::Format(error)) => report.format_error(error),
        Some(error) if error.is_damage() => report.damage(error.to_string()),
        _ => {}
    }
    let Scanned {
        scan,
        findings,
        outcome,
        ..
    } = scanned;
    match outcome {
        Ok(summary) => structure(&mut report, &summary, &scan),
        Err(error) if error.is_damage() => {}
        Err(error) => return Err(error.into()),
    }
    if is_devices_alone(&scan.state, &scan.table) {
        report.part(DEVICES_ALONE);
    }
    for note in findings.notes() {
        report.not_proven(format!("what was passed over: {note}"));
    }
    if may_lack_channels {
        report.not_proven(format!("that this is all of it: {SEVERAL_CHANNELS}"));
    }
    devices(&mut report, &scan);
    // What is not read is said already.
    for assumption in &scan.assumptions.0 {
        if !matches!(assumption.kind, AssumptionKind::NotRead { .. }) {
            report.not_proven(format!("{assumption} (QEMU passes over that, too)"));
        }
    }
    report.not_proven("that pages hold what the guest had in them: a stream has no digests");
    Ok(report)
}

fn structure(report: &mut Report<'_>, summary: &Summary, scan: &Scan<'_>) {
    let bytes = ui::bytes(summary.bytes);
    report.proven(format!("the structure of all {bytes}, to the last byte"));
    if !scan.blocks.is_empty() {
        let records = count(summary.pages, "page record");
        let blocks = count(scan.blocks.len() as u64, "RAM block");
        report.proven(format!("{records} of {blocks}, each inside its block"));
    }
    if summary.xbzrle_pages + summary.compressed_pages > 0 {
        let xbzrle = count(summary.xbzrle_pages, "page");
        let compressed = count(summary.compressed_pages, "page");
        report.proven(format!(
            "{xbzrle} sent as differences and {compressed} sent compressed: they unpack"
        ));
    }
    every_page(report, scan);
    for section in &summary.other_sections {
        report.not_proven(format!("what is in section '{section}': it is passed over"));
    }
}

/// Whether all of the memory came.
fn every_page(report: &mut Report<'_>, scan: &Scan<'_>) {
    let mut whole = true;
    for (at, block) in scan.blocks.iter().enumerate() {
        let Some(missing) = scan.missing(BlockIndex(at)) else {
            report.not_proven("that every page came: there are too many to keep count");
            return;
        };
        if missing > 0 {
            whole = false;
            report.not_proven(format!(
                "that '{}' is whole: {} of {} never came (unplugged memory does not come)",
                block.idstr,
                count(missing, "page"),
                block.pages(scan.page_size)
            ));
        }
    }
    if whole && !scan.blocks.is_empty() {
        report.proven("every page of every RAM block came");
    }
}

fn devices(report: &mut Report<'_>, scan: &Scan<'_>) {
    let devices = match Devices::new(&scan.state) {
        Ok(devices) => devices,
        Err(error) => return report.format_error(&error),
    };
    against_description(report, &devices, &scan.places);
}

/// Each device against its description.
pub(super) fn against_description(
    report: &mut Report<'_>,
    devices: &Devices<'_>,
    places: &[SectionPlace],
) {
    let (mut decoded, mut not_described) = (0, 0);
    for device in devices.iter() {
        let place = places.get(device.index);
        match device.decode_in_stream(place.map_or(0, |place| place.offset)) {
            Ok(_) => decoded += 1,
            Err(Undecoded::NotDescribed) => not_described += 1,
            Err(error @ Undecoded::Misdescribed) => {
                report.not_proven(format!(
                    "what is in device section '{}': {error}",
                    device.name()
                ));
            }
            Err(Undecoded::Damaged(error)) => report.format_error(&error),
        }
    }
    if decoded > 0 {
        report.proven(format!(
            "{} against the description of each value, to the last byte",
            count(decoded, "device section")
        ));
    }
    if not_described > 0 {
        report.not_proven(format!(
            "what is in {}: nothing describes it",
            count(not_described, "device section")
        ));
    }
}
