//! Circles between the children of a module.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use crate::tree::{Edge, Tree};

/// Modules of one folder that know each other in a circle.
#[derive(Debug)]
pub(crate) struct Circle {
    /// Each with one of the lines by which it knows the next one; the last one knows the first.
    steps: Vec<Edge>,
    depth: usize,
}

/// The shortest circle through each group of children that know each other, for every module of the crate.
pub(crate) fn find(tree: &Tree) -> Vec<Circle> {
    let edges = tree.edges();
    tree.modules
        .keys()
        .flat_map(|parent| among_children(parent, &edges))
        .collect()
}

/// What a child knows of its siblings: one line for each of them.
type Graph<'a> = BTreeMap<&'a str, BTreeMap<&'a str, &'a Edge>>;

fn among_children(parent: &[String], edges: &[Edge]) -> Vec<Circle> {
    let depth = parent.len();
    let child_of = |path: &'_ [String]| {
        path.starts_with(parent)
            .then(|| path.get(depth))
            .flatten()
            .is_some()
    };
    let mut graph = Graph::new();
    for edge in edges
        .iter()
        .filter(|edge| child_of(&edge.from) && child_of(&edge.to))
    {
        let (from, to) = (edge.from[depth].as_str(), edge.to[depth].as_str());
        if from != to {
            graph.entry(from).or_default().entry(to).or_insert(edge);
        }
    }
    let mut seen = BTreeSet::new();
    let mut circles = Vec::new();
    for start in graph.keys() {
        let Some(steps) = shortest(&graph, start) else {
            continue;
        };
        // A circle is found from each of its members: it is reported once.
        let members: BTreeSet<_> = steps.iter().map(|edge| edge.from[depth].clone()).collect();
        if seen.insert(members) {
            circles.push(Circle {
                steps: steps.into_iter().cloned().collect(),
                depth,
            });
        }
    }
    circles
}

/// The shortest way from `start` back to it.
fn shortest<'a>(graph: &Graph<'a>, start: &str) -> Option<Vec<&'a Edge>> {
    let mut ways: VecDeque<(&str, Vec<&'a Edge>)> = VecDeque::from([(start, Vec::new())]);
    let mut visited = BTreeSet::new();
    while let Some((at, way)) = ways.pop_front() {
        for (&next, &edge) in graph.get(at).into_iter().flatten() {
            let mut longer = way.clone();
            longer.push(edge);
            if next == start {
                return Some(longer);
            }
            if visited.insert(next) {
                ways.push_back((next, longer));
            }
        }
    }
    None
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self
            .steps
            .iter()
            .map(|edge| edge.from[..=self.depth].join("::"));
        let names: Vec<_> = names.collect();
        write!(f, "circle: {} -> {}", names.join(" -> "), names[0])?;
        for edge in &self.steps {
            write!(
                f,
                "\n    {}:{}: {}",
                edge.file.display(),
                edge.line,
                edge.text
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::tree;

    fn found(modules: &[(&str, &str)]) -> Vec<String> {
        let first_line = |circle: &Circle| {
            circle
                .to_string()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        find(&tree(modules)).iter().map(first_line).collect()
    }

    #[test]
    fn one_way_is_no_circle() {
        let modules = [
            ("", ""),
            ("a", "use crate::b::B;"),
            ("b", "use crate::c::C;"),
            ("c", ""),
        ];
        assert!(found(&modules).is_empty());
    }

    #[test]
    fn a_circle_is_reported_once_with_its_lines() {
        let modules = [
            ("", ""),
            ("a", "use crate::b::B;"),
            ("b", "\nuse crate::c::C;"),
            ("c", "use crate::a::A;"),
        ];
        assert_eq!(found(&modules), ["circle: a -> b -> c -> a"]);
        let circle = find(&tree(&modules))[0].to_string();
        assert!(circle.contains("\n    b:2: crate::c::C"), "{circle}");
    }

    #[test]
    fn folders_know_each_other_through_their_files() {
        let modules = [
            ("", ""),
            ("load", ""),
            ("load/image", "use crate::save::State;"),
            ("save", ""),
            ("save/forward", "use crate::load::image::Image;"),
        ];
        assert_eq!(found(&modules), ["circle: load -> save -> load"]);
    }

    #[test]
    fn parent_and_child_may_know_each_other() {
        let modules = [
            ("", ""),
            ("a", "use b::B;"),
            ("a/b", "use super::A; use crate::a::A2;"),
        ];
        assert!(found(&modules).is_empty());
    }

    #[test]
    fn siblings_that_meet_in_their_parent_are_seen() {
        let modules = [
            ("", ""),
            ("a", "pub use b::B; pub use c::C;"),
            ("a/b", "use super::C;"),
            ("a/c", "use super::B;"),
        ];
        assert_eq!(found(&modules), ["circle: a::b -> a::c -> a::b"]);
    }
}
