//! What is done to compressed data, and the comparison.

use super::tools::{Tool, content, ours};

/// Pieces, one after the other.
pub(crate) fn joined(pieces: &[&[u8]]) -> Vec<u8> {
    pieces.concat()
}

/// A codec, and where we differ from its program.
pub(crate) struct Suite {
    tool: Tool,
    content: Vec<u8>,
    member: Vec<u8>,
    differences: Vec<String>,
}

impl Suite {
    pub(crate) fn new(tool: Tool) -> Self {
        Self::of(tool, &content())
    }

    pub(crate) fn of(tool: Tool, content: &[u8]) -> Self {
        Self {
            tool,
            content: content.to_vec(),
            member: tool.compress("", content),
            differences: Vec::new(),
        }
    }

    pub(crate) fn member(&self) -> &[u8] {
        &self.member
    }

    pub(crate) fn compressed(&self, options: &str, bytes: &[u8]) -> Vec<u8> {
        self.tool.compress(options, bytes)
    }

    /// Both say the same of `bytes`, and give the same.
    pub(crate) fn agrees(&mut self, what: &str, bytes: &[u8]) {
        let theirs = self.tool.decompress(bytes);
        let (given, end) = ours(bytes);
        let difference = match (&theirs, &end) {
            (Some(theirs), Ok(())) if *theirs == given => return,
            (Some(theirs), Ok(())) => format!(
                "{} bytes and {} bytes, or others",
                theirs.len(),
                given.len()
            ),
            // libzstd 1.5.7 calls bits damaged that 1.5.4, Debian 12's program, does not look at.
            (Some(theirs), Err(error))
                if *theirs == self.content && error.contains("Data corruption detected") =>
            {
                return;
            }
            (Some(_), Err(error)) => format!("sound, and we say: {error}"),
            (None, Ok(())) => "damaged, and we say nothing".into(),
            (None, Err(_)) => return,
        };
        self.differences
            .push(format!("{}, {what}: {difference}", self.tool.program));
    }

    /// Everything that the program writes with these options.
    pub(crate) fn options(&mut self, all: &[&str]) {
        for options in all {
            let bytes = self.compressed(options, &self.content);
            assert_eq!(ours(&bytes), (self.content.clone(), Ok(())), "{options}");
            self.agrees(options, &bytes);
        }
    }

    /// Frames that are for others, in all places.
    pub(crate) fn skippable_frames(&mut self) {
        let frame = |kind: u8, content: &[u8]| {
            let len = u32::try_from(content.len()).expect("a few");
            joined(&[
                &[0x50 + kind, 0x2a, 0x4d, 0x18],
                &len.to_le_bytes(),
                content,
            ])
        };
        let (first, second) = (frame(0, b"1234"), frame(15, &[7; 300]));
        let (large, empty) = (frame(3, &vec![0x5a; 600_000]), frame(8, b""));
        let member = self.member.clone();
        for (what, pieces) in [
            ("before", [&*first, &member, &[]]),
            ("two before", [&*second, &first, &member]),
            ("between", [&member, &empty, &member]),
            ("after", [&member, &second, &empty]),
            ("a large one", [&large, &member, &large]),
            ("with zeros after", [&member, &first, &[0; 8]]),
        ] {
            let bytes = joined(&pieces);
            self.agrees(&format!("skippable frames, {what}"), &bytes);
        }
        for cut in [1, 4, 5, 9, 250] {
            let bytes = joined(&[&member, &second]);
            let len = bytes.len() - cut;
            self.agrees("a skippable frame, cut", &bytes[..len]);
            self.agrees(
                "a skippable frame alone, cut",
                &second[..second.len() - cut],
            );
        }
    }

    /// Everything that can be done to the data of any codec.
    pub(crate) fn run(mut self) {
        let member = self.member.clone();
        assert_eq!(ours(&member), (self.content.clone(), Ok(())));
        self.agrees("whole", &member);
        self.several(&member);
        self.followed(&member);
        self.cut(&member);
        self.flipped(&member);
        self.finish();
    }

    pub(crate) fn finish(self) {
        let differences = self.differences;
        let shown = differences.iter().take(40).cloned().collect::<Vec<_>>();
        let count = differences.len();
        assert!(count == 0, "{count} differences:\n{}", shown.join("\n"));
    }

    fn several(&mut self, member: &[u8]) {
        let empty = self.compressed("", b"");
        let other = self.compressed("", b"and something else");
        self.agrees("two members", &joined(&[member, member]));
        self.agrees("three members", &joined(&[member, &other, member]));
        self.agrees("an empty one first", &joined(&[&empty, member]));
        self.agrees("an empty one last", &joined(&[member, &empty]));
        self.agrees(
            "the second cut",
            &joined(&[member, &other[..other.len() - 1]]),
        );
    }

    /// Bytes after the end.
    fn followed(&mut self, member: &[u8]) {
        for count in [1, 2, 3, 4, 5, 7, 8, 16, 511, 512, 4096, 300_000] {
            self.agrees(
                &format!("{count} zeros"),
                &joined(&[member, &vec![0; count]]),
            );
            self.agrees(
                &format!("{count} other bytes"),
                &joined(&[member, &vec![b'B'; count]]),
            );
        }
        for count in [1, 4, 5] {
            let zeros = vec![0; count];
            self.agrees("zeros, others", &joined(&[member, &zeros, b"other bytes"]));
            self.agrees("zeros, another byte", &joined(&[member, &zeros, b"o"]));
            self.agrees("zeros, a member", &joined(&[member, &zeros, member]));
        }
        self.agrees(
            "others, a member",
            &joined(&[member, b"other bytes", member]),
        );
        for len in 1..member.len().min(24) {
            let what = format!("{len} bytes of a second");
            self.agrees(&what, &joined(&[member, &member[..len]]));
        }
    }

    fn cut(&mut self, member: &[u8]) {
        // Without its first bytes it is no member at all.
        for len in (16..member.len()).rev() {
            // All of the beginning and the end, and some in between.
            let near = len < 40 || member.len() - len < 40;
            if near || len % 29 == 0 {
                self.agrees(&format!("cut to {len}"), &member[..len]);
                let (given, _) = ours(&member[..len]);
                assert!(self.content.starts_with(&given), "cut to {len}");
            }
        }
    }

    fn flipped(&mut self, member: &[u8]) {
        for at in 0..member.len() {
            let mut bytes = member.to_vec();
            bytes[at] ^= 1 << (at % 8);
            // What no longer begins as it should is not for this codec.
            if container_of(&bytes) == container_of(member) {
                self.agrees(&format!("bit {} of byte {at}", at % 8), &bytes);
            }
        }
    }
}

fn container_of(bytes: &[u8]) -> Option<vmferry::container::Compression> {
    vmferry::container::Compression::of(bytes)
}
