//! The writer against a plain vector of bytes, over channels that do as they like.

use std::io::Write;
use std::sync::Arc;

use proptest::prelude::*;
use vmferry::channel::Memory;
use vmferry::stream::{Compressor, ErrorKind, Release, Staging, Writer, WriterConfig};

use crate::support::{Mood, Moody, contents, guest, moods};

#[derive(Debug, Clone)]
enum Put {
    U8(u8),
    Be16(u16),
    Be32(u32),
    Be64(u64),
    Array([u8; 5]),
    Bytes(Vec<u8>),
    Written(Vec<u8>),
    Borrowed(Vec<u8>),
    Shared(Vec<u8>),
    Owned(Vec<u8>),
    Ram(usize, usize, Release),
    RamCopied(usize, usize),
    Counted(Vec<u8>),
    Reserved(usize, Vec<u8>),
    Staged(Vec<u8>),
    RamStaged(usize, usize),
    Compressed(Vec<u8>),
    Flush,
}

fn puts() -> impl Strategy<Value = Vec<Put>> {
    let bytes = |max| proptest::collection::vec(any::<u8>(), 0..max);
    let put = prop_oneof![
        any::<u8>().prop_map(Put::U8),
        any::<u16>().prop_map(Put::Be16),
        any::<u32>().prop_map(Put::Be32),
        any::<u64>().prop_map(Put::Be64),
        any::<[u8; 5]>().prop_map(Put::Array),
        bytes(9000).prop_map(Put::Bytes),
        bytes(100).prop_map(Put::Written),
        bytes(5000).prop_map(Put::Borrowed),
        bytes(50).prop_map(Put::Shared),
        bytes(15_000).prop_map(Put::Owned),
        (0_usize..3, 1_usize..5).prop_map(|(from, pages)| Put::Ram(from, pages, Release::Keep)),
        (0_usize..16_000, 0_usize..9000).prop_map(|(from, len)| Put::Ram(
            from << 8,
            len,
            Release::AfterSend
        )),
        (0_usize..16_000, 0_usize..9000).prop_map(|(from, len)| Put::RamCopied(from << 8, len)),
        (0_usize..16_000, 0_usize..9000).prop_map(|(from, len)| Put::RamStaged(from << 8, len)),
        bytes(256).prop_map(Put::Counted),
        (0_usize..40, bytes(200)).prop_map(|(spare, bytes)| Put::Reserved(spare, bytes)),
        bytes(6000).prop_map(Put::Staged),
        bytes(9000).prop_map(Put::Compressed),
        Just(Put::Flush),
    ];
    proptest::collection::vec(put, 0..80)
}

/// What an operation is to add to the stream.
fn expected(put: &Put, ram: &[u8]) -> Vec<u8> {
    match put {
        Put::U8(value) => value.to_be_bytes().into(),
        Put::Be16(value) => value.to_be_bytes().into(),
        Put::Be32(value) => value.to_be_bytes().into(),
        Put::Be64(value) => value.to_be_bytes().into(),
        Put::Array(array) => array.to_vec(),
        Put::Bytes(bytes)
        | Put::Written(bytes)
        | Put::Borrowed(bytes)
        | Put::Shared(bytes)
        | Put::Owned(bytes)
        | Put::Staged(bytes)
        | Put::Reserved(_, bytes) => bytes.clone(),
        Put::Ram(from, len, _) | Put::RamCopied(from, len) | Put::RamStaged(from, len) => {
            ram_part(ram, *from, *len).to_vec()
        }
        Put::Counted(bytes) => {
            let len = u8::try_from(bytes.len()).unwrap();
            [&[len], &bytes[..]].concat()
        }
        Put::Compressed(block) => {
            let mut out = vec![0; Compressor::bound(block.len())];
            let len = Compressor::new(1).compress(block, &mut out).unwrap();
            let prefix = u32::try_from(len).unwrap().to_be_bytes();
            [&prefix[..], &out[..len]].concat()
        }
        Put::Flush => Vec::new(),
    }
}

fn ram_part(ram: &[u8], from: usize, len: usize) -> &[u8] {
    let from = from % ram.len();
    &ram[from..ram.len().min(from + len)]
}

