//! The arguments of `vmferry convert`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use vmferry_store::VmName;

/// Write a saved machine in another form
#[derive(Debug, Args)]
#[command(
    after_help = "A file appears whole or not at all, and a QEMU of the machine's version loads it. What is read is \
        recognised by itself.",
    after_long_help = "A file appears whole or not at all, and a QEMU of the machine's version loads it. What is read is
recognised by itself: a migration stream, also one that is compressed (gzip, bzip2, xz, lzop, zstd, lz4); a
mapped-ram file; a libvirt save image; a snapshot in a qcow2 image; a checkpoint.

Examples:
  A checkpoint as a stream, for '-incoming file:web.stream':
      vmferry convert web@latest --to stream -o web.stream

  A snapshot that was made with 'savevm' as a checkpoint:
      vmferry convert file:disk.qcow2,snapshot=monday --to checkpoint web

  A multifd migration of which each channel was recorded in a file, as one stream:
      vmferry convert file:web.main,channel=web.0,channel=web.1 --to stream -o web.stream

  What is left of a save that was interrupted:
      vmferry convert broken.save --rescue --to checkpoint web

  A libvirt save image that takes less room, for 'virsh restore':
      vmferry convert web.save --to libvirt --image-format zstd -o web.small

  A checkpoint as a libvirt save image. The domain's XML is that of the saved domain:
      vmferry convert web --to libvirt --xml web.xml -o web.save

  From one host to another, through a pipe:
      vmferry convert web --to stream -o - | ssh host vmferry convert - --to checkpoint web"
)]
pub struct Convert {
    /// A file with a saved machine ('-' for standard input; 'file:PATH,offset=N', 'file:PATH,snapshot=NAME'),
    /// or a checkpoint: 'vm', 'vm@id'
    #[arg(value_name = "FILE|VM[@ID]")]
    pub what: String,
    /// The name under which a checkpoint is kept [default: that of the libvirt domain]
    pub vm: Option<VmName>,
    /// What is written
    #[arg(long, value_enum)]
    pub to: Form,
    /// Where to ('-' for standard output, of a stream)
    #[arg(long, short, value_name = "OUT", required_if_eq_any = [("to", "stream"), ("to", "mapped-ram"), ("to", "libvirt")])]
    pub output: Option<PathBuf>,
    /// Take what can be taken of a damaged or cut file, and say what was assumed
    #[arg(long)]
    pub rescue: bool,
    /// Replace what is there
    #[arg(long)]
    pub force: bool,
    /// The domain's XML for a libvirt save image [default: that of the image which is read]
    #[arg(long, value_name = "FILE")]
    pub xml: Option<PathBuf>,
    /// How a libvirt save image holds the stream, in the words of save_image_format [default: raw]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub image_format: Option<ImageFormat>,
}

/// What a conversion writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// A migration stream, for a plain '-incoming'
    Stream,
    /// A mapped-ram file, for QEMU 9.0 and later: each page at its place, holes for zeros
    MappedRam,
    /// A libvirt save image, for 'virsh restore'
    Libvirt,
    /// A checkpoint in the store
    Checkpoint,
}

/// How a libvirt save image holds the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum ImageFormat {
    Raw,
    Gzip,
    Bzip2,
    Xz,
    Lzop,
    Zstd,
    /// For libvirt 11.2 and later
    Sparse,
}
