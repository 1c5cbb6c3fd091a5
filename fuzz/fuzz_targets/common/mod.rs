//! The golden store, in memory, with one of its objects replaced by what the fuzzer made up.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use vmferry::ram::{BlockIndex, PageIndex, PageSource};
use vmferry_store::backend::{Backend, DirBackend, Object, Removal, Session};
use vmferry_store::config::StoreConfig;
use vmferry_store::{
    CheckpointName, Manifest, ObjectKind, ObjectName, ReadOptions, Store, StoreError,
};

const STORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/store-v1");

/// The golden store's parts.
pub struct Golden {
    config: Vec<u8>,
    pub name: CheckpointName,
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
        let read = |name: ObjectName| {
            let object = backend.open(name).expect("it opens").expect("it is there");
            let mut bytes = vec![0; usize::try_from(object.length()).expect("it is small")];
            object.read_exact_at(&mut bytes, 0).expect("it is readable");
            (name, Arc::from(bytes))
        };
        Golden {
            config: backend.config().expect("it has a store file"),
            name,
            objects: manifest.objects().into_iter().map(read).collect(),
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
    let backend = Memory {
        config: golden.config.clone(),
        manifest: manifest.to_json(&keys).expect("it is small").into(),
        objects,
    };
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

#[derive(Debug)]
struct Memory {
    config: Vec<u8>,
    manifest: Arc<[u8]>,
    objects: HashMap<ObjectName, Arc<[u8]>>,
}

struct Bytes(Arc<[u8]>);

impl Object for Bytes {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), StoreError> {
        let end = || StoreError::Misuse("a read beyond the end".into());
        let start = usize::try_from(offset).map_err(|_| end())?;
        let stop = start.checked_add(buffer.len()).ok_or_else(end)?;
        buffer.copy_from_slice(self.0.get(start..stop).ok_or_else(end)?);
        Ok(())
    }
}

fn read_only() -> StoreError {
    StoreError::Misuse("this store is read-only".into())
}

impl Backend for Memory {
    fn location(&self) -> String {
        "memory".into()
    }

    fn config(&self) -> Result<Vec<u8>, StoreError> {
        Ok(self.config.clone())
    }

    fn begin(&self) -> Result<Arc<dyn Session>, StoreError> {
        Err(read_only())
    }

    fn open(&self, name: ObjectName) -> Result<Option<Box<dyn Object>>, StoreError> {
        let found = self.objects.get(&name);
        Ok(found.map(|bytes| Box::new(Bytes(Arc::clone(bytes))) as Box<dyn Object>))
    }

    fn objects(&self) -> Result<Vec<ObjectName>, StoreError> {
        Ok(self.objects.keys().copied().collect())
    }

    fn checkpoints(&self) -> Result<Vec<CheckpointName>, StoreError> {
        Ok(vec![golden().name.clone()])
    }

    fn manifest(&self, _name: &CheckpointName) -> Result<Option<Box<dyn Object>>, StoreError> {
        Ok(Some(Box::new(Bytes(Arc::clone(&self.manifest)))))
    }

    fn hold(&self, name: &CheckpointName) -> Result<Option<Box<dyn Object>>, StoreError> {
        self.manifest(name)
    }

    fn exclusive(&self) -> Result<Box<dyn Removal>, StoreError> {
        Err(read_only())
    }
}
