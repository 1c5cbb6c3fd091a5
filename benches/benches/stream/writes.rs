//! Cases that write.

use std::hint::black_box;
use std::time::Duration;

use vmferry::channel::{Null, RamSlice, Segment, SocketWriter, WriteChannel};
use vmferry::stream::{
    Compressor, DiscardPrivate, RateLimiter, Release, Releaser, Staging, Writer, WriterConfig,
};

use super::case::{Case, Clock};
use super::data::{Data, PAGE};
use super::sinks::{Drained, Ring};

const NAME: &[u8] = b"pc.ram";

/// Each case as a function of its own, for any channel.
macro_rules! writes {
    ($($name:ident |$writer:ident, $data:ident, $n:ident| $body:expr;)*) => {
        $(
            pub(super) fn $name<'d, C: WriteChannel, M: Releaser>(
                $writer: &mut Writer<'d, C, M>,
                $data: &'d Data,
                $n: u64,
            ) {
                $body
            }
        )*
    };
}

#[inline]
fn keep<'d, C: WriteChannel, M: Releaser>(writer: &mut Writer<'d, C, M>, page: RamSlice<'d>) {
    writer.put_ram(page, Release::Keep);
}

#[allow(clippy::cast_possible_truncation, reason = "the low bits will do")]
mod all {
    use super::*;

    writes! {
        put_byte |w, _d, n| for i in 0..n { w.put_u8(i as u8); };
        put_be16 |w, _d, n| for i in 0..n { w.put_be16(i as u16); };
        put_be32 |w, _d, n| for i in 0..n { w.put_be32(i as u32); };
        put_be64 |w, _d, n| for i in 0..n { w.put_be64(i); };
        put_buf16 |w, d, n| for _ in 0..n { w.put_bytes(&d.small[..16]); };
        put_buf256 |w, d, n| for _ in 0..n { w.put_bytes(&d.small[..256]); };
        put_buf4k |w, d, n| for _ in 0..n { w.put_bytes(&d.small[..4096]); };
        put_buf64k |w, d, n| for _ in 0..n { w.put_bytes(&d.small); };
        put_async4k_contig |w, d, n| for i in 0..n { keep(w, d.page(i)); };
        put_async4k_scatter |w, d, n| for i in 0..n { keep(w, d.page(5 * i)); };
        put_async4k_scatter_release |w, d, n| for i in 0..n {
            w.put_ram(d.page_given_back(5 * i), Release::AfterSend);
        };
        rec64_page |w, d, n| for i in 0..n {
            w.put_be64((i << 12) | 0x28);
            keep(w, d.page(i));
        };
        rec64_page_release |w, d, n| for i in 0..n {
            w.put_be64((i << 12) | 0x28);
            w.put_ram(d.page_given_back(i), Release::AfterSend);
        };
        rec64_name_page |w, d, n| for i in 0..n {
            w.put_be64((i << 12) | 0x08);
            // It is short enough.
            let _ = w.put_counted(NAME);
            keep(w, d.page(i));
        };
        rec64_page_copied |w, d, n| {
            for i in 0..n {
                w.put_be64((i << 12) | 0x28);
                if let Ok(mut room) = w.reserve(PAGE) {
                    d.page(i).copy_to(room.as_mut_slice());
                    room.commit(PAGE);
                }
            }
        };
        put_counted_string6 |w, _d, n| for _ in 0..n { let _ = w.put_counted(NAME); };
        put_device_mix |w, d, n| for i in 0..n {
            w.put_u8(4);
            w.put_be32(i as u32);
            w.put_be16(i as u16);
            w.put_be64(i);
            w.put_bytes(&d.small[..24]);
        };
        put_zlib1_zero4k |w, d, n| compressed(w, &d.zero, n);
        put_zlib1_text4k |w, d, n| compressed(w, &d.text, n);
        put_zlib1_rand4k |w, d, n| compressed(w, &d.random, n);
        put_qemu_file4k |w, d, n| {
            let mut staging = Staging::with_capacity(PAGE);
            for _ in 0..n {
                staging.put_bytes(&d.small[..PAGE]);
                let _ = black_box(w.put_staged(&mut staging));
            }
        };
        ftell_fast_62iov |w, d, n| {
            for i in 0..31 {
                w.put_be64(i);
                keep(w, d.page(i));
            }
            for _ in 0..n { black_box(black_box(&mut *w).queued_position()); }
        };
        rate_limit_check |w, _d, n| {
            let limiter = RateLimiter::per_second(1 << 30, Duration::from_millis(100));
            for _ in 0..n { black_box(limiter.exceeded(black_box(&mut *w).transferred())); }
        };
    }

    fn compressed<C: WriteChannel, M: Releaser>(w: &mut Writer<'_, C, M>, page: &[u8], n: u64) {
        let mut compressor = Compressor::new(1);
        for _ in 0..n {
            let _ = black_box(w.put_compressed(&mut compressor, page));
        }
    }
}

type Write<'d, C, M> = fn(&mut Writer<'d, C, M>, &'d Data, u64);

