//! Where a page comes from, and in which form.

/// One of the channels that a machine's state comes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChannelName {
    /// The one with the header, the sections, and mostly everything else.
    Main,
    /// A multifd channel, by its id: pages in packets.
    Multifd(u8),
    /// The channel of requested pages of a postcopy migration (capability `postcopy-preempt`).
    Preempt,
}

/// In which form a page was in its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// As it is.
    Page,
    /// As a word that says zero.
    Zero,
    /// As differences from what it was.
    Xbzrle,
    /// Compressed, by itself (QEMU 2.4 to 9.0).
    CompressPage,
    /// In the zlib stream of its multifd channel (or compressed there by itself): its share of a packet.
    MultifdZlib,
    /// In the zstd stream of its multifd channel: its share of a packet.
    MultifdZstd,
    /// At its own place of a mapped-ram file, or a clear bit there.
    MappedRam,
}

/// Where a page came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The channel that it came through.
    pub channel: ChannelName,
    /// Offset in that channel, in bytes, of the first byte of its content.
    pub offset: u64,
    /// Bytes that its content took there, without what was around it.
    pub bytes: u64,
    /// In which form it came. [`Encoding::Page`] and [`Encoding::MappedRam`] stand in their channel as
    /// they are, so that they can be read again there.
    pub encoding: Encoding,
}
