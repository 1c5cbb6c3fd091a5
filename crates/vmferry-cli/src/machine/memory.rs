//! What is behind a machine's memory, where that is a file.

use std::fs;
use std::path::PathBuf;

use rustix::process::Pid;
use serde_json::{Value, json};

use crate::qmp::{Client, Result};

/// What `statfs` calls file systems that are memory.
const TMPFS: u64 = 0x0102_1994;
const HUGETLBFS: u64 = 0x9584_58f6;

/// A memory backend that is a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMemory {
    /// The id of the backend.
    pub id: String,
    /// The file, or the folder in which a file without a name is.
    pub path: String,
    /// Whether what the guest writes goes into the file.
    pub shared: bool,
    /// What can be seen of the file.
    pub kind: FileKind,
}

/// What a memory backend's file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A file in memory (tmpfs, hugetlbfs).
    InMemory,
    /// A file in memory that nobody else has: its path is only a folder.
    Nameless,
    /// A file on a disk.
    OnDisk,
    /// It cannot be seen from here.
    Unseen,
}

impl FileMemory {
    /// Why memory cannot be brought page by page here, and what to do instead.
    pub fn against_lazy(&self) -> Option<String> {
        let Self { id, path, .. } = self;
        match (self.kind, self.shared) {
            (FileKind::OnDisk, _) => Some(format!(
                "the memory of this QEMU (backend '{id}') is the file '{path}' on a disk, and pages can be brought \
                 one by one only into memory, tmpfs and hugetlbfs: leave --lazy out, or start QEMU with \
                 'memory-backend-memfd' or a 'mem-path' in /dev/shm, with share=on"
            )),
            (FileKind::InMemory, false) => Some(format!(
                "the memory of this QEMU (backend '{id}') is mapped privately (share=off) from the file '{path}', and \
                 before pages are brought one by one, QEMU would empty that file: leave --lazy out, or start QEMU \
                 with share=on if the file is this guest's alone"
            )),
            _ => None,
        }
    }
}

/// The memory backends of a machine that are files.
///
/// # Errors
/// The monitor does not answer.
pub fn file_memory(client: &Client) -> Result<Vec<FileMemory>> {
    let backends = client.execute("query-memdev", Value::Null)?;
    let pid = client.peer_pid().ok();
    let mut found = Vec::new();
    for backend in backends.as_array().into_iter().flatten() {
        let Some(id) = backend.get("id").and_then(Value::as_str) else {
            continue;
        };
        let property = json!({"path": format!("/objects/{id}"), "property": "mem-path"});
        // Others than files have no such property.
        let Ok(Value::String(path)) = client.execute("qom-get", property) else {
            continue;
        };
        let shared = backend.get("share").and_then(Value::as_bool);
        found.push(FileMemory {
            id: id.to_owned(),
            kind: kind(pid, &path),
            path,
            shared: shared.unwrap_or(false),
        });
    }
    Ok(found)
}

/// What `path` is for process `pid`, which may see another tree of folders than we.
fn kind(pid: Option<Pid>, path: &str) -> FileKind {
    let seen_from = |pid: Pid| {
        let folder = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
        let base = if path.starts_with('/') { "root" } else { "cwd" };
        folder.join(base).join(path.trim_start_matches('/'))
    };
    let places = pid.map(seen_from).into_iter().chain([PathBuf::from(path)]);
    for place in places {
        let (Ok(there), Ok(system)) = (fs::metadata(&place), rustix::fs::statfs(&place)) else {
            continue;
        };
        let in_memory = matches!(system.f_type as u64, TMPFS | HUGETLBFS);
        return match (in_memory, there.is_dir()) {
            (true, true) => FileKind::Nameless,
            (true, false) => FileKind::InMemory,
            (false, _) => FileKind::OnDisk,
        };
    }
    FileKind::Unseen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_of_memory_is_is_seen_from_its_file_system() {
        let us = Some(rustix::process::getpid());
        assert_eq!(kind(us, "/dev/shm"), FileKind::Nameless);
        assert_eq!(kind(us, "/proc/self/status"), FileKind::OnDisk);
        assert_eq!(kind(us, "/none/such"), FileKind::Unseen);
        let file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(kind(us, path), FileKind::InMemory);
    }

    #[test]
    fn only_memory_that_qemu_can_let_go_of_is_taken_for_a_lazy_restore() {
        let against = |kind, shared| {
            let memory = FileMemory {
                id: "m".into(),
                path: "/f".into(),
                shared,
                kind,
            };
            memory.against_lazy()
        };
        for shared in [true, false] {
            assert!(
                against(FileKind::OnDisk, shared)
                    .unwrap()
                    .contains("on a disk")
            );
            assert_eq!(against(FileKind::Nameless, shared), None);
            assert_eq!(against(FileKind::Unseen, shared), None);
        }
        assert_eq!(against(FileKind::InMemory, true), None);
        assert!(
            against(FileKind::InMemory, false)
                .unwrap()
                .contains("empty that file")
        );
    }
}