proptest! {
    #[test]
    fn what_is_put_is_what_arrives_however_the_channel_takes_it(
        puts in puts(),
        moods in moods(),
        max_segments in 2_usize..9,
    ) {
        let guest = guest(16);
        let ram = contents(guest.as_ram());
        let mut model = Vec::new();
        let channel = Moody::new(Memory::default(), moods);
        let config = WriterConfig {
            buffer: 4096,
            max_segments,
            max_queued: 9000,
            ..WriterConfig::default()
        };
        let mut compressor = Compressor::new(1);
        let mut staging = Staging::default();
        let mut writer = Writer::with_config(channel, &config);
        for put in &puts {
            let more = expected(put, &ram);
            match put {
                Put::U8(value) => writer.put_u8(*value),
                Put::Be16(value) => writer.put_be16(*value),
                Put::Be32(value) => writer.put_be32(*value),
                Put::Be64(value) => writer.put_be64(*value),
                Put::Array(array) => writer.put_array(*array),
                Put::Bytes(bytes) => writer.put_bytes(bytes),
                Put::Written(bytes) => writer.write_all(bytes).unwrap(),
                Put::Borrowed(bytes) => writer.put_borrowed(bytes),
                Put::Shared(bytes) => writer.put_shared(Arc::from(&bytes[..])),
                Put::Owned(bytes) => writer.put_owned(bytes.clone()),
                Put::Ram(from, _, release) => {
                    let from = from % ram.len();
                    let part = guest.as_ram().subslice(from..from + more.len()).unwrap();
                    writer.put_ram(part, *release);
                }
                Put::RamCopied(from, _) => {
                    let from = from % ram.len();
                    let part = guest.as_ram().subslice(from..from + more.len()).unwrap();
                    writer.put_ram_copied(part);
                }
                Put::RamStaged(from, _) => {
                    let from = from % ram.len();
                    let part = guest.as_ram().subslice(from..from + more.len()).unwrap();
                    staging.put_ram_copied(part);
                    writer.put_staged(&mut staging).unwrap();
                }
                Put::Counted(bytes) => writer.put_counted(bytes).unwrap(),
                Put::Reserved(spare, bytes) => {
                    let mut room = writer.reserve(bytes.len() + spare).unwrap();
                    room.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
                    room.commit(bytes.len());
                }
                Put::Staged(bytes) => {
                    staging.put_bytes(bytes);
                    let len = writer.put_staged(&mut staging).unwrap();
                    prop_assert_eq!(len, bytes.len() as u64);
                    prop_assert!(staging.is_empty());
                }
                Put::Compressed(block) => {
                    let len = writer.put_compressed(&mut compressor, block).unwrap();
                    prop_assert_eq!(len, more.len());
                }
                Put::Flush => match writer.flush() {
                    Ok(()) => prop_assert_eq!(writer.pending(), 0),
                    Err(error) => prop_assert_eq!(error.kind(), ErrorKind::WouldBlock),
                },
            }
            model.extend(more);
            prop_assert!(writer.pending() <= 9000 + 4096, "{} bytes wait", writer.pending());
            prop_assert_eq!(writer.queued_position(), model.len() as u64);
            let taken = writer.queued_position() - writer.pending() as u64;
            prop_assert_eq!(writer.flushed_position(), taken);
            prop_assert_eq!(&writer.channel().inner.0[..], &model[..usize::try_from(taken).unwrap()]);
        }
        let channel = writer.finish().unwrap();
        prop_assert_eq!(channel.inner.0, model);
    }

    #[test]
    fn a_channel_that_fails_at_any_call_has_got_a_prefix_and_the_error_stays(
        puts in puts(),
        good in proptest::collection::vec((1_usize..3000).prop_map(Mood::UpTo), 0..12),
    ) {
        let guest = guest(16);
        let ram = contents(guest.as_ram());
        let mut model = Vec::new();
        let moods = good.into_iter().chain([Mood::Fails(libc_epipe())]);
        let config = WriterConfig { buffer: 4096, max_segments: 4, ..WriterConfig::default() };
        let mut writer = Writer::with_config(Moody::new(Memory::default(), moods), &config);
        for put in &puts {
            model.extend(expected(put, &ram));
        }
        for put in &puts {
            writer.put_bytes(&expected(put, &ram));
            let _ = writer.flush();
        }
        let calls = writer.channel().calls;
        if let Some(error) = writer.error() {
            prop_assert_eq!(error.kind(), ErrorKind::Io(libc_epipe()));
            prop_assert_eq!(error.at(), writer.flushed_position());
            prop_assert_eq!(writer.flush().unwrap_err().kind(), ErrorKind::Io(libc_epipe()));
            prop_assert_eq!(writer.channel().calls, calls, "nothing is sent after an error");
        }
        let sent = &writer.channel().inner.0;
        prop_assert_eq!(sent.len() as u64, writer.flushed_position());
        prop_assert_eq!(&sent[..], &model[..sent.len()]);
    }
}

fn libc_epipe() -> i32 {
    32
}
