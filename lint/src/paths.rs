//! The paths that a source file names.

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};

/// A path in a file: `crate::load::Visitor`, or `super::ram`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedPath {
    pub(crate) segments: Vec<String>,
    /// The name by which a `use` makes it known, if it does.
    pub(crate) binding: Option<String>,
    /// Counted from 1.
    pub(crate) line: usize,
}

/// A module that a file declares without a body: `mod ram;`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) name: String,
}

/// What a file says of modules.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) paths: Vec<NamedPath>,
    pub(crate) modules: Vec<Declared>,
}

/// Reads tokens rather than syntax, so that paths inside macros are seen like all others. What is compiled for
/// tests only is passed over, as are comments.
pub(crate) fn read(tokens: TokenStream) -> Contents {
    let mut contents = Contents::default();
    walk(tokens, &mut contents);
    contents
}

fn walk(tokens: TokenStream, contents: &mut Contents) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Punct(mark) if mark.as_char() == '#' => {
                at = match tokens.get(at + 1) {
                    Some(TokenTree::Group(group)) if is_for_tests(group) => {
                        skip_item(&tokens, at + 2)
                    }
                    _ => at + 1,
                };
            }
            TokenTree::Ident(word) if word == "mod" => {
                if let (Some(TokenTree::Ident(name)), Some(TokenTree::Punct(end))) =
                    (tokens.get(at + 1), tokens.get(at + 2))
                {
                    if end.as_char() == ';' {
                        contents.modules.push(Declared {
                            name: name.to_string(),
                        });
                    }
                }
                at += 1;
            }
            TokenTree::Ident(word) if word == "use" => {
                at = read_path(&tokens, at + 1, &mut Vec::new(), true, &mut contents.paths)
                    .max(at + 1);
            }
            // A path of a crate, of the parent, or of the module itself; `::` must follow, or it is a visibility.
            TokenTree::Ident(word) if begins_path(word) && is_separator(&tokens, at + 1) => {
                at =
                    read_path(&tokens, at, &mut Vec::new(), false, &mut contents.paths).max(at + 1);
            }
            TokenTree::Group(group) => {
                walk(group.stream(), contents);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

fn begins_path(word: &Ident) -> bool {
    word == "crate" || word == "super" || word == "self"
}

/// `cfg(test)`, and whatever else names `test` among its conditions.
fn is_for_tests(attribute: &Group) -> bool {
    let mut tokens = attribute.stream().into_iter();
    let is_cfg = matches!(tokens.next(), Some(TokenTree::Ident(word)) if word == "cfg");
    is_cfg
        && tokens
            .next()
            .is_some_and(|condition| names_test(&condition))
}

fn names_test(token: &TokenTree) -> bool {
    match token {
        TokenTree::Ident(word) => word == "test",
        TokenTree::Group(group) => {
            let mut negated = false;
            group.stream().into_iter().any(|token| {
                let found = !negated && names_test(&token);
                negated = matches!(&token, TokenTree::Ident(word) if word == "not");
                found
            })
        }
        _ => false,
    }
}

/// The place after the item that begins at `at`: after its `;`, or its block.
fn skip_item(tokens: &[TokenTree], at: usize) -> usize {
    let ends = |token: &TokenTree| match token {
        TokenTree::Punct(mark) => mark.as_char() == ';',
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        _ => false,
    };
    let length = tokens[at..]
        .iter()
        .position(ends)
        .map_or(tokens.len() - at, |end| end + 1);
    at + length
}

fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    let is_colon = |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(mark)) if mark.as_char() == ':');
    is_colon(tokens.get(at)) && is_colon(tokens.get(at + 1))
}

