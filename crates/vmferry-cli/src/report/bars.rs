//! Charts of bars: how large the sections are, and what is in a RAM block.

use std::fmt::Write;

use anyhow::Result;

use super::Report;
use super::html::Text;
use crate::map::{Census, Class};
use crate::ui;

/// A class's name in the style sheet.
pub(super) fn style(class: Class) -> &'static str {
    match class {
        Class::NeverSent => "never",
        Class::Zero => "zero",
        Class::Text => "text",
        Class::Compressible => "compressible",
        Class::Incompressible => "incompressible",
        Class::Changed => "changed",
    }
}

/// A bar of the classes of a block. The numbers are in words, for those who do not see it.
pub(super) fn stacked(census: &Census, page: &mut String) -> Result<()> {
    let pages = census.pages();
    let said: Vec<_> = Class::ALL
        .into_iter()
        .filter(|class| census.of(*class) > 0)
        .map(|class| {
            let share = crate::map::share(census.of(class), pages);
            format!("{} {share}", class.name())
        })
        .collect();
    let said = said.join(", ");
    write!(
        page,
        "<svg class=\"stack\" role=\"img\" aria-label=\"{said}\"><title>{said}</title>"
    )?;
    let mut left = 0.0;
    for class in Class::ALL {
        if census.of(class) > 0 {
            let width = part(census.of(class), pages);
            let style = style(class);
            write!(
                page,
                "<rect class=\"{style}\" x=\"{left:.2}%\" width=\"{width:.2}%\" height=\"100%\"/>"
            )?;
            left += width;
        }
    }
    page.push_str("</svg>");
    Ok(())
}

/// The sections: the largest as bars, and all of them in the order of the stream.
pub(super) fn sections(report: &Report<'_>, page: &mut String) -> Result<()> {
    let devices = &report.state.devices;
    let size = |at: usize| {
        devices
            .get(at)
            .map_or(0, |device| device.payload_len() as u64)
    };
    let sum: u64 = (0..devices.len()).map(size).sum();
    let described = report.state.vmdesc.as_ref().map_or(0, Vec::len) as u64;
    write!(
        page,
        "<section aria-labelledby=\"sections\">\n<h2 id=\"sections\">Sections</h2>\n\
         <p>{} device sections, {} in all; their description is {}.</p>\n",
        devices.len(),
        ui::bytes(sum),
        ui::bytes(described),
    )?;
    let mut order: Vec<usize> = (0..devices.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(size(*at)));
    let largest = order.first().map_or(1, |at| size(*at)).max(1);
    order.truncate(LARGEST);
    page.push_str(
        "<div class=\"wide\">\n<div class=\"scroll\"><table>\n<caption>The largest</caption>\n",
    );
    head(page, "share of the largest");
    for at in order {
        row(report, at, largest, page)?;
    }
    page.push_str("</tbody></table></div>\n");
    if devices.len() > LARGEST {
        write!(
            page,
            "<details><summary>All {} in the order of the stream</summary>\n<div class=\"scroll\"><table>\n",
            devices.len()
        )?;
        head(page, "share of the largest");
        for at in 0..devices.len() {
            row(report, at, largest, page)?;
        }
        page.push_str("</tbody></table></div></details>\n");
    }
    page.push_str("</div>\n</section>\n");
    Ok(())
}

fn head(page: &mut String, bar: &str) {
    page.push_str("<thead><tr><th scope=\"col\">section</th><th scope=\"col\" class=\"number optional\">version</th>");
    page.push_str("<th scope=\"col\" class=\"number\">bytes</th><th scope=\"col\">");
    page.push_str(bar);
    page.push_str("</th></tr></thead>\n<tbody>\n");
}

fn row(report: &Report<'_>, at: usize, largest: u64, page: &mut String) -> Result<()> {
    let Some(device) = report.state.devices.get(at) else {
        return Ok(());
    };
    let header = device.header();
    let instance = match header.instance_id {
        0 => String::new(),
        instance => format!(":{instance}"),
    };
    writeln!(
        page,
        "<tr><td class=\"name\"><code>{}{instance}</code></td><td class=\"number optional\">{}</td>\
         <td class=\"number\">{}</td><td class=\"bar\"><svg aria-hidden=\"true\"><rect class=\"fill\" \
         width=\"{:.2}%\" height=\"100%\"/></svg></td></tr>",
        Text(&header.idstr),
        header.version_id,
        device.payload_len(),
        part(device.payload_len() as u64, largest),
    )?;
    Ok(())
}

/// In percent.
fn part(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

/// So many sections have a bar.
const LARGEST: usize = 16;
