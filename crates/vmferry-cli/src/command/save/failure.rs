//! How an attempt at a save fails.

use anyhow::anyhow;

/// Why an attempt failed.
pub(super) enum Failure {
    /// QEMU cannot do it in this mode; nothing has been changed.
    Refused(String),
    /// Anything else; everything has been put back.
    Failed(anyhow::Error),
}

impl Failure {
    /// What to say of it.
    pub(super) fn into_error(self) -> anyhow::Error {
        match self {
            Self::Refused(why) => anyhow!(why),
            Self::Failed(error) => error,
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
