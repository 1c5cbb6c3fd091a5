//! The JSON messages of the protocol.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Error, Result};

/// Which QEMU this is, from its greeting.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Version {
    /// 10 of 10.0.2.
    pub major: u32,
    /// 0 of 10.0.2.
    pub minor: u32,
    /// 2 of 10.0.2.
    pub micro: u32,
    /// What the distribution calls it; may be empty.
    #[serde(default)]
    pub package: String,
}

impl Version {
    /// Whether this is the given version or a later one.
    pub fn at_least(&self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)?;
        match self.package.trim() {
            "" => Ok(()),
            package => write!(f, " ({package})"),
        }
    }
}

/// Something that happened in QEMU.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `STOP`, `RESUME`, `MIGRATION`, …; any name may come.
    pub name: String,
    /// What belongs to it; null where there is nothing.
    pub data: Value,
    /// When it happened by QEMU's clock, in microseconds since 1970, where QEMU says so.
    pub timestamp_us: Option<i64>,
}

impl Event {
    /// The new state, if this is a change of the migration's.
    pub fn migration_status(&self) -> Option<&str> {
        (self.name == "MIGRATION").then(|| self.data.get("status")?.as_str())?
    }
}

/// What a line from the monitor is.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    Greeting(Version),
    Event(Event),
    Reply {
        /// Missing where QEMU could not make out a command at all.
        id: Option<String>,
        outcome: std::result::Result<Value, Refusal>,
    },
    /// Something that a monitor of today does not send.
    Other,
}

/// Why a command was refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) class: String,
    pub(super) description: String,
}

impl Message {
    pub(super) fn parse(line: &[u8]) -> Result<Self> {
        let value: Value = serde_json::from_slice(line).map_err(|error| Error::Protocol {
            what: format!("a line that is no JSON ({error})"),
        })?;
        let Value::Object(mut object) = value else {
            return Ok(Self::Other);
        };
        if let Some(greeting) = object.get("QMP") {
            let text =
                |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("").to_owned();
            let version = greeting.get("version");
            let numbers = version.and_then(|version| version.get("qemu")).cloned();
            let numbers = numbers.and_then(|numbers| Version::deserialize(numbers).ok());
            let mut version_found = numbers.ok_or_else(|| Error::Protocol {
                what: "a greeting without a version".into(),
            })?;
            version_found.package = text(version.and_then(|version| version.get("package")));
            return Ok(Self::Greeting(version_found));
        }
        if let Some(Value::String(name)) = object.remove("event") {
            let timestamp_us = timestamp(&object);
            let data = object.remove("data").unwrap_or(Value::Null);
            return Ok(Self::Event(Event {
                name,
                data,
                timestamp_us,
            }));
        }
        let id = match object.remove("id") {
            Some(Value::String(id)) => Some(id),
            _ => None,
        };
        if let Some(value) = object.remove("return") {
            let outcome = Ok(value);
            return Ok(Self::Reply { id, outcome });
        }
        if let Some(error) = object.remove("error") {
            let text = |key| {
                error
                    .get(key)
                    .and_then(Value::as_str)
                    .unwrap_or("")
                    .to_owned()
            };
            let outcome = Err(Refusal {
                class: text("class"),
                description: text("desc"),
            });
            return Ok(Self::Reply { id, outcome });
        }
        Ok(Self::Other)
    }
}

fn timestamp(object: &Map<String, Value>) -> Option<i64> {
    let timestamp = object.get("timestamp")?;
    let seconds = timestamp.get("seconds")?.as_i64()?;
    let microseconds = timestamp.get("microseconds")?.as_i64()?;
    // QEMU says -1 where it could not tell the time.
    (seconds >= 0).then(|| seconds.checked_mul(1_000_000)?.checked_add(microseconds))?
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_greeting_of_qemu_tells_its_version() {
        let line = br#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10},
            "package": "Debian 1:10.0.2+ds-2"}, "capabilities": ["oob"]}}"#;
        let Message::Greeting(version) = Message::parse(line).unwrap() else {
            panic!("no greeting");
        };
        assert_eq!(version.to_string(), "10.0.2 (Debian 1:10.0.2+ds-2)");
        assert!(version.at_least(8, 2) && !version.at_least(10, 1));
    }

    #[test]
    fn events_fields_and_messages_that_nobody_knows_pass() {
        let line = br#"{"event": "BRAND_NEW", "data": {"status": "never-heard"}, "extra": 1,
            "timestamp": {"seconds": 1, "microseconds": 5}}"#;
        let Message::Event(event) = Message::parse(line).unwrap() else {
            panic!("no event");
        };
        assert_eq!(event.name, "BRAND_NEW");
        assert_eq!(event.data, json!({"status": "never-heard"}));
        assert_eq!(event.timestamp_us, Some(1_000_005));
        assert_eq!(event.migration_status(), None);
        assert_eq!(Message::parse(b"{\"new\": {}}").unwrap(), Message::Other);
        assert_eq!(Message::parse(b"[1]").unwrap(), Message::Other);
        assert!(Message::parse(b"{\"event").is_err());
    }

    #[test]
    fn a_refusal_keeps_the_words_of_qemu() {
        let line = br#"{"id": "7", "error": {"class": "GenericError", "desc": "No"}}"#;
        let Message::Reply { id, outcome } = Message::parse(line).unwrap() else {
            panic!("no reply");
        };
        assert_eq!(id.as_deref(), Some("7"));
        assert_eq!(outcome.unwrap_err().description, "No");
    }
}
