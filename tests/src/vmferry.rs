//! The program under test, run as its user would run it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::Process;
use crate::{Guest, PATIENCE};

/// The environment variable that says where notes of changed settings are.
const RUNTIME_DIR: &str = "VMFERRY_RUNTIME_DIR";

/// The `vmferry` program with a store of its own.
#[derive(Debug)]
pub struct Vmferry {
    folder: TempDir,
    store: PathBuf,
}

/// A run of the program that goes on.
#[derive(Debug)]
pub struct Run {
    process: Process,
    stdout: PathBuf,
    stderr: PathBuf,
    words: String,
}

/// A run that has ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// What it gave as its result.
    pub stdout: String,
    /// What it said besides.
    pub stderr: String,
}

impl Vmferry {
    /// With an empty store.
    ///
    /// # Errors
    /// The program cannot be built, or there is no room for a store.
    pub fn new() -> Result<Self> {
        let folder = TempDir::with_prefix("vmferry-store-")?;
        let store = folder.path().join("store");
        Ok(Self { folder, store })
    }

    /// With a store in another place.
    ///
    /// # Errors
    /// As for [`Vmferry::new`].
    pub fn with_store(store: PathBuf) -> Result<Self> {
        let folder = TempDir::with_prefix("vmferry-runs-")?;
        Ok(Self { folder, store })
    }

    /// Where its store is.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// Where it notes what it has changed in a QEMU.
    pub fn runtime_folder(&self) -> PathBuf {
        self.folder.path().join("runtime")
    }

    /// The command `vmferry WORDS…`, for a shell, with its store.
    ///
    /// # Errors
    /// The program cannot be built.
    pub fn shell(&self, words: &str) -> Result<String> {
        let program = program()?.display();
        Ok(format!(
            "{RUNTIME_DIR}='{}' {program} --store '{}' {words}",
            self.runtime_folder().display(),
            self.store.display()
        ))
    }

