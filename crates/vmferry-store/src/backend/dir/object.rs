//! An open file of a store.

use std::io;
use std::path::PathBuf;

use crate::backend::files::OpenFile;
use crate::backend::{Object, ReadRange};
use crate::error::StoreError;

pub(super) struct DirObject {
    pub(super) file: Box<dyn OpenFile>,
    pub(super) path: PathBuf,
    pub(super) length: u64,
}

impl Object for DirObject {
    fn length(&self) -> u64 {
        self.length
    }

    fn read(&self, ranges: &mut [ReadRange<'_>]) -> Result<(), StoreError> {
        for range in ranges {
            match self.file.read_exact_at(range.buffer, range.offset) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    let wanted = format!("{} bytes", range.buffer.len());
                    let path = self.path.display();
                    let error = StoreError::damaged(path, "length", wanted, "the end of the file");
                    return Err(error.at(range.offset));
                }
                Err(error) => return Err(StoreError::io("read", self.path.display(), error)),
            }
        }
        Ok(())
    }
}
