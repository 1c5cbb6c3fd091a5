//! Reading the pages of a multifd channel, beside the bare libraries that decompress them.
//!
//! One channel, half of whose pages are noise and half hexadecimal text. Ours is a whole pass with a
//! visitor that keeps nothing; the peer gets the same payloads, packet by packet, and looks at nothing else.

use std::hint::black_box;

use anyhow::{Result, bail, ensure};
use flate2::{Decompress, FlushDecompress};
use vmferry::load::{Channels, Image, Options, Visitor, VmDescRule, load_channels};
use vmferry::machine::Configuration;
use vmferry::progress::Progress;
use vmferry::ram::{BlockIndex, Page, PageIndex, PageSize, RamBlock};
use vmferry::save::{self, MultifdOptions};
use vmferry::stream::AbortHandle;
use vmferry::wire::multifd::{Init, Method, PACKET_BYTES, Packet};
use vmferry::wire::{SliceSource, Source};
use vmferry_benches::Figures;
use zstd::stream::raw::{Decoder, Operation};

use super::load::Nothing;
use super::timed;

const PAGE: usize = 4096;
const MIB: u32 = 64;

pub(super) fn run(rounds: usize) -> Result<()> {
    println!(
        "\n# multifd: {MIB} MiB of pages, half noise, half text, from one channel, MB of pages per second"
    );
    let image = machine(MIB.into());
    let mb = f64::from(MIB << 20) / 1e6;
    for method in [Method::None, Method::Zlib, Method::Zstd] {
        let (mut main, mut channels) = (Vec::new(), vec![Vec::new()]);
        let options = MultifdOptions::new(method);
        let state = (&image.state, &image);
        save::multifd(
            &mut main,
            &mut channels,
            state,
            &options,
            &AbortHandle::default(),
            &Progress::default(),
        )?;
        let channel = channels.remove(0);
        let payloads = payloads(&channel)?;
        let (mut ours, mut bare) = (Figures::default(), Figures::default());
        for _ in 0..rounds {
            ours.push(mb / timed(|| read(&main, &channel))?);
            bare.push(mb / timed(|| decompress(method, &payloads))?);
        }
        let ratio = ours.over(&bare);
        let name = method.name();
        println!("{name:5} ours {ours:.0}   the bare library {bare:.0}   ours / bare {ratio}");
    }
    Ok(())
}

/// A machine with so much memory, as a generator makes it.
fn machine(mib: u64) -> Image {
    let mut image = Image::default();
    let Ok(()) = image.configuration(&Configuration {
        machine: "pc-q35-10.0".into(),
        ..Configuration::default()
    });
    let block = RamBlock {
        idstr: "pc.ram".into(),
        used_length: mib << 20,
        host_page_size: None,
    };
    let blocks = std::iter::once(block);
    let Ok(()) = image.ram_blocks(&blocks.collect(), PageSize::X86);
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for page in 0..mib << 8 {
        let mut data = Vec::with_capacity(PAGE);
        while data.len() < PAGE {
            match page % 2 {
                0 => data.extend(next().to_le_bytes()),
                _ => data.extend(format!("{:016x}", next()).bytes()),
            }
        }
        image.put(BlockIndex(0), PageIndex(page), Page::Data(&data));
    }
    image
}

/// Each payload, with the bytes that it becomes.
fn payloads(channel: &[u8]) -> Result<Vec<(&[u8], usize)>> {
    let mut source = SliceSource::new(channel);
    Init::decode(&mut source)?;
    let mut payloads = Vec::new();
    while !source.peek(1)?.is_empty() {
        let Packet::Pages(packet) = Packet::decode(&mut source, PageSize::X86)? else {
            bail!("a device's state");
        };
        if !packet.normal.is_empty() {
            let size = usize::try_from(packet.size)?;
            let payload = source.take_slice(size, "a payload")?;
            payloads.push((payload, packet.normal.len() * PAGE));
        }
    }
    Ok(payloads)
}

fn decompress(method: Method, payloads: &[(&[u8], usize)]) -> Result<()> {
    let mut out = vec![0; PACKET_BYTES + 64];
    let mut zlib = Decompress::new(true);
    let mut zstd = Decoder::new()?;
    for (payload, len) in payloads {
        let made = match method {
            Method::Zlib => {
                let before = zlib.total_out();
                zlib.decompress(payload, &mut out, FlushDecompress::None)?;
                usize::try_from(zlib.total_out() - before)?
            }
            Method::Zstd => zstd.run_on_buffers(payload, &mut out)?.bytes_written,
            _ => {
                out[..*len].copy_from_slice(payload);
                *len
            }
        };
        ensure!(made == *len, "{made} bytes of {len}");
        black_box(&out);
    }
    Ok(())
}

fn read(main: &[u8], channel: &[u8]) -> Result<()> {
    let mut channels = Channels::new(SliceSource::new(main));
    channels.multifd.push(SliceSource::new(channel));
    let options = Options {
        vmdesc: VmDescRule::Optional,
        ..Options::default()
    };
    load_channels(&mut channels, &mut Nothing, &options)?;
    Ok(())
}
