//! An index of a stream that is anything at all: an error, or the same pages whether they stay where they are or
//! go to a temporary file.

#![no_main]

#[path = "common/pages.rs"]
mod pages;

use std::ops::ControlFlow;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use vmferry::channel::Bytes;
use vmferry::index::Index;
use vmferry::load::{Options, VmDescRule};
use vmferry::ram::{PageIndex, PageSource};
use vmferry::stream::Reader;

use self::pages::assert_same;

/// More pages than this are not compared.
const SOME: u32 = 1000;

fuzz_target!(|bytes: &[u8]| {
    let options = Options {
        vmdesc: VmDescRule::Optional,
        ..Options::default()
    };
    let read = |place| Index::read(&mut Reader::new(Bytes::new(bytes)), place, &options);
    let Ok(stays) = read(Some(Arc::new(bytes.to_vec()) as _)) else {
        return;
    };
    let spooled = read(None).expect("it was read before");
    assert_eq!(stays.state(), spooled.state());
    assert_eq!(stays.summary(), spooled.summary());
    let mut page = vec![0; stays.page_size().bytes()];
    let mut count = 0;
    let shown = stays.pages(&|_, _| true, &mut |block, index, content| {
        assert_same(&spooled, block, index, content, &mut page);
        count += 1;
        if count < SOME {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    shown.expect("it is there");
    for (block, ram) in stays.blocks().iter() {
        let end = ram.pages(stays.page_size()).min(u64::from(SOME));
        let shown = stays.pages_of(
            block,
            PageIndex(0)..PageIndex(end),
            &mut |index, content| {
                assert_same(&spooled, block, index, content, &mut page);
                ControlFlow::Continue(())
            },
        );
        shown.expect("it is there");
    }
});
