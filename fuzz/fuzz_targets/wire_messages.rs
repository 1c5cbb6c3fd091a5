//! Commands, return-path messages, configurations and block lists: an error, or something that is
//! written as it was read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vmferry::ram::PageSize;
use vmferry::wire::command::Command;
use vmferry::wire::configuration::Configuration;
use vmferry::wire::ram::{ListFields, decode_blocks};
use vmferry::wire::return_path::{self, Message};
use vmferry::wire::{SliceSource, Source, globalstate};

/// What was decoded from the beginning of `bytes` is written with `prefix` bytes in front of it.
fn is_same(bytes: &[u8], source: &SliceSource<'_>, prefix: usize, written: &[u8]) {
    let read = usize::try_from(source.position()).expect("a small input");
    assert_eq!(written[prefix..], bytes[..read]);
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    let mut source = SliceSource::new(bytes);
    let mut written = Vec::new();
    match kind % 6 {
        0 => {
            if let Ok(command) = Command::decode(&mut source) {
                command.encode(&mut written);
                is_same(bytes, &source, 1, &written);
            }
        }
        1 => {
            if let Ok(message) = Message::decode(&mut source) {
                message.encode(&mut written);
                is_same(bytes, &source, 0, &written);
            }
        }
        2 => {
            if let Ok(configuration) = Configuration::decode(&mut source) {
                configuration.encode(&mut written);
                let again = Configuration::decode(&mut SliceSource::new(&written[1..]));
                assert_eq!(again.expect("it was written by us"), configuration);
            }
        }
        3 => {
            let Ok(total) = source.be64("the total") else {
                return;
            };
            let fields = match kind / 6 % 3 {
                0 => ListFields::Plain,
                1 => ListFields::HostPageSize,
                _ => ListFields::GuestAddress,
            };
            if let Ok(blocks) = decode_blocks(&mut source, total, PageSize::X86, fields) {
                assert_eq!(blocks.total_length(), total);
            }
        }
        4 => drop(return_path::decode_bitmap(
            &mut source,
            u64::from(*kind) * 64,
        )),
        _ => drop(globalstate::run_state(bytes).map(str::to_owned)),
    }
});
