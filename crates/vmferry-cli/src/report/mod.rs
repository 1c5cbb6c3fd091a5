//! A report: one page of HTML with everything in it, for a browser without a network.
//!
//! Whatever comes from the state is untrusted text. It reaches the page through [`html`] alone, and the page
//! forbids the browser every style and script but its own, by their digests, and to fetch anything.

mod bars;
mod devices;
mod facts;
mod html;
mod page;

use anyhow::Result;
use vmferry::machine::MachineState;
use vmferry::ram::layout::Layout;
use vmferry::ram::{PageSource, RamBlocks};

use crate::map::Map;
use crate::saved::Saved;
use crate::ui;
use crate::view::devices::Devices;
use devices::Tree;
use facts::Facts;

/// What a page is made of.
pub(crate) struct Report<'a> {
    title: &'a str,
    facts: Facts,
    warnings: Vec<String>,
    assumptions: Vec<String>,
    layout: Option<Layout>,
    state: &'a MachineState,
    blocks: &'a RamBlocks,
    map: &'a Map,
    tree: Tree,
}

impl<'a> Report<'a> {
    /// Gathers it. `assumptions` are what was taken for granted for the layout, sentences.
    ///
    /// # Errors
    /// The devices cannot be written as JSON.
    pub(crate) fn of(
        title: &'a str,
        saved: &'a Saved,
        map: &'a Map,
        layout: Option<Layout>,
        assumptions: Vec<String>,
    ) -> Result<Self> {
        let mut warnings = facts::warnings(saved);
        let tree = match Devices::new(saved.state()) {
            Ok(devices) => Tree::of(&devices)?,
            Err(error) => {
                let error = ui::chain(&error.into());
                warnings.push(format!(
                    "The description of the devices cannot be read: {error}"
                ));
                let without = MachineState {
                    vmdesc: None,
                    ..saved.state().clone()
                };
                Tree::of(&Devices::new(&without)?)?
            }
        };
        warnings.extend(tree.warnings.iter().cloned());
        Ok(Self {
            title,
            facts: facts::of(saved),
            warnings,
            assumptions,
            layout,
            state: saved.state(),
            blocks: saved.blocks(),
            map,
            tree,
        })
    }

    /// The page.
    ///
    /// # Errors
    /// A picture is too large.
    pub(crate) fn page(&self) -> Result<String> {
        page::write(self)
    }

    /// Sentences that should not be overlooked.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What was taken for granted.
    pub(crate) fn assumptions(&self) -> &[String] {
        &self.assumptions
    }

    /// Lines of the tree of devices.
    pub(crate) fn values(&self) -> u64 {
        self.tree.values
    }

    fn subtitle(&self) -> String {
        let machine = self.state.configuration.as_ref();
        let machine = machine.map_or("a machine of unknown type", |c| &c.machine);
        format!(
            "{machine}, {} of memory, {} device sections",
            ui::bytes(self.blocks.total_length()),
            self.state.devices.len()
        )
    }
}
