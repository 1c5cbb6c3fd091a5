//! The page itself.

use std::fmt::Write;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use vmferry::ram::layout::{Kind, Layout};

use super::html::Text;
use super::{Report, bars};
use crate::map::{Class, Paper, share};
use crate::ui;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The digests of the two: the browser takes no other style, and runs no other script. A test says what they are.
const STYLE_DIGEST: &str = "Z0J8kI5w3JqF2gLSdsEj1oEW3rmgtHtQzfVsudIz3G4=";
const SCRIPT_DIGEST: &str = "30tQgTeg9YL3glMLjQv36JJ8zSLUWeWFVvSZIQqQH+o=";

/// Writes the page.
///
/// # Errors
/// A picture is too large.
pub(super) fn write(report: &Report<'_>) -> Result<String> {
    let mut page = String::with_capacity(report.tree.json.len() + (256 << 10));
    let title = Text(report.title);
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; \
         style-src 'sha256-{STYLE_DIGEST}'; script-src 'sha256-{SCRIPT_DIGEST}'; base-uri 'none'; \
         form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta name=\"generator\" content=\"vmferry {version}\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>{title} - vmferry report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#devices\">To the device state</a>\n\
         <header>\n<h1>{title}</h1>\n<p>{subtitle}</p>\n</header>\n\
         <nav aria-label=\"Contents\"><ul>",
        version = env!("CARGO_PKG_VERSION"),
        subtitle = Text(&report.subtitle()),
    )?;
    for (id, name) in [
        ("what", "What it is"),
        ("notes", "To be known"),
        ("memory", "Memory"),
        ("blocks", "RAM blocks"),
        ("sections", "Sections"),
        ("devices", "Device state"),
    ] {
        write!(page, "<li><a href=\"#{id}\">{name}</a></li>")?;
    }
    page.push_str("</ul></nav>\n<main>\n<div class=\"wide\">\n<div>\n");
    what(report, &mut page)?;
    notes(report, &mut page)?;
    blocks(report, &mut page)?;
    page.push_str("</div>\n<div>\n");
    memory(report, &mut page)?;
    page.push_str("</div>\n</div>\n");
    bars::sections(report, &mut page)?;
    devices(report, &mut page)?;
    write!(
        page,
        "</main>\n<footer>Made by vmferry {}. This page is one file, and fetches nothing.</footer>\n\
         <script>{SCRIPT}</script>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    )?;
    Ok(page)
}

fn what(report: &Report<'_>, page: &mut String) -> Result<()> {
    page.push_str("<section aria-labelledby=\"what\">\n<h2 id=\"what\">What it is</h2>\n<dl>\n");
    for (name, value) in &report.facts {
        writeln!(page, "<dt>{name}</dt><dd>{}</dd>", Text(value))?;
    }
    page.push_str("</dl>\n</section>\n");
    Ok(())
}

fn notes(report: &Report<'_>, page: &mut String) -> Result<()> {
    page.push_str("<section aria-labelledby=\"notes\">\n<h2 id=\"notes\">To be known</h2>\n");
    if report.warnings.is_empty() && report.assumptions.is_empty() {
        page.push_str("<p>Nothing was found that should be known.</p>\n");
    } else {
        page.push_str("<ul class=\"warnings\">\n");
        for warning in &report.warnings {
            let text = Text(warning);
            writeln!(page, "<li class=\"warning\"><b>Warning:</b> {text}</li>")?;
        }
        for assumption in &report.assumptions {
            writeln!(page, "<li>{}</li>", Text(assumption))?;
        }
        page.push_str("</ul>\n");
    }
    page.push_str("</section>\n");
    Ok(())
}

