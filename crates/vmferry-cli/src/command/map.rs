//! `vmferry map`: a picture of a guest's memory.

use std::process::ExitCode;

use anyhow::{Result, bail};
use serde::Serialize;
use vmferry::ram::layout::Layout;
use vmferry::ram::{PageSource, RamBlocks};

use crate::args::{self, Global};
use crate::devices_alone::has_memory;
use crate::map::{Bands, Census, Class, Heading, Map, Paper, share};
use crate::output::{Existing, Output, What};
use crate::saved::Saved;
use crate::ui::{self, Table};
use crate::view::known::of_state;
use crate::watch::{Watch, Watching};

/// What there is to say of a picture.
#[derive(Debug, Serialize)]
struct Drawn<'a> {
    schema: u32,
    what: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<&'a str>,
    output: String,
    width: usize,
    height: usize,
    page_size: u64,
    blocks: Vec<Block<'a>>,
    assumptions: &'a [String],
}

#[derive(Debug, Serialize)]
pub(super) struct Block<'a> {
    idstr: &'a str,
    pages: u64,
    #[serde(flatten)]
    found: Found,
}

/// Pages by their class.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) struct Found {
    never_sent_pages: u64,
    zero_pages: u64,
    text_pages: u64,
    compressible_pages: u64,
    incompressible_pages: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_pages: Option<u64>,
}

/// Runs it.
///
/// # Errors
/// There is no such state, it cannot be read, or the picture cannot be written.
pub fn run(global: &Global, options: &args::Map) -> Result<ExitCode> {
    let existing = Existing::forced(options.force);
    // Before the work, so that nothing is done in vain.
    Output::check(&options.output, What::Account, existing)?;
    let saved = Saved::open_or_rescue(global, &options.what, options.rescue)?;
    has_memory(&saved)?;
    let against = match &options.against {
        Some(what) => Some(Saved::open_or_rescue(global, what, options.rescue)?),
        None => None,
    };
    let shown = shown(&saved, options.block.as_deref())?;
    let heading = heading(options, &saved, &shown);
    let width = u64::from(options.width);
    let map = look(global, &saved, against.as_ref(), shown.bands, width, "map")?;
    let picture = map.picture(&heading, width);
    let path = options.output.display().to_string();
    Output::begin(&options.output, What::Account, existing)?
        .publish_with(&picture.png(Paper::White)?)?;
    if global.json {
        ui::print_json(&Drawn {
            schema: ui::SCHEMA,
            what: &options.what,
            against: options.against.as_deref(),
            output: path,
            width: picture.width(),
            height: picture.height(),
            page_size: map.page_bytes(),
            blocks: blocks(saved.blocks(), &map),
            assumptions: &shown.assumptions,
        })?;
    } else {
        ui::print_text(&table(&map))?;
        ui::note(format_args!("wrote {path}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Looks at all pages, with progress, until a signal says to end.
pub(super) fn look(
    global: &Global,
    saved: &Saved,
    against: Option<&Saved>,
    bands: Bands,
    width: u64,
    command: &'static str,
) -> Result<Map> {
    let what = Watching {
        command,
        done: "read",
    };
    let watch = Watch::new(global.progress_style(), what, saved.blocks().total_length())?;
    let against = against.map(|against| watch.over(against));
    let map = Map::of(&watch.over(saved), against.as_ref(), bands.shown, width);
    watch.interrupted()?;
    map
}

/// What is to be shown of a state, and where it lies, where that is known.
pub(super) struct Shown {
    pub(super) bands: Bands,
    pub(super) layout: Option<Layout>,
    /// What was taken for granted; or why nothing could be.
    pub(super) assumptions: Vec<String>,
}

/// What is to be shown: all, or one block.
pub(super) fn shown(saved: &Saved, block: Option<&str>) -> Result<Shown> {
    let (blocks, page_size) = (saved.blocks(), saved.page_size());
    if let Some(name) = block.filter(|name| blocks.find(name).is_none()) {
        let names: Vec<_> = blocks
            .iter()
            .map(|(_, block)| block.idstr.as_str())
            .collect();
        bail!("there is no RAM block '{name}', but {}", names.join(", "));
    }
    let layout = Layout::new(blocks, page_size, &of_state(saved.state(), blocks));
    let mut shown = match layout {
        Ok(layout) => Shown {
            bands: Bands::of_layout(&layout, blocks, page_size),
            assumptions: layout.assumptions.clone(),
            layout: Some(layout),
        },
        Err(error) => Shown {
            bands: Bands::of_blocks(blocks, page_size),
            assumptions: vec![format!("blocks are shown without addresses: {error}")],
            layout: None,
        },
    };
    shown.assumptions.extend(saved.damage());
    if let Some(name) = block {
        shown.bands.only(name);
    }
    Ok(shown)
}

fn heading(options: &args::Map, saved: &Saved, shown: &Shown) -> Heading {
    let machine = saved.state().configuration.as_ref();
    let machine = machine.map_or("a machine of unknown type", |c| &c.machine);
    let mut heading = Heading {
        title: options.what.clone(),
        lines: vec![format!(
            "{machine}, {} in {} RAM blocks",
            ui::bytes(saved.blocks().total_length()),
            saved.blocks().len()
        )],
        below: Vec::new(),
    };
    if let Some(against) = &options.against {
        let line = format!("changed: not what it is in {against}");
        heading.lines.push(line);
    }
    heading.below.extend(shown.assumptions.iter().cloned());
    if shown.bands.left_out > 0 {
        let line = format!("not shown: {} smaller RAM blocks", shown.bands.left_out);
        heading.below.push(line);
    }
    heading
}

/// What was found in each block.
pub(super) fn blocks<'a>(blocks: &'a RamBlocks, map: &Map) -> Vec<Block<'a>> {
    let found = |census: &Census| Found {
        never_sent_pages: census.of(Class::NeverSent),
        zero_pages: census.of(Class::Zero),
        text_pages: census.of(Class::Text),
        compressible_pages: census.of(Class::Compressible),
        incompressible_pages: census.of(Class::Incompressible),
        changed_pages: map.compared().then(|| census.of(Class::Changed)),
    };
    let blocks = blocks.iter().zip(map.blocks());
    blocks
        .map(|((_, block), census)| Block {
            idstr: &block.idstr,
            pages: census.pages(),
            found: found(census),
        })
        .collect()
}

fn table(map: &Map) -> String {
    let mut table = Table::new(&["WHAT IS SHOWN", ">SHARE", ">SIZE", ">PAGES"]);
    let sum = map.shown();
    for class in Class::ALL {
        if class != Class::Changed || map.compared() {
            let pages = sum.of(class);
            table.row([
                class.name().to_owned(),
                share(pages, sum.pages()),
                ui::bytes(pages.saturating_mul(map.page_bytes())),
                pages.to_string(),
            ]);
        }
    }
    table.to_string()
}
