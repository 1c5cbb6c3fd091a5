//! Capabilities and parameters: set for one migration, and put back behind it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::qmp::{Client, Result};

/// What a migration of ours wants to be set.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    capabilities: BTreeMap<&'static str, bool>,
    parameters: Map<String, Value>,
}

/// What was changed, with the values from before: enough for another process to put them back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    capabilities: BTreeMap<String, bool>,
    parameters: Map<String, Value>,
}

/// Capabilities that change what is in the stream, or where it goes, so that no reader of a plain
/// stream could take it; or that let the source do something else with its memory.
const NOT_PLAIN: &[&str] = &[
    "xbzrle",
    "compress",
    "block",
    "postcopy-ram",
    "postcopy-preempt",
    "x-colo",
    "release-ram",
    "return-path",
    "pause-before-switchover",
    "multifd",
    "dirty-bitmaps",
    "x-ignore-shared",
    "background-snapshot",
    "zero-copy-send",
    "switchover-ack",
    "mapped-ram",
];

/// Capabilities that QEMU refuses together with `background-snapshot`.
const NOT_WITH_SNAPSHOT: &[&str] = &[
    "auto-converge",
    "late-block-activate",
    "rdma-pin-all",
    "validate-uuid",
    "dirty-limit",
];

impl Wanted {
    /// A plain stream of a machine, as fast as it goes.
    pub fn plain() -> Self {
        let mut wanted = Self::default();
        for name in NOT_PLAIN {
            wanted.capabilities.insert(name, false);
        }
        wanted.capabilities.insert("events", true);
        wanted.parameters.insert("max-bandwidth".into(), json!(0));
        // A descriptor of ours speaks no TLS.
        wanted.parameters.insert("tls-creds".into(), json!(""));
        wanted.parameters.insert("mode".into(), json!("normal"));
        wanted
    }

    /// A background snapshot.
    pub fn snapshot() -> Self {
        let mut wanted = Self::plain();
        for name in NOT_WITH_SNAPSHOT {
            wanted.capabilities.insert(name, false);
        }
        wanted.capabilities.insert("background-snapshot", true);
        wanted
    }

    /// A destination of a lazy restore.
    pub fn lazy_destination() -> Self {
        let mut wanted = Self::plain();
        wanted.capabilities.insert("postcopy-ram", true);
        wanted
    }

    /// Sets what is not set already. Capabilities and parameters that this QEMU does not have are
    /// left out, except one that must be on.
    ///
    /// # Errors
    /// QEMU refuses; then nothing is left changed.
    pub fn set(&self, client: &Client) -> Result<Changed> {
        let mut changed = Changed::default();
        let mut request = BTreeMap::new();
        let now = capabilities(client)?;
        for (name, state) in &self.capabilities {
            match now.get(*name) {
                Some(before) if before == state => {}
                Some(before) => {
                    changed.capabilities.insert((*name).to_owned(), *before);
                    request.insert((*name).to_owned(), *state);
                }
                // Let QEMU say that it does not have it.
                None if *state => drop(request.insert((*name).to_owned(), true)),
                None => {}
            }
        }
        set_capabilities(client, &request)?;
        if let Err(error) = self.set_parameters(client, &mut changed) {
            // What QEMU says to the second refusal would only hide the first.
            let _ = changed.put_back(client);
            return Err(error);
        }
        Ok(changed)
    }

    fn set_parameters(&self, client: &Client, changed: &mut Changed) -> Result<()> {
        let now = client.execute("query-migrate-parameters", Value::Null)?;
        let mut request = Map::new();
        for (name, value) in &self.parameters {
            match now.get(name) {
                None => {}
                Some(before) if before == value => {}
                Some(before) => {
                    changed.parameters.insert(name.clone(), before.clone());
                    request.insert(name.clone(), value.clone());
                }
            }
        }
        if request.is_empty() {
            return Ok(());
        }
        let set = client.execute("migrate-set-parameters", Value::Object(request));
        if set.is_err() {
            // QEMU sets all of them or none.
            changed.parameters.clear();
        }
        set.map(drop)
    }
}

impl Changed {
    /// Puts everything back as it was.
    ///
    /// # Errors
    /// QEMU refuses, as it does while a migration is under way.
    pub fn put_back(&self, client: &Client) -> Result<()> {
        set_capabilities(client, &self.capabilities)?;
        if !self.parameters.is_empty() {
            let parameters = Value::Object(self.parameters.clone());
            client.execute("migrate-set-parameters", parameters)?;
        }
        Ok(())
    }
}

fn capabilities(client: &Client) -> Result<BTreeMap<String, bool>> {
    let list = client.execute("query-migrate-capabilities", Value::Null)?;
    let entry = |entry: &Value| {
        let name = entry.get("capability")?.as_str()?;
        Some((name.to_owned(), entry.get("state")?.as_bool()?))
    };
    Ok(list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(entry)
        .collect())
}

fn set_capabilities(client: &Client, states: &BTreeMap<String, bool>) -> Result<()> {
    if states.is_empty() {
        return Ok(());
    }
    let list: Vec<_> = states
        .iter()
        .map(|(name, state)| json!({"capability": name, "state": state}))
        .collect();
    client
        .execute("migrate-set-capabilities", json!({"capabilities": list}))
        .map(drop)
}
