//! Files that hold no saved machine, but that people have next to those that do: what they are, and what to do with them.

mod table;

use std::fmt;

use table::{KINDS, Magic, memory_alone};

/// As many bytes from the beginning of a file as it takes to name it: an ISO image says so at 32 KiB.
pub(super) const HEAD: usize = 0x8001 + 5;

/// Something else than a saved machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    what: &'static str,
    advice: &'static str,
    in_compressed: bool,
}

impl Foreign {
    /// What it is, with its article.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// What to do with it, or where to look instead.
    pub fn advice(&self) -> &'static str {
        self.advice
    }

    /// What something is that begins with `head`, if it is known. `head` is all of it, or 32,774 bytes or more.
    pub fn of(head: &[u8]) -> Option<Self> {
        let has = |magic: &Magic| {
            let here = head.get(magic.at..);
            here.is_some_and(|here| here.starts_with(magic.bytes))
        };
        let known = KINDS.iter().find(|kind| kind.magics.iter().any(has));
        let (what, advice) = match known {
            Some(kind) => (kind.what, kind.advice),
            None => by_content(head)?,
        };
        Some(Self {
            what,
            advice,
            in_compressed: false,
        })
    }

    pub(super) fn in_compressed(self) -> Self {
        Self {
            in_compressed: true,
            ..self
        }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let within = if self.in_compressed {
            "what was compressed"
        } else {
            "this"
        };
        write!(f, "{within} is {}: {}", self.what, self.advice)
    }
}

impl std::error::Error for Foreign {}

/// How many interrupt vectors of a PC are looked at, and how many of them must point into its BIOS.
const VECTORS: (usize, usize) = (32, 16);

/// As many bytes as it takes to say that something is text.
const TEXT: usize = 64;

/// What has no magic.
fn by_content(head: &[u8]) -> Option<(&'static str, &'static str)> {
    if head.is_empty() {
        let advice = "nothing was written to it: was the save interrupted, or is its disk full?";
        return Some(("an empty file", advice));
    }
    if head.len() >= 512 && head.iter().all(|byte| *byte == 0) {
        let advice =
            "nothing was written there: was it made in advance, for a save that never came?";
        return Some(("nothing but zeros, as far as it was looked at", advice));
    }
    if head.starts_with(b"{") && contains(head, b"\"vmferry-checkpoint\"") {
        let advice = "name the checkpoint (VM or VM@ID), and with --store the folder that vmferry-store.json is in";
        return Some(("the manifest of a checkpoint in vmferry's store", advice));
    }
    if head.starts_with(b"{") && contains(head, b"\"vmferry-store\"") {
        let advice =
            "name a checkpoint in it (VM or VM@ID), and with --store the folder of this file";
        return Some(("the file that describes a store of vmferry's", advice));
    }
    let vectors = head.chunks_exact(4).take(VECTORS.0);
    let into_bios = |vector: &[u8]| matches!(vector, [_, _, 0, 0xf0]);
    if vectors.filter(|vector| into_bios(vector)).count() >= VECTORS.1 {
        let what = "the bare memory of a PC, as pmemsave, VMware (.vmem) and 'vmferry export --format raw' write it";
        return Some((what, memory_alone!("open it with Volatility")));
    }
    let text = head.get(..head.len().min(TEXT)).unwrap_or_default();
    let is_text = |byte: &u8| byte.is_ascii_graphic() || b" \t\r\n".contains(byte);
    if !text.iter().all(is_text) {
        return None;
    }
    let trimmed = text.trim_ascii_start();
    if trimmed.starts_with(b"<") && contains(head, b"<domain") {
        let advice = "the machine's state is in a file of its own, which 'virsh save' or a snapshot with --memspec wrote";
        return Some((
            "a description of a domain or snapshot by libvirt (XML)",
            advice,
        ));
    }
    Some(("a text file", "it holds no machine"))
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|here| here == wanted)
}

#[cfg(test)]
mod tests;
