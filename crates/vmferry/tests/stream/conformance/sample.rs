//! A stream with something of everything in it.

use std::sync::Arc;

use vmferry::channel::{Memory, RamMapping, RamSliceMut, ReadChannel, WriteChannel};
use vmferry::stream::{
    Compressor, Decompressor, ErrorKind, Reader, Release, Result, Staging, Writer,
};

use crate::support::pattern;

/// One thing in a stream.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    U8(u8),
    Be16(u16),
    Be32(u32),
    Be64(u64),
    Counted(&'static [u8]),
    Copied(Vec<u8>),
    Borrowed(Vec<u8>),
    Shared(Arc<[u8]>),
    Owned(Vec<u8>),
    /// As many bytes of guest memory.
    Ram(usize),
    Compressed(Vec<u8>),
    Staged(u32),
}

/// Something of everything, in `len` bytes or so at a time.
pub(crate) fn items(len: usize) -> Vec<Item> {
    vec![
        Item::Be64(0x0102_0304_0506_0708),
        Item::Counted(b"pc.ram"),
        Item::Ram(len),
        Item::U8(0x7f),
        Item::Borrowed(pattern(len)),
        Item::Be16(0x1122),
        Item::Copied(pattern(len)),
        Item::Compressed(pattern(len)),
        Item::Counted(b""),
        Item::Shared(pattern(len).into()),
        Item::Be32(0x3344_5566),
        Item::Owned(pattern(len)),
        Item::Staged(0x7788_99aa),
    ]
}

/// Guest memory for the items of [`items`].
pub(crate) fn ram(len: usize) -> RamMapping {
    let mut ram = RamMapping::private(len.max(1)).unwrap();
    ram.as_ram_mut().copy_from(&pattern(len));
    ram
}

pub(crate) fn put<'ram, C: WriteChannel>(
    writer: &mut Writer<'ram, C>,
    items: &'ram [Item],
    ram: &'ram RamMapping,
) {
    // Whether it went well is what the stream says in the end.
    let mut compressor = Compressor::new(1);
    let mut staging = Staging::default();
    for item in items {
        match item {
            Item::U8(value) => writer.put_u8(*value),
            Item::Be16(value) => writer.put_be16(*value),
            Item::Be32(value) => writer.put_be32(*value),
            Item::Be64(value) => writer.put_be64(*value),
            Item::Counted(text) => writer.put_counted(text).unwrap(),
            Item::Copied(bytes) => writer.put_bytes(bytes),
            Item::Borrowed(bytes) => writer.put_borrowed(bytes),
            Item::Shared(bytes) => writer.put_shared(Arc::clone(bytes)),
            Item::Owned(bytes) => writer.put_owned(bytes.clone()),
            Item::Ram(len) => {
                let part = ram.as_ram().subslice(0..*len).unwrap();
                writer.put_ram(part, Release::Keep);
            }
            Item::Compressed(block) => drop(writer.put_compressed(&mut compressor, block)),
            Item::Staged(value) => {
                staging.put_be32(*value);
                drop(writer.put_staged(&mut staging));
            }
        }
    }
}

/// Takes one thing, which has to be this one.
pub(crate) fn get<C: ReadChannel>(reader: &mut Reader<C>, item: &Item) -> Result<()> {
    match item {
        Item::U8(value) => assert_eq!(reader.get_u8()?, *value),
        Item::Be16(value) => assert_eq!(reader.get_be16()?, *value),
        Item::Be32(value) | Item::Staged(value) => assert_eq!(reader.get_be32()?, *value),
        Item::Be64(value) => assert_eq!(reader.get_be64()?, *value),
        Item::Counted(text) => {
            let mut got = [0; 255];
            assert_eq!(reader.get_counted(&mut got)?, *text);
        }
        Item::Copied(bytes) => assert!(reader.get_ref_or(bytes.len(), &mut Vec::new())? == bytes),
        Item::Borrowed(bytes) | Item::Owned(bytes) => {
            let mut got = vec![0; bytes.len()];
            reader.get_into(&mut got)?;
            assert!(got == *bytes);
        }
        Item::Shared(bytes) => {
            let mut got = vec![0; bytes.len()];
            reader.get_into(&mut got)?;
            assert!(got[..] == bytes[..]);
        }
        Item::Ram(len) => {
            let mut got = vec![0; *len];
            reader.get_ram(RamSliceMut::from_slice(&mut got))?;
            assert!(got == pattern(*len));
        }
        Item::Compressed(block) => {
            let mut got = vec![0; block.len()];
            let len = reader.get_compressed(&mut Decompressor::new(), &mut got)?;
            assert!(got[..len] == *block);
        }
    }
    Ok(())
}

/// Takes everything, again where the channel is not ready.
pub(crate) fn get_all<C: ReadChannel>(reader: &mut Reader<C>, items: &[Item]) -> Result<()> {
    for item in items {
        loop {
            match get(reader, item) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => break result?,
            }
        }
    }
    Ok(())
}

/// What the items are on the wire.
pub(crate) fn wire(items: &[Item], ram: &RamMapping) -> Vec<u8> {
    let mut writer = Writer::new(Memory::default());
    put(&mut writer, items, ram);
    writer.finish().unwrap().0
}
