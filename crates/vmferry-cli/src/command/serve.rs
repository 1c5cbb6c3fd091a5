//! `vmferry serve`: plays a checkpoint to the QEMU that started us.
//!
//! QEMU connects both pipes of its `-incoming "exec:…"` command: standard output is the stream, standard
//! input the return path. A command that ends without a byte leaves QEMU waiting for ever, so an error
//! before the first byte is followed by a header that QEMU refuses.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use vmferry::channel::Fd;
use vmferry::machine::MachineState;
use vmferry::postcopy::{self, HostPages, Unobserved};
use vmferry::progress::Progress;
use vmferry::ram::PageSource;
use vmferry::save::{self, SaveError};
use vmferry::stream::{AbortHandle, Reader, Writer, WriterConfig};
use vmferry::wire::header;
use vmferry_store::Checkpoint;

use super::machine_state;
use crate::args::{Global, Serve};
use crate::store;
use crate::ui;

/// Runs it.
///
/// # Errors
/// The checkpoint is not there or is damaged, or QEMU has gone.
pub fn run(global: &Global, serve: &Serve) -> Result<ExitCode> {
    if std::io::stdout().is_terminal() {
        bail!(
            "standard output is a terminal: this is for QEMU's '-incoming \"exec:vmferry serve …\"'"
        );
    }
    let (checkpoint, state) = match open(global, serve) {
        Ok(opened) => opened,
        Err(error) => {
            // QEMU may have gone, and then it does not wait either.
            let _ = std::io::stdout().write_all(&header::INVALID);
            return Err(error);
        }
    };
    let out = take_stdout().context("cannot take standard output over")?;
    let writer = Writer::with_config(out, &stream_config());
    if serve.lazy {
        lazily(serve, &checkpoint, &state, writer)?;
    } else {
        let mut writer = writer;
        let sent = save::precopy(&mut writer, &state, &checkpoint, &Progress::default());
        sent.map_err(|error| match error {
            error @ SaveError::Send(_) => anyhow::Error::from(error)
                .context("QEMU takes no more of the machine, and says itself why"),
            error => error.into(),
        })?;
    }
    ui::note(format_args!(
        "{} has been sent",
        checkpoint.manifest().name()
    ));
    Ok(ExitCode::SUCCESS)
}

fn open(global: &Global, serve: &Serve) -> Result<(Checkpoint, MachineState)> {
    let store = store::open(global.store.as_deref())?;
    let checkpoint = store::open_checkpoint(&store, &serve.checkpoint)?;
    let state = machine_state(&checkpoint)?;
    host_pages(serve, &checkpoint)?;
    Ok((checkpoint, state))
}

fn lazily(
    serve: &Serve,
    checkpoint: &Checkpoint,
    state: &MachineState,
    writer: Writer<'_, Fd>,
) -> Result<()> {
    let reader = Reader::new(Fd::new(std::io::stdin().as_fd().try_clone_to_owned()?));
    // A pipe cannot be shut down. But our end of the stream closes, and QEMU closes its end of the
    // return path when it sees that.
    let abort = AbortHandle::default();
    let host_pages = host_pages(serve, checkpoint)?;
    let progress = Progress::default();
    let parts = (writer, reader);
    postcopy::serve(
        state,
        checkpoint,
        &host_pages,
        parts,
        &abort,
        &progress,
        &Unobserved,
    )
    .context(
        "if the guest ran already, QEMU holds it in 'postcopy-paused', and it waits for the rest of its memory: do \
         not end that QEMU, or the guest is lost. Else QEMU says itself why it does not take the machine",
    )
}

/// What was said on the command line, else what the stream said of the machine that was saved.
fn host_pages(serve: &Serve, checkpoint: &Checkpoint) -> Result<HostPages> {
    let base = rustix::param::page_size() as u64;
    let mut pages = HostPages::ordinary(base);
    for (_, block) in checkpoint.blocks().iter() {
        pages.blocks.push(block.host_page_size.unwrap_or(base));
    }
    for (name, size) in &serve.host_page_size {
        let Some(block) = checkpoint.blocks().find(name) else {
            let known: Vec<_> = checkpoint
                .blocks()
                .iter()
                .map(|(_, block)| block.idstr.as_str())
                .collect();
            bail!(
                "there is no RAM block '{name}'; there are {}",
                known.join(", ")
            );
        };
        pages.blocks[block.0] = *size;
    }
    Ok(pages)
}

/// Sizes of a stream that carries a machine's memory.
pub(super) fn stream_config() -> WriterConfig {
    WriterConfig {
        buffer: 256 << 10,
        ..WriterConfig::default()
    }
}

/// Standard output as a channel that really closes: descriptor 1 goes elsewhere.
pub(super) fn take_stdout() -> Result<Fd> {
    let out = std::io::stdout().as_fd().try_clone_to_owned()?;
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(Fd::new(out))
}
