//! What `query-migrate` says.

use serde::Deserialize;
use serde_json::Value;

use crate::qmp::{Client, Result};

/// What `query-migrate` says. States and members that this version does not know pass.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Status {
    /// `none`, `setup`, `active`, `completed`, `failed`, …; missing where nothing has migrated yet.
    pub status: Option<String>,
    /// Why it failed.
    pub error_desc: Option<String>,
    /// Why this machine cannot migrate at all.
    pub blocked_reasons: Vec<String>,
    /// How the RAM goes.
    pub ram: Ram,
}

/// The RAM's part of it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Ram {
    /// Bytes of all RAM blocks.
    pub total: u64,
    /// Bytes sent.
    pub transferred: u64,
    /// Bytes left, as far as QEMU knows.
    pub remaining: u64,
    /// Rounds over the dirty pages.
    pub dirty_sync_count: u64,
}

impl Status {
    /// Whether a migration is under way: anything but the states in which nothing happens. A state
    /// that this version does not know counts as under way.
    pub fn is_under_way(&self) -> bool {
        let at_rest = ["none", "completed", "failed", "cancelled"];
        self.status
            .as_deref()
            .is_some_and(|status| !at_rest.contains(&status))
    }

    /// Whether a migration has come to its end.
    pub fn is_completed(&self) -> bool {
        self.status.as_deref() == Some("completed")
    }

    /// The state, for people.
    pub fn name(&self) -> &str {
        self.status.as_deref().unwrap_or("none")
    }
}

/// Asks for the state of the migration.
///
/// # Errors
/// The monitor does not answer.
pub fn query(client: &Client) -> Result<Status> {
    let value = client.execute("query-migrate", Value::Null)?;
    // Members of another type than today's are as good as missing.
    Ok(Status::deserialize(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn states_of_a_newer_qemu_count_as_under_way() {
        let status = |value| Status::deserialize(value).unwrap();
        assert!(!status(json!({})).is_under_way());
        for at_rest in ["none", "completed", "failed", "cancelled"] {
            assert!(!status(json!({"status": at_rest})).is_under_way());
        }
        for busy in ["setup", "active", "postcopy-device", "failing"] {
            assert!(status(json!({"status": busy, "new": [1]})).is_under_way());
        }
    }

    #[test]
    fn what_blocks_a_migration_is_told() {
        let value = json!({"status": "none", "blocked": true, "blocked-reasons": ["VFIO"]});
        assert_eq!(
            Status::deserialize(value).unwrap().blocked_reasons,
            ["VFIO"]
        );
    }
}
