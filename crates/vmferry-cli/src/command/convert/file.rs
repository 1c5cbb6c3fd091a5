//! Streams and mapped-ram files.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use vmferry::channel;
use vmferry::container::libvirt::WriteError;
use vmferry::error::Error;
use vmferry::machine::MachineState;
use vmferry::progress::Progress;
use vmferry::ram::PageError;
use vmferry::save::{self, SaveError};
use vmferry::stream::{StreamError, Writer};

use super::{Convert, piped};
use crate::command::serve::{stream_config, take_stdout};
use crate::output::{Existing, Output, What, cannot_write};
use crate::saved::Saved;
use crate::watch::Watched;

/// What was written, and its bytes where they are known.
pub(super) type Written = (String, Option<u64>);

pub(super) fn stream(
    convert: &Convert,
    state: &MachineState,
    source: &Watched<'_, Saved>,
) -> Result<Written> {
    if piped(convert) {
        let mut writer = Writer::with_config(take_stdout()?, &stream_config());
        let sent = save::precopy(&mut writer, state, source, &Progress::default());
        let sent = sent.map_err(anyhow::Error::from);
        let closed = sent.and_then(|()| Ok(writer.close()?));
        closed.map_err(|error| named(error, Path::new("-")))?;
        return Ok(("-".into(), None));
    }
    to_file(convert, |file| {
        let mut writer = Writer::with_config(channel::File::new(file), &stream_config());
        save::precopy(&mut writer, state, source, &Progress::default())?;
        Ok(writer.close()?)
    })
}

pub(super) fn mapped_ram(
    convert: &Convert,
    state: &MachineState,
    source: &Watched<'_, Saved>,
) -> Result<Written> {
    to_file(convert, |file| {
        let mut writer = Writer::with_config(channel::File::new(file), &stream_config());
        save::mapped_ram(&mut writer, state, source, &Progress::default())?;
        Ok(writer.close()?)
    })
}

/// Writes a file that appears when it is whole, and on disk.
pub(super) fn to_file(
    convert: &Convert,
    write: impl FnOnce(File) -> Result<()>,
) -> Result<Written> {
    // The arguments ask for it.
    let path = convert.output.as_deref().unwrap_or_else(|| Path::new(""));
    let output = Output::begin(path, What::Memory, Existing::forced(convert.force))?;
    let file = output.file("")?;
    write(file.try_clone()?).map_err(|error| named(error, path))?;
    let failed = || format!("cannot write {}", path.display());
    let bytes = file.metadata().with_context(failed)?.len();
    output.publish_synced()?;
    Ok((path.display().to_string(), Some(bytes)))
}

/// An error with the name of the file, where writing that is what failed.
fn named(error: anyhow::Error, path: &Path) -> anyhow::Error {
    let of_stream =
        |error: &SaveError<PageError>| matches!(error, SaveError::Send(Error::Stream(_)));
    let of_image = |error: &WriteError<PageError>| match error {
        WriteError::Stream(error) => of_stream(error),
        WriteError::File(_) => true,
        _ => false,
    };
    let of_writing = error.is::<StreamError>()
        || error.downcast_ref().is_some_and(of_stream)
        || error.downcast_ref().is_some_and(of_image);
    match of_writing {
        true => error.context(cannot_write(path)),
        false => error,
    }
}
