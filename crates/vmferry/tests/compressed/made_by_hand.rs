//! What no program of today writes, from the formats' descriptions.

use std::io::Write;

/// A gzip member (RFC 1952) with the header fields that `flags` says.
pub(crate) fn gzip(flags: u8, content: &[u8]) -> Vec<u8> {
    const HAS_CRC: u8 = 2;
    let mut member = vec![0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 3];
    if flags & 4 != 0 {
        member.extend(b"\x08\0AB\x04\0DATA");
    }
    if flags & 8 != 0 {
        member.extend(b"a name\0");
    }
    if flags & 16 != 0 {
        member.extend(b"a comment,\nof two lines\0");
    }
    if flags & HAS_CRC != 0 {
        let crc = crc32(&member);
        member.extend(&crc.to_le_bytes()[..2]);
    }
    let mut deflated = flate2::write::DeflateEncoder::new(member, flate2::Compression::new(6));
    deflated.write_all(content).expect("memory takes all");
    let mut member = deflated.finish().expect("memory takes all");
    member.extend(crc32(content).to_le_bytes());
    member.extend(u32::try_from(content.len()).expect("a few").to_le_bytes());
    member
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// A frame of zstd 0.5, 0.6 or 0.7, of one raw block.
pub(crate) fn old_zstd(version: u8, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x20 + version, 0xb5, 0x2f, 0xfd];
    match version {
        // A window of 2^(11 + 10) bytes, and no length.
        5 => frame.push(0x0a),
        6 => frame.push(0x08),
        // A length of two bytes, less 256, and no window of its own.
        _ => {
            frame.push(0x60);
            let len = u16::try_from(content.len() - 256).expect("a few");
            frame.extend(len.to_le_bytes());
        }
    }
    let len = u32::try_from(content.len()).expect("a few").to_be_bytes();
    frame.extend([0x40 | len[1], len[2], len[3]]);
    frame.extend(content);
    frame.extend([0xc0, 0, 0]);
    frame
}
