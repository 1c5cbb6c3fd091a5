//! Measures the store against `zstd -1 -T2`, and its latencies.
//!
//! ```text
//! store_bench data FILE MIB                       make a guest's memory: half noise, half text
//! store_bench compare FILE DIR ROUNDS [KIB…]      save FILE, and compress it with zstd, in turns
//! store_bench save FILE STORE KIB                 save FILE once with frames of KIB
//! store_bench read STORE                          latency of single pages, speed of all pages
//! store_bench open DIR                            latency of opening sparse 1, 4 and 16 GiB
//! ```
//!
//! The text is what `zstd -1` makes 2 to 3 times smaller, and no two pages are equal. `compare` syncs
//! on both sides, and prints each round's ratio, their median and spread.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use vmferry::load::Visitor;
use vmferry::ram::{BlockIndex, Page, PageIndex, PageKind, PageSize, PageSource, RamBlock};
use vmferry_store::{Defaults, Details, Manifest, ReadOptions, SaveOptions, Store};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const PAGE: usize = 4096;
const MIB: usize = 1 << 20;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["data", file, mib] => data(Path::new(file), mib.parse()?),
        ["save", file, store, kib] => save_once(Path::new(file), Path::new(store), kib.parse()?),
        ["compare", file, directory, rounds, kib @ ..] => {
            let kib = kib
                .iter()
                .map(|kib| kib.parse())
                .collect::<Result<Vec<u32>, _>>()?;
            let kib = if kib.is_empty() { vec![64] } else { kib };
            compare(Path::new(file), Path::new(directory), rounds.parse()?, &kib)
        }
        ["read", store] => read(Path::new(store)),
        ["open", directory] => open(Path::new(directory)),
        _ => Err("see the head of examples/store_bench.rs".into()),
    }
}

/// splitmix64.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn data(file: &Path, mib: usize) -> Outcome {
    let mut out = BufWriter::new(File::create(file)?);
    let mut noise = Noise(1);
    for _ in 0..mib {
        // Alternating by the mebibyte, like files in a guest's page cache.
        let mut bytes = Vec::with_capacity(MIB + 128);
        while bytes.len() < MIB / 2 {
            bytes.extend_from_slice(&noise.next().to_le_bytes());
        }
        while bytes.len() < MIB {
            let (a, b, c) = (noise.next(), noise.next(), noise.next());
            let level = ["info", "warn", "debug", "error"][(a % 4) as usize];
            writeln!(
                bytes,
                "2026-11-{:02}T{:02}:{:02}:{:02}.{:06} {level} worker[{}]: request {b:016x} for /item/{}/{} took {} us",
                a % 28 + 1,
                a % 24,
                a % 60,
                (a >> 8) % 60,
                (a >> 16) % 1_000_000,
                c % 40_000,
                (c >> 16) % 1000,
                (c >> 32) % 100_000,
                (a >> 40) % 10_000
            )?;
        }
        out.write_all(&bytes[..MIB])?;
    }
    Ok(out.flush()?)
}

fn save(file: &Path, store: &Store, kib: u32) -> Outcome<Manifest> {
    let mut input = File::open(file)?;
    let length = input.metadata()?.len();
    let parameters = Defaults {
        frame_bytes: kib << 10,
        ..Defaults::default()
    };
    let options = SaveOptions::default().parameters(parameters);
    let mut writer = store.save("bench".parse()?, &options)?;
    writer.ram_blocks(&[ram(length)].into_iter().collect(), PageSize::X86)?;
    let mut buffer = vec![0; MIB];
    let mut page = 0;
    for _ in 0..length / MIB as u64 {
        input.read_exact(&mut buffer)?;
        for bytes in buffer.chunks_exact(PAGE) {
            writer.put(BlockIndex(0), PageIndex(page), Page::Data(bytes))?;
            page += 1;
        }
    }
    Ok(writer.publish(Details::default())?)
}

fn ram(length: u64) -> RamBlock {
    RamBlock {
        idstr: "pc.ram".into(),
        used_length: length,
        host_page_size: None,
    }
}

/// In a process of its own, so that its peak of memory is its own.
fn save_once(file: &Path, store: &Path, kib: u32) -> Outcome {
    let store = Store::open_or_create(store)?;
    let manifest = save(file, &store, kib)?;
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    let peak = peak.and_then(|line| line.split_whitespace().nth(1));
    println!(
        "{} {}",
        manifest.statistics.stored_bytes,
        peak.unwrap_or("0")
    );
    Ok(())
}

