//! Every capture, in the order in which `testdata/README.md` lists them.

use super::{Capture, Firmware, PLAIN, Way, When};
use crate::Release::{self, V7_2, V10_0};
use crate::Target;

/// A guest of 1 MiB that changes its pages while it is migrated.
const LIVE: Capture = Capture {
    firmware: Firmware::Writes,
    when: When::Running,
    ..PLAIN
};

const MULTIFD: Capture = Capture {
    capabilities: &["multifd"],
    parameters: NO_COMPRESSION,
    firmware: Firmware::Writes,
    when: When::Stopped,
    way: Way::Multifd,
    ..PLAIN
};

const MULTIFD_LIVE: Capture = Capture {
    when: When::Running,
    ..MULTIFD
};

const MAPPED: Capture = Capture {
    releases: ONLY_10_0,
    capabilities: &["mapped-ram"],
    firmware: Firmware::Writes,
    when: When::Stopped,
    way: Way::Mapped(0),
    ..PLAIN
};

const POSTCOPY: Capture = Capture {
    capabilities: &["postcopy-ram"],
    way: Way::Postcopy,
    ..LIVE
};

const PREEMPT: Capture = Capture {
    capabilities: &["postcopy-ram", "postcopy-preempt"],
    ..POSTCOPY
};

const ONLY_7_2: &[Release] = &[V7_2];
const ONLY_10_0: &[Release] = &[V10_0];

const NO_COMPRESSION: &str = r#"{"multifd-channels": 2}"#;
const ZLIB: &str = r#"{"multifd-channels": 2, "multifd-compression": "zlib"}"#;
const ZSTD: &str = r#"{"multifd-channels": 2, "multifd-compression": "zstd"}"#;

const VIRTIO_MEM: &[&str] = &[
    "-m 128M,maxmem=1G",
    "-object memory-backend-ram,id=vm0,size=64M",
    "-device virtio-mem-pci,memdev=vm0",
    "-blockdev null-co,node-name=n0,size=1048576",
    "-device virtio-blk-pci,drive=n0",
];

/// Whatever has a state worth describing and no memory of its own worth keeping.
const MANY: &[&str] = &[
    "-blockdev null-co,node-name=n0,size=1048576",
    "-blockdev null-co,node-name=n1,size=1048576",
    "-blockdev null-co,node-name=n2,size=1048576",
    "-blockdev null-co,node-name=n3,size=1048576",
    "-device virtio-blk-pci,drive=n0",
    "-device ide-hd,drive=n1,bus=ide.0",
    "-device virtio-scsi-pci,id=scsi",
    "-device scsi-hd,drive=n2,bus=scsi.0",
    "-device lsi53c895a,id=lsi",
    "-device scsi-hd,drive=n3,bus=lsi.0",
    "-netdev user,id=net0",
    "-device virtio-net-pci,netdev=net0,romfile=",
    "-device e1000,romfile=",
    "-device e1000e,romfile=",
    "-device rtl8139,romfile=",
    "-device pcnet,romfile=",
    "-device vmxnet3,romfile=",
    "-device virtio-rng-pci",
    "-device virtio-balloon-pci",
    "-device virtio-serial-pci",
    "-chardev null,id=port",
    "-device virtconsole,chardev=port",
    "-device virtio-keyboard-pci",
    "-device VGA,vgamem_mb=1,romfile=",
    "-device qemu-xhci,id=xhci",
    "-device usb-tablet,bus=xhci.0",
    "-device ich9-usb-ehci1,id=ehci",
    "-device ich9-usb-uhci1",
    "-device intel-hda",
    "-device hda-duplex,audiodev=silence",
    "-audiodev none,id=silence",
    "-device AC97,audiodev=silence",
    "-device isa-serial,chardev=port2",
    "-chardev null,id=port2",
    "-device i6300esb",
    "-device sdhci-pci",
    "-device pcie-root-port,id=root,chassis=1",
];

/// Two bitmaps of a disk, of which one sees what is written then.
const BITMAPS: &[(&str, &str)] = &[
    (
        "block-dirty-bitmap-add",
        r#"{"node": "n0", "name": "bm0", "granularity": 65536}"#,
    ),
    (
        "block-dirty-bitmap-add",
        r#"{"node": "n0", "name": "bm1", "granularity": 65536, "disabled": true}"#,
    ),
    (
        "human-monitor-command",
        r#"{"command-line": "qemu-io n0 \"write 1M 128k\""}"#,
    ),
];

