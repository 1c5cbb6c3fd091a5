//! Writing the archive that Linux unpacks as its first file system (cpio, format "newc").

/// An archive in memory.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    inode: u32,
}

impl Archive {
    /// Adds a folder.
    pub(crate) fn folder(&mut self, path: &str) {
        self.entry(path, 0o040_755, (0, 0), &[]);
    }

    /// Adds a program.
    pub(crate) fn program(&mut self, path: &str, contents: &[u8]) {
        self.entry(path, 0o100_755, (0, 0), contents);
    }

    /// Adds a character device.
    pub(crate) fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.entry(path, 0o020_600, (major, minor), &[]);
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), contents: &[u8]) {
        self.inode += 1;
        let len = u32::try_from(contents.len()).expect("files of an initramfs are small");
        let name_len = u32::try_from(path.len() + 1).expect("names are short");
        let fields = [
            self.inode, mode, 0, 0, 1, 0, len, 0, 0, device.0, device.1, name_len, 0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_the_archive_ends() {
        let mut archive = Archive::default();
        archive.folder("dev");
        archive.device("dev/console", 5, 1);
        archive.program("init", b"#!x");
        let bytes = archive.finish();
        let magics = bytes
            .windows(6)
            .enumerate()
            .filter(|(_, window)| window == b"070701");
        let starts: Vec<_> = magics.map(|(at, _)| at).collect();
        assert_eq!(starts.len(), 4);
        assert!(starts.iter().all(|start| start % 4 == 0));
        assert!(bytes.windows(11).any(|window| window == b"TRAILER!!!\0"));
    }
}
