//! Multifd channels that hold anything at all, beside a main channel of a small machine: an error, or a machine
//! that is the same when its channels are read at once, and when it is sent again.

#![no_main]

#[path = "common/channels.rs"]
mod channels;

use libfuzzer_sys::fuzz_target;
use vmferry::load::{Channels, Image, Options, VmDescRule, load_channels, load_live};
use vmferry::progress::Progress;
use vmferry::save::{self, MultifdOptions};
use vmferry::stream::AbortHandle;
use vmferry::wire::SliceSource;
use vmferry::wire::multifd::Method;

use self::channels::Recorded;

fuzz_target!(|bytes: &[u8]| {
    let Some(recorded) = Recorded::of(bytes) else {
        return;
    };
    let sources = || recorded.sources();
    let options = Options {
        vmdesc: VmDescRule::Optional,
        ..Options::default()
    };
    let mut image = Image::default();
    let Ok(summary) = load_channels(&mut sources(), &mut image, &options) else {
        return;
    };
    // Threads are slow to start: not for every input.
    if bytes.len() % 8 == 0 {
        let mut live = Image::default();
        let counted = load_live(&mut sources(), &mut live, &options, &AbortHandle::default());
        let counted = counted.expect("it was loaded before");
        assert_eq!(counted.pages, summary.pages);
    }
    let (mut main, mut others) = (Vec::new(), vec![Vec::new(); 2]);
    let with = MultifdOptions::new(Method::Zlib);
    let state = (&image.state, &image);
    save::multifd(
        &mut main,
        &mut others,
        state,
        &with,
        &AbortHandle::default(),
        &Progress::default(),
    )
    .expect("memory takes all");
    let mut again = Channels::new(SliceSource::new(&main));
    again
        .multifd
        .extend(others.iter().map(|bytes| SliceSource::new(bytes)));
    let mut same = Image::default();
    load_channels(&mut again, &mut same, &options).expect("what was written is right");
    assert!(same == image);
});
