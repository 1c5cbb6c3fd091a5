//! Several threads that write at places of one file.

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::runs::Runs;
use crate::error::Error;
use crate::stream::StreamError;

/// Bytes that belong at a place of the file.
struct Job {
    bytes: Vec<u8>,
    at: u64,
}

/// What is given to the threads.
struct Queue {
    jobs: Sender<Job>,
    /// Buffers that were written, to be filled again.
    spare: Receiver<Vec<u8>>,
}

impl Runs for Queue {
    fn put(&mut self, bytes: &mut Vec<u8>, at: u64) -> Result<(), Error> {
        let spare = self.spare.try_recv().unwrap_or_default();
        let bytes = std::mem::replace(bytes, spare);
        self.jobs.send(Job { bytes, at }).map_err(|_| Error::Closed)
    }
}

/// Runs `body` with so many threads that write into `file`; all of them have written everything when this
/// returns `Ok`. `failed` makes an error of one that a thread had.
pub(super) fn with_writers<T, E>(
    file: &File,
    threads: NonZeroUsize,
    failed: impl Fn(Error) -> E,
    body: impl FnOnce(&mut dyn Runs) -> Result<T, E>,
) -> Result<T, E> {
    let threads = threads.get();
    let (sender, jobs) = bounded(threads);
    let (empty, spare) = bounded(2 * threads + 1);
    let first = Mutex::new(None);
    let result = thread::scope(|scope| {
        for _ in 0..threads {
            let (jobs, empty, first) = (jobs.clone(), empty.clone(), &first);
            scope.spawn(move || {
                if let Err(error) = write(file, &jobs, &empty) {
                    let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                    first.get_or_insert(error);
                }
            });
        }
        // The queue closes with the last thread that reads it.
        drop(jobs);
        body(&mut Queue {
            jobs: sender,
            spare,
        })
    });
    match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(failed(error.into())),
        None => result,
    }
}

fn write(file: &File, jobs: &Receiver<Job>, empty: &Sender<Vec<u8>>) -> Result<(), StreamError> {
    for Job { mut bytes, at } in jobs {
        file.write_all_at(&bytes, at)
            .map_err(|error| StreamError::from_io(error, at))?;
        bytes.clear();
        // If there are enough, this one goes.
        let _ = empty.try_send(bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_cannot_write_ends_all_of_them_and_its_error_is_reported() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read_only = File::open(file.path()).unwrap();
        let threads = NonZeroUsize::new(3).unwrap();
        let written: Result<(), Error> = with_writers(&read_only, threads, Error::from, |runs| {
            (0..100).try_for_each(|at| runs.put(&mut vec![1; 4096], at * 4096))
        });
        let error = written.unwrap_err();
        assert!(matches!(error, Error::Stream(_)), "{error:?}");
    }
}
