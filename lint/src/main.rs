//! Looks for circles between the modules of crates: `vmferry-lint circles SRC...`.
//!
//! | module | what it is |
//! |---|---|
//! | [`paths`] | the paths that a file names, without those of its tests |
//! | [`tree`] | the modules of a crate, and which module a path leads to |
//! | [`circles`] | the circles among the children of each module |
//!
//! A parent and its children may know each other. Siblings may not know each other in a circle, nor may what
//! stands in their folders: the check holds at every level.

mod circles;
mod paths;
mod tree;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some("circles") {
        bail!("usage: vmferry-lint circles SRC...");
    }
    let roots: Vec<_> = arguments.collect();
    if roots.is_empty() {
        bail!("usage: vmferry-lint circles SRC...");
    }
    let mut found = 0;
    for root in &roots {
        let tree = tree::Tree::read(&Path::new(root).join("lib.rs"))?;
        for circle in circles::find(&tree) {
            found += 1;
            println!("{circle}");
        }
    }
    if found > 0 {
        eprintln!("{found} circles between modules");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
