//! The golden store, in memory, with one of its objects replaced by what the fuzzer made up.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use vmferry::ram::{BlockIndex, PageIndex, PageSource};
use vmferry_store::backend::{Backend, DirBackend, MemoryBackend};
use vmferry_store::config::StoreConfig;
use vmferry_store::{
    CheckpointName, Folder, Key, Manifest, ObjectKind, ObjectName, ReadOptions, Store,
};

const STORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/store-v1");

/// The golden store's parts.
pub struct Golden {
    config: Vec<u8>,
    pub name: CheckpointName,
    /// Of its manifest.
    key: Key,
    pub manifest: Manifest,
    objects: HashMap<ObjectName, Arc<[u8]>>,
}

pub fn golden() -> &'static Golden {
    static GOLDEN: OnceLock<Golden> = OnceLock::new();
    GOLDEN.get_or_init(|| {
        let store = Store::open(STORE).expect("the golden store opens");
        let name = store.names().expect("it has names").remove(0);
        let backend = DirBackend::new(STORE);
        let manifest = store.inspect(&name).expect("it has a manifest");
        let read = |key: &Key| {
            let content = backend.read(key, 1 << 20).expect("it is readable");
            content.expect("it is there")
        };
        let object = |name: ObjectName| (name, Arc::from(read(&name.key())));
        Golden {
            config: read(&Key::store_file()),
            key: backend
                .list(Folder::Checkpoints)
                .expect("it is listed")
                .remove(0),
            name,
            objects: manifest.objects().into_iter().map(object).collect(),
            manifest,
        }
    })
}

/// Reads all that there is of the golden checkpoint, with `bytes` in place of its last object of `kind`.
pub fn read_with(kind: ObjectKind, bytes: &[u8]) {
    let golden = golden();
    let mut objects = golden.objects.clone();
    let mut manifest = golden.manifest.clone();
    let size = bytes.len() as u64;
    let digest = match kind {
        ObjectKind::Pack => {
            let pack = manifest.packs.last_mut().expect("it has packs");
            pack.size = size;
            pack.digest
        }
        ObjectKind::Map => {
            manifest.ram.map.size = size;
            manifest.ram.map.digest
        }
        ObjectKind::State => {
            manifest.state.size = size;
            manifest.state.digest
        }
    };
    objects.insert(ObjectName { kind, digest }, bytes.into());
    let keys = StoreConfig::parse(&golden.config)
        .expect("it parses")
        .keys();
    let manifest: Arc<[u8]> = manifest.to_json(&keys).expect("it is small").into();
    let files = objects
        .into_iter()
        .map(|(name, bytes)| (name.key(), bytes))
        .chain([
            (Key::store_file(), golden.config.as_slice().into()),
            (golden.key.clone(), manifest),
        ]);
    let backend = MemoryBackend::with_files(files);
    let store = Store::with_backend(Arc::new(backend)).expect("it opens");
    let options = ReadOptions::default().workers(NonZeroUsize::MIN);
    let Ok(checkpoint) = store.checkpoint(&golden.name, options) else {
        return;
    };
    if let Ok(state) = checkpoint.device_state() {
        for device in state.devices() {
            assert!(device.element.len() as u64 <= 1 << 30);
        }
        state.to_machine_state();
    }
    let size = checkpoint.page_size();
    let mut page = vec![0; size.bytes()];
    for (block, of_block) in checkpoint.blocks().iter() {
        for number in 0..of_block.pages(size) {
            let _ = checkpoint.page(block, PageIndex(number), &mut page);
        }
    }
    // Threads are slow to start: not for every input.
    if bytes.first().is_some_and(|byte| byte % 16 == 0) {
        let all = |_: BlockIndex, _: PageIndex| true;
        let _ = checkpoint.pages(&all, &mut |_, _, _| ControlFlow::Continue(()));
        checkpoint.verify();
    }
}
