//! Names of VMs and checkpoints, and references to them.
//!
//! The invariant: a [`VmName`] and a [`CheckpointId`] are always safe as one component of a path,
//! because nothing else can be made into one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::hex::to_hex;
use crate::random::{RandomError, random_bytes};

const MAX_VM_BYTES: usize = 128;
const MAX_ID_BYTES: usize = 64;

/// A text that is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not {what}: {rule}")]
pub struct NameError {
    text: String,
    what: &'static str,
    rule: &'static str,
}

impl NameError {
    pub(super) fn new(text: &str, what: &'static str, rule: &'static str) -> Self {
        Self {
            text: text.chars().take(MAX_VM_BYTES).collect(),
            what,
            rule,
        }
    }
}

/// The name of a VM in a store: `A–Z a–z 0–9 . _ + -`, beginning with a letter, a digit or `_`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VmName(String);

/// The id of one checkpoint of a VM; ids sort by time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CheckpointId(String);

/// Names exactly one checkpoint of a store: `vm@id`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CheckpointName {
    /// The VM.
    pub vm: VmName,
    /// Which of its checkpoints.
    pub id: CheckpointId,
}

/// What a person writes to mean a checkpoint: `vm`, `vm@latest`, `vm@id`, or `vm@` and the beginning
/// of an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRef {
    /// The VM.
    pub vm: VmName,
    /// Which of its checkpoints.
    pub which: Which,
}

/// Which of a VM's checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The last one.
    Latest,
    /// The one with this id, else the only one whose id begins so.
    Id(String),
}

impl VmName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl CheckpointId {
    /// A new id for a save that begins at `begun`.
    ///
    /// # Errors
    /// The system's random source cannot be read.
    pub fn generate(begun: jiff::Timestamp) -> Result<Self, RandomError> {
        let random: [u8; 4] = random_bytes()?;
        let time = begun.strftime("%Y%m%dT%H%M%S");
        let millisecond = begun.subsec_millisecond().unsigned_abs();
        Ok(Self(format!("{time}{millisecond:03}Z-{}", to_hex(&random))))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VmName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rule = if text.is_empty() {
            "it is empty"
        } else if text.len() > MAX_VM_BYTES {
            "it is longer than 128 characters"
        } else if !text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte))
        {
            "only A–Z a–z 0–9 . _ + - may be in it"
        } else if text.starts_with(['.', '+', '-']) {
            "it must begin with a letter, a digit or '_'"
        } else {
            return Ok(Self(text.into()));
        };
        Err(NameError::new(text, "a VM name", rule))
    }
}

impl FromStr for CheckpointId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = text.len() <= MAX_ID_BYTES
            && text.starts_with(|first: char| first.is_ascii_digit())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if good {
            return Ok(Self(text.into()));
        }
        let rule = "ids are 1 to 64 of A–Z a–z 0–9 - and begin with a digit";
        Err(NameError::new(text, "a checkpoint id", rule))
    }
}

impl FromStr for CheckpointRef {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (vm, which) = match text.split_once('@') {
            None => (text, Which::Latest),
            Some((vm, "latest")) => (vm, Which::Latest),
            Some((vm, id)) => {
                let id: CheckpointId = id.parse()?;
                (vm, Which::Id(id.0))
            }
        };
        Ok(Self {
            vm: vm.parse()?,
            which,
        })
    }
}

impl From<CheckpointName> for CheckpointRef {
    fn from(name: CheckpointName) -> Self {
        Self {
            vm: name.vm,
            which: Which::Id(name.id.0),
        }
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for CheckpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.vm, self.id)
    }
}

impl TryFrom<String> for VmName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<String> for CheckpointId {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<VmName> for String {
    fn from(name: VmName) -> Self {
        name.0
    }
}

impl From<CheckpointId> for String {
    fn from(id: CheckpointId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_vm_name_is_a_path_an_option_or_a_reference() {
        for good in [
            "a",
            "web-1",
            "_x",
            "9",
            "Win11+tpm",
            "a.b",
            &"x".repeat(128),
        ] {
            assert!(good.parse::<VmName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "-rf",
            "+x",
            "a/b",
            "/a",
            "a\\b",
            "a b",
            "a@b",
            "a\0",
            "ä",
            "a\n",
            "a:b",
            &"x".repeat(129),
        ] {
            assert!(bad.parse::<VmName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_refused_name_says_which_rule_it_breaks() {
        let error = "../etc".parse::<VmName>().unwrap_err().to_string();
        assert_eq!(
            error,
            "'../etc' is not a VM name: only A–Z a–z 0–9 . _ + - may be in it"
        );
    }

    #[test]
    fn generated_ids_are_ids_and_sort_by_time() {
        let at = |ms| CheckpointId::generate(jiff::Timestamp::from_millisecond(ms).unwrap());
        let first = at(1_795_463_118_042).unwrap();
        let second = at(1_795_463_118_043).unwrap();
        assert!(first < second, "{first} {second}");
        assert_eq!(first.as_str().len(), "20261123T194518042Z-12345678".len());
        assert!(first.as_str().contains("042Z-"));
        assert_eq!(first.as_str().parse(), Ok(first));
    }
}
