//! A private view of Debian's archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::Mirror;

/// Debian's signing keys, part of its base system.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What packages are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// Debian 12 with its backports, on which the lab runs.
    Bookworm,
    /// Debian 13, for what runs beside that, with a C library of its own.
    Trixie,
}

/// A suite of Debian's, wherever this machine gets its packages from; with an apt of its own.
#[derive(Debug)]
pub struct Archive {
    folder: PathBuf,
}

/// A package that apt would install, in the version that it would choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Archive {
    /// Sets an archive up in `folder`, and fetches its lists of packages.
    ///
    /// # Errors
    /// The machine names no Debian mirror, or the mirror cannot be reached.
    pub fn open(folder: &Path, suite: Suite) -> Result<Self> {
        let mirror = Mirror::of_this_machine()?;
        for part in ["etc", "state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part))?;
        }
        // To this apt nothing is installed, so it names everything that a package needs.
        fs::write(folder.join("status"), "")?;
        fs::write(folder.join("etc/sources.list"), sources(&mirror, suite))?;
        fs::write(folder.join("apt.conf"), configuration(folder))?;
        let archive = Self {
            folder: folder.to_owned(),
        };
        run(archive.apt().args(["update", "--quiet", "--quiet"]))?;
        Ok(archive)
    }

    /// What apt would install to have `packages`, from the suite `target` where it has them.
    ///
    /// # Errors
    /// There is no such package.
    pub fn closure(&self, packages: &[&str], target: &str) -> Result<Vec<Package>> {
        let mut apt = self.apt();
        apt.args([
            "install",
            "--simulate",
            "--quiet",
            "--target-release",
            target,
        ]);
        let output = run(apt.args(packages))?;
        Ok(output
            .lines()
            .filter_map(Package::from_simulation)
            .collect())
    }

    /// Fetches the packages, verified, and unpacks them all into `root`.
    ///
    /// # Errors
    /// The mirror cannot be reached, or a package is not what the archive signed.
    pub fn unpack(&self, packages: &[Package], root: &Path) -> Result<()> {
        let downloads = self.folder.join("downloads");
        if downloads.exists() {
            fs::remove_dir_all(&downloads)?;
        }
        fs::create_dir_all(&downloads)?;
        fs::create_dir_all(root)?;
        let wanted = packages.iter().map(|p| format!("{}={}", p.name, p.version));
        let mut apt = self.apt();
        apt.args(["download", "--quiet", "--quiet"]).args(wanted);
        run(apt.current_dir(&downloads))?;
        let mut unpacked = 0;
        for entry in fs::read_dir(&downloads)? {
            run(Command::new("dpkg-deb")
                .arg("-x")
                .arg(entry?.path())
                .arg(root))?;
            unpacked += 1;
        }
        ensure!(
            unpacked == packages.len(),
            "apt fetched {unpacked} packages of {packages:?}"
        );
        fs::remove_dir_all(&downloads)?;
        Ok(())
    }

    fn apt(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.arg("-c").arg(self.folder.join("apt.conf"));
        command
    }
}

impl Package {
    /// Reads a line like `Inst name [old] (version Suite [amd64])`.
    fn from_simulation(line: &str) -> Option<Self> {
        let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
        let version = rest.split_once('(')?.1.split_whitespace().next()?;
        Some(Self {
            name: name.to_owned(),
            version: version.to_owned(),
        })
    }
}

fn sources(mirror: &Mirror, suite: Suite) -> String {
    let mut text = String::new();
    let mut add = |uri: &str, suite: &str| {
        text += &format!("deb [arch=amd64 signed-by={KEYRING}] {uri} {suite} main\n");
    };
    let (names, security): (&[_], _) = match suite {
        Suite::Bookworm => (&["bookworm", "bookworm-backports"], "bookworm-security"),
        Suite::Trixie => (&["trixie"], "trixie-security"),
    };
    for name in names {
        add(&mirror.main, name);
    }
    if let Some(address) = &mirror.security {
        add(address, security);
    }
    text
}

/// The machine's own settings stay in force (a proxy, say), except its hooks and its folders.
fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r##"#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear APT::Default-Release;
Dir::Etc "{folder}/etc";
Dir::Etc::sourcelist "{folder}/etc/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::preferences "-";
Dir::Etc::preferencesparts "-";
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
APT::Architecture "amd64";
APT::Architectures "amd64";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
"##
    )
}

/// Runs a command to its end and gives what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let line = format!("{command:?}");
    let output = command
        .env("LC_ALL", "C")
        .stdin(std::process::Stdio::null())
        .output()
        .with_context(|| format!("cannot run {line}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{line} failed ({}):\n{}", output.status, said.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_simulation_names_packages_and_versions() {
        let line = "Inst qemu-system-x86 (1:10.0.2+ds-2 Debian Backports:stable [amd64]) []";
        let package = Package::from_simulation(line).unwrap();
        assert_eq!(package.name, "qemu-system-x86");
        assert_eq!(package.version, "1:10.0.2+ds-2");
        assert_eq!(Package::from_simulation("Conf x (1 y)"), None);
    }
}
