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

/// What is changed for a migration, with the values from before: enough for another process to put them
/// back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    capabilities: BTreeMap<String, Change>,
    parameters: BTreeMap<String, Change>,
}

/// One changed value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Change {
    before: Value,
    wanted: Value,
    /// Values that we may set later.
    #[serde(default)]
    later: Vec<Value>,
}

impl Change {
    fn new(before: Value, wanted: Value) -> Self {
        Self {
            before,
            wanted,
            later: Vec::new(),
        }
    }

    /// Whether a value is one of ours. Any other was set by somebody else since, and stays.
    fn is_ours(&self, now: &Value) -> bool {
        *now == self.wanted || self.later.contains(now)
    }

    fn is_stale(&self, now: Option<&Value>) -> bool {
        now.is_some_and(|now| *now != self.before && self.is_ours(now))
    }

    fn is_untouched(&self, now: Option<&Value>) -> bool {
        now.is_none_or(|now| *now == self.before || self.is_ours(now))
    }
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

/// The parameter that decides when QEMU stops a machine for the rest of its memory, in ms.
pub const DOWNTIME_LIMIT: &str = "downtime-limit";

/// The largest value that QEMU takes for it.
pub const LONGEST_DOWNTIME: u64 = 2_000_000;

/// The parameter that bounds the stream, in bytes for each second; 0 is no bound.
pub const MAX_BANDWIDTH: &str = "max-bandwidth";

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
        wanted.parameters.insert(MAX_BANDWIDTH.into(), json!(0));
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

    /// A machine that QEMU stops by itself, as soon as it has measured how fast the stream goes: after
    /// its first tenth of a second. If the stream breaks, QEMU lets the guest go on by itself, too.
    pub fn stopping() -> Self {
        let mut wanted = Self::plain();
        wanted
            .parameters
            .insert(DOWNTIME_LIMIT.into(), json!(LONGEST_DOWNTIME));
        wanted
    }

    /// A destination of a lazy restore.
    pub fn lazy_destination() -> Self {
        let mut wanted = Self::plain();
        wanted.capabilities.insert("postcopy-ram", true);
        wanted
    }

    /// What has to be changed in this QEMU, which is not done yet. Capabilities and parameters that it
    /// does not have are left out, except one that must be on: that is for QEMU to refuse.
    ///
    /// # Errors
    /// The monitor does not answer.
    pub fn compare(&self, client: &Client) -> Result<Changed> {
        let mut changed = Changed::default();
        let now = capabilities(client)?;
        for (name, state) in &self.capabilities {
            let before = now.get(*name).copied().unwrap_or(false);
            if before != *state {
                let change = Change::new(before.into(), (*state).into());
                changed.capabilities.insert((*name).to_owned(), change);
            }
        }
        let now = parameters(client)?;
        for (name, value) in &self.parameters {
            if let Some(before) = now.get(name).filter(|before| *before != value) {
                let change = Change::new(before.clone(), value.clone());
                changed.parameters.insert(name.clone(), change);
            }
        }
        Ok(changed)
    }

    /// Sets what is not set already.
    ///
    /// # Errors
    /// QEMU refuses; then nothing is left changed.
    pub fn set(&self, client: &Client) -> Result<Changed> {
        let changed = self.compare(client)?;
        changed.apply(client)?;
        Ok(changed)
    }
}

impl Changed {
    /// Sets everything as wanted.
    ///
    /// # Errors
    /// QEMU refuses; then nothing is left changed.
    pub fn apply(&self, client: &Client) -> Result<()> {
        let wanted = |(name, change): (&String, &Change)| (name.clone(), change.wanted.clone());
        set_capabilities(client, &self.capabilities.iter().map(wanted).collect())?;
        let set = set_parameters(client, self.parameters.iter().map(wanted).collect());
        if set.is_err() {
            // What QEMU says to a second refusal would only hide the first.
            let _ = self.put_back(client);
        }
        set
    }

    /// Adds a value that a parameter may be set to later, so that it is put back with the rest.
    ///
    /// # Errors
    /// The monitor does not answer.
    pub fn allow(&mut self, client: &Client, name: &str, value: Value) -> Result<()> {
        if !self.parameters.contains_key(name) {
            // A parameter that this QEMU does not have will not be set.
            if let Some(before) = parameters(client)?.remove(name) {
                let change = Change::new(before.clone(), before);
                self.parameters.insert(name.to_owned(), change);
            }
        }
        if let Some(change) = self.parameters.get_mut(name) {
            change.later.push(value);
        }
        Ok(())
    }

    /// Sets a parameter that has a value of ours now.
    ///
    /// # Errors
    /// QEMU refuses.
    pub fn set_again(&self, client: &Client, name: &str, value: Value) -> Result<()> {
        let now = parameters(client)?;
        let ours = |change: &Change| now.get(name).is_some_and(|now| change.is_ours(now));
        match self.parameters.get(name).is_some_and(ours) {
            true => set_parameters(client, Map::from_iter([(name.to_owned(), value)])),
            false => Ok(()),
        }
    }

    /// What a parameter was before it was changed, if it was.
    pub fn parameter_before(&self, name: &str) -> Option<&Value> {
        self.parameters.get(name).map(|change| &change.before)
    }

    /// Whether every value still is one that we set: nobody else has used this migration since.
    ///
    /// # Errors
    /// The monitor does not answer.
    pub fn is_intact(&self, client: &Client) -> Result<bool> {
        let now = capabilities(client)?;
        let parameters = parameters(client)?;
        let state = |name: &String| now.get(name).copied().map(Value::from);
        let mut capabilities = self.capabilities.iter();
        let mut changes = self.parameters.iter();
        Ok(
            capabilities.all(|(name, change)| change.is_untouched(state(name).as_ref()))
                && changes.all(|(name, change)| change.is_untouched(parameters.get(name))),
        )
    }

    /// Puts back what still has a value of ours. It can be called again.
    ///
    /// # Errors
    /// QEMU refuses, as it does while a migration is under way.
    pub fn put_back(&self, client: &Client) -> Result<()> {
        if !self.capabilities.is_empty() {
            let now = capabilities(client)?;
            let state = |name: &String| now.get(name).copied().map(Value::from);
            let back = self.capabilities.iter();
            let back = back.filter(|(name, change)| change.is_stale(state(name).as_ref()));
            let back = back.map(|(name, change)| (name.clone(), change.before.clone()));
            set_capabilities(client, &back.collect())?;
        }
        if !self.parameters.is_empty() {
            let now = parameters(client)?;
            let back = self.parameters.iter();
            let back = back.filter(|(name, change)| change.is_stale(now.get(*name)));
            let back = back.map(|(name, change)| (name.clone(), change.before.clone()));
            set_parameters(client, back.collect())?;
        }
        Ok(())
    }
}

fn parameters(client: &Client) -> Result<Map<String, Value>> {
    match client.execute("query-migrate-parameters", Value::Null)? {
        Value::Object(parameters) => Ok(parameters),
        _ => Ok(Map::new()),
    }
}

/// QEMU sets all of them or none.
fn set_parameters(client: &Client, values: Map<String, Value>) -> Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    client
        .execute("migrate-set-parameters", Value::Object(values))
        .map(drop)
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

fn set_capabilities(client: &Client, states: &Map<String, Value>) -> Result<()> {
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
