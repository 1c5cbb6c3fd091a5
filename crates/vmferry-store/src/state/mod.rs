//! Device state: everything of a machine's stream that is not RAM.
//!
//! The invariant: elements are kept byte for byte and in stream order, so that a replay sends what
//! was recorded. `docs/format.md`, section 8, has the layout.

mod read;
mod write;

pub use read::DeviceState;
pub(crate) use write::StateWriter;

use serde::{Deserialize, Serialize};
use vmferry::machine::{Phase, Split};

const REGION_INDEX: u32 = 1;
const REGION_DATA: u32 = 2;

/// A stretch of the decompressed data: offset and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Piece(u64, u64);

/// The state index, as JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Index {
    configuration: Option<ConfigurationRecord>,
    sections: Vec<SectionRecord>,
    vmdesc: Option<Piece>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ConfigurationRecord {
    machine: String,
    target_page_bits: Option<u32>,
    capabilities: Vec<String>,
    uuid: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SectionRecord {
    section_id: u32,
    idstr: String,
    instance_id: u32,
    version_id: u32,
    phase: PhaseRecord,
    split: SplitRecord,
    offset: u64,
    element: Piece,
    payload: Piece,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PhaseRecord {
    Early,
    Device,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SplitRecord {
    Vmdesc,
    Footer,
}

impl From<Phase> for PhaseRecord {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Early => Self::Early,
            Phase::Device => Self::Device,
        }
    }
}

impl From<PhaseRecord> for Phase {
    fn from(phase: PhaseRecord) -> Self {
        match phase {
            PhaseRecord::Early => Self::Early,
            PhaseRecord::Device => Self::Device,
        }
    }
}

impl From<Split> for SplitRecord {
    fn from(split: Split) -> Self {
        match split {
            Split::Vmdesc => Self::Vmdesc,
            Split::Footer => Self::Footer,
        }
    }
}

impl From<SplitRecord> for Split {
    fn from(split: SplitRecord) -> Self {
        match split {
            SplitRecord::Vmdesc => Self::Vmdesc,
            SplitRecord::Footer => Self::Footer,
        }
    }
}
