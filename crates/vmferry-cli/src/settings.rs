//! What a user has settled once and for all: the file `config.toml`.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;
use serde::{Deserialize, Deserializer};

use crate::args::{self, Cli, Command, Mode};
use crate::ui::{self, ProgressStyle};
use crate::user_folder::user_folder;

/// What is used where neither the command line nor the environment says anything.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    store: Option<PathBuf>,
    progress: Option<ProgressStyle>,
    mode: Option<Mode>,
    #[serde(deserialize_with = "seconds")]
    stall_timeout: Option<Duration>,
}

impl Settings {
    /// Reads `$XDG_CONFIG_HOME/vmferry/config.toml`, if it is there.
    ///
    /// # Errors
    /// It cannot be read, or says something that means nothing.
    pub fn load() -> Result<Self> {
        let folder = user_folder("XDG_CONFIG_HOME", ".config");
        folder.map_or(Ok(Self::default()), |folder| {
            Self::read(&folder.join("config.toml"))
        })
    }

    fn read(path: &Path) -> Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text).map_err(anyhow::Error::from),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            // QEMU, which may run as another user, hands its environment on to the commands that it starts: the
            // home that is named there need not be one of ours.
            Err(error) if is_out_of_reach(error.kind()) => {
                ui::warn(format_args!(
                    "the settings in {} are out of reach, and nothing is taken from there: {error}",
                    path.display()
                ));
                Ok(Self::default())
            }
            Err(error) => Err(error.into()),
        }
        .with_context(|| format!("cannot use the settings in {}", path.display()))
    }

    /// Fills in what the command line left open.
    ///
    /// # Errors
    /// The environment names a mode that is none.
    pub fn fill(self, cli: &mut Cli) -> Result<()> {
        self.fill_from(cli, std::env::var_os(MODE))
    }

    fn fill_from(self, cli: &mut Cli, mode: Option<OsString>) -> Result<()> {
        let global = &mut cli.global;
        global.store = global.store.take().or(self.store);
        global.progress = global.progress.or(self.progress);
        if let Command::Save(save) = &mut cli.command {
            // A stream on standard input has its mode already. QEMU, which starts us then, may well have
            // been started with the variable.
            if !save.from.stdin && save.mode.is_none() {
                save.mode = mode
                    .map(|mode| mode_named(&mode))
                    .transpose()?
                    .or(self.mode);
            }
            save.stall_timeout = save.stall_timeout.or(self.stall_timeout);
        }
        Ok(())
    }
}

/// Whether somebody else may well have settings there.
fn is_out_of_reach(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::PermissionDenied | ErrorKind::NotADirectory | ErrorKind::StaleNetworkFileHandle
    )
}

/// The variable that names the mode of a save.
const MODE: &str = "VMFERRY_MODE";

fn mode_named(name: &OsStr) -> Result<Mode> {
    let name = name.to_string_lossy();
    Mode::from_str(&name, false).map_err(|_| {
        let modes = Mode::value_variants().iter();
        let names = modes.filter_map(Mode::to_possible_value);
        let names: Vec<_> = names.map(|value| value.get_name().to_owned()).collect();
        anyhow!(
            "{MODE} is '{name}', which is no mode: {} are",
            names.join(", ")
        )
    })
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    let patience = args::patience(seconds);
    patience
        .map(Some)
        .ok_or_else(|| serde::de::Error::custom(args::PATIENCE_EXPECTED))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn read(text: &str) -> Result<Settings> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Settings::read(file.path())
    }

    fn save(words: &[&str], settings: &str) -> (Cli, Option<Mode>, Option<Duration>) {
        save_with(words, settings, None)
    }

    fn save_with(
        words: &[&str],
        settings: &str,
        mode: Option<OsString>,
    ) -> (Cli, Option<Mode>, Option<Duration>) {
        let words = [&["vmferry", "save", "web"], words].concat();
        let mut cli = Cli::try_parse_from(words).unwrap();
        read(settings).unwrap().fill_from(&mut cli, mode).unwrap();
        let Command::Save(save) = &cli.command else {
            panic!("another command")
        };
        let (mode, patience) = (save.mode, save.stall_timeout);
        (cli, mode, patience)
    }

    #[test]
    fn settings_fill_in_what_the_command_line_leaves_open() {
        let settings = "store = '/srv/vm'\nmode = 'auto'\nstall-timeout = 2\nprogress = 'json'";
        let (cli, mode, patience) = save(&["--qmp", "/q"], settings);
        assert_eq!(cli.global.store, Some("/srv/vm".into()));
        assert_eq!(cli.global.progress, Some(ProgressStyle::Json));
        assert_eq!(mode, Some(Mode::Auto));
        assert_eq!(patience, Some(Duration::from_secs(2)));
    }

    #[test]
    fn the_command_line_goes_before_the_settings() {
        let settings = "store = '/srv/vm'\nmode = 'auto'";
        let words = ["--qmp", "/q", "--mode", "live", "--store", "/here"];
        let (cli, mode, _) = save(&words, settings);
        assert_eq!(cli.global.store, Some("/here".into()));
        assert_eq!(mode, Some(Mode::Live));
    }

    #[test]
    fn a_stream_on_standard_input_has_its_mode_already() {
        assert_eq!(save(&["--stdin"], "mode = 'live'").1, None);
        // Nor does a variable that QEMU was started with matter, whatever it says.
        let mode = |name: &str| Some(name.into());
        assert_eq!(save_with(&["--stdin"], "", mode("live")).1, None);
        assert_eq!(save_with(&["--stdin"], "", mode("fast")).1, None);
    }

    #[test]
    fn the_environment_goes_between_the_command_line_and_the_settings() {
        let (settings, mode) = ("mode = 'auto'", Some("stop".into()));
        let words = ["--qmp", "/q", "--mode", "live"];
        assert_eq!(
            save_with(&words[..2], settings, mode.clone()).1,
            Some(Mode::Stop)
        );
        assert_eq!(save_with(&words, settings, mode).1, Some(Mode::Live));
        let error = mode_named(OsStr::new("fast")).unwrap_err().to_string();
        assert!(error.contains("snapshot, stop, live, auto"), "{error}");
    }

    #[test]
    fn a_setting_that_means_nothing_is_refused_with_its_place() {
        for (text, part) in [
            ("stor = '/srv'", "stor"),
            ("mode = 'fast'", "fast"),
            ("stall-timeout = 0", "0.1 to 86400"),
            ("store = ", "line 1"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains("cannot use the settings in"), "{error}");
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn no_settings_are_no_error() {
        // Where the home of an account without one leads to, too.
        for path in ["/nonexistent/config.toml", "/dev/null/vmferry/config.toml"] {
            let none = Settings::read(Path::new(path)).unwrap();
            assert_eq!(none, Settings::default());
        }
    }
}