/// Reads a path, or a tree of them as `use` has it; gives the place after it.
fn read_path(
    tokens: &[TokenTree],
    mut at: usize,
    prefix: &mut Vec<String>,
    is_use: bool,
    found: &mut Vec<NamedPath>,
) -> usize {
    let depth = prefix.len();
    let mut line = 0;
    let mut binding = None;
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(word)) => {
                line = word.span().start().line;
                binding = is_use.then(|| word.to_string());
                // `use module::{self}` means the module.
                if word != "self" || prefix.is_empty() {
                    prefix.push(word.to_string());
                } else if is_use {
                    binding = prefix.last().cloned();
                }
                at += 1;
            }
            Some(TokenTree::Group(group)) if is_use && group.delimiter() == Delimiter::Brace => {
                let members: Vec<_> = group.stream().into_iter().collect();
                let mut member = 0;
                while member < members.len() {
                    member = read_path(&members, member, prefix, true, found).max(member + 1);
                }
                prefix.truncate(depth);
                return at + 1;
            }
            // A glob: the module before it.
            Some(TokenTree::Punct(mark)) if is_use && mark.as_char() == '*' => {
                line = mark.span().start().line;
                binding = None;
                at += 1;
            }
            _ => break,
        }
        if !is_separator(tokens, at) {
            break;
        }
        at += 2;
    }
    if let (Some(TokenTree::Ident(word)), Some(TokenTree::Ident(name)), true) =
        (tokens.get(at), tokens.get(at + 1), is_use)
    {
        if word == "as" {
            binding = Some(name.to_string());
            at += 2;
        }
    }
    if line > 0 {
        found.push(NamedPath {
            segments: prefix.clone(),
            binding,
            line,
        });
    }
    prefix.truncate(depth);
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(source: &str) -> Vec<String> {
        let contents = read(source.parse().unwrap());
        contents
            .paths
            .iter()
            .map(|path| path.segments.join("::"))
            .collect()
    }

    #[test]
    fn every_branch_of_a_use_is_a_path() {
        let source = "use crate::load::{self, ram::{Page, Block as B}, *};";
        assert_eq!(
            paths(source),
            [
                "crate::load",
                "crate::load::ram::Page",
                "crate::load::ram::Block",
                "crate::load"
            ]
        );
    }

    #[test]
    fn a_use_makes_its_last_name_known_or_another() {
        let contents = read("use crate::a::{B as C, d::{self}, E};".parse().unwrap());
        let bindings: Vec<_> = contents
            .paths
            .iter()
            .map(|path| path.binding.as_deref())
            .collect();
        assert_eq!(bindings, [Some("C"), Some("d"), Some("E")]);
    }

    #[test]
    fn paths_in_bodies_and_in_macros_are_seen() {
        let source = "fn f() { let x = super::ram::page(); bail!(crate::error::Error::new(x)); }";
        assert_eq!(
            paths(source),
            ["super::ram::page", "crate::error::Error::new"]
        );
    }

    #[test]
    fn visibilities_are_no_paths() {
        assert!(paths("pub(crate) struct A; pub(super) fn f(&self) { self.go(); }").is_empty());
    }

    #[test]
    fn tests_and_comments_are_passed_over() {
        let source = "/// [`crate::load`]\n fn f() {} #[cfg(test)] mod tests { use crate::load; } \
                      #[cfg(all(test, unix))] use crate::save; #[cfg(not(test))] use crate::wire;";
        assert_eq!(paths(source), ["crate::wire"]);
    }

    #[test]
    fn the_line_of_a_path_is_known() {
        let contents = read(
            "use std::io;\n\nuse crate::{\n    wire,\n};"
                .parse()
                .unwrap(),
        );
        assert_eq!(contents.paths[1].line, 4);
    }

    #[test]
    fn modules_are_those_with_files_of_their_own() {
        let contents = read(
            "mod a; pub(crate) mod b; mod c {} #[cfg(test)] mod tests;"
                .parse()
                .unwrap(),
        );
        let names: Vec<_> = contents
            .modules
            .iter()
            .map(|module| module.name.as_str())
            .collect();
        assert_eq!(names, ["a", "b"]);
    }
}
