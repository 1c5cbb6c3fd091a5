//! A file system in memory that can stop at any operation and then forget what was not synced.
//!
//! It models the weakest file system that the store has to survive on: after a crash a file has its
//! last synced content, or anything between that and what was written later; and of the names in a
//! directory that changed since the directory was synced, any subset of the changes has happened,
//! independently of other directories.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::files::{Files, Lock, Locked, NewFile, OpenFile};

/// The file system; clones are the same one.
#[derive(Clone)]
pub(crate) struct SimFiles(Arc<Mutex<Disk>>);

/// How it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The process dies: nothing works any more.
    Crash,
    /// The disk is full: nothing can be added any more.
    Full,
}

#[derive(Clone)]
struct Disk {
    nodes: Vec<Node>,
    /// Operations that change something, so far.
    steps: usize,
    stop: Option<(Stop, usize)>,
    stopped: bool,
    random: u64,
}

#[derive(Clone)]
enum Node {
    File(File),
    Directory(Directory),
}

#[derive(Clone, Default)]
struct File {
    content: Vec<u8>,
    durable: Vec<u8>,
    shared: usize,
    exclusive: bool,
}

#[derive(Clone, Default)]
struct Directory {
    names: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    /// What happened to `names` since the last sync.
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Set(String, usize),
    Remove(String),
    Rename(String, String, usize),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Set(name, node) => {
                names.insert(name.clone(), *node);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

impl Directory {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.pending.push(change);
    }
}

impl SimFiles {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Disk {
            nodes: vec![Node::Directory(Directory::default())],
            steps: 0,
            stop: None,
            stopped: false,
            random: 1,
        })))
    }

    /// A copy that goes its own way.
    pub(crate) fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.lock_disk().clone())))
    }

    /// Stops after `steps` more changes.
    pub(crate) fn stop_after(&self, steps: usize, stop: Stop) {
        let mut disk = self.lock_disk();
        disk.stop = Some((stop, disk.steps + steps));
        disk.stopped = false;
    }

    /// Whether it has stopped.
    pub(crate) fn has_stopped(&self) -> bool {
        self.lock_disk().stopped
    }

    /// Works again; with a full disk, there is room again.
    pub(crate) fn resume(&self) {
        let mut disk = self.lock_disk();
        disk.stop = None;
        disk.stopped = false;
    }

    /// What the disk may hold after a power failure at this moment; every `seed` is another way in
    /// which it may have come.
    pub(crate) fn after_power_failure(&self, seed: u64) -> Self {
        let mut disk = self.lock_disk().clone();
        disk.random = seed.wrapping_mul(2) + 1;
        disk.stop = None;
        disk.stopped = false;
        for at in 0..disk.nodes.len() {
            let mut node = disk.nodes[at].clone();
            match &mut node {
                Node::File(file) => {
                    let kept = disk.below(3);
                    if file.content != file.durable && kept > 0 {
                        let written = file.content.len();
                        let length = disk.below(written + 1);
                        file.durable = file.content[..length].to_vec();
                        if kept == 1 {
                            // Blocks were reserved, but not written.
                            let hole = disk.below(length + 1);
                            file.durable[hole..].fill(0);
                        }
                    }
                    file.content = file.durable.clone();
                    file.shared = 0;
                    file.exclusive = false;
                }
                Node::Directory(directory) => {
                    let all = disk.below(3);
                    for change in directory.pending.split_off(0) {
                        if all == 0 || (all == 1 && disk.below(2) == 0) {
                            change.apply(&mut directory.durable);
                        }
                    }
                    directory.names = directory.durable.clone();
                }
            }
            disk.nodes[at] = node;
        }
        Self(Arc::new(Mutex::new(disk)))
    }

    /// What is on the disk after the process died, while the machine runs on: everything that was
    /// written, and no locks.
    pub(crate) fn after_kill(&self) -> Self {
        let copy = self.copy();
        {
            let mut disk = copy.lock_disk();
            disk.stop = None;
            disk.stopped = false;
            for node in &mut disk.nodes {
                if let Node::File(file) = node {
                    file.shared = 0;
                    file.exclusive = false;
                }
            }
        }
        copy
    }

    fn lock_disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    /// A number below `bound` (xorshift).
    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 33).unwrap() % bound
    }

    /// Called before each operation that reads.
    fn look(&self) -> io::Result<()> {
        match self.stop {
            Some((Stop::Crash, _)) if self.stopped => Err(io::Error::other("the process is dead")),
            _ => Ok(()),
        }
    }

    /// Called before each operation that changes something.
    fn step(&mut self, adds: Adds) -> io::Result<()> {
        self.look()?;
        if let Some((stop, at)) = self.stop {
            if self.steps >= at && (stop == Stop::Crash || adds == Adds::Yes) {
                self.stopped = true;
                return Err(match stop {
                    Stop::Crash => io::Error::other("the process dies"),
                    Stop::Full => io::ErrorKind::StorageFull.into(),
                });
            }
        }
        self.steps += 1;
        Ok(())
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut at = 0;
        for component in path.components() {
            let name = match component {
                Component::RootDir => continue,
                Component::Normal(name) => name.to_str().unwrap(),
                other => panic!("{other:?} in {}", path.display()),
            };
            let Node::Directory(directory) = &self.nodes[at] else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            at = *directory.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    fn directory(&mut self, path: &Path) -> io::Result<&mut Directory> {
        let at = self.find(path)?;
        match &mut self.nodes[at] {
            Node::Directory(directory) => Ok(directory),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn file(&mut self, node: usize) -> &mut File {
        match &mut self.nodes[node] {
            Node::File(file) => file,
            Node::Directory(_) => panic!("a directory is no file"),
        }
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<usize> {
        self.step(Adds::Yes)?;
        if self.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let number = self.nodes.len();
        self.directory(path.parent().unwrap())?
            .change(Change::Set(name(path), number));
        self.nodes.push(node);
        Ok(number)
    }
}

/// Whether an operation needs room.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Adds {
    Yes,
    No,
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().into()
}

impl Files for SimFiles {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        let node = self.lock_disk().add(path, Node::File(File::default()))?;
        Ok(Box::new(Handle {
            files: self.clone(),
            node,
            lock: None,
        }))
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        self.open(path)?.length()
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn OpenFile>> {
        let disk = self.lock_disk();
        disk.look()?;
        let node = disk.find(path)?;
        Ok(Box::new(Handle {
            files: self.clone(),
            node,
            lock: None,
        }))
    }

    fn lock(&self, path: &Path, lock: Lock) -> io::Result<Locked> {
        let mut disk = self.lock_disk();
        disk.look()?;
        let node = disk.find(path)?;
        let file = disk.file(node);
        let free = !file.exclusive && (lock == Lock::Shared || file.shared == 0);
        match lock {
            Lock::TryExclusive if !free => return Ok(Locked::Busy),
            _ => assert!(free, "{} would wait for ever", path.display()),
        }
        match lock {
            Lock::Shared => file.shared += 1,
            Lock::Exclusive | Lock::TryExclusive => file.exclusive = true,
        }
        Ok(Locked::Held(Box::new(Handle {
            files: self.clone(),
            node,
            lock: Some(lock),
        })))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.lock_disk();
        disk.step(Adds::No)?;
        let node = disk.find(from)?;
        let (old, new) = (from.parent().unwrap(), to.parent().unwrap());
        if old == new {
            let change = Change::Rename(name(from), name(to), node);
            disk.directory(new)?.change(change);
        } else {
            disk.directory(new)?.change(Change::Set(name(to), node));
            disk.directory(old)?.change(Change::Remove(name(from)));
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.lock_disk();
        disk.step(Adds::No)?;
        let directory = disk.directory(path)?;
        directory.durable = directory.names.clone();
        directory.pending.clear();
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let node = Node::Directory(Directory::default());
        self.lock_disk().add(path, node).map(|_| ())
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut disk = self.lock_disk();
        disk.look()?;
        Ok(disk.directory(path)?.names.keys().cloned().collect())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.lock_disk();
        disk.step(Adds::No)?;
        let node = disk.find(path)?;
        if matches!(disk.nodes[node], Node::Directory(_)) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        disk.directory(path.parent().unwrap())?
            .change(Change::Remove(name(path)));
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.lock_disk();
        disk.step(Adds::No)?;
        if !disk.directory(path)?.names.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        disk.directory(path.parent().unwrap())?
            .change(Change::Remove(name(path)));
        Ok(())
    }
}

struct Handle {
    files: SimFiles,
    node: usize,
    lock: Option<Lock>,
}

impl NewFile for Handle {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.files.lock_disk();
        let result = disk.step(Adds::Yes);
        let written = match result {
            Ok(()) => bytes.len(),
            Err(_) => bytes.len() / 2,
        };
        let file = disk.file(self.node);
        file.content.extend_from_slice(&bytes[..written]);
        result
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.files.lock_disk();
        disk.step(Adds::No)?;
        let file = disk.file(self.node);
        file.durable = file.content.clone();
        Ok(())
    }
}

impl OpenFile for Handle {
    fn length(&self) -> io::Result<u64> {
        let mut disk = self.files.lock_disk();
        disk.look()?;
        Ok(disk.file(self.node).content.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut disk = self.files.lock_disk();
        disk.look()?;
        let offset = usize::try_from(offset).unwrap();
        let content = &disk.file(self.node).content;
        let bytes = content.get(offset..offset + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut disk = self.files.lock_disk();
        match self.lock {
            None => {}
            Some(Lock::Shared) => disk.file(self.node).shared -= 1,
            Some(_) => disk.file(self.node).exclusive = false,
        }
    }
}

impl fmt::Debug for SimFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimFiles")
    }
}
