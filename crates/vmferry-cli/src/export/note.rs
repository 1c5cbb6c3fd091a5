//! Notes of a core file.
//!
//! ```text
//! u32 length of the name   u32 length of the content   u32 type   name, 0   content     each padded to 4
//! ```

/// Appends a note.
pub(super) fn put(out: &mut Vec<u8>, name: &str, kind: u32, content: &[u8]) {
    for word in [name.len() + 1, content.len()] {
        out.extend(u32::try_from(word).unwrap_or(u32::MAX).to_le_bytes());
    }
    out.extend(kind.to_le_bytes());
    out.extend(name.as_bytes());
    out.push(0);
    pad(out);
    out.extend(content);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}
