//! A running guest.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};
use tempfile::TempDir;
use vmferry_cli::qmp;

use crate::console::{Console, Listener};
use crate::pattern::Report;
use crate::process::Process;
use crate::{Spec, wait};

/// How long anything may take here. Far more than it does: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How often something is looked at that nobody announces.
const LOOK: Duration = Duration::from_millis(50);

/// What the name of a guest's folder begins with; the test's process id follows.
const PREFIX: &str = "vmferry-lab-";

/// The file, in a guest's folder, that says why it was kept.
const KEPT: &str = "failed";

/// A running guest; dropping it kills its QEMU.
///
/// What goes wrong is an error that names the folder with the guest's logs, which is then kept.
#[derive(Debug)]
pub struct Guest {
    // In this order: the process goes first, the folder last.
    body: Body,
    qmp: qmp::Client,
    console: Console,
    spec: Spec,
    home: Arc<Home>,
}

/// The process behind a guest.
#[derive(Debug)]
enum Body {
    /// Started by us.
    Child(Process),
    /// Started by somebody else, with a command line of ours.
    Other { pid: u32, pidfd: OwnedFd },
}

/// Where the guest's sockets and logs are.
#[derive(Debug)]
struct Home {
    folder: Option<TempDir>,
    console: Listener,
    monitor: Listener,
    failed: AtomicBool,
}

impl Home {
    fn open() -> Result<Self> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let folder = TempDir::with_prefix(format!("{PREFIX}{}-", std::process::id()))?;
        Ok(Self {
            console: Listener::bind(&folder.path().join("console"))?,
            monitor: Listener::bind(&folder.path().join("monitor"))?,
            folder: Some(folder),
            failed: AtomicBool::new(false),
        })
    }

    fn path(&self) -> &Path {
        match &self.folder {
            Some(folder) => folder.path(),
            None => Path::new(""), // only while it is dropped
        }
    }

    /// Keeps the logs, and says where they are.
    fn failed(&self, error: &anyhow::Error) -> anyhow::Error {
        self.failed.store(true, Ordering::Relaxed);
        let _ = fs::write(self.path().join(KEPT), format!("{error:#}\n"));
        let log = fs::read_to_string(self.path().join("qemu.log")).unwrap_or_default();
        let log = match log.trim_end() {
            "" => String::new(),
            log => format!("; QEMU said:\n{log}"),
        };
        anyhow!("{error:#} (logs: {}){log}", self.path().display())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.failed.load(Ordering::Relaxed) || std::thread::panicking() {
            let _ = fs::File::options()
                .create(true)
                .append(true)
                .open(self.path().join(KEPT));
            if let Some(folder) = self.folder.take() {
                eprintln!(
                    "lab: the guest's logs are kept in {}",
                    folder.keep().display()
                );
            }
        }
    }
}

impl Spec {
    /// Starts the guest from a plain stream file. It goes on if it was running when it was saved.
    ///
    /// # Errors
    /// QEMU does not accept the stream.
    pub fn restore(&self, stream: &Path) -> Result<Guest> {
        let guest = self.clone().incoming("defer").start()?;
        guest.load(&format!("exec:cat '{}'", stream.display()))?;
        Ok(guest)
    }

    /// Starts the guest. It may not have done anything yet.
    ///
    /// # Errors
    /// QEMU is not there, or does not like the command line.
    pub fn start(&self) -> Result<Guest> {
        let home = Arc::new(Home::open()?);
        self.start_in(&home).map_err(|error| home.failed(&error))
    }

    fn start_in(&self, home: &Arc<Home>) -> Result<Guest> {
        let line = self.command_line(&home.console, &home.monitor, &home.path().join("qmp"))?;
        let (program, arguments) = line.split_first().context("an empty command line")?;
        let mut command = Command::new(program);
        command.args(arguments).current_dir(home.path());
        let log = fs::File::create(home.path().join("qemu.log"))?;
        let process = Process::spawn(&command, log.try_clone()?.into(), log.into())?;
        Guest::connect(home, self, Some(process))
    }
}

