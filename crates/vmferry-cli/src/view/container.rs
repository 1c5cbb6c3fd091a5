//! What a saved state comes wrapped in, for results.

use std::time::SystemTime;

use serde::Serialize;
use vmferry::container::Container;

/// What a file is.
#[derive(Debug, Clone, Serialize)]
pub struct Wrapping {
    /// `stream`, `compressed`, `libvirt`, `qcow2`.
    pub kind: &'static str,
    /// In words.
    pub description: String,
    /// Where in the file the container begins, where that is not its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// How the stream is compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// Whether libvirt lets the domain go on when it restores it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was_running: Option<bool>,
    /// The snapshot in a qcow2 image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// The name of the domain in a libvirt save image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// What was compressed, where that is no bare stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inner: Option<Box<Self>>,
}

/// A snapshot in a qcow2 image.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// Its number, as text.
    pub id: String,
    /// The name that a person gave it.
    pub name: String,
    /// When it was made.
    pub created: Option<String>,
    /// For how long the guest had run, in ns.
    pub vm_clock: u64,
}

impl Wrapping {
    /// What `container` is.
    pub fn of(container: &Container) -> Self {
        let mut wrapping = Self {
            kind: "unknown",
            description: container.to_string(),
            offset: None,
            compression: None,
            was_running: None,
            snapshot: None,
            domain: None,
            inner: None,
        };
        match container {
            Container::Stream { offset } => {
                wrapping.kind = "stream";
                wrapping.offset = (*offset > 0).then_some(*offset);
                if *offset == 0 {
                    wrapping.description = "a QEMU migration stream".into();
                }
            }
            Container::Compressed {
                offset,
                compression,
                inner,
            } => {
                wrapping.kind = "compressed";
                wrapping.offset = (*offset > 0).then_some(*offset);
                wrapping.compression = Some(compression.to_string());
                if !matches!(**inner, Container::Stream { .. }) {
                    let inner = Box::new(Self::of(inner));
                    wrapping.domain.clone_from(&inner.domain);
                    wrapping.inner = Some(inner);
                }
            }
            Container::Libvirt(image) => {
                wrapping.kind = "libvirt";
                wrapping.compression = Some(image.format.to_string());
                wrapping.was_running = Some(image.was_running);
                wrapping.domain = domain_name(&image.xml);
            }
            Container::Qcow2(snapshot) => {
                wrapping.kind = "qcow2";
                wrapping.snapshot = Some(Snapshot {
                    id: snapshot.id.clone(),
                    name: snapshot.name.clone(),
                    created: time(snapshot.created),
                    vm_clock: u64::try_from(snapshot.vm_clock.as_nanos()).unwrap_or(u64::MAX),
                });
            }
            _ => {}
        }
        wrapping
    }
}

/// The first name in a domain's XML, which may be cut.
fn domain_name(xml: &str) -> Option<String> {
    let (_, from) = xml.split_once("<name>")?;
    let (name, _) = from.split_once("</name>")?;
    Some(name.replace(char::is_control, "?"))
}

fn time(time: SystemTime) -> Option<String> {
    let time = jiff::Timestamp::try_from(time).ok()?;
    Some(time.to_string())
}