fn compare(file: &Path, directory: &Path, rounds: usize, kib: &[u32]) -> Outcome {
    fs::create_dir_all(directory)?;
    let raw = fs::metadata(file)?.len();
    let mut ratios = vec![Vec::new(); kib.len()];
    println!("# {} MiB, {rounds} rounds", raw >> 20);
    for round in 1..=rounds {
        let out = directory.join("bench.zst");
        let begun = Instant::now();
        let status = Command::new("zstd")
            .args(["-1", "-T2", "-q", "-f", "-o"])
            .args([&out, file])
            .status()?;
        if !status.success() {
            return Err("zstd failed".into());
        }
        File::open(&out)?.sync_all()?;
        let zstd = begun.elapsed();
        let stored = fs::metadata(&out)?.len();
        fs::remove_file(&out)?;
        print_round(round, "zstd -1 -T2", zstd, raw, stored, None);
        for (at, kib) in kib.iter().enumerate() {
            let store = directory.join("bench-store");
            let begun = Instant::now();
            let output = Command::new(std::env::current_exe()?)
                .args(["save".as_ref(), file.as_os_str(), store.as_os_str()])
                .arg(kib.to_string())
                .output()?;
            let ours = begun.elapsed();
            let text = String::from_utf8(output.stdout)?;
            let mut words = text.split_whitespace();
            let stored = words.next().ok_or("the save failed")?.parse()?;
            let peak: u64 = words.next().ok_or("the save failed")?.parse()?;
            print_round(
                round,
                &format!("store {kib} KiB"),
                ours,
                raw,
                stored,
                Some(peak),
            );
            ratios[at].push(zstd.as_secs_f64() / ours.as_secs_f64());
            fs::remove_dir_all(&store)?;
        }
    }
    for (kib, ratios) in kib.iter().zip(&mut ratios) {
        ratios.sort_by(f64::total_cmp);
        println!(
            "store {kib} KiB: speed relative to zstd -1 -T2: median {:.2}, {:.2} to {:.2}",
            ratios[ratios.len() / 2],
            ratios[0],
            ratios[ratios.len() - 1]
        );
    }
    Ok(())
}

fn print_round(round: usize, who: &str, took: Duration, raw: u64, stored: u64, peak: Option<u64>) {
    let speed = raw as f64 / MIB as f64 / took.as_secs_f64();
    let ratio = raw as f64 / stored as f64;
    let peak = peak.map_or(String::new(), |kib| format!(", peak {} MiB", kib >> 10));
    println!(
        "round {round}: {who}: {:.2} s, {speed:.0} MiB/s, {} MiB stored ({ratio:.3}){peak}",
        took.as_secs_f64(),
        stored >> 20
    );
}

fn percentiles(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 1000].as_secs_f64() * 1e6;
    println!(
        "{what}: p50 {:.0} us, p90 {:.0} us, p99 {:.0} us, p99.9 {:.0} us, max {:.0} us ({} times)",
        at(500),
        at(900),
        at(990),
        at(999),
        at(1000),
        times.len()
    );
}

fn read(path: &Path) -> Outcome {
    let store = Store::open(path)?;
    let names = store.names()?;
    let name = names.first().ok_or("the store is empty")?;
    let begun = Instant::now();
    let checkpoint = store.checkpoint(name, ReadOptions::default())?;
    println!("open: {:.0} us", begun.elapsed().as_secs_f64() * 1e6);
    let pages = checkpoint.blocks().total_length() / PAGE as u64;
    let mut noise = Noise(7);
    let mut page = vec![0; PAGE];
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for _ in 0..20_000 {
        let number = PageIndex(noise.next() % (pages - 1));
        let begun = Instant::now();
        checkpoint.page(BlockIndex(0), number, &mut page)?;
        first.push(begun.elapsed());
        let begun = Instant::now();
        checkpoint.page(BlockIndex(0), number, &mut page)?;
        again.push(begun.elapsed());
    }
    percentiles("a page at random", first);
    percentiles("the same page again", again);
    for _ in 0..3 {
        let begun = Instant::now();
        let mut bytes = 0;
        checkpoint.pages(&|_, _| true, &mut |_, _, page| {
            if let Page::Data(page) = page {
                bytes += page.len();
            }
            ControlFlow::Continue(())
        })?;
        let speed = bytes as f64 / MIB as f64 / begun.elapsed().as_secs_f64();
        println!("all pages: {speed:.0} MiB/s");
    }
    let begun = Instant::now();
    let report = checkpoint.verify();
    let speed = report.pages as f64 * PAGE as f64 / MIB as f64 / begun.elapsed().as_secs_f64();
    println!("verify: {speed:.0} MiB/s, sound: {}", report.is_sound());
    Ok(())
}

/// Machines of which 256 MiB are in use, the rest is zero.
fn open(directory: &Path) -> Outcome {
    for gib in [1_u64, 4, 16] {
        let path = directory.join(format!("bench-open-{gib}"));
        let store = Store::create(&path, Defaults::default())?;
        let mut writer = store.save("bench".parse()?, &SaveOptions::default())?;
        writer.ram_blocks(&[ram(gib << 30)].into_iter().collect(), PageSize::X86)?;
        let pages = (gib << 30) / PAGE as u64;
        let stride = pages / 65_536;
        let mut noise = Noise(gib);
        let mut bytes = vec![0; PAGE];
        for page in 0..pages {
            let content = if page % stride == 0 {
                bytes[..2048].fill_with(|| noise.next().to_le_bytes()[0]);
                Page::Data(&bytes)
            } else {
                Page::Zero
            };
            writer.put(BlockIndex(0), PageIndex(page), content)?;
        }
        let name = writer.publish(Details::default())?.name();
        let (mut opened, mut first) = (Vec::new(), Vec::new());
        for round in 0..200 {
            let begun = Instant::now();
            let store = Store::open(&path)?;
            let checkpoint = store.checkpoint(&name, ReadOptions::default())?;
            checkpoint.device_state()?;
            opened.push(begun.elapsed());
            let page = PageIndex(round * 311 % 65_536 * stride);
            let kind = checkpoint.page(BlockIndex(0), page, &mut bytes)?;
            if kind != PageKind::Data {
                return Err("the wrong kind of page".into());
            }
            first.push(begun.elapsed());
        }
        percentiles(
            &format!("{gib} GiB: open store, checkpoint and device state"),
            opened,
        );
        percentiles(&format!("{gib} GiB: … and a first page"), first);
        fs::remove_dir_all(&path)?;
    }
    Ok(())
}
