//! Where this machine gets its Debian packages from.

use std::path::Path;
use std::{fs, io};

use anyhow::{Context, Result};

/// The addresses of a Debian mirror, as the machine's own apt sources name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Of the archive itself.
    pub main: String,
    /// Of the security updates, where the machine takes them.
    pub security: Option<String>,
}

impl Mirror {
    /// Reads `/etc/apt/sources.list` and what stands beside it, in both of apt's forms.
    ///
    /// # Errors
    /// No source looks like a Debian archive.
    pub fn of_this_machine() -> Result<Self> {
        Self::from_folder(Path::new("/etc/apt")).context(
            "none of the sources in /etc/apt is a Debian archive (an address that ends in /debian): \
             the lab takes its QEMUs from there",
        )
    }

    fn from_folder(etc: &Path) -> Option<Self> {
        let mut uris = uris(&read(&etc.join("sources.list")).unwrap_or_default());
        let mut parts: Vec<_> = fs::read_dir(etc.join("sources.list.d"))
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                path.extension()
                    .is_some_and(|e| e == "list" || e == "sources")
            })
            .collect();
        parts.sort();
        for part in parts {
            uris.extend(self::uris(&read(&part).unwrap_or_default()));
        }
        Self::choose(&uris)
    }

    fn choose(uris: &[String]) -> Option<Self> {
        let ending = |ending: &str| uris.iter().find(|uri| uri.ends_with(ending)).cloned();
        Some(Self {
            main: ending("/debian")?,
            security: ending("/debian-security"),
        })
    }
}

fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path)
}

/// The addresses in a file of sources: `deb [options] URI suite …` lines, or `URIs:` fields.
fn uris(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let words: Vec<_> = if let Some(rest) = line.strip_prefix("deb ") {
            // Options stand in brackets, and may hold blanks.
            let rest = rest.trim_start();
            let rest = match rest.strip_prefix('[') {
                Some(rest) => rest.split_once(']').map_or("", |(_, rest)| rest),
                None => rest,
            };
            rest.split_whitespace().take(1).collect()
        } else if let Some(rest) = line.strip_prefix("URIs:") {
            rest.split_whitespace().collect()
        } else {
            continue;
        };
        found.extend(words.iter().map(|uri| uri.trim_end_matches('/').to_owned()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_read_from_one_line_sources() {
        let text = "# a comment\ndeb-src http://a/debian x main\n\
            deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian/ bookworm main\n\
            deb http://security.example/debian-security bookworm-security main # why\n";
        let mirror = Mirror::choose(&uris(text)).unwrap();
        assert_eq!(mirror.main, "http://mirror.example/debian");
        let security = "http://security.example/debian-security";
        assert_eq!(mirror.security.as_deref(), Some(security));
    }

    #[test]
    fn the_mirror_is_read_from_deb822_sources_among_strangers() {
        let text = "Types: deb\nURIs: https://deb.nodesource.example/node_20.x\nSuites: nodistro\n\n\
            Types: deb\n# URIs: http://old/debian\nURIs: http://deb.example/debian\n";
        let mirror = Mirror::choose(&uris(text)).unwrap();
        assert_eq!(mirror.main, "http://deb.example/debian");
        assert_eq!(mirror.security, None);
    }

    #[test]
    fn a_machine_without_a_debian_source_has_no_mirror() {
        assert_eq!(
            Mirror::choose(&uris("deb http://archive.example/ubuntu jammy main")),
            None
        );
    }
}
