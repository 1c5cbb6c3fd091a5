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

const fn kind(magics: &'static [Magic], what: &'static str, advice: &'static str) -> Kind {
    Kind {
        magics,
        what,
        advice,
    }
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

/// An advice to unpack it into a pipe.
macro_rules! piped {
    ($command:literal, $which:literal) => {
        concat!("'", $command, " | vmferry … -' reads ", $which, " in it")
    };
}

/// Longer magics come first where one begins with another.
pub(super) const KINDS: &[Kind] = &[
    // ---- memory ----
    kind(
        &[
            at(0, b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x04\0"),
            at(0, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0"),
            at(0, b"\x7fELF\x01\x02\x01\0\0\0\0\0\0\0\0\0\0\x04"),
            at(0, b"\x7fELF\x02\x02\x01\0\0\0\0\0\0\0\0\0\0\x04"),
        ],
        "an ELF core, as QEMU's dump-guest-memory, 'virsh dump' and 'vmferry export --format elf' write it",
        memory_alone!("open it with gdb, crash or Volatility"),
    ),
    kind(
        &[at(0, b"\x7fELF")],
        "an ELF program or library",
        "it holds no machine",
    ),
    kind(
        &[at(0, b"KDUMP   "), at(0, b"DISKDUMP")],
        "a compressed kernel dump (kdump)",
        memory_alone!("open it with crash"),
    ),
    kind(
        &[at(0, b"makedumpfile\0")],
        "a kernel dump (kdump) in makedumpfile's flattened form",
        memory_alone!("'makedumpfile -R DUMP < FILE' makes what crash opens of it"),
    ),
    kind(
        &[at(0, b"EMiL"), at(0, b"AVML")],
        "a memory image in LiME's or AVML's form",
        memory_alone!("open it with Volatility"),
    ),
    kind(
        &[at(0, b"PAGEDU64"), at(0, b"PAGEDUMP")],
        "a crash dump of Windows",
        memory_alone!("open it with WinDbg or Volatility"),
    ),
    // ---- other machines ----
    kind(
        &[
            at(0, b"\xd0\xbe\xd2\xbe"),
            at(0, b"\xd1\xba\xd1\xba"),
            at(0, b"\xd2\xbe\xd2\xbe"),
            at(0, b"\xd3\xbe\xd3\xbe"),
        ],
        "a state of a VMware machine (.vmss, .vmsn)",
        "only VMware restores it; Volatility reads its memory (often in a .vmem file next to it)",
    ),
    kind(
        &[at(0, b"\x7fVirtualBox SavedState")],
        "a saved state of a VirtualBox machine (.sav)",
        "only VirtualBox restores it",
    ),
    kind(
        &[
            at(0, b"Xen saved domain"),
            at(0, b"LinuxGuestRecord"),
            at(0, b"\xff\xff\xff\xff\xff\xff\xff\xffXENF"),
        ],
        "a saved Xen domain",
        "'xl restore' restores it; of QEMU it holds the device model's state alone",
    ),
    kind(
        &[at(0, b"\x14\x20\x28\x01")],
        "a state or configuration of a Hyper-V machine (.vmrs, .vmcx)",
        "only Hyper-V restores it",
    ),
    kind(
        &[
            at(0, b"\0\0\x64\x86\x84\x19\x10\x07"),
            at(0, b"\0\0\xaa\xaa\x84\x19\x10\x07"),
        ],
        "the state of a Firecracker microVM",
        "only Firecracker restores it, with the file of its memory",
    ),
    // ---- parts of what we read ----
    kind(
        &[at(0, b"\x11\x22\x33\x44\0\0\0\x01")],
        "one of several channels of a migration (multifd)",
        "name the main channel, which begins with QEVM, and this one next to it: file:MAIN,channel=FILE,channel=FILE",
    ),
    kind(
        &[at(0, b"vmferry\n")],
        "a part of vmferry's own store",
        "name the checkpoint (VM or VM@ID), and with --store the folder that vmferry-store.json is in",
    ),
    // ---- disks ----
    kind(
        &[at(0, b"vhdxfile"), at(0, b"conectix")],
        "a disk image of Hyper-V (VHD, VHDX)",
        DISK,
    ),
    kind(
        &[
            at(0, b"KDMV"),
            at(0, b"COWD"),
            at(0, b"# Disk DescriptorFile"),
        ],
        "a disk image of VMware (VMDK)",
        DISK,
    ),
    kind(
        &[at(64, b"\x7f\x10\xda\xbe")],
        "a disk image of VirtualBox (VDI)",
        DISK,
    ),
    kind(&[at(0, b"QED\0")], "a disk image (QED)", DISK),
    kind(
        &[at(0, b"LUKS\xba\xbe")],
        "an encrypted disk (LUKS)",
        "open it first (cryptsetup), where a saved machine is in it",
    ),
    kind(
        &[at(0x8001, b"CD001")],
        "an image of a CD or DVD (ISO 9660)",
        DISK,
    ),
    // ---- compressed, but by programs whose files are not read here ----
    kind(
        &[
            at(0, b"\x1f\x9d"),
            at(0, b"\x1f\x9e"),
            at(0, b"\x1f\x1e"),
            at(0, b"\x1f\xa0"),
        ],
        "data compressed in a form from before gzip (.Z, .z)",
        piped!("gzip -dc FILE", "what is"),
    ),
    kind(
        &[at(0, b"LZIP")],
        "data compressed by lzip",
        piped!("lzip -dc FILE", "what is"),
    ),
    kind(
        &[at(0, b"\xff\x06\0\0sNaPpY")],
        "data compressed by snappy",
        "decompress it first",
    ),
    kind(
        &[at(0, b"LRZI")],
        "data compressed by lrzip",
        piped!("lrzcat FILE", "what is"),
    ),
    kind(
        &[at(257, b"ustar")],
        "an archive (tar)",
        piped!("tar -xOf FILE NAME", "a file"),
    ),
    kind(
        &[at(0, b"PK\x03\x04"), at(0, b"PK\x05\x06")],
        "an archive (zip)",
        piped!("unzip -p FILE NAME", "a file"),
    ),
    kind(
        &[at(0, b"7z\xbc\xaf\x27\x1c")],
        "an archive (7z)",
        piped!("7z e -so FILE NAME", "a file"),
    ),
    kind(
        &[at(0, b"Rar!\x1a\x07")],
        "an archive (rar)",
        "unpack it first",
    ),
    kind(
        &[
            at(0, b"070701"),
            at(0, b"070702"),
            at(0, b"070707"),
            at(0, b"!<arch>\n"),
        ],
        "an archive (cpio, ar)",
        "unpack it first",
    ),
    // ---- after all that may begin with the same ----
    kind(
        &[at(512, b"EFI PART"), at(510, b"\x55\xaa")],
        "an image of a whole disk",
        DISK,
    ),
    kind(
        &[
            at(1080, b"\x53\xef"),
            at(0, b"XFSB"),
            at(0, b"hsqs"),
            at(0, b"-rom1fs-"),
        ],
        "an image of a file system",
        DISK,
    ),
];

const DISK: &str =
    "a machine's state is not in it; of disk images, only qcow2 has snapshots with one ('savevm')";

pub(super) use memory_alone;
