//! What is known by its first bytes.

/// Something that is known by its first bytes.
pub(super) struct Kind {
    /// Any of them tells.
    pub(super) magics: &'static [Magic],
    pub(super) what: &'static str,
    pub(super) advice: &'static str,
}

/// Bytes, and where they stand.
pub(super) struct Magic {
    pub(super) at: usize,
    pub(super) bytes: &'static [u8],
}

const fn at(at: usize, bytes: &'static [u8]) -> Magic {
    Magic { at, bytes }
}

/// An advice that begins with why memory alone is not enough.
macro_rules! memory_alone {
    ($more:literal) => {
        concat!(
            "it has the guest's memory without the state of its devices, from which no machine can be restored; ",
            $more
        )
    };
}

/// Longer magics come first where one begins with another.
pub(super) const KINDS: &[Kind] = &[
    // ---- memory ----
    Kind {
        magics: &[
            at(0, b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x04\0"),
            at(0, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0"),
            at(0, b"\x7fELF\x01\x02\x01\0\0\0\0\0\0\0\0\0\0\x04"),
            at(0, b"\x7fELF\x02\x02\x01\0\0\0\0\0\0\0\0\0\0\x04"),
        ],
        what: "an ELF core, as QEMU's dump-guest-memory, 'virsh dump' and 'vmferry export --format elf' write it",
        advice: memory_alone!("open it with gdb, crash or Volatility"),
    },
    Kind {
        magics: &[at(0, b"\x7fELF")],
        what: "an ELF program or library",
        advice: "it holds no machine",
    },
    Kind {
        magics: &[at(0, b"KDUMP   "), at(0, b"DISKDUMP")],
        what: "a compressed kernel dump (kdump)",
        advice: memory_alone!("open it with crash"),
    },
    Kind {
        magics: &[at(0, b"makedumpfile\0")],
        what: "a kernel dump (kdump) in makedumpfile's flattened form",
        advice: memory_alone!("'makedumpfile -R DUMP < FILE' makes what crash opens of it"),
    },
    Kind {
        magics: &[at(0, b"EMiL"), at(0, b"AVML")],
        what: "a memory image in LiME's or AVML's form",
        advice: memory_alone!("open it with Volatility"),
    },
    Kind {
        magics: &[at(0, b"PAGEDU64"), at(0, b"PAGEDUMP")],
        what: "a crash dump of Windows",
        advice: memory_alone!("open it with WinDbg or Volatility"),
    },
    // ---- other machines ----
    Kind {
        magics: &[
            at(0, b"\xd0\xbe\xd2\xbe"),
            at(0, b"\xd1\xba\xd1\xba"),
            at(0, b"\xd2\xbe\xd2\xbe"),
            at(0, b"\xd3\xbe\xd3\xbe"),
        ],
        what: "a state of a VMware machine (.vmss, .vmsn)",
        advice: "only VMware restores it; Volatility reads its memory (often in a .vmem file next to it)",
    },
    Kind {
        magics: &[at(0, b"\x7fVirtualBox SavedState")],
        what: "a saved state of a VirtualBox machine (.sav)",
        advice: "only VirtualBox restores it",
    },
    Kind {
        magics: &[
            at(0, b"Xen saved domain"),
            at(0, b"LinuxGuestRecord"),
            at(0, b"\xff\xff\xff\xff\xff\xff\xff\xffXENF"),
        ],
        what: "a saved Xen domain",
        advice: "'xl restore' restores it; of QEMU it holds the device model's state alone",
    },
    Kind {
        magics: &[at(0, b"\x14\x20\x28\x01")],
        what: "a state or configuration of a Hyper-V machine (.vmrs, .vmcx)",
        advice: "only Hyper-V restores it",
    },
    Kind {
        magics: &[
            at(0, b"\0\0\x64\x86\x84\x19\x10\x07"),
            at(0, b"\0\0\xaa\xaa\x84\x19\x10\x07"),
        ],
        what: "the state of a Firecracker microVM",
        advice: "only Firecracker restores it, with the file of its memory",
    },
    // ---- parts of what we read ----
    Kind {
        magics: &[at(0, b"\x11\x22\x33\x44\0\0\0\x01")],
        what: "one of several channels of a migration (multifd)",
        advice: "name the main channel, which begins with QEVM, and this one next to it: file:MAIN,channel=FILE,channel=FILE",
    },
    Kind {
        magics: &[at(0, b"vmferry\n")],
        what: "a part of vmferry's own store",
        advice: "name the checkpoint (VM or VM@ID), and with --store the folder that vmferry-store.json is in",
    },
    // ---- disks ----
    Kind {
        magics: &[at(0, b"vhdxfile"), at(0, b"conectix")],
        what: "a disk image of Hyper-V (VHD, VHDX)",
        advice: DISK,
    },
    Kind {
        magics: &[
            at(0, b"KDMV"),
            at(0, b"COWD"),
            at(0, b"# Disk DescriptorFile"),
        ],
        what: "a disk image of VMware (VMDK)",
        advice: DISK,
    },
    Kind {
        magics: &[at(64, b"\x7f\x10\xda\xbe")],
        what: "a disk image of VirtualBox (VDI)",
        advice: DISK,
    },
    Kind {
        magics: &[at(0, b"QED\0")],
        what: "a disk image (QED)",
        advice: DISK,
    },
    Kind {
        magics: &[at(0, b"LUKS\xba\xbe")],
        what: "an encrypted disk (LUKS)",
        advice: "open it first (cryptsetup), where a saved machine is in it",
    },
    Kind {
        magics: &[at(0x8001, b"CD001")],
        what: "an image of a CD or DVD (ISO 9660)",
        advice: DISK,
    },
    // ---- compressed, but by programs whose files are not read here ----
    Kind {
        magics: &[
            at(0, b"\x1f\x9d"),
            at(0, b"\x1f\x9e"),
            at(0, b"\x1f\x1e"),
            at(0, b"\x1f\xa0"),
        ],
        what: "data compressed in a form from before gzip (.Z, .z)",
        advice: "'gzip -dc FILE | vmferry … -' reads what is in it",
    },
    Kind {
        magics: &[at(0, b"LZIP")],
        what: "data compressed by lzip",
        advice: "'lzip -dc FILE | vmferry … -' reads what is in it",
    },
    Kind {
        magics: &[at(0, b"\xff\x06\0\0sNaPpY")],
        what: "data compressed by snappy",
        advice: "decompress it first",
    },
    Kind {
        magics: &[at(0, b"LRZI")],
        what: "data compressed by lrzip",
        advice: "'lrzcat FILE | vmferry … -' reads what is in it",
    },
    Kind {
        magics: &[at(257, b"ustar")],
        what: "an archive (tar)",
        advice: "'tar -xOf FILE NAME | vmferry … -' reads a file in it",
    },
    Kind {
        magics: &[at(0, b"PK\x03\x04"), at(0, b"PK\x05\x06")],
        what: "an archive (zip)",
        advice: "'unzip -p FILE NAME | vmferry … -' reads a file in it",
    },
    Kind {
        magics: &[at(0, b"7z\xbc\xaf\x27\x1c")],
        what: "an archive (7z)",
        advice: "'7z e -so FILE NAME | vmferry … -' reads a file in it",
    },
    Kind {
        magics: &[at(0, b"Rar!\x1a\x07")],
        what: "an archive (rar)",
        advice: "unpack it first",
    },
    Kind {
        magics: &[
            at(0, b"070701"),
            at(0, b"070702"),
            at(0, b"070707"),
            at(0, b"!<arch>\n"),
        ],
        what: "an archive (cpio, ar)",
        advice: "unpack it first",
    },
    // ---- after all that may begin with the same ----
    Kind {
        magics: &[at(512, b"EFI PART"), at(510, b"\x55\xaa")],
        what: "an image of a whole disk",
        advice: DISK,
    },
    Kind {
        magics: &[
            at(1080, b"\x53\xef"),
            at(0, b"XFSB"),
            at(0, b"hsqs"),
            at(0, b"-rom1fs-"),
        ],
        what: "an image of a file system",
        advice: DISK,
    },
];

const DISK: &str =
    "a machine's state is not in it; of disk images, only qcow2 has snapshots with one ('savevm')";

pub(super) use memory_alone;
