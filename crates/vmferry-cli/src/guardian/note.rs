//! What a save has changed, noted on disk for the case that neither saver nor guardian lives to put it back.
//!
//! A note lies in a folder that only its user can look into, one for each QEMU process, and is written before
//! anything is changed. The saver touches it as long as it lives. `vmferry recover`, and the next save of that machine,
//! act on a note whose saver and guardian are dead; a note whose QEMU is dead is removed.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::Plan;
use crate::machine::ProcessId;

/// Names the folder, if it is to be another one.
pub const FOLDER_VARIABLE: &str = "VMFERRY_RUNTIME_DIR";

/// The longest note that is read: a plan, with every capability and parameter that a QEMU has.
const LIMIT: u64 = 1 << 20;

/// What a save has changed, and who is to put it back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// The process that saves.
    pub saver: Option<ProcessId>,
    /// Its guardian.
    pub guardian: Option<ProcessId>,
    /// What there is to put back.
    pub plan: Plan,
}

/// The note of a save that is under way.
#[derive(Debug)]
pub struct NoteFile {
    path: PathBuf,
}

/// A note that was found.
#[derive(Debug)]
pub struct FoundNote {
    /// What it says.
    pub note: Note,
    /// When its saver was last known to be alive.
    pub touched: SystemTime,
    file: NoteFile,
}

impl Note {
    /// Whether somebody who can put things back is still alive.
    pub fn keeper(&self) -> Option<ProcessId> {
        let alive = |process: &ProcessId| process.is_alive();
        self.saver
            .filter(alive)
            .or_else(|| self.guardian.filter(alive))
    }

    /// Writes it where [`find`] looks, in the place of an older one of this machine.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self) -> io::Result<NoteFile> {
        let file = NoteFile::of(&self.plan)?;
        file.replace(self)?;
        Ok(file)
    }
}

impl NoteFile {
    /// The note of this plan's machine, whether it is there or not.
    ///
    /// # Errors
    /// There is no folder for it.
    pub fn of(plan: &Plan) -> io::Result<Self> {
        let name = match plan.qemu {
            Some(ProcessId { pid, start }) => format!("{pid}-{start}.json"),
            // The save's own, then: it is unique as long as it matters.
            None => format!("{}.json", plan.fd_name),
        };
        Ok(Self {
            path: folder()?.join(name),
        })
    }

    /// Writes another note in the place of this one, all at once.
    ///
    /// # Errors
    /// It cannot be written; the old one is still there.
    pub fn replace(&self, note: &Note) -> io::Result<()> {
        let partial = self
            .path
            .with_extension(format!("{}.partial", std::process::id()));
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)?;
        file.write_all(&serde_json::to_vec_pretty(note)?)?;
        // Not synced: a machine does not outlive its host.
        fs::rename(&partial, &self.path)
    }

    /// Says that its saver is alive.
    pub fn touch(&self) {
        let now = SystemTime::now();
        // It only helps to judge what came later.
        let _ = File::open(&self.path).and_then(|file| file.set_modified(now));
    }

    /// Removes it: everything has been put back.
    pub fn remove(&self) {
        // One that cannot be removed is judged by its processes, which are dead then.
        let _ = fs::remove_file(&self.path);
    }
}

impl FoundNote {
    /// The file itself.
    pub fn file(&self) -> &NoteFile {
        &self.file
    }

    /// How long ago its saver was last known to be alive.
    pub fn age(&self) -> Duration {
        self.touched.elapsed().unwrap_or_default()
    }
}

/// The notes of all machines that still run. Those of machines that do not are removed.
///
/// # Errors
/// The folder cannot be read.
pub fn find() -> io::Result<Vec<FoundNote>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder()?)? {
        let path = entry?.path();
        let file = NoteFile { path: path.clone() };
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        // One that is no note, or of another version of this program, is not for us to judge.
        let Some((note, touched)) = read(&path) else {
            continue;
        };
        match note.plan.qemu.is_some_and(|qemu| !qemu.is_alive()) {
            true => file.remove(),
            false => found.push(FoundNote {
                note,
                touched,
                file,
            }),
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Option<(Note, SystemTime)> {
    let file = File::open(path).ok()?;
    let seen = file.metadata().ok()?;
    if seen.len() > LIMIT {
        return None;
    }
    let note = serde_json::from_reader(io::BufReader::new(file)).ok()?;
    Some((note, seen.modified().ok()?))
}

/// The folder, which is made if it is not there.
fn folder() -> io::Result<PathBuf> {
    let folder = place().ok_or_else(|| {
        let text = format!("no place for notes: set {FOLDER_VARIABLE}, or HOME");
        io::Error::new(io::ErrorKind::NotFound, text)
    })?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)?;
    let seen = fs::metadata(&folder)?;
    let ours = rustix::process::geteuid().as_raw();
    if seen.uid() != ours || seen.mode() & 0o022 != 0 {
        // Users who can write there decide what is put back.
        let text = format!(
            "the folder {} can be written by others than its owner, user {ours}: set {FOLDER_VARIABLE} to another one",
            folder.display()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(folder)
}

/// Not below XDG_RUNTIME_DIR: that is removed when its user logs out, whose machines may go on.
fn place() -> Option<PathBuf> {
    let named = |variable: &str| {
        let value = std::env::var_os(variable)?;
        let path = PathBuf::from(value);
        path.is_absolute().then_some(path)
    };
    if let Some(folder) = named(FOLDER_VARIABLE) {
        return Some(folder);
    }
    if rustix::process::geteuid().is_root() {
        return Some("/run/vmferry/saves".into());
    }
    let state = named("XDG_STATE_HOME").or_else(|| Some(named("HOME")?.join(".local/state")));
    Some(state?.join("vmferry/saves"))
}

/// The system's clock since it was started, in ms, which no one sets.
pub fn uptime_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}
