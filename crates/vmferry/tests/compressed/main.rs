//! One rule for all codecs: what the codec's own program says of a file, and what it gives, we say and give, too.
//!
//! The programs are Debian's gzip, bzip2, xz-utils, lzop, zstd and lz4.

mod made_by_hand;
mod suite;
mod tools;

use std::io::{Read, Seek};

use suite::{Suite, joined};
use tools::{Tool, content, ours};
use vmferry::container::{Compression, Compressor};
use vmferry::stream::Writer;

#[test]
fn gzip_says_what_we_say() {
    let mut suite = Suite::new(Tool::GZIP);
    suite.options(&["-1", "-9", "-n"]);
    for flags in 0..0x20 {
        suite.agrees(
            &format!("header fields {flags:#x}"),
            &made_by_hand::gzip(flags, &content()),
        );
    }
    // A wrong checksum of the header, a flag that means nothing, another method.
    for (at, xor) in [(3, 0x20), (3, 0x80), (2, 1)] {
        let mut bytes = made_by_hand::gzip(0, &content());
        bytes[at] ^= xor;
        suite.agrees(&format!("byte {at} of the header"), &bytes);
    }
    suite.run();
}

#[test]
fn bzip2_says_what_we_say() {
    let mut suite = Suite::new(Tool::BZIP2);
    suite.options(&["-1", "-9"]);
    suite.run();
}

#[test]
fn xz_says_what_we_say() {
    let mut suite = Suite::new(Tool::XZ);
    suite.options(&[
        "-0",
        "-9e",
        "--check=none",
        "--check=crc32",
        "--check=sha256",
        "--x86 --lzma2",
        "--delta=dist=4 --lzma2",
        "--arm64 --lzma2",
        "--block-size=4096",
        "-T2 --block-size=4096",
        "--lzma2=dict=4KiB,lc=0,lp=2,pb=0",
    ]);
    suite.run();
}

#[test]
fn xz_says_what_we_say_of_its_old_format() {
    let mut suite = Suite::new(Tool::LZMA);
    suite.options(&["-0", "-9e"]);
    suite.run();
}

#[test]
fn lzop_says_what_we_say() {
    let mut suite = Suite::new(Tool::LZOP);
    suite.options(&["-1", "-9", "--crc32", "--no-name"]);
    suite.run();
}

#[test]
fn zstd_says_what_we_say() {
    let mut suite = Suite::new(Tool::ZSTD);
    suite.options(&[
        "-1",
        "-19 --long=27",
        "--no-check",
        "--no-content-size",
        "--fast=5",
    ]);
    for version in [5, 6, 7] {
        let old = made_by_hand::old_zstd(version, &content());
        suite.agrees(&format!("zstd 0.{version}"), &old);
        let new = suite.member().to_vec();
        suite.agrees(
            &format!("zstd 0.{version} and a new frame"),
            &joined(&[&old, &new]),
        );
        suite.agrees(&format!("zstd 0.{version}, cut"), &old[..old.len() - 1]);
    }
    suite.skippable_frames();
    suite.run();
}

#[test]
fn lz4_says_what_we_say() {
    let mut suite = Suite::new(Tool::LZ4);
    suite.options(&[
        "-1",
        "-9",
        "-BD",
        "-B4 -BX",
        "-B7 --content-size",
        "--no-frame-crc",
        "-l",
    ]);
    let legacy = suite.compressed("-l", &content());
    let (new, [a, b]) = (suite.member().to_vec(), [&legacy, &legacy]);
    suite.agrees("two legacy frames", &joined(&[a, b]));
    suite.agrees("legacy, new, legacy", &joined(&[a, &new, b]));
    suite.agrees("new, legacy", &joined(&[&new, a]));
    for more in [1, 2, 3, 4, 100] {
        suite.agrees("legacy, zeros", &joined(&[a, &vec![0; more]]));
        suite.agrees("legacy, others", &joined(&[a, &vec![b'x'; more]]));
        suite.agrees("legacy, cut", &legacy[..legacy.len() - more]);
        suite.agrees("legacy, cut at its beginning", &legacy[..3 + more]);
    }
    suite.skippable_frames();
    suite.run();
}

#[test]
fn what_we_compress_their_programs_decompress() {
    for (compression, tool) in [
        (Compression::Gzip, Tool::GZIP),
        (Compression::Bzip2, Tool::BZIP2),
        (Compression::Xz, Tool::XZ),
        (Compression::Lzop, Tool::LZOP),
        (Compression::Zstd, Tool::ZSTD),
        (Compression::Lz4, Tool::LZ4),
    ] {
        let mut file = tempfile::tempfile().expect("a file");
        let channel = Compressor::new(compression, file.try_clone().expect("a file"));
        let mut writer = Writer::new(channel.expect("its program is there"));
        writer.put_bytes(&content());
        writer.close().expect("room");
        let mut bytes = Vec::new();
        file.rewind().expect("a file");
        file.read_to_end(&mut bytes).expect("a file");
        assert_eq!(Compression::of(&bytes), Some(compression));
        assert_eq!(tool.decompress(&bytes), Some(content()), "{compression}");
        assert_eq!(ours(&bytes), (content(), Ok(())), "{compression}");
    }
}

#[test]
fn members_that_only_cost_time_have_a_limit() {
    for tool in [Tool::GZIP, Tool::BZIP2, Tool::XZ] {
        let suite = Suite::new(tool);
        let (empty, member) = (tool.compress("", b""), suite.member());
        let few = joined(&[&empty.repeat(1 << 13), member]);
        assert_eq!(ours(&few), (content(), Ok(())), "{tool:?}");
        let (_, end) = ours(&joined(&[&empty.repeat(1 << 15), member]));
        let error = end.expect_err("there is a limit");
        assert!(error.contains("16384 members"), "{error}");
    }
}

#[test]
fn what_is_more_than_a_block_and_a_window_comes_whole() {
    let large: Vec<u8> = content().into_iter().cycle().take(20 << 20).collect();
    for tool in Tool::ALL {
        let mut suite = Suite::of(tool, &large);
        let member = suite.member().to_vec();
        suite.agrees("large", &member);
        suite.agrees("large, twice", &joined(&[&member, &member]));
        suite.finish();
    }
    let mut legacy = Suite::new(Tool::LZ4);
    let bytes = legacy.compressed("-l", &large);
    legacy.agrees("a large legacy frame", &bytes);
    legacy.finish();
}
