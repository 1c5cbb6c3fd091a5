//! Where a user's settings and data are.

use std::path::PathBuf;

/// Our folder among the user's: below the one that `variable` names, or below `fallback` at home.
pub(crate) fn user_folder(variable: &str, fallback: &str) -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let folder = absolute(variable).or_else(|| Some(absolute("HOME")?.join(fallback)))?;
    Some(folder.join("vmferry"))
}
