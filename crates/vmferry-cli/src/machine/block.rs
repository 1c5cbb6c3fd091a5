//! The disks that a machine has. They are not in a checkpoint; it only says which they were.

use serde_json::Value;
use vmferry_store::manifest::{BlockDevice, BlockNode};

use crate::qmp::{Client, Result};

/// The block devices with their nodes and files.
///
/// # Errors
/// The monitor does not answer.
pub fn block_devices(client: &Client) -> Result<Vec<BlockDevice>> {
    let devices = client.execute("query-block", Value::Null)?;
    let nodes = client.execute("query-named-block-nodes", Value::Null)?;
    let nodes = nodes.as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(devices
        .as_array()
        .into_iter()
        .flatten()
        .map(|device| block_device(device, nodes))
        .collect())
}

/// Whether the guest could have changed what is on it.
pub fn is_writable(device: &BlockDevice) -> bool {
    device.node.is_some() && device.read_only == Some(false)
}

fn block_device(device: &Value, named: &[Value]) -> BlockDevice {
    let inserted = device.get("inserted");
    let of = |member| inserted.and_then(|inserted| text(inserted, member));
    BlockDevice {
        device: text(device, "device").unwrap_or_default(),
        qdev: text(device, "qdev").filter(|qdev| !qdev.is_empty()),
        node: of("node-name"),
        file: of("file"),
        format: of("drv"),
        read_only: inserted.and_then(|inserted| inserted.get("ro")?.as_bool()),
        nodes: inserted
            .map(|inserted| chain(inserted, named))
            .unwrap_or_default(),
    }
}

/// The nodes from the device down: an image, its protocol node, its backing image, and so on.
fn chain(inserted: &Value, named: &[Value]) -> Vec<BlockNode> {
    let mut nodes = Vec::new();
    let mut image = inserted.get("image");
    while let Some(here) = image {
        let file = text(here, "filename");
        for node in named {
            let name = text(node, "node-name").unwrap_or_default();
            let known = nodes.iter().any(|known: &BlockNode| known.node == name);
            if file.is_some() && text(node, "file") == file && !known {
                nodes.push(BlockNode {
                    node: name,
                    driver: text(node, "drv"),
                    file: file.clone(),
                });
            }
        }
        image = here.get("backing-image");
    }
    nodes
}

fn text(value: &Value, member: &str) -> Option<String> {
    Some(value.get(member)?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_disk_is_recorded_with_the_images_below_it() {
        let device = json!({"device": "", "qdev": "/machine/peripheral/d/virtio-backend", "inserted": {
            "node-name": "top", "file": "/a.qcow2", "drv": "qcow2", "ro": false,
            "image": {"filename": "/a.qcow2", "backing-image": {"filename": "/base.raw"}}}});
        let named = json!([
            {"node-name": "base", "drv": "raw", "file": "/base.raw"},
            {"node-name": "top", "drv": "qcow2", "file": "/a.qcow2"},
            {"node-name": "other", "drv": "raw", "file": "/x"},
        ]);
        let disk = block_device(&device, named.as_array().unwrap());
        assert!(is_writable(&disk));
        let names: Vec<_> = disk.nodes.iter().map(|node| node.node.as_str()).collect();
        assert_eq!(names, ["top", "base"]);
    }

    #[test]
    fn an_empty_drive_is_no_writable_disk() {
        let drive = block_device(&json!({"device": "cd0", "removable": true}), &[]);
        assert!(!is_writable(&drive));
        assert_eq!(drive.device, "cd0");
    }
}
