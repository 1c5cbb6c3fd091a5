//! A real browser without a window: Debian's Chromium, driven through its DevTools protocol.
//!
//! The protocol comes over a pair of pipes, as JSON with a zero byte behind each message: no port is opened.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Process;
use crate::{PATIENCE, wait};

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    process: Process,
    to: File,
    from: File,
    unread: Vec<u8>,
    sent: u64,
    session: Option<String>,
    events: Vec<Value>,
    // Behind the process, which writes into it until it ends.
    _folder: TempDir,
}

const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
];

impl Browser {
    /// Starts it, with nothing of the user's around it.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start() -> Result<Self> {
        let found = Command::new("sh")
            .args(["-c", "command -v chromium"])
            .output()?;
        if !found.status.success() {
            bail!(
                "there is no chromium: './x test' installs it, as does 'apt-get install chromium'"
            );
        }
        let folder = TempDir::with_prefix("vmferry-browser-")?;
        let path = |name: &str| folder.path().join(name);
        for name in ["to", "from"] {
            mknodat(CWD, path(name), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        }
        // Neither waits for the other side: that is the shell's to do.
        let pipe = |name, flags| open(path(name), flags | OFlags::CLOEXEC, Mode::empty());
        let to: File = pipe("to", OFlags::RDWR)?.into();
        let from: File = pipe("from", OFlags::RDONLY | OFlags::NONBLOCK)?.into();
        let mut command = Command::new("sh");
        let script = r#"exec chromium "$@" about:blank 3<"$0/to" 4>"$0/from""#;
        command.args(["-c", script]).arg(folder.path()).args(FLAGS);
        command.arg(format!("--user-data-dir={}", path("profile").display()));
        let said = File::create(path("said"))?;
        let process = Process::spawn(&command, Stdio::null(), said.into())?;
        let mut browser = Self {
            process,
            to,
            from,
            unread: Vec::new(),
            sent: 0,
            session: None,
            events: Vec::new(),
            _folder: folder,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}))?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", attach)?;
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(browser)
    }

    /// Opens a file, and waits until its scripts have run.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(&mut self, file: &Path) -> Result<()> {
        self.events.clear();
        let url = format!("file://{}", file.display());
        let opened = self.call("Page.navigate", json!({"url": url}))?;
        ensure!(opened.get("errorText").is_none(), "{url}: {opened}");
        while !self
            .events
            .iter()
            .any(|event| event["method"] == "Page.loadEventFired")
        {
            let event = self.message()?;
            self.events.push(event);
        }
        Ok(())
    }

    /// The value of an expression in the page; a promise is waited for.
    ///
    /// # Errors
    /// It throws.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let parameters = json!({
            "expression": expression,
            "awaitPromise": true,
            "returnByValue": true,
            "userGesture": true,
        });
        let mut result = self.call("Runtime.evaluate", parameters)?;
        ensure!(
            result.get("exceptionDetails").is_none(),
            "{expression}: {result}"
        );
        Ok(result["result"]["value"].take())
    }

    /// Waits until an expression is true.
    ///
    /// # Errors
    /// It does not become true.
    pub fn until(&mut self, condition: &str) -> Result<()> {
        let looking = format!(
            "new Promise((done) => {{ const look = () => ({condition}) ? done(true) : \
             setTimeout(look, 5); look(); }})"
        );
        self.evaluate(&looking)
            .with_context(|| format!("until {condition}"))?;
        Ok(())
    }

    /// Presses a key: `/`, `Enter`, `ArrowDown`.
    ///
    /// # Errors
    /// The browser is gone.
    pub fn press(&mut self, key: &str) -> Result<()> {
        let mut down = json!({"type": "keyDown", "key": key, "code": key});
        if key.chars().count() == 1 {
            down["text"] = key.into();
        }
        self.call("Input.dispatchKeyEvent", down)?;
        let up = json!({"type": "keyUp", "key": key, "code": key});
        self.call("Input.dispatchKeyEvent", up)?;
        Ok(())
    }

    /// Types text where the focus is.
    ///
    /// # Errors
    /// The browser is gone.
    pub fn write(&mut self, text: &str) -> Result<()> {
        self.call("Input.insertText", json!({"text": text}))?;
        Ok(())
    }

    /// Gives the page a width, and light or dark colours.
    ///
    /// # Errors
    /// The browser is gone.
    pub fn look_like(&mut self, width: u32, scheme: &str) -> Result<()> {
        let metrics = json!({
            "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.call("Emulation.setDeviceMetricsOverride", metrics)?;
        let feature = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": feature}))?;
        Ok(())
    }

    /// Anything else that DevTools can do.
    ///
    /// # Errors
    /// It cannot, or the browser is gone.
    pub fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.sent += 1;
        let mut message = json!({"id": self.sent, "method": method});
        message["params"] = parameters;
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let mut bytes = serde_json::to_vec(&message)?;
        bytes.push(0);
        self.to
            .write_all(&bytes)
            .context("the browser does not listen")?;
        loop {
            let mut message = self.message()?;
            if message["id"] != self.sent {
                self.events.push(message);
                continue;
            }
            if let Some(error) = message.get("error") {
                bail!("{method}: {error}");
            }
            return Ok(message["result"].take());
        }
    }

    /// What the page has asked for since it was opened, beside itself.
    pub fn fetched(&self) -> Vec<String> {
        let requests = self.of("Network.requestWillBeSent");
        let urls = requests.filter_map(|event| event["request"]["url"].as_str());
        // The first is the page.
        urls.skip(1).map(str::to_owned).collect()
    }

    /// What stands on the console: messages, errors, what the page's own rules forbade.
    pub fn console(&self) -> Vec<String> {
        [
            "Runtime.consoleAPICalled",
            "Runtime.exceptionThrown",
            "Log.entryAdded",
        ]
        .into_iter()
        .flat_map(|method| self.of(method))
        .map(Value::to_string)
        .collect()
    }

    fn of(&self, method: &'static str) -> impl Iterator<Item = &Value> {
        let of_method = move |event: &&Value| event["method"] == method;
        self.events
            .iter()
            .filter(of_method)
            .map(|event| &event["params"])
    }

    fn message(&mut self) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == 0) {
                let message: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(serde_json::from_slice(&message[..end])?);
            }
            ensure!(
                wait::readable(&self.from, deadline)?,
                "the browser says nothing for {PATIENCE:?}"
            );
            let mut room = [0; 1 << 16];
            let got = self.from.read(&mut room)?;
            ensure!(
                got > 0,
                "the browser has ended: {}",
                if self.process.is_running() {
                    "it closed its pipe"
                } else {
                    "it is gone"
                }
            );
            self.unread.extend_from_slice(&room[..got]);
        }
    }
}
