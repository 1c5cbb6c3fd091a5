//! What every backend must do, as a suite that any backend can run.
//!
//! ```
//! use std::sync::Arc;
//! use vmferry_store::backend::MemoryBackend;
//! use vmferry_store::conformance;
//!
//! conformance::check(&|| Arc::new(MemoryBackend::new()));
//! ```

mod bytes;
mod guard;
pub(crate) mod machine;
mod store;
mod tapped;

pub use tapped::Tapped;

use std::sync::Arc;

use crate::backend::Backend;
use crate::error::StoreError;
use crate::name::Key;

/// Makes an empty place, another one each time.
type Make<'a> = &'a dyn Fn() -> Arc<dyn Backend>;

/// Runs the whole suite: on the backend as it is, on the backend with 20 ms added to every call, and on the
/// backend with each of its calls failing once. `make` makes an empty place, another one each time.
///
/// # Panics
/// The backend does something that it must not do.
pub fn check(make: &dyn Fn() -> Arc<dyn Backend>) {
    bytes::check(make);
    guard::check(make);
    store::check(make);
}

/// Writes files in one save; the last one is the head.
fn publish(backend: &dyn Backend, files: &[(&Key, &[u8])]) {
    let session = must(backend.begin());
    let Some(((head, content), objects)) = files.split_last() else {
        panic!("a save without a head");
    };
    for (key, content) in objects {
        let mut upload = must(session.create());
        must(upload.append(content));
        must(upload.seal(key));
    }
    let keys: Vec<Key> = objects.iter().map(|(key, _)| (*key).clone()).collect();
    must(session.publish(&keys, head, content));
}

fn key(text: &str) -> Key {
    must(text.parse::<Key>().map_err(StoreError::from))
}

/// The key of an object that stands for this content.
fn pack(number: u8) -> Key {
    key(&format!(
        "packs/{}.pack",
        format!("{number:02x}").repeat(32)
    ))
}

fn head(number: u8) -> Key {
    key(&format!("checkpoints/vm/{number}.json"))
}

fn content(backend: &dyn Backend, key: &Key) -> Option<Vec<u8>> {
    must(backend.read(key, 1 << 20))
}

#[track_caller]
fn must<T>(result: Result<T, StoreError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
    }
}
