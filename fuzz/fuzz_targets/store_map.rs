//! A map that is anything at all.

#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use vmferry_store::ObjectKind;

fuzz_target!(|bytes: &[u8]| common::read_with(ObjectKind::Map, bytes));