/// The cases for one kind of channel, without those that are for memory alone.
fn common<'d, C: WriteChannel, M: Releaser>() -> Vec<(&'static str, Write<'d, C, M>)> {
    macro_rules! list {
        ($($name:ident)*) => { vec![$((stringify!($name), all::$name::<C, M> as Write<'d, C, M>)),*] };
    }
    list! {
        put_byte put_be16 put_be32 put_be64 put_buf16 put_buf256 put_buf4k put_buf64k
        put_async4k_contig put_async4k_scatter rec64_page rec64_name_page rec64_page_copied
        put_counted_string6 put_device_mix put_zlib1_text4k put_zlib1_rand4k put_qemu_file4k
    }
}

/// All of them.
pub(super) fn cases(data: &Data) -> Vec<Case<'_>> {
    let mut cases = Vec::new();
    let mut plain: Vec<(_, Write<'_, Null, _>)> = common();
    plain.push(("put_zlib1_zero4k", all::put_zlib1_zero4k));
    plain.push(("ftell_fast_62iov", all::ftell_fast_62iov));
    plain.push(("rate_limit_check", all::rate_limit_check));
    for (name, write) in plain {
        cases.push(case(format!("null/{name}"), move |n| {
            let mut writer = Writer::new(Null);
            timed(Clock::Processor, &mut writer, |writer| {
                write(writer, data, n);
            })
        }));
    }
    let releasing: [(_, Write<'_, Null, DiscardPrivate>); 2] = [
        (
            "put_async4k_scatter_release",
            all::put_async4k_scatter_release,
        ),
        ("rec64_page_release", all::rec64_page_release),
    ];
    for (name, write) in releasing {
        cases.push(case(format!("null/{name}"), move |n| {
            let config = WriterConfig::default();
            let mut writer = Writer::with_releaser(Null, &config, DiscardPrivate);
            timed(Clock::Processor, &mut writer, |writer| {
                write(writer, data, n);
            })
        }));
    }
    for (name, _) in common::<&mut Ring, vmferry::stream::NoRelease>() {
        // The original has no such case.
        if name.starts_with("put_zlib1") {
            continue;
        }
        let mut ring = Ring::new();
        cases.push(case(format!("ring/{name}"), move |n| {
            // Looked up here, because it is made for a borrow that ends here.
            let mut all = common().into_iter();
            let write: Option<(_, Write<'_, &mut Ring, _>)> = all.find(|(of, _)| *of == name);
            let mut writer = Writer::new(&mut ring);
            timed(Clock::Processor, &mut writer, |writer| {
                if let Some((_, write)) = write {
                    write(writer, data, n);
                }
            })
        }));
    }
    for (name, write) in common() {
        // One pair for all runs, as the original has it.
        let mut pair = None;
        cases.push(case(format!("sock/{name}"), move |n| {
            let Some((drained, channel)) = pair.take().or_else(|| Drained::new().ok()) else {
                return f64::NAN;
            };
            let mut writer = Writer::new(channel);
            let took = timed(Clock::Wall, &mut writer, |writer| write(writer, data, n));
            drained.settle(writer.flushed_position());
            pair = Some((drained, writer.into_channel()));
            took
        }));
    }
    cases.push(beside_writev(data));
    cases
}

/// The records of `rec64_page` through a stream, and beside it by `writev` alone.
fn beside_writev(data: &Data) -> Case<'_> {
    let (mut ours, mut bare) = (None, None);
    let through = move |n| {
        let Some((drained, channel)) = ours.take().or_else(|| Drained::new().ok()) else {
            return f64::NAN;
        };
        let mut writer = Writer::new(channel);
        let took = timed(Clock::Wall, &mut writer, |writer| {
            all::rec64_page(writer, data, n);
        });
        drained.settle(writer.flushed_position());
        ours = Some((drained, writer.into_channel()));
        took
    };
    let without = move |n| {
        let Some((drained, mut channel)) = bare.take().or_else(|| Drained::new().ok()) else {
            return f64::NAN;
        };
        let took = Clock::Wall.time(|| write_bare(&mut channel, data, n));
        drained.settle(n * (8 + PAGE as u64));
        bare = Some((drained, channel));
        took
    };
    Case::new("sock/rec64_page_beside_writev".into(), through).beside(without)
}

/// As many records in one call as the original's array has room for.
const RECORDS: u64 = 31;

fn write_bare(channel: &mut SocketWriter, data: &Data, n: u64) {
    let mut first = 0;
    while first < n {
        let records = first..n.min(first + RECORDS);
        let words: Vec<_> = records
            .clone()
            .map(|i| ((i << 12) | 0x28).to_be_bytes())
            .collect();
        let pairs = words.iter().zip(records.clone());
        let mut segments: Vec<_> = pairs
            .flat_map(|(word, i)| [Segment::new(word), Segment::ram(data.page(i))])
            .collect();
        let mut waits = &mut segments[..];
        while !waits.is_empty() {
            let Ok(mut sent) = channel.write_segments(waits) else {
                return;
            };
            let whole = waits.iter().take_while(|segment| {
                let taken = sent >= segment.len();
                sent -= if taken { segment.len() } else { 0 };
                taken
            });
            let whole = whole.count();
            waits = &mut waits[whole..];
            if let Some(first) = waits.first_mut() {
                *first = first.skip(sent);
            }
        }
        first = records.end;
    }
}

fn case<'d>(name: String, run: impl FnMut(u64) -> f64 + 'd) -> Case<'d> {
    let contiguous = name.ends_with("_contig");
    let case = Case::new(name, run);
    // The original never sends what lies side by side, so its run is bounded.
    if contiguous { case.at_most(8192) } else { case }
}

/// What `work` and sending the rest take.
fn timed<'d, C: WriteChannel, M: Releaser>(
    clock: Clock,
    writer: &mut Writer<'d, C, M>,
    work: impl FnOnce(&mut Writer<'d, C, M>),
) -> f64 {
    let took = clock.time(|| {
        work(writer);
        let _ = writer.flush();
    });
    assert!(writer.error().is_none(), "{:?}", writer.error());
    took
}
