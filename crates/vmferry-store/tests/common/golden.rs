//! The store that the first version of the format wrote, and one of a draft of that version.

use std::path::{Path, PathBuf};

use vmferry_store::Details;
use vmferry_store::manifest::{
    BlockDevice, BlockNode, Endianness, Machine as MachineRecord, SaveMode, SaveRecord,
};

/// Where it is.
pub fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/store-v1")
}

/// Where the one of a draft is.
pub fn draft() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/store-draft")
}

/// What its manifest says besides.
pub fn details() -> Details {
    Details {
        created: Some("2026-11-23T12:00:00.5Z".parse().unwrap()),
        machine: MachineRecord {
            name: Some("golden".into()),
            qemu_version: Some("10.0.2".into()),
            architecture: Some("x86_64".into()),
            endianness: Some(Endianness::Little),
            run_state: Some("running".into()),
            command_line: vec!["qemu-system-x86_64".into(), "-m".into(), "24K".into()],
            cwd: Some("/srv".into()),
            ..MachineRecord::default()
        },
        block_devices: vec![BlockDevice {
            device: "drive0".into(),
            node: Some("node0".into()),
            file: Some("/srv/disk.qcow2".into()),
            format: Some("qcow2".into()),
            read_only: Some(false),
            nodes: vec![BlockNode {
                node: "node0".into(),
                driver: Some("qcow2".into()),
                file: Some("/srv/disk.qcow2".into()),
            }],
            ..BlockDevice::default()
        }],
        save: SaveRecord {
            mode: Some(SaveMode::Snapshot),
            tool: Some("vmferry 0.1.0".into()),
            pause_us: Some(1234),
            duration_us: Some(56789),
        },
        warnings: vec!["not a real machine".into()],
        labels: [("made-by".into(), "examples/golden_store.rs".into())].into(),
        ..Details::default()
    }
}
