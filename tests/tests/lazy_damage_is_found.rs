//! The lab bites on lazy restores too: a source that serves one wrong page is found out, by the
//! guest or by QEMU.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use vmferry::channel::{Duplex, File, Socket};
use vmferry::load::{self, Image};
use vmferry::postcopy::{self, HostPages, Unobserved};
use vmferry::progress::Progress;
use vmferry::ram::{BlockIndex, Page, PageIndex, PageKind, PageSize, PageSource, RamBlocks};
use vmferry::save::RamWriter;
use vmferry::stream::{Reader, Writer};
use vmferry_tests::pattern::noise_page;
use vmferry_tests::{Guest, Release, Spec};

/// A guest that was stopped, and the pass that it was in.
struct Saved {
    spec: Spec,
    // Its folder holds the stream.
    _source: Guest,
    stream: PathBuf,
    pass: u64,
}

fn saved(release: Release) -> Result<Saved> {
    let spec = Spec::pattern(release, "pc");
    let source = spec.start()?;
    let pass = source.wait_for_passes(4)?;
    source.stop()?;
    let stream = source.folder().join("stream");
    source.migrate_to_file(&stream)?;
    Ok(Saved {
        spec,
        _source: source,
        stream,
        pass,
    })
}

impl Saved {
    fn image(&self) -> Result<Image> {
        let mut image = Image::default();
        let mut reader = Reader::new(File::open(&self.stream)?);
        load::load(&mut reader, &mut image, &load::Options::default())?;
        Ok(image)
    }

    /// A page of noise, and the same page as the pass before had left it.
    fn noise(&self, image: &Image) -> Result<(BlockIndex, PageIndex, Vec<u8>)> {
        let block = image.blocks().find("pc.ram").context("no pc.ram")?;
        let mut page = vec![0; 4096];
        for index in (2000..6000).map(PageIndex) {
            if image.page(block, index, &mut page)? != PageKind::Data {
                continue;
            }
            for pass in self.pass - 1..self.pass + 3 {
                if page == noise_page(index.0 * 4096, pass) {
                    return Ok((block, index, noise_page(index.0 * 4096, pass - 1)));
                }
            }
        }
        bail!("no page of noise")
    }

    /// Serves `source` to a new QEMU, and lets the guest run.
    fn serve(&self, image: &Image, source: &impl PageSource<Error = Infallible>) -> Result<Guest> {
        let guest = self.spec.clone().incoming("defer").start()?;
        let capabilities = json!([{"capability": "postcopy-ram", "state": true}]);
        guest.execute(
            "migrate-set-capabilities",
            json!({"capabilities": capabilities}),
        )?;
        let socket = guest.folder().join("incoming");
        let uri = format!("unix:{}", socket.display());
        guest.execute("migrate-incoming", json!({"uri": uri}))?;
        let (reader, writer) = Socket::from(UnixStream::connect(socket)?).split();
        let (reader, writer) = (Reader::new(reader), Writer::new(writer));
        let abort = reader.abort_handle();
        let served = postcopy::serve(
            &image.state,
            source,
            &HostPages::ordinary(4096),
            (writer, reader),
            &abort,
            &Progress::default(),
            &Unobserved,
        );
        if let Err(error) = served {
            // The guest is there all the same, and what QEMU says of it is the test.
            println!("served: {error}");
        }
        Ok(guest)
    }
}

#[test]
fn a_whole_image_is_served_and_the_guest_is_content() -> Result<()> {
    for release in Release::ALL {
        let saved = saved(release)?;
        let image = saved.image()?;
        saved.serve(&image, &image)?.wait_for_passes(3)?;
    }
    Ok(())
}

#[test]
fn one_stale_page_is_found_by_the_guest() -> Result<()> {
    for release in Release::ALL {
        let saved = saved(release)?;
        let mut image = saved.image()?;
        let (block, page, stale) = saved.noise(&image)?;
        image.put(block, page, Page::Data(&stale));
        let complaint = saved.serve(&image, &image)?.wait_for_bad(3)?;
        let address = format!("memory {:#x}", page.0 * 4096);
        ensure!(complaint.starts_with(&address), "{complaint}");
    }
    Ok(())
}

#[test]
fn one_page_of_zeros_is_found_by_the_guest() -> Result<()> {
    for release in Release::ALL {
        let saved = saved(release)?;
        let mut image = saved.image()?;
        let (block, page, _) = saved.noise(&image)?;
        image.put(block, page, Page::Zero);
        let complaint = saved.serve(&image, &image)?.wait_for_bad(3)?;
        ensure!(complaint.contains("found 0x0 "), "{complaint}");
    }
    Ok(())
}

