//! Volatility 3, which reads the memory of machines: a program that owes us nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::cache;
use crate::debian::run;

/// The release.
const VERSION: &str = "2.28.2";

/// An installed Volatility, and a folder for what it writes.
#[derive(Debug)]
pub struct Volatility {
    python: PathBuf,
    folder: TempDir,
}

impl Volatility {
    /// The one of the cache; fetched from PyPI now if the cache does not have it.
    ///
    /// # Errors
    /// It is not there and cannot be fetched.
    pub fn get() -> Result<Self> {
        let package = format!("volatility3=={VERSION}");
        let root = cache::entry(&format!("volatility-{VERSION}-v1"), |partial| {
            eprintln!("lab: fetching {package} from PyPI");
            run(Command::new("python3").args(["-m", "venv"]).arg(partial))?;
            let mut pip = Command::new(partial.join("bin/python"));
            pip.args(["-m", "pip", "install", "--quiet", &package]);
            run(&mut pip).map(drop)
        })
        .with_context(|| {
            format!("no Volatility: 'python3 -m venv DIR && DIR/bin/python -m pip install {package}' fetches it")
        })?;
        Ok(Self {
            python: root.join("bin/python"),
            folder: TempDir::with_prefix("vmferry-volatility-")?,
        })
    }

    /// Lets it look at `memory`, and gives what it prints.
    ///
    /// # Errors
    /// It does not understand it.
    pub fn run(&self, memory: &Path, words: &[&str]) -> Result<String> {
        // The script's first line names the folder in which it was installed before it was moved.
        let mut python = Command::new(&self.python);
        python.arg(self.python.with_file_name("vol"));
        python.args(["--quiet", "--offline", "--file"]);
        python
            .arg(memory)
            .arg("--output-dir")
            .arg(self.folder.path());
        let cache = self.folder.path().join("cache");
        std::fs::create_dir_all(&cache)?;
        python.arg("--cache-path").arg(cache);
        let output = python
            .args(words)
            .env("HOME", self.folder.path())
            .output()?;
        ensure!(
            output.status.success(),
            "volatility {}: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The kernel banners that it finds.
    ///
    /// # Errors
    /// It does not understand the file.
    pub fn banners(&self, memory: &Path) -> Result<Vec<String>> {
        let said = self.run(memory, &["banners"])?;
        let banners = said.lines().filter_map(|line| line.split_once('\t'));
        let banners = banners.map(|(_, banner)| banner.trim().to_owned());
        Ok(banners.filter(|banner| banner != "Banner").collect())
    }

    /// The memory as its own layer for QEMU's streams sees it.
    ///
    /// # Errors
    /// It does not understand the stream.
    pub fn memory_of_stream(&self, stream: &Path) -> Result<PathBuf> {
        let layers = self.run(stream, &["layerwriter", "--list"])?;
        ensure!(
            layers.contains("QemuSuspendLayer"),
            "no layer of QEMU's: {layers}"
        );
        self.layer_of_stream(stream)
    }

    /// The same, without a look at which layers there are.
    ///
    /// # Errors
    /// As for [`memory_of_stream`](Self::memory_of_stream).
    pub fn layer_of_stream(&self, stream: &Path) -> Result<PathBuf> {
        self.run(stream, &["layerwriter", "--layers", "primary"])?;
        Ok(self.folder.path().join("primary.raw"))
    }
}