fn blocks(report: &Report<'_>, page: &mut String) -> Result<()> {
    page.push_str(
        "<section aria-labelledby=\"blocks\">\n<h2 id=\"blocks\">RAM blocks</h2>\n<div class=\"scroll\"><table>\n\
         <thead><tr><th scope=\"col\">name</th><th scope=\"col\" class=\"number\">size</th>\
         <th scope=\"col\" class=\"number optional\">pages</th><th scope=\"col\" class=\"number\">with data</th>\
         <th scope=\"col\">what they hold</th></tr></thead>\n<tbody>\n",
    );
    for ((_, block), census) in report.blocks.iter().zip(report.map.blocks()) {
        let pages = census.pages();
        let empty = census.of(Class::NeverSent) + census.of(Class::Zero);
        write!(
            page,
            "<tr><td class=\"name\"><code>{}</code></td><td class=\"number\">{}</td><td class=\"number optional\">{pages}</td>\
             <td class=\"number\">{}</td><td class=\"bar\">",
            Text(&block.idstr),
            ui::bytes(block.used_length),
            share(pages - empty, pages),
        )?;
        bars::stacked(census, page)?;
        page.push_str("</td></tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
    if let Some(layout) = &report.layout {
        table_of_addresses(report, layout, page)?;
    }
    page.push_str("</section>\n");
    Ok(())
}

/// Where the guest sees which block.
fn table_of_addresses(report: &Report<'_>, layout: &Layout, page: &mut String) -> Result<()> {
    page.push_str(
        "<h3>Guest-physical layout</h3>\n<div class=\"scroll\"><table>\n<thead><tr>\
         <th scope=\"col\">RAM block</th><th scope=\"col\" class=\"number\">from</th>\
         <th scope=\"col\" class=\"number\">to</th><th scope=\"col\" class=\"number optional\">size</th>\
         <th scope=\"col\" class=\"number optional\">offset in it</th><th scope=\"col\" class=\"optional\">what</th>\
         </tr></thead>\n<tbody>\n",
    );
    for segment in &layout.segments {
        let what = match segment.kind {
            Kind::Ram => "RAM",
            Kind::Device => "memory of a device",
            Kind::Firmware => "firmware",
        };
        let block = report.blocks.get(segment.block);
        writeln!(
            page,
            "<tr><td><code>{}</code></td><td class=\"number\">{:#x}</td><td class=\"number\">{:#x}</td>\
             <td class=\"number optional\">{}</td><td class=\"number optional\">{:#x}</td>\
             <td class=\"optional\">{what}</td></tr>",
            Text(block.map_or("?", |block| &block.idstr)),
            segment.address,
            segment.end().saturating_sub(1),
            ui::bytes(segment.len),
            segment.offset,
        )?;
    }
    page.push_str("</tbody></table></div>\n");
    Ok(())
}

fn memory(report: &Report<'_>, page: &mut String) -> Result<()> {
    let map = report.map;
    page.push_str("<section aria-labelledby=\"memory\">\n<h2 id=\"memory\">Memory</h2>\n");
    page.push_str(
        "<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">pages that are</th>\
         <th scope=\"col\" class=\"number\">share</th><th scope=\"col\" class=\"number\">size</th>\
         <th scope=\"col\" class=\"optional\">which means</th></tr></thead>\n<tbody>\n",
    );
    let sum = map.shown();
    for class in Class::ALL {
        if class == Class::Changed && !map.compared() {
            continue;
        }
        let pages = sum.of(class);
        writeln!(
            page,
            "<tr><td><span class=\"swatch {}\"></span>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>\
             <td class=\"optional\">{}</td></tr>",
            bars::style(class),
            class.name(),
            share(pages, sum.pages()),
            ui::bytes(pages.saturating_mul(map.page_bytes())),
            class.meaning(),
        )?;
    }
    page.push_str("</tbody></table></div>\n");
    for (band, cells) in map.bands() {
        let canvas = cells.draw();
        let scale = cells.scale();
        let bytes = |pages: u64| pages.saturating_mul(map.page_bytes());
        let start = band.address.unwrap_or_else(|| bytes(band.first));
        let place = match band.address {
            Some(address) => format!("guest-physical {address:#x}, "),
            None => String::new(),
        };
        let square = match scale.pages {
            1 => "a page".into(),
            pages => format!("{pages} pages"),
        };
        let name = Text(&band.idstr);
        write!(
            page,
            "<figure>\n<figcaption><b><code>{name}</code></b> <span>{place}{}; a square is {square}, a row {}</span> \
             <output class=\"mono\"></output></figcaption>\n<div class=\"band\"><ol class=\"ticks\" aria-hidden=\"true\">",
            ui::bytes(bytes(band.pages)),
            ui::bytes(bytes(scale.row())),
        )?;
        let rows = scale.rows(cells.pages()).max(1) as f64;
        for (row, address) in cells.ticks(start, map.page_bytes()) {
            let top = row as f64 * 100.0 / rows;
            write!(page, "<li data-top=\"{top:.2}\">{address:#x}</li>")?;
        }
        writeln!(
            page,
            "</ol><img width=\"{}\" height=\"{}\" alt=\"Squares by address: what the pages of {name} hold; the shares \
             are in the tables\" data-start=\"{start}\" data-length=\"{}\" data-cell=\"{}\" data-columns=\"{}\" \
             data-side=\"{}\" src=\"data:image/png;base64,{}\"></div>\n</figure>",
            canvas.width(),
            canvas.height(),
            bytes(band.pages),
            bytes(scale.pages),
            scale.columns,
            scale.side,
            STANDARD.encode(canvas.png(Paper::White)?),
        )?;
    }
    page.push_str("</section>\n");
    Ok(())
}

fn devices(report: &Report<'_>, page: &mut String) -> Result<()> {
    write!(
        page,
        "<section aria-labelledby=\"devices\">\n<h2 id=\"devices\">Device state</h2>\n\
         <noscript><p>The tree of {values} values is made by the page's script, which does not run here.</p></noscript>\n\
         <div id=\"finder\" role=\"search\" hidden><label for=\"search\">Search</label>\n\
         <input id=\"search\" type=\"search\" autocomplete=\"off\" spellcheck=\"false\" \
         placeholder=\"a name, a value: cpu eip\" aria-describedby=\"matches\">\n\
         <button type=\"button\" id=\"fold\">Fold all</button>\n\
         <span id=\"matches\" role=\"status\"></span>\n<span id=\"place\" class=\"mono\"></span></div>\n\
         <ul id=\"tree\" role=\"tree\" aria-labelledby=\"devices\"></ul>\n\
         <script type=\"application/json\" id=\"device-data\">{json}</script>\n</section>\n",
        values = report.tree.values,
        json = report.tree.json,
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    /// What Content-Security-Policy wants of a text, by a program of Debian's base system.
    fn digest(text: &str) -> String {
        let mut command = Command::new("sha256sum");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("coreutils are there");
        let mut input = child.stdin.take().expect("it is piped");
        input.write_all(text.as_bytes()).expect("it is read");
        drop(input);
        let output = child.wait_with_output().expect("it ends");
        let hex = String::from_utf8(output.stdout).expect("it is text");
        let bytes: Vec<u8> = (0..32)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("it is a number"))
            .collect();
        STANDARD.encode(bytes)
    }

    #[test]
    fn the_browser_is_told_the_digests_of_style_and_script() {
        assert_eq!(STYLE_DIGEST, digest(STYLE), "STYLE_DIGEST");
        assert_eq!(SCRIPT_DIGEST, digest(SCRIPT), "SCRIPT_DIGEST");
    }

    #[test]
    fn nothing_of_ours_ends_its_element() {
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</"));
    }
}