#[test]
fn one_lost_device_is_found_by_the_guest() -> Result<()> {
    let saved = saved(Release::V10_0)?;
    let mut image = saved.image()?;
    let before = image.state.devices.len();
    image
        .state
        .devices
        .retain(|device| device.header().idstr != "i8259");
    ensure!(image.state.devices.len() < before);
    saved.serve(&image, &image)?.wait_for_bad(1000)?;
    Ok(())
}

/// Shows one page twice.
struct Twice<'a> {
    image: &'a Image,
    page: (BlockIndex, PageIndex),
}

impl PageSource for Twice<'_> {
    type Error = Infallible;

    fn page_size(&self) -> PageSize {
        self.image.page_size()
    }

    fn blocks(&self) -> &RamBlocks {
        self.image.blocks()
    }

    fn page(
        &self,
        block: BlockIndex,
        page: PageIndex,
        out: &mut [u8],
    ) -> Result<PageKind, Infallible> {
        self.image.page(block, page, out)
    }

    fn pages(
        &self,
        wanted: &(dyn Fn(BlockIndex, PageIndex) -> bool + Sync),
        visit: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        self.image.pages(wanted, visit)?;
        let mut data = [7; 4096];
        let (block, page) = self.page;
        self.image.page(block, page, &mut data)?;
        let _ = visit(block, page, Page::Data(&data));
        Ok(())
    }
}

#[test]
fn a_page_that_a_source_shows_twice_is_sent_once() -> Result<()> {
    for release in Release::ALL {
        let saved = saved(release)?;
        let image = saved.image()?;
        let (block, page, _) = saved.noise(&image)?;
        let twice = Twice {
            image: &image,
            page: (block, page),
        };
        // Sent a second time, it would stop the migration: see the next test.
        saved.serve(&image, &twice)?.wait_for_passes(3)?;
    }
    Ok(())
}

/// Sends a page again behind everything else, before the end of the stream.
struct Repeating<W> {
    inner: W,
    record: Vec<u8>,
    /// A zero that was put alone: behind it the stream ends, or more follows.
    held: bool,
}

impl<W: vmferry::wire::Sink> vmferry::wire::Sink for Repeating<W> {
    fn put(&mut self, bytes: &[u8]) {
        if std::mem::replace(&mut self.held, bytes == [0]) {
            self.inner.put(&[0]);
        }
        if !self.held {
            self.inner.put(bytes);
        }
    }
}

impl<W: vmferry::save::Outgoing> vmferry::save::Outgoing for Repeating<W> {
    fn flush(&mut self) -> Result<(), vmferry::error::Error> {
        // Whatever else is sent at once ends with a section's footer.
        if std::mem::take(&mut self.held) {
            self.inner.put(&self.record);
            self.inner.put(&[0]);
        }
        self.inner.flush()
    }

    fn check(&self) -> Result<(), vmferry::error::Error> {
        self.inner.check()
    }
}

#[test]
fn a_page_that_is_sent_twice_is_found_by_qemu() -> Result<()> {
    for release in Release::ALL {
        let saved = saved(release)?;
        let image = saved.image()?;
        let (block, page, stale) = saved.noise(&image)?;
        let guest = saved.spec.clone().incoming("defer").start()?;
        let capabilities = json!([{"capability": "postcopy-ram", "state": true}]);
        guest.execute(
            "migrate-set-capabilities",
            json!({"capabilities": capabilities}),
        )?;
        let socket = guest.folder().join("incoming");
        let uri = format!("unix:{}", socket.display());
        guest.execute("migrate-incoming", json!({"uri": uri}))?;
        let (reader, writer) = Socket::from(UnixStream::connect(socket)?).split();
        let mut ram = RamWriter::of_machine(&image.state, &image);
        let mut record = Vec::new();
        ram.begin(vmferry::wire::section::ElementType::Part, &mut record);
        ram.page(block, page, Page::Data(&stale), &mut record);
        ram.end(&mut record);
        let writer = Repeating {
            inner: Writer::new(writer),
            record,
            held: false,
        };
        let reader = Reader::new(reader);
        let abort = reader.abort_handle();
        let served = postcopy::serve(
            &image.state,
            &image,
            &HostPages::ordinary(4096),
            (writer, reader),
            &abort,
            &Progress::default(),
            &Unobserved,
        );
        ensure!(served.is_err(), "{release} has taken a page twice");
        guest.wait_for_migration("postcopy-paused")?;
    }
    Ok(())
}