impl Guest {
    /// Takes the next QEMU that connects to the sockets of `home`.
    fn connect(home: &Arc<Home>, spec: &Spec, process: Option<Process>) -> Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        let pidfd = process.as_ref().map(Process::pidfd);
        let ended = || anyhow!("QEMU did not come up");
        let monitor = home.monitor.accept(pidfd, deadline)?.ok_or_else(ended)?;
        let console = home.console.accept(pidfd, deadline)?.ok_or_else(ended)?;
        let mut options = fs::File::options();
        let log = options.create(true).append(true);
        let log = log.open(home.path().join("console.log"))?;
        let console = Console::start(console, log)?;
        let qmp = qmp::Client::greet(monitor.into(), PATIENCE)?;
        let body = match process {
            Some(process) => Body::Child(process),
            None => {
                let pid = qmp.peer_pid()?;
                Body::Other {
                    pid: u32::try_from(pid.as_raw_nonzero().get())?,
                    pidfd: pidfd_open(pid, PidfdFlags::empty())?,
                }
            }
        };
        Ok(Self {
            body,
            qmp,
            console,
            spec: spec.clone(),
            home: Arc::clone(home),
        })
    }

    /// The guest that somebody else has started with this one's command line: it has connected to
    /// the same sockets, or will.
    ///
    /// # Errors
    /// None comes.
    pub fn successor(&self) -> Result<Self> {
        self.told(Self::connect(&self.home, &self.spec, None))
    }

    /// What it was made from.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The lab's own connection to its monitor.
    pub fn qmp(&self) -> &qmp::Client {
        &self.qmp
    }

    /// A second monitor, at which nobody is yet: for the programs under test.
    pub fn qmp_path(&self) -> PathBuf {
        self.home.path().join("qmp")
    }

    /// A folder that lives as long as the guest: its logs are here, and a test's files may be.
    pub fn folder(&self) -> &Path {
        self.home.path()
    }

    /// What it says.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// The process id of its QEMU.
    pub fn pid(&self) -> u32 {
        match &self.body {
            Body::Child(process) => process.id(),
            Body::Other { pid, .. } => *pid,
        }
    }

    /// What its QEMU has started, as far as it still runs; for one that we have started.
    pub fn family(&self) -> Vec<Pid> {
        match &self.body {
            Body::Child(process) => {
                let mut family = process.family();
                let qemu = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
                family.retain(|pid| Some(*pid) != qemu);
                family
            }
            Body::Other { .. } => Vec::new(),
        }
    }

    /// What QEMU has printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("qemu.log")).unwrap_or_default()
    }

    /// Runs a monitor command.
    ///
    /// # Errors
    /// QEMU refuses it.
    pub fn execute(&self, command: &str, arguments: Value) -> Result<Value> {
        self.told(self.qmp.execute(command, arguments).map_err(Into::into))
    }

    /// `running`, `paused`, `inmigrate`, …
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn run_state(&self) -> Result<String> {
        let status = self.execute("query-status", Value::Null)?;
        let state = status.get("status").and_then(Value::as_str);
        Ok(state.context("query-status without a status")?.to_owned())
    }

    /// Stops its processors.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn stop(&self) -> Result<()> {
        self.execute("stop", Value::Null).map(drop)
    }

    /// Lets its processors go on.
    ///
    /// # Errors
    /// QEMU does not answer, or cannot.
    pub fn cont(&self) -> Result<()> {
        self.execute("cont", Value::Null).map(drop)
    }

    /// The registers of all its processors, as QEMU prints them.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn registers(&self) -> Result<String> {
        self.told(self.qmp.human("info registers -a").map_err(Into::into))
    }

    /// Guest-physical memory, as it is now.
    ///
    /// # Errors
    /// There is no memory, or QEMU cannot write it out.
    pub fn memory(&self, address: u64, len: u64) -> Result<Vec<u8>> {
        let file = self.home.path().join("memory");
        let arguments = json!({"val": address, "size": len, "filename": file});
        self.execute("pmemsave", arguments)?;
        let bytes = fs::read(&file)?;
        fs::remove_file(&file)?;
        Ok(bytes)
    }

    /// Migrates to `uri` as fast as it goes, and waits for the end.
    ///
    /// # Errors
    /// It does not complete.
    pub fn migrate(&self, uri: &str) -> Result<()> {
        self.execute("migrate-set-parameters", json!({"max-bandwidth": 0}))?;
        self.until_migrated("migrate", uri)
    }

    /// Loads a stream from `uri`; for a guest that was started with `-incoming defer`.
    ///
    /// # Errors
    /// QEMU does not accept it.
    pub fn load(&self, uri: &str) -> Result<()> {
        self.until_migrated("migrate-incoming", uri)
    }

    fn until_migrated(&self, command: &str, uri: &str) -> Result<()> {
        let capabilities = json!([{"capability": "events", "state": true}]);
        self.execute(
            "migrate-set-capabilities",
            json!({"capabilities": capabilities}),
        )?;
        let events = self.qmp.subscribe();
        self.execute(command, json!({"uri": uri}))?;
        let deadline = Instant::now() + PATIENCE;
        let ended = events.wait_for("the end of the migration", deadline, |event| {
            let status = event.migration_status()?;
            ["completed", "failed", "cancelled"]
                .contains(&status)
                .then(|| status.to_owned())
        });
        match self.told(ended.map_err(Into::into))?.as_str() {
            "completed" => Ok(()),
            status => self.told(Err(anyhow!("{command} {uri}: {status}"))),
        }
    }

    /// Migrates into a plain stream file; works with every QEMU.
    ///
    /// # Errors
    /// It does not complete.
    pub fn migrate_to_file(&self, stream: &Path) -> Result<()> {
        self.migrate(&format!("exec:cat > '{}'", stream.display()))
    }

    /// Waits until the guest is in a run state.
    ///
    /// # Errors
    /// It does not get there.
    pub fn wait_for_state(&self, wanted: &str) -> Result<()> {
        let events = self.qmp.subscribe();
        if self.run_state()? == wanted {
            return Ok(());
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Which event announces it depends on the state, and some states come without one: each
            // is a reason to look again, and so is the lack of one.
            let soon = deadline.min(Instant::now() + LOOK);
            let _ = events.wait_for("a change of the run state", soon, |_| Some(()));
            let state = self.run_state()?;
            if state == wanted {
                return Ok(());
            }
            if Instant::now() > deadline {
                return self.told(Err(anyhow!("run state '{state}' instead of '{wanted}'")));
            }
        }
    }

    /// Waits until the guest's migration has a status, and gives all that QEMU says of it.
    ///
    /// # Errors
    /// It does not get there.
    pub fn wait_for_migration(&self, wanted: &str) -> Result<Value> {
        let events = self.qmp.subscribe();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.execute("query-migrate", Value::Null)?;
            if said["status"] == wanted {
                return Ok(said);
            }
            if Instant::now() > deadline {
                let error = anyhow!("the migration is not '{wanted}': {said}");
                return self.told(Err(error));
            }
            // Events come only where somebody has asked for them.
            let soon = deadline.min(Instant::now() + LOOK);
            let _ = events.wait_for("a change of the migration", soon, |event| {
                event.migration_status().map(drop)
            });
        }
    }

    /// Waits for `count` more passes of the pattern guest, and gives the number of the last.
    ///
    /// # Errors
    /// It finds something wrong, leaves a pass out, or does not come so far.
    pub fn wait_for_passes(&self, count: u64) -> Result<u64> {
        let mut last = None;
        let mut seen = 0;
        let position = self.console.position();
        let what = format!("{count} passes");
        let deadline = Instant::now() + PATIENCE;
        let ended = self.console.wait_from(position, &what, deadline, |line| {
            match Report::parse(&line.text) {
                Report::Bad(what) => return Some(Err(anyhow!("the guest found: {what}"))),
                Report::Pass(pass) => {
                    if last.is_some_and(|last| pass != last + 1) {
                        return Some(Err(anyhow!("pass {pass} came after pass {last:?}")));
                    }
                    last = Some(pass);
                    seen += 1;
                }
                _ => {}
            }
            (seen == count).then_some(Ok(last.unwrap_or(0)))
        });
        self.told(ended.and_then(|outcome| outcome))
    }

    /// Waits until the pattern guest finds something wrong, and gives its words.
    ///
    /// # Errors
    /// It is still content after `passes` more passes, or does not come so far.
    pub fn wait_for_bad(&self, passes: u64) -> Result<String> {
        let mut seen = 0;
        let deadline = Instant::now() + PATIENCE;
        let ended = self.console.wait_for("a complaint", deadline, |line| {
            match Report::parse(&line.text) {
                Report::Bad(what) => return Some(Ok(what)),
                Report::Pass(_) => seen += 1,
                _ => {}
            }
            (seen >= passes).then(|| Err(anyhow!("the guest has noticed nothing")))
        });
        self.told(ended.and_then(|outcome| outcome))
    }

    /// The longest time for which nothing was heard of the timer, among the lines after `position`.
    pub fn longest_silence(&self, position: usize) -> Duration {
        let beats: Vec<_> = self
            .console
            .lines()
            .into_iter()
            .skip(position)
            .filter(|line| matches!(Report::parse(&line.text), Report::Heartbeat(_)))
            .collect();
        let gaps = beats.windows(2).map(|pair| match pair {
            [first, second] => second.at.saturating_duration_since(first.at),
            _ => Duration::ZERO,
        });
        gaps.max().unwrap_or_default()
    }

    /// Ends QEMU by its own `quit`.
    ///
    /// # Errors
    /// It does not end, or not well.
    pub fn quit(mut self) -> Result<()> {
        let quit = self.qmp.execute("quit", Value::Null);
        match quit {
            // It may go before it has answered.
            Ok(_) | Err(qmp::Error::Closed) => {}
            Err(error) => return self.told(Err(error.into())),
        }
        let ended = self.wait_for_end();
        self.told(ended)
    }

    /// Waits until QEMU has ended by itself, successfully.
    ///
    /// # Errors
    /// It does not end, or not well.
    pub fn wait_for_end(&mut self) -> Result<()> {
        match &mut self.body {
            Body::Child(process) => {
                let status = process.wait(PATIENCE)?;
                ensure!(status.success(), "QEMU ended with {status}");
            }
            Body::Other { pidfd, pid } => {
                if !wait::readable(&*pidfd, Instant::now() + PATIENCE)? {
                    bail!("QEMU, process {pid}, does not end");
                }
            }
        }
        Ok(())
    }

    /// Kills QEMU, as a crash would.
    pub fn kill(mut self) {
        self.body.kill();
    }

    /// Marks a result's error as the guest's: its logs are kept, and named.
    ///
    /// # Errors
    /// That of `result`.
    pub fn told<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| self.home.failed(&error))
    }
}

impl Body {
    fn kill(&mut self) {
        match self {
            Self::Child(process) => process.kill(),
            Self::Other { pidfd, .. } => {
                let _ = pidfd_send_signal(&*pidfd, Signal::KILL);
                let _ = wait::readable(&*pidfd, Instant::now() + PATIENCE);
            }
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Removes what test programs that were killed have left behind.
fn sweep() {
    let entries = fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .flatten();
    for entry in entries {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let Some((owner, _)) = rest.and_then(|rest| rest.split_once('-')) else {
            continue;
        };
        let alive = Path::new("/proc").join(owner).exists();
        if !alive && !entry.path().join(KEPT).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The process ids of all QEMUs that still run with a file of `folder` on their command line.
pub fn leftovers(folder: &Path) -> Vec<Pid> {
    let folder = folder.as_os_str().as_encoded_bytes();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            line.windows(folder.len()).any(|window| window == folder)
        })
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}
