//! An index of multifd channels that hold anything at all: an error, or the same pages whether they stay where they
//! are or go to a temporary file.

#![no_main]

#[path = "common/channels.rs"]
mod channels;
#[path = "common/pages.rs"]
mod pages;

use std::ops::ControlFlow;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use vmferry::container::ReadAt;
use vmferry::index::Index;
use vmferry::load::{ChannelName, Options, VmDescRule};
use vmferry::ram::PageSource;
use vmferry::wire::SliceSource;
use vmferry::wire::multifd::Init;

use self::channels::Recorded;
use self::pages::assert_same;

fuzz_target!(|bytes: &[u8]| {
    let Some(recorded) = Recorded::of(bytes) else {
        return;
    };
    let options = Options {
        vmdesc: VmDescRule::Optional,
        ..Options::default()
    };
    let places = recorded.multifd.iter().filter_map(|part| {
        let init = Init::decode(&mut SliceSource::new(part)).ok()?;
        let place = Arc::new(part.to_vec()) as Arc<dyn ReadAt>;
        Some((ChannelName::Multifd(init.id), place))
    });
    let places = places.collect();
    let Ok(stays) = Index::read_channels(&mut recorded.sources(), places, &options) else {
        return;
    };
    let spooled = Index::read_channels(&mut recorded.sources(), Vec::new(), &options);
    let spooled = spooled.expect("it was read before");
    assert_eq!(stays.summary(), spooled.summary());
    let mut page = vec![0; stays.page_size().bytes()];
    let shown = stays.pages(&|_, _| true, &mut |block, index, content| {
        assert_same(&spooled, block, index, content, &mut page);
        ControlFlow::Continue(())
    });
    shown.expect("it is there");
});
