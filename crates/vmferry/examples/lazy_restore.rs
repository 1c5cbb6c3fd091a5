//! Brings a saved machine back lazily: the guest runs after some milliseconds, and fetches its
//! memory as it touches it.
//!
//! ```text
//! (qemu) migrate "exec:cat > machine.stream"            # save it, with any monitor
//!
//! qemu-system-x86_64 …the same machine… -global migration.x-postcopy-ram=on -incoming unix:/tmp/m
//! cargo run --example lazy_restore machine.stream /tmp/m
//! ```

use std::os::unix::net::UnixStream;
use std::time::Instant;

use vmferry::channel::{Duplex, File, Socket};
use vmferry::load::{self, Image};
use vmferry::postcopy::{self, HostPages, Observer};
use vmferry::progress::Progress;
use vmferry::stream::{Reader, Writer};

struct Narrator(Instant);

impl Observer for Narrator {
    fn package_sent(&self) {
        println!(
            "{:?}: the devices are out, the guest runs",
            self.0.elapsed()
        );
    }

    fn all_sent(&self) {
        println!("{:?}: every page is out", self.0.elapsed());
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(stream), Some(socket)) = (arguments.next(), arguments.next()) else {
        return Err("usage: lazy_restore STREAM-FILE UNIX-SOCKET".into());
    };

    let mut machine = Image::default();
    load::load(
        &mut Reader::new(File::open(stream)?),
        &mut machine,
        &load::Options::default(),
    )?;

    let (reader, writer) = Socket::from(UnixStream::connect(socket)?).split();
    let (reader, writer) = (Reader::new(reader), Writer::new(writer));
    let abort = reader.abort_handle();
    let progress = Progress::default();
    postcopy::serve(
        &machine.state,
        &machine,
        &HostPages::ordinary(4096),
        (writer, reader),
        &abort,
        &progress,
        &Narrator(Instant::now()),
    )?;
    println!(
        "{} of {} pages went out because the guest asked for them",
        progress.on_demand(),
        progress.sent(),
    );
    Ok(())
}
