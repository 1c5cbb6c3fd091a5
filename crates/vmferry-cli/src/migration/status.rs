//! What `query-migrate` says.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::qmp::{Client, Error, Pending, Result};

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
    /// How long it took, in ms; 0 where it has not ended.
    pub total_time: u64,
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

/// Asks for the state of the migration, for showing it: `None` if the monitor is busy just now.
///
/// # Errors
/// The monitor is gone.
pub fn glance(client: &Client) -> Result<Option<Status>> {
    const PATIENCE: Duration = Duration::from_millis(500);
    match client.execute_with("query-migrate", Value::Null, &[], PATIENCE) {
        Ok(value) => Ok(Some(Status::deserialize(value).unwrap_or_default())),
        Err(Error::Timeout { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Looks at the state of the migration now and then, without ever waiting for the monitor: while the last
/// question has no answer, no other one is asked.
#[derive(Debug)]
pub struct Glance<'a> {
    client: &'a Client,
    asked: Option<Pending<'a>>,
}

impl<'a> Glance<'a> {
    /// Nothing is asked yet.
    pub fn new(client: &'a Client) -> Self {
        let asked = None;
        Self { client, asked }
    }

    /// The answer to the last question, if there is one, and the next question.
    ///
    /// # Errors
    /// The monitor is gone.
    pub fn look(&mut self) -> Result<Option<Status>> {
        let status = match self.asked.take().map(Pending::poll) {
            Some(Err(unanswered)) => {
                self.asked = Some(unanswered);
                return Ok(None);
            }
            Some(Ok(answer)) => Some(Status::deserialize(answer?).unwrap_or_default()),
            None => None,
        };
        match self.client.begin("query-migrate", Value::Null) {
            Ok(pending) => self.asked = Some(pending),
            // Its socket is full: a monitor that has much to catch up with.
            Err(Error::Io(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(status)
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