/// All of them.
pub const CAPTURES: &[Capture] = &[
    Capture {
        name: "pc-small",
        machine: "pc",
        why: "small enough to cut at every byte",
        ..PLAIN
    },
    Capture {
        name: "q35-small",
        why: "the same",
        ..PLAIN
    },
    Capture {
        name: "pc-small-snapshot",
        machine: "pc",
        capabilities: &["background-snapshot"],
        when: When::Running,
        why: "no end of the RAM section",
        ..PLAIN
    },
    Capture {
        name: "q35-vmem",
        memory_mib: 128,
        firmware: Firmware::SeaBios,
        arguments: VIRTIO_MEM,
        why: "a device section before the RAM, a block without pages",
        ..PLAIN
    },
    Capture {
        name: "q35-postcopycap",
        memory_mib: 2,
        releases: ONLY_7_2,
        firmware: Firmware::SeaBios,
        capabilities: &["postcopy-ram"],
        why: "what the capability adds to a stream",
        ..PLAIN
    },
    Capture {
        name: "pc-smp2",
        machine: "pc",
        cpus: 2,
        firmware: Firmware::Writes,
        when: When::Stopped,
        why: "two processors",
        ..PLAIN
    },
    Capture {
        name: "pc-2.2",
        machine: "pc-i440fx-2.2",
        releases: ONLY_7_2,
        why: "no configuration, footers or description",
        ..PLAIN
    },
    Capture {
        name: "pc-2.3",
        machine: "pc-i440fx-2.3",
        releases: ONLY_7_2,
        why: "no configuration or footers, but a description",
        ..PLAIN
    },
    Capture {
        name: "q35-suppress-vmdesc",
        machine: "q35,suppress-vmdesc=on",
        why: "no description",
        ..PLAIN
    },
    Capture {
        name: "q35-live",
        why: "pages that come again",
        ..LIVE
    },
    Capture {
        name: "q35-live-snapshot",
        capabilities: &["background-snapshot"],
        why: "pages out of order: those that the guest writes come first",
        ..LIVE
    },
    Capture {
        name: "q35-xbzrle",
        capabilities: &["xbzrle"],
        why: "differences",
        ..LIVE
    },
    Capture {
        name: "q35-compress",
        releases: ONLY_7_2,
        capabilities: &["compress"],
        why: "pages compressed one by one",
        ..LIVE
    },
    Capture {
        name: "q35-compress-xbzrle",
        releases: ONLY_7_2,
        capabilities: &["compress", "xbzrle"],
        why: "both in one stream",
        ..LIVE
    },
    Capture {
        name: "q35-ignore-shared",
        machine: "q35,memory-backend=mem",
        arguments: &[
            "-object memory-backend-file,id=mem,size=1M,mem-path=FOLDER/ram,share=on",
            "-uuid 11223344-5566-7788-99aa-bbccddeeff00",
        ],
        capabilities: &["x-ignore-shared", "validate-uuid"],
        why: "both subsections of the configuration, a block whose pages stay away",
        ..PLAIN
    },
    Capture {
        name: "q35-dirty-bitmap",
        arguments: &["-blockdev null-co,node-name=n0,size=16777216,read-zeroes=on"],
        capabilities: &["dirty-bitmaps"],
        before: BITMAPS,
        why: "a second iterable section",
        ..PLAIN
    },
    Capture {
        name: "pc-small-bitmaps",
        machine: "pc",
        arguments: &[
            "-blockdev null-co,node-name=n0,size=268435456,read-zeroes=on",
            // For the write, which is not the device's.
            "-device virtio-blk-pci,drive=n0,share-rw=on",
        ],
        capabilities: &["dirty-bitmaps"],
        before: BITMAPS,
        why: "bitmaps of a disk that a device has",
        ..PLAIN
    },
    Capture {
        name: "pc-small-postcopy",
        machine: "pc",
        capabilities: &["postcopy-ram"],
        way: Way::PostcopyAlone,
        why: "devices in a package, pages behind it, no description",
        ..PLAIN
    },
    Capture {
        name: "q35-many",
        memory_mib: 16,
        firmware: Firmware::SeaBios,
        arguments: MANY,
        when: When::Stopped,
        why: "the state of many devices",
        ..PLAIN
    },
    Capture {
        name: "q35-gpu",
        // Debian packs the device apart for 10.0.
        releases: ONLY_7_2,
        memory_mib: 16,
        firmware: Firmware::SeaBios,
        arguments: &["-device virtio-gpu-pci,max_outputs=1"],
        when: When::Stopped,
        why: "a state that QEMU does not describe further",
        ..PLAIN
    },
    Capture {
        name: "q35-multifd",
        why: "pages on channels of their own",
        ..MULTIFD
    },
    Capture {
        name: "q35-multifd-zlib",
        parameters: ZLIB,
        why: "each channel one zlib stream",
        ..MULTIFD
    },
    Capture {
        name: "q35-multifd-zstd",
        parameters: ZSTD,
        why: "each channel one zstd frame",
        ..MULTIFD
    },
    Capture {
        name: "q35-multifd-live",
        why: "many rounds",
        ..MULTIFD_LIVE
    },
    Capture {
        name: "q35-multifd-zlib-live",
        parameters: ZLIB,
        why: "many rounds",
        ..MULTIFD_LIVE
    },
    Capture {
        name: "q35-multifd-zstd-live",
        parameters: ZSTD,
        why: "many rounds",
        ..MULTIFD_LIVE
    },
    Capture {
        name: "q35-multifd-xbzrle-live",
        releases: ONLY_7_2,
        capabilities: &["multifd", "xbzrle"],
        why: "multifd wins: no differences",
        ..MULTIFD_LIVE
    },
    Capture {
        name: "q35-8.0-multifd-live",
        releases: ONLY_10_0,
        machine: "pc-q35-8.0",
        why: "a barrier at the end of every section; zero pages on the main channel",
        ..MULTIFD_LIVE
    },
    Capture {
        name: "q35-8.2-multifd-live",
        releases: ONLY_10_0,
        machine: "pc-q35-8.2",
        why: "a barrier each round; zero pages on the main channel",
        ..MULTIFD_LIVE
    },
    Capture {
        name: "q35-multifd-zero-none",
        releases: ONLY_10_0,
        parameters: r#"{"multifd-channels": 2, "zero-page-detection": "none"}"#,
        why: "zero pages as others",
        ..MULTIFD_LIVE
    },
    Capture {
        name: "q35-multifd-zero-legacy",
        releases: ONLY_10_0,
        parameters: r#"{"multifd-channels": 2, "zero-page-detection": "legacy"}"#,
        why: "zero pages on the main channel",
        ..MULTIFD_LIVE
    },
    Capture {
        name: "q35-mapped",
        why: "pages at fixed places",
        ..MAPPED
    },
    Capture {
        name: "q35-mapped-offset",
        way: Way::Mapped(0x12345),
        why: "in the middle of a file",
        ..MAPPED
    },
    Capture {
        name: "q35-mapped-live",
        when: When::Running,
        why: "bytes without meaning where a page has become zero",
        ..MAPPED
    },
    Capture {
        name: "q35-mapped-ignore-shared",
        capabilities: &["mapped-ram", "x-ignore-shared"],
        // With a block to ignore, 10.0 fails: "Failed to write bitmap to file: Bad address".
        why: "addresses in the block list",
        ..MAPPED
    },
    Capture {
        name: "q35-mapped-snapshot",
        capabilities: &["mapped-ram", "background-snapshot"],
        when: When::Running,
        why: "QEMU writes no bitmap: the file is broken",
        ..MAPPED
    },
    Capture {
        name: "q35-postcopy",
        why: "discards, a package, requested pages",
        ..POSTCOPY
    },
    Capture {
        name: "q35-postcopy-recovery",
        way: Way::PostcopyRecovered,
        why: "a second connection, which begins with bitmaps",
        ..POSTCOPY
    },
    Capture {
        name: "q35-postcopy-preempt",
        why: "a channel for urgent pages",
        ..PREEMPT
    },
    Capture {
        name: "q35-7.1-postcopy-preempt",
        releases: ONLY_10_0,
        machine: "pc-q35-7.1",
        why: "that channel ends with EOS",
        ..PREEMPT
    },
    Capture {
        name: "q35-savevm",
        arguments: &[
            "-blockdev qcow2,node-name=n0,file.driver=file,file.filename=FOLDER/disk.qcow2",
            "-device virtio-blk-pci,drive=n0",
        ],
        way: Way::Savevm,
        why: "streams inside a disk image",
        ..LIVE
    },
    Capture {
        name: "aarch64-virt",
        target: Target::Aarch64,
        machine: "virt",
        memory_mib: 32,
        firmware: Firmware::Other,
        arguments: &["-cpu cortex-a57"],
        why: "the size of its pages, which other targets say",
        ..PLAIN
    },
    Capture {
        name: "ppc64-pseries",
        target: Target::Ppc64,
        machine: "pseries",
        memory_mib: 256,
        firmware: Firmware::Other,
        why: "a section that is iterable, its hash table",
        ..PLAIN
    },
    Capture {
        name: "s390x-ccw",
        target: Target::S390x,
        machine: "s390-ccw-virtio",
        memory_mib: 32,
        firmware: Firmware::Other,
        why: "another, its storage attributes; 7.2 describes a device wrongly",
        ..PLAIN
    },
];
