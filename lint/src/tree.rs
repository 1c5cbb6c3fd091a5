//! The modules of a crate.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use crate::paths::{self, NamedPath};

/// How many names a path may lead through: more are a circle of `pub use`.
const MOST_NAMES: u32 = 32;

/// A module with a file of its own; modules inside a file belong to it.
#[derive(Debug)]
pub(crate) struct Module {
    /// Its names from the crate's root, whose own list is empty.
    pub(crate) path: Vec<String>,
    pub(crate) file: PathBuf,
    pub(crate) names: Vec<NamedPath>,
}

/// All modules of a crate, by their paths.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) modules: BTreeMap<Vec<String>, Module>,
}

/// That the source text of one module names another module.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    pub(crate) from: Vec<String>,
    pub(crate) to: Vec<String>,
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
    pub(crate) text: String,
}

impl Tree {
    /// Reads the crate with this root file.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        let folder = root.parent().context("the root file has no folder")?;
        tree.add(Vec::new(), root, folder)?;
        Ok(tree)
    }

    /// Adds the module in `file`, and its children, whose files are in `folder`.
    fn add(&mut self, path: Vec<String>, file: &Path, folder: &Path) -> Result<()> {
        let source =
            fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let tokens = source
            .parse()
            .map_err(|error| anyhow!("{}: {error}", file.display()))?;
        let contents = paths::read(tokens);
        for module in &contents.modules {
            let below = folder.join(&module.name);
            let own = folder.join(format!("{}.rs", module.name));
            let own = if own.exists() {
                own
            } else {
                below.join("mod.rs")
            };
            let mut path = path.clone();
            path.push(module.name.clone());
            self.add(path, &own, &below)?;
        }
        let module = Module {
            path: path.clone(),
            file: file.to_owned(),
            names: contents.paths,
        };
        self.modules.insert(path, module);
        Ok(())
    }

    /// Every mention of another module.
    pub(crate) fn edges(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        for module in self.modules.values() {
            for name in &module.names {
                let Some(to) = self.module_of(module, &name.segments, MOST_NAMES) else {
                    continue;
                };
                edges.push(Edge {
                    from: module.path.clone(),
                    to,
                    file: module.file.clone(),
                    line: name.line,
                    text: name.segments.join("::"),
                });
            }
        }
        edges
    }

    /// The module in which a path ends that stands in `module`; none if it leads out of the crate.
    fn module_of(
        &self,
        module: &Module,
        segments: &[String],
        names_left: u32,
    ) -> Option<Vec<String>> {
        let (first, rest) = segments.split_first()?;
        match first.as_str() {
            "crate" => self.follow(Vec::new(), rest, names_left),
            "self" => self.follow(module.path.clone(), rest, names_left),
            "super" => {
                let (_, parent) = module.path.split_last()?;
                self.module_of(&self.modules[parent], &prefixed("self", rest), names_left)
            }
            // A child of this module, or a name of another crate.
            name => {
                let mut child = module.path.clone();
                child.push(name.to_owned());
                self.modules
                    .contains_key(&child)
                    .then(|| self.follow(child, rest, names_left))?
            }
        }
    }

    fn follow(
        &self,
        mut at: Vec<String>,
        segments: &[String],
        names_left: u32,
    ) -> Option<Vec<String>> {
        for (index, segment) in segments.iter().enumerate() {
            if segment == "super" {
                at.pop()?;
                continue;
            }
            at.push(segment.clone());
            if self.modules.contains_key(&at) {
                continue;
            }
            at.pop();
            // A name that the module has from elsewhere stands for what it names.
            let module = &self.modules[&at];
            let known = module
                .names
                .iter()
                .find(|name| name.binding.as_deref() == Some(segment));
            return match known {
                Some(name) if names_left > 0 => {
                    let mut path = name.segments.clone();
                    path.extend_from_slice(&segments[index + 1..]);
                    self.module_of(module, &path, names_left - 1)
                }
                _ => Some(at),
            };
        }
        Some(at)
    }
}

fn prefixed(first: &str, rest: &[String]) -> Vec<String> {
    std::iter::once(first.to_owned())
        .chain(rest.iter().cloned())
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A crate of these modules (`a/b`) with these texts.
    pub(crate) fn tree(modules: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (path, source) in modules {
            let path: Vec<_> = path
                .split('/')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect();
            let file = PathBuf::from(path.join("/"));
            let names = paths::read(source.parse().unwrap()).paths;
            tree.modules
                .insert(path.clone(), Module { path, file, names });
        }
        tree
    }

    fn edges(modules: &[(&str, &str)]) -> Vec<String> {
        let edges = tree(modules).edges();
        edges
            .iter()
            .map(|edge| format!("{} -> {}", edge.from.join("::"), edge.to.join("::")))
            .collect()
    }

    #[test]
    fn a_path_leads_to_the_deepest_module_in_it() {
        let found = edges(&[
            ("", ""),
            ("a", "use crate::b::c::Thing;"),
            ("b", ""),
            ("b/c", ""),
        ]);
        assert_eq!(found, ["a -> b::c"]);
    }

    #[test]
    fn a_name_from_elsewhere_stands_for_what_it_names() {
        let found = edges(&[
            ("", "pub use a::Thing;"),
            ("a", "pub use c::Thing;"),
            ("a/b", "use super::Thing;"),
            ("a/c", ""),
            ("d", "use crate::Thing;"),
        ]);
        assert_eq!(
            found,
            [" -> a::c", "a -> a::c", "a::b -> a::c", "d -> a::c"]
        );
    }

    #[test]
    fn a_name_from_another_crate_is_no_edge() {
        let found = edges(&[
            ("", ""),
            ("a", "use std::io; use crate::b::io;"),
            ("b", "use std::io;"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn names_that_stand_for_each_other_come_to_an_end() {
        let found = edges(&[
            ("", ""),
            ("a", "pub use crate::b::T;"),
            ("b", "pub use crate::a::T;"),
        ]);
        assert_eq!(found.len(), 2);
    }
}