    /// Starts it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Run> {
        self.start_by(&[], words)
    }

    /// Starts it by way of another program, which becomes it: the words of `by` come first.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_by(
        &self,
        by: &[&OsStr],
        words: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<Run> {
        let words: Vec<OsString> = words.into_iter().map(|word| word.as_ref().into()).collect();
        let mut line = by.to_vec();
        line.extend([
            program()?.as_os_str(),
            "--store".as_ref(),
            self.store.as_os_str(),
        ]);
        line.extend(words.iter().map(OsString::as_os_str));
        let (first, rest) = line.split_first().context("no program")?;
        let mut command = Command::new(first);
        command.args(rest).env(RUNTIME_DIR, self.runtime_folder());
        let file = |name: &str| -> Result<(PathBuf, File)> {
            let number = fs::read_dir(self.folder.path())?.count();
            let path = self.folder.path().join(format!("{name}-{number}"));
            Ok((path.clone(), File::create_new(path)?))
        };
        let ((stdout, out), (stderr, err)) = (file("stdout")?, file("stderr")?);
        Ok(Run {
            process: Process::spawn(&command, out.into(), err.into())?,
            stdout,
            stderr,
            words: words.join(OsStr::new(" ")).to_string_lossy().into_owned(),
        })
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// It cannot be started, or does not end.
    pub fn run(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Ended> {
        self.start(words)?.end()
    }

    /// Runs it to its end with `--json`, and gives its result.
    ///
    /// # Errors
    /// It does not succeed.
    pub fn json(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Value> {
        let words = words.into_iter().map(|word| word.as_ref().to_owned());
        let words: Vec<OsString> = std::iter::once("--json".into()).chain(words).collect();
        let ended = self.run(&words)?;
        ended.succeeded()?;
        serde_json::from_str(&ended.stdout).with_context(|| format!("no JSON: {}", ended.stdout))
    }

    /// Begins to save a guest.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn begin_save(&self, guest: &Guest, vm: &str, mode: &str) -> Result<Run> {
        let qmp = format!("unix:{}", guest.qmp_path().display());
        self.start(["save", vm, "--qmp", &qmp, "--mode", mode])
    }

    /// Saves a guest, and gives the report.
    ///
    /// # Errors
    /// It is not saved.
    pub fn save(&self, guest: &Guest, vm: &str, mode: &str) -> Result<Value> {
        let qmp = format!("unix:{}", guest.qmp_path().display());
        guest.told(self.json(["save", vm, "--qmp", &qmp, "--mode", mode]))
    }

    /// Restores into a guest that waits, and gives the report.
    ///
    /// # Errors
    /// It is not restored.
    pub fn restore(&self, guest: &Guest, what: &str, options: &[&str]) -> Result<Value> {
        let qmp = format!("unix:{}", guest.qmp_path().display());
        let words = [&["restore", what, "--qmp", &qmp], options].concat();
        guest.told(self.json(words))
    }

    /// The ids of all checkpoints.
    ///
    /// # Errors
    /// The store cannot be listed.
    pub fn checkpoints(&self) -> Result<Vec<String>> {
        let listing = self.json(["list"])?;
        let checkpoints = listing["checkpoints"]
            .as_array()
            .context("no checkpoints")?;
        let id = |entry: &Value| {
            Some(format!(
                "{}@{}",
                entry["vm"].as_str()?,
                entry["id"].as_str()?
            ))
        };
        checkpoints
            .iter()
            .map(|entry| id(entry).context("no id"))
            .collect()
    }
}

impl Run {
    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What it has said besides its result so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Waits until it has said `words` besides its result.
    ///
    /// # Errors
    /// It does not say them.
    pub fn until_said(&self, words: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.stderr().contains(words) {
            ensure!(
                Instant::now() < deadline,
                "it does not say '{words}': {}",
                self.stderr()
            );
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end.
    pub fn end(mut self) -> Result<Ended> {
        let status = self.wait()?;
        Ok(Ended {
            status,
            stdout: fs::read_to_string(&self.stdout)?,
            stderr: self.stderr(),
        })
    }

    /// Waits for the end of the process itself; what it has started may go on.
    ///
    /// # Errors
    /// It does not end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.wait_for(PATIENCE)
    }

    /// As [`Run::wait`], but only for so long.
    ///
    /// # Errors
    /// It does not end.
    pub fn wait_for(&mut self, patience: std::time::Duration) -> Result<ExitStatus> {
        let ended = self.process.wait(patience);
        ended.with_context(|| format!("vmferry {}: {}", self.words, self.stderr()))
    }
}

impl Ended {
    /// Whether it did what it was asked for.
    ///
    /// # Errors
    /// It did not; with its words.
    pub fn succeeded(&self) -> Result<()> {
        ensure!(
            self.status.success(),
            "{}: {}",
            self.status,
            self.stderr.trim_end()
        );
        Ok(())
    }

    /// Its words, if it could not do it.
    ///
    /// # Errors
    /// It could, or ended in another way.
    pub fn refused(&self) -> Result<&str> {
        ensure!(
            self.status.code() == Some(2),
            "{}: {}",
            self.status,
            self.stderr.trim_end()
        );
        Ok(&self.stderr)
    }
}

/// The environment variable that names another program to test than the one built from the present sources.
const PROGRAM: &str = "VMFERRY_LAB_PROGRAM";

/// The program, built from the present sources.
///
/// # Errors
/// It cannot be built.
pub fn program() -> Result<&'static Path> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = PROGRAM.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    match built {
        Ok(path) => Ok(path),
        Err(error) => bail!("cannot build vmferry: {error}"),
    }
}

/// Our own profile's, which `cargo` has beside the tests.
fn build() -> Result<PathBuf> {
    if let Some(other) = std::env::var_os(PROGRAM) {
        return Ok(other.into());
    }
    let ours = std::env::current_exe()?;
    // target/PROFILE/deps/TEST or target/PROFILE/PROGRAM
    let profile = ours
        .ancestors()
        .skip(1)
        .find(|folder| !folder.ends_with("deps"));
    let profile = profile.context("where are we?")?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "--quiet",
        "--package",
        "vmferry-cli",
        "--bin",
        "vmferry",
    ]);
    // As `./x test` builds it, with the steps at which a save can be ended; or as it is used.
    cargo.arg(match profile.ends_with("release") {
        true => "--release",
        false => "--all-features",
    });
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    let built = cargo.output()?;
    ensure!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    Ok(profile.join("vmferry"))
}
