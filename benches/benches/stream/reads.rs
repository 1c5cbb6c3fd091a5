//! Cases that read.

use std::hint::black_box;

use anyhow::Result;
use vmferry::channel::{RamMapping, ReadChannel};
use vmferry::stream::Reader;

use super::case::{Case, Clock};
use super::data::{Data, PAGE, PAGES, filled};
use super::sources::{Cycle, Fed};

/// What a case reads into.
pub(super) struct Places {
    small: Vec<u8>,
    ram: RamMapping,
}

impl Places {
    fn new() -> Result<Self> {
        Ok(Self {
            small: vec![1; 65536],
            ram: filled()?,
        })
    }

    /// Reads into the page `i` of 64 MiB of memory.
    #[inline]
    fn get_page<C: ReadChannel>(&mut self, reader: &mut Reader<C>, i: u64) {
        #[allow(clippy::cast_possible_truncation, reason = "it is below 2^14")]
        let at = (i % PAGES) as usize * PAGE;
        if let Some(page) = self.ram.as_ram_mut().subslice_mut(at..at + PAGE) {
            let _ = black_box(reader.get_ram(page));
        }
    }
}

type Read<C> = fn(&mut Reader<C>, &mut Places, u64);

macro_rules! reads {
    ($($name:ident |$reader:ident, $places:ident, $n:ident| $body:expr;)*) => {
        $(
            fn $name<C: ReadChannel>($reader: &mut Reader<C>, $places: &mut Places, $n: u64) {
                $body
            }
        )*

        fn common<C: ReadChannel>() -> Vec<(&'static str, Read<C>)> {
            vec![$((stringify!($name), $name::<C> as Read<C>)),*]
        }
    };
}

/// The sum of what `get` gives, which shows whether anything failed, too.
#[inline]
fn sum<E>(n: u64, mut get: impl FnMut() -> Result<u64, E>) {
    let mut sum = 0_u64;
    for _ in 0..n {
        if let Ok(value) = get() {
            sum = sum.wrapping_add(value);
        }
    }
    black_box(sum);
}

reads! {
    get_byte |r, _p, n| sum(n, || r.get_u8().map(u64::from));
    get_be16 |r, _p, n| sum(n, || r.get_be16().map(u64::from));
    get_be32 |r, _p, n| sum(n, || r.get_be32().map(u64::from));
    get_be64 |r, _p, n| sum(n, || r.get_be64());
    get_buf16 |r, p, n| for _ in 0..n { let _ = black_box(r.get_into(&mut p.small[..16])); };
    get_buf256 |r, p, n| for _ in 0..n { let _ = black_box(r.get_into(&mut p.small[..256])); };
    get_buf4k |r, p, n| for _ in 0..n { let _ = black_box(r.get_into(&mut p.small[..4096])); };
    get_buf64k |r, p, n| for _ in 0..n { let _ = black_box(r.get_into(&mut p.small)); };
    get_buf4k_arena |r, p, n| for i in 0..n { p.get_page(r, i); };
    get_in_place4k |r, _p, n| sum(n, || r.get_ref(PAGE).map(|page| u64::from(page[0])));
    peek8_skip8 |r, _p, n| sum(n, || {
        let first = r.peek(8).map(|bytes| u64::from(bytes[0]));
        r.skip(8)?;
        first
    });
    peek4k_skip4k |r, _p, n| sum(n, || {
        let first = r.peek(PAGE).map(|bytes| u64::from(bytes[0]));
        r.skip(PAGE as u64)?;
        first
    });
    peek_byte3_skip |r, _p, n| sum(n, || {
        let three = u64::from(r.peek_u8(0)?) + u64::from(r.peek_u8(1)?) + u64::from(r.peek_u8(2)?);
        r.skip(3)?;
        Ok::<_, vmferry::stream::StreamError>(three)
    });
    get_rec64_page |r, p, n| for i in 0..n {
        let _ = black_box(r.get_be64());
        p.get_page(r, i);
    };
    get_rec64_page_in_place |r, _p, n| sum(n, || {
        let word = r.get_be64()?;
        r.get_ref(PAGE).map(|page| word.wrapping_add(page[0].into()))
    });
    get_counted_string6 |r, _p, n| {
        let mut buffer = [0; 255];
        for _ in 0..n { let _ = black_box(r.get_counted(&mut buffer)); }
    };
}

/// All of them.
pub(super) fn cases(data: &Data) -> Result<Vec<Case<'_>>> {
    let source = |name: &str| match name {
        "get_counted_string6" => &data.strings,
        _ => &data.plain,
    };
    let mut cases = Vec::new();
    for (name, read) in common() {
        let mut places = Places::new()?;
        cases.push(Case::new(format!("mem/{name}"), move |n| {
            let mut reader = Reader::new(Cycle::new(source(name)));
            timed(Clock::Processor, &mut reader, |reader| {
                read(reader, &mut places, n);
            })
        }));
    }
    for (name, read) in common() {
        let mut places = Places::new()?;
        cases.push(Case::new(format!("rsock/{name}"), move |n| {
            let Ok((fed, channel)) = Fed::new(source(name)) else {
                return f64::NAN;
            };
            let mut reader = Reader::new(channel);
            let took = timed(Clock::Wall, &mut reader, |reader| {
                read(reader, &mut places, n);
            });
            drop(reader);
            fed.end();
            took
        }));
    }
    Ok(cases)
}

fn timed<C: ReadChannel>(
    clock: Clock,
    reader: &mut Reader<C>,
    work: impl FnOnce(&mut Reader<C>),
) -> f64 {
    let took = clock.time(|| work(reader));
    assert!(reader.error().is_none(), "{:?}", reader.error());
    took
}
