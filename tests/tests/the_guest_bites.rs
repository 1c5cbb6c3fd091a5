//! A check is worth what it finds: each way to damage a restored guest makes the pattern guest
//! complain, or QEMU refuse.

use std::path::PathBuf;

use anyhow::{Context, Result};
use vmferry_tests::pattern::{noise_page, text_page};
use vmferry_tests::surgery::{PageRecord, Stream};
use vmferry_tests::{Guest, Release, Spec};

/// The stream of a guest that was stopped while it passed.
struct Saved {
    spec: Spec,
    source: Guest,
    path: PathBuf,
    pass: u64,
}

impl Saved {
    fn new(release: Release) -> Result<Self> {
        let spec = Spec::pattern(release, "pc");
        let source = spec.start()?;
        let pass = source.wait_for_passes(4)?;
        source.stop()?;
        let path = source.folder().join("stream");
        source.migrate_to_file(&path)?;
        Ok(Self {
            spec,
            source,
            path,
            pass,
        })
    }

    fn read(&self) -> Result<Stream> {
        Stream::read(&self.path)
    }

    /// Restores `stream`, and lets it run.
    fn restore(&self, stream: &Stream) -> Result<Guest> {
        let path = self.source.folder().join("damaged");
        stream.write(&path)?;
        let guest = self.spec.restore(&path)?;
        guest.cont()?;
        Ok(guest)
    }

    /// A page of noise, and the same page as the pass before had left it.
    fn noise(&self, stream: &Stream, skip: usize) -> Result<(PageRecord, Vec<u8>)> {
        let written = |page: &PageRecord| {
            (self.pass - 1..self.pass + 3)
                .find(|pass| stream.contents(page) == noise_page(page.offset, *pass))
        };
        let found = stream.pages().iter().filter(|page| page.block == "pc.ram");
        let mut found = found.filter_map(|page| Some((page.clone(), written(page)?)));
        let (page, pass) = found.nth(skip).context("a page of noise")?;
        let stale = noise_page(page.offset, pass - 1);
        Ok((page, stale))
    }
}

#[test]
fn one_stale_page_is_found() -> Result<()> {
    for release in Release::ALL {
        let saved = Saved::new(release)?;
        let mut stream = saved.read()?;
        let (page, stale) = saved.noise(&stream, 700)?;
        stream.replace(&page, &stale);
        let complaint = saved.restore(&stream)?.wait_for_bad(3)?;
        let address = format!("memory {:#x}", page.offset);
        assert!(complaint.starts_with(&address), "{complaint}");
    }
    Ok(())
}

#[test]
fn one_page_of_zeros_is_found() -> Result<()> {
    let saved = Saved::new(Release::V10_0)?;
    let mut stream = saved.read()?;
    let (page, _) = saved.noise(&stream, 1500)?;
    stream.replace(&page, &[0; 4096]);
    let complaint = saved.restore(&stream)?.wait_for_bad(3)?;
    assert!(complaint.contains("found 0x0 "), "{complaint}");
    Ok(())
}

#[test]
fn one_wrong_word_of_a_page_of_letters_is_found() -> Result<()> {
    let saved = Saved::new(Release::V7_2)?;
    let mut stream = saved.read()?;
    let mut pages = stream.pages().iter().filter(|page| page.block == "pc.ram");
    let is_text = |page: &&PageRecord| {
        (0..saved.pass + 3).any(|pass| stream.contents(page) == text_page(page.offset, pass))
    };
    let page = pages.find(is_text).context("a page of letters")?.clone();
    let mut contents = stream.contents(&page).to_vec();
    contents[0x7f4] ^= 1;
    stream.replace(&page, &contents);
    let complaint = saved.restore(&stream)?.wait_for_bad(3)?;
    let address = format!("memory {:#x}", page.offset + 0x7f4);
    assert!(complaint.starts_with(&address), "{complaint}");
    Ok(())
}

#[test]
fn two_pages_in_each_others_place_are_found() -> Result<()> {
    let saved = Saved::new(Release::V10_0)?;
    let mut stream = saved.read()?;
    let (first, _) = saved.noise(&stream, 10)?;
    let (second, _) = saved.noise(&stream, 11)?;
    let (a, b) = (
        stream.contents(&first).to_vec(),
        stream.contents(&second).to_vec(),
    );
    stream.replace(&first, &b);
    stream.replace(&second, &a);
    saved.restore(&stream)?.wait_for_bad(3)?;
    Ok(())
}

#[test]
fn an_old_record_that_comes_after_the_new_one_is_found() -> Result<()> {
    let saved = Saved::new(Release::V10_0)?;
    let mut stream = saved.read()?;
    let (page, stale) = saved.noise(&stream, 20)?;
    let (later, _) = saved.noise(&stream, 30)?;
    stream.send_again(&later, page.offset, &stale);
    let complaint = saved.restore(&stream)?.wait_for_bad(3)?;
    let address = format!("memory {:#x}", page.offset);
    assert!(complaint.starts_with(&address), "{complaint}");
    Ok(())
}

#[test]
fn a_lost_timer_is_found() -> Result<()> {
    // The counter of the machine's time, the oldest timer, the way of its interrupts, and the
    // timers of the processors.
    for release in Release::ALL {
        let saved = Saved::new(release)?;
        for device in ["timer", "i8254", "i8259", "apic"] {
            let mut stream = saved.read()?;
            assert!(stream.remove_sections(device) > 0, "no section '{device}'");
            // A timer counts as standing still after some seconds.
            let complaint = saved.restore(&stream)?.wait_for_bad(1000)?;
            println!("QEMU {release} without '{device}': {complaint}");
        }
    }
    Ok(())
}

#[test]
fn a_lost_processor_ends_the_guest() -> Result<()> {
    let saved = Saved::new(Release::V10_0)?;
    let mut stream = saved.read()?;
    assert_eq!(stream.remove_sections("cpu"), 2);
    // Code in the wrong mode: the machine resets, and is told not to.
    saved.restore(&stream)?.wait_for_end()
}
