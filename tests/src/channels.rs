//! The two ends of a migration through several channels, for tests that stand at one of them.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};
use vmferry::channel::{Duplex, Socket, SocketReader, SocketWriter};
use vmferry::load::Channels;
use vmferry::stream::{Reader, Writer};
use vmferry::wire::multifd::Method;

use crate::{Guest, PATIENCE, wait};

/// How often something is looked at that nobody announces.
const LOOK: Duration = Duration::from_millis(50);

// How fast a slow migration sends, in bytes per second: each page once; the last of these, which take one second at
// this rate; and what has changed since, which takes a part of a second if that is not slower than the slowest.
const FIRST_ROUND: u64 = 32 << 20;
const END_OF_FIRST_ROUND: u64 = 4 << 20;
const ROUNDS_PER_SECOND: u64 = 3;
const SLOWEST: u64 = 256 << 10;

/// A place that a source migrates to.
#[derive(Debug)]
pub struct Gate {
    listener: UnixListener,
    path: PathBuf,
}

impl Gate {
    /// Listens in `folder`.
    ///
    /// # Errors
    /// Somebody does so already.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("gate");
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path })
    }

    /// Where a source migrates to.
    pub fn uri(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    /// Takes the main channel and so many others.
    ///
    /// # Errors
    /// They do not come, or do not begin as the channels of one migration.
    pub fn accept(&self, multifd: usize) -> Result<Channels<Reader<SocketReader>>> {
        Ok(Channels::accept(multifd, || self.next())?)
    }

    fn next(&self) -> io::Result<SocketReader> {
        if !wait::readable(self.listener.as_fd(), Instant::now() + PATIENCE)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let (stream, _) = self.listener.accept()?;
        stream.set_nonblocking(false)?;
        Ok(Socket::from(stream).split().0)
    }
}

/// Connects to a destination that listens in its folder: the main channel first, and `multifd` others.
///
/// # Errors
/// Nobody listens.
pub fn connect(
    guest: &Guest,
    multifd: usize,
) -> Result<(
    Writer<'static, SocketWriter>,
    Vec<Writer<'static, SocketWriter>>,
)> {
    let path = incoming(guest);
    let one = || -> Result<_> {
        let stream = UnixStream::connect(&path).context("no destination takes the connection")?;
        Ok(Writer::new(Socket::from(stream).split().1))
    };
    let main = one()?;
    let others = (0..multifd).map(|_| one()).collect::<Result<_>>()?;
    Ok((main, others))
}

fn incoming(guest: &Guest) -> PathBuf {
    guest.folder().join("incoming")
}

impl Guest {
    /// Has a guest that was started with `-incoming defer` listen for [`connect`].
    ///
    /// # Errors
    /// QEMU cannot.
    pub fn listen(&self) -> Result<()> {
        let uri = format!("unix:{}", incoming(self).display());
        self.execute("migrate-incoming", json!({"uri": uri}))
            .map(drop)
    }

    /// Begins to migrate to `uri`, and does not wait for the end.
    ///
    /// # Errors
    /// QEMU refuses to.
    pub fn begin_to_migrate(&self, uri: &str) -> Result<()> {
        self.execute("migrate", json!({"uri": uri})).map(drop)
    }

    /// Turns a migration capability on.
    ///
    /// # Errors
    /// QEMU does not have it.
    pub fn enable(&self, capability: &str) -> Result<()> {
        let list = json!([{"capability": capability, "state": true}]);
        let list = json!({"capabilities": list});
        self.execute("migrate-set-capabilities", list).map(drop)
    }

    /// Lets migrations go through so many channels beside the main one; none: through the main one alone.
    ///
    /// # Errors
    /// QEMU does not have the method.
    pub fn set_multifd(&self, channels: usize, method: Method) -> Result<()> {
        if channels == 0 {
            return Ok(());
        }
        self.enable("multifd")?;
        let parameters = json!({
            "multifd-channels": channels,
            "multifd-compression": method.name(),
            "max-bandwidth": 0,
        });
        self.execute("migrate-set-parameters", parameters).map(drop)
    }

    /// Waits until a migration has come to its end, well.
    ///
    /// # Errors
    /// It fails.
    pub fn wait_until_migrated(&self) -> Result<Value> {
        let events = self.qmp().subscribe();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.execute("query-migrate", Value::Null)?;
            match said["status"].as_str() {
                Some("completed") => return Ok(said),
                Some("failed" | "cancelled") => return self.told(Err(anyhow!("{said}"))),
                _ if Instant::now() > deadline => return self.told(Err(anyhow!("no end: {said}"))),
                _ => {}
            }
            // Events come only where somebody has asked for them.
            let soon = deadline.min(Instant::now() + LOOK);
            let _ = events.wait_for("a change of the migration", soon, |event| {
                event.migration_status().map(drop)
            });
        }
    }

    /// Lets migrations go so slowly that a guest that runs has pages sent again.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn migrate_slowly(&self) -> Result<()> {
        // The limit is one ms: QEMU ends when that is enough for what is left, so a low bandwidth puts it off.
        // Without any limit, 7.2 ends when it has sent each page once.
        let slowly = json!({"max-bandwidth": FIRST_ROUND, "downtime-limit": 1});
        self.execute("migrate-set-parameters", slowly).map(drop)
    }

    /// Sees to it that a slow migration sends pages again, and as differences if such are enabled; then lets it
    /// go fast.
    ///
    /// # Errors
    /// It ends before.
    pub fn hurry_when_pages_came_again(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let (mut round, mut bandwidth) = (1, FIRST_ROUND);
        loop {
            let said = self.execute("query-migrate", Value::Null)?;
            let number = |part: &str, name: &str| said[part][name].as_u64().unwrap_or(0);
            let rounds = number("ram", "dirty-sync-count");
            // Told only where they are enabled.
            let differences = said["xbzrle-cache"].is_null() || number("xbzrle-cache", "bytes") > 0;
            if rounds >= 5 && differences {
                break;
            }
            let goes_on = said["status"] == "active" || said["status"] == "setup";
            if !goes_on || Instant::now() > deadline {
                return self.told(Err(anyhow!("no pages are sent again: {said}")));
            }
            // Each round long enough for the guest to change more than the limit lets through, on any machine.
            let left = number("ram", "remaining");
            let wanted = match rounds {
                0 => FIRST_ROUND,
                1 if left > END_OF_FIRST_ROUND => FIRST_ROUND,
                1 => END_OF_FIRST_ROUND,
                _ if rounds == round => bandwidth,
                _ => (left * ROUNDS_PER_SECOND).clamp(SLOWEST, FIRST_ROUND),
            };
            round = rounds;
            if wanted != bandwidth {
                bandwidth = wanted;
                self.execute(
                    "migrate-set-parameters",
                    json!({"max-bandwidth": bandwidth}),
                )?;
            }
        }
        let at_once = json!({"max-bandwidth": 0, "downtime-limit": 20_000});
        self.execute("migrate-set-parameters", at_once).map(drop)
    }
}
