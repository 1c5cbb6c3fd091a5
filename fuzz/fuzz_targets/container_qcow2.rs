//! What claims to be a qcow2 image with snapshots: an error, or states of which every byte can be read or is
//! an error.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use vmferry::container::ReadAt;
use vmferry::container::qcow2::Image;

fuzz_target!(|bytes: &[u8]| {
    let length = bytes.len() as u64;
    let Ok(image) = Image::open(Arc::new(bytes.to_vec()), length) else {
        return;
    };
    let _ = image.choose(None);
    for snapshot in image.snapshots().iter().take(16) {
        let Ok(state) = image.vm_state(snapshot) else {
            continue;
        };
        assert_eq!(state.size(), snapshot.vm_state_size);
        let mut piece = [0xff; 700];
        for at in [
            0,
            511,
            4096,
            state.size() / 2,
            state.size().saturating_sub(700),
        ] {
            let inside = state.size().checked_sub(at).is_some_and(|left| left >= 700);
            let read = state.read_exact_at(&mut piece, at);
            assert_eq!(read.is_ok(), inside, "{at} of {}", state.size());
        }
    }
});
