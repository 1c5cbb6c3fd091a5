//! What the payloads of a channel are made of.
//!
//! With zlib and zstd, all payloads of a channel are one stream, which is never ended: what comes out
//! of one packet depends on those before it.

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, Operation};

use crate::wire::multifd::{Method, Pages};
use crate::wire::{FormatError, Source, limits};

const WHAT: &str = "the payload of a multifd packet";

/// Room behind the pages, so that what would be more than they are is noticed.
const SLACK: usize = 64;

/// log2 of the largest window that a zstd stream may want: that of level 20, QEMU's highest, for a
/// stream of unknown length.
const ZSTD_WINDOW: u32 = 27;

/// What it takes to read the payloads of one channel, one after the other.
pub(super) struct Payloads {
    state: State,
    pages: Vec<u8>,
    /// log2 of the largest window that this channel's zstd stream may want.
    window: u32,
}

#[derive(Default)]
enum State {
    /// None has come yet.
    #[default]
    Fresh,
    Plain,
    Zlib(Decompress),
    Zstd(ZstdDecoder<'static>),
    /// Each page by itself: with QPL, and with UADK.
    Pieces(Method, Decompress),
}

/// Whether a compressed page has the header of zlib, or is deflate alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ZlibHeader {
    Present,
    Absent,
}

impl State {
    fn new(method: Method, window: u32, at: u64) -> Result<Self, FormatError> {
        let zstd = || {
            let mut state = ZstdDecoder::new()?;
            state.set_parameter(DParameter::WindowLogMax(window))?;
            Ok::<_, std::io::Error>(state)
        };
        match method {
            Method::None => Ok(Self::Plain),
            Method::Zlib => Ok(Self::Zlib(Decompress::new(true))),
            Method::Zstd => zstd().map(Self::Zstd).map_err(|error| {
                FormatError::unexpected(at, WHAT, "memory for a zstd stream", error)
            }),
            Method::Qpl => Ok(Self::Pieces(method, Decompress::new(false))),
            Method::Uadk => Ok(Self::Pieces(method, Decompress::new(true))),
            Method::Qatzip => {
                let what = format!("multifd-compression {}", method.name());
                Err(FormatError::unsupported(at, what))
            }
        }
    }

    fn method(&self) -> Option<Method> {
        match self {
            Self::Fresh => None,
            Self::Plain => Some(Method::None),
            Self::Zlib(_) => Some(Method::Zlib),
            Self::Zstd(_) => Some(Method::Zstd),
            Self::Pieces(method, _) => Some(*method),
        }
    }
}

impl Payloads {
    /// For one of so many channels, which have a bound on their memory together.
    pub(super) fn among(channels: usize) -> Self {
        let share = limits::ZSTD_WINDOWS / (channels as u64).max(1);
        Self {
            state: State::default(),
            pages: Vec::new(),
            window: share.max(1).ilog2().min(ZSTD_WINDOW),
        }
    }

    /// Reads the payload of a packet: its normal pages, one behind the other.
    pub(super) fn read<S: Source>(
        &mut self,
        source: &mut S,
        packet: &Pages,
        page_len: usize,
    ) -> Result<&[u8], S::Error> {
        let at = source.position();
        let len = packet.normal.len().saturating_mul(page_len);
        if len == 0 {
            return Ok(&[]);
        }
        match self.state.method() {
            None => self.state = State::new(packet.method, self.window, at)?,
            Some(method) if method == packet.method => {}
            Some(method) => {
                let expected = format!("{}, as before in this channel", method.name());
                let found = packet.method.name();
                return Err(FormatError::unexpected(at, WHAT, expected, found).into());
            }
        }
        self.pages.resize(len.saturating_add(SLACK), 0);
        let size = packet.size as usize;
        let filled = match &mut self.state {
            State::Fresh => 0,
            State::Plain => plain(source, self.pages.get_mut(..len).unwrap_or_default())?,
            State::Zlib(state) => streamed(source, size, &mut self.pages, inflate(state))?,
            State::Zstd(state) => streamed(source, size, &mut self.pages, |from, to| {
                let done = state.run_on_buffers(from, to).map_err(|e| e.to_string())?;
                Ok((done.bytes_read, done.bytes_written))
            })?,
            State::Pieces(method, state) => {
                let header = match method {
                    Method::Uadk => ZlibHeader::Present,
                    _ => ZlibHeader::Absent,
                };
                let pages = self.pages.get_mut(..len).unwrap_or_default();
                pieces(source, size, pages, page_len, state, header)?
            }
        };
        if filled != len {
            let expected = format!("{len} bytes of pages");
            let found = format!("{filled} bytes or more");
            return Err(FormatError::unexpected(at, WHAT, expected, found).into());
        }
        Ok(self.pages.get(..len).unwrap_or_default())
    }
}

fn plain<S: Source>(source: &mut S, out: &mut [u8]) -> Result<usize, S::Error> {
    for room in out.chunks_mut(limits::TAKE) {
        room.copy_from_slice(source.take(room.len(), WHAT)?);
    }
    Ok(out.len())
}

/// Bytes read and bytes made by one step of a decompressor, unless the stream is damaged or over.
type Step = Result<(usize, usize), String>;

const DAMAGED: &str = "a damaged or longer one";

fn inflate(state: &mut Decompress) -> impl FnMut(&[u8], &mut [u8]) -> Step {
    |from, to| {
        let (total_in, total_out) = (state.total_in(), state.total_out());
        match state.decompress(from, to, FlushDecompress::None) {
            Ok(Status::Ok | Status::BufError) => {}
            // The stream of a channel has no end.
            Ok(Status::StreamEnd) | Err(_) => return Err(DAMAGED.to_owned()),
        }
        // Not more than the slices.
        let count =
            |now: u64, before: u64| usize::try_from(now.saturating_sub(before)).unwrap_or(0);
        let read = count(state.total_in(), total_in);
        Ok((read, count(state.total_out(), total_out)))
    }
}

/// Gives all `left` bytes of a payload to a decompressor, and tells how many bytes of `out` they have filled.
fn streamed<S: Source>(
    source: &mut S,
    mut left: usize,
    out: &mut [u8],
    mut step: impl FnMut(&[u8], &mut [u8]) -> Step,
) -> Result<usize, S::Error> {
    let mut filled = 0;
    while left > 0 {
        let at = source.position();
        let mut piece = source.take(left.min(limits::TAKE), WHAT)?;
        left = left.saturating_sub(piece.len());
        while !piece.is_empty() {
            let room = out.get_mut(filled..).unwrap_or_default();
            let found = match step(piece, room) {
                Ok((0, 0)) => DAMAGED.to_owned(),
                Ok((read, made)) => {
                    piece = piece.get(read..).unwrap_or_default();
                    filled = filled.saturating_add(made);
                    continue;
                }
                Err(why) => why,
            };
            let expected = "the next piece of the channel's compressed stream";
            return Err(FormatError::unexpected(at, WHAT, expected, found).into());
        }
    }
    Ok(filled)
}

/// Pages that are compressed one by one: first their lengths, then they. One that is as long as a page is
/// one as it is.
///
/// Not proven: no machine with such an accelerator has written a payload for us.
fn pieces<S: Source>(
    source: &mut S,
    size: usize,
    out: &mut [u8],
    page_len: usize,
    state: &mut Decompress,
    zlib_header: ZlibHeader,
) -> Result<usize, S::Error> {
    let at = source.position();
    let mut lens = Vec::with_capacity(out.len() / page_len.max(1));
    for _ in out.chunks(page_len) {
        let at = source.position();
        let len = source.be32(WHAT)?;
        let Some(len) = usize::try_from(len).ok().filter(|len| *len <= page_len) else {
            return Err(FormatError::too_long(at, WHAT, len.into(), page_len as u64).into());
        };
        lens.push(len);
    }
    let total = lens
        .iter()
        .sum::<usize>()
        .saturating_add(lens.len().saturating_mul(4));
    if total != size {
        let expected = format!("{size} bytes, as the packet says");
        let found = format!("{total} with their lengths");
        return Err(FormatError::unexpected(at, WHAT, expected, found).into());
    }
    for (page, len) in out.chunks_mut(page_len).zip(lens) {
        let at = source.position();
        let piece = source.take(len, WHAT)?;
        if len == page.len() {
            page.copy_from_slice(piece);
            continue;
        }
        state.reset(zlib_header == ZlibHeader::Present);
        let ended = state.decompress(piece, page, FlushDecompress::Finish);
        let whole = matches!(ended, Ok(Status::StreamEnd)) && state.total_out() == page_len as u64;
        if !whole {
            let expected = "one compressed page";
            let found = "a damaged, longer or shorter one";
            return Err(FormatError::unexpected(at, WHAT, expected, found).into());
        }
    }
    Ok(out.len())
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::*;
    use crate::wire::SliceSource;
    use crate::wire::multifd::PACKET_BYTES;

    const PAGE: usize = 4096;

    fn pages(count: usize) -> Vec<u8> {
        (0..count * PAGE)
            .map(|i| (i / 9).to_le_bytes()[0])
            .collect()
    }

    fn packet(method: Method, count: usize, payload: &[u8]) -> Pages {
        Pages {
            method,
            size: u32::try_from(payload.len()).unwrap(),
            normal: vec![0; count],
            ..Pages::default()
        }
    }

    fn read(payloads: &mut Payloads, packet: &Pages, payload: &[u8]) -> Result<Vec<u8>, String> {
        let mut source = SliceSource::new(payload);
        let read = payloads.read(&mut source, packet, PAGE).map(<[u8]>::to_vec);
        let read = read.map_err(|error| error.to_string())?;
        assert_eq!(source.rest(), b"");
        Ok(read)
    }

    /// One deflate stream, flushed behind each piece.
    fn deflated<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
        let mut state = Compress::new(Compression::fast(), true);
        pieces
            .map(|piece| {
                let mut out = Vec::with_capacity(2 * PACKET_BYTES);
                state
                    .compress_vec(piece, &mut out, FlushCompress::Sync)
                    .unwrap();
                out
            })
            .collect()
    }

    #[test]
    fn packets_of_one_channel_are_one_stream() {
        let pages = pages(5);
        let payloads = deflated(pages.chunks(2 * PAGE));
        let mut state = Payloads::among(1);
        for (payload, pages) in payloads.iter().zip(pages.chunks(2 * PAGE)) {
            let packet = packet(Method::Zlib, pages.len() / PAGE, payload);
            assert_eq!(read(&mut state, &packet, payload).unwrap(), pages);
        }
        // The second payload means nothing without the first.
        let second = packet(Method::Zlib, 2, &payloads[1]);
        read(&mut Payloads::among(1), &second, &payloads[1]).unwrap_err();
        // And there is but one method in a channel.
        let plain = packet(Method::None, 1, &pages[..PAGE]);
        let error = read(&mut state, &plain, &pages[..PAGE]).unwrap_err();
        assert!(
            error.contains("expected zlib, as before in this channel, found none"),
            "{error}"
        );
    }

    #[test]
    fn a_payload_of_more_or_fewer_pages_than_are_listed_is_refused() {
        let pages = pages(3);
        let payload = deflated(std::iter::once(&pages[..])).remove(0);
        for (count, says) in [
            (2, "a damaged or longer one"),
            (4, "expected 16384 bytes of pages"),
        ] {
            let packet = packet(Method::Zlib, count, &payload);
            let error = read(&mut Payloads::among(1), &packet, &payload).unwrap_err();
            assert!(error.contains(says), "{count}: {error}");
        }
        let zstd = zstd::encode_all(&*pages, 1).unwrap();
        for (count, says) in [
            (2, "a damaged or longer one"),
            (4, "expected 16384 bytes of pages"),
        ] {
            let packet = packet(Method::Zstd, count, &zstd);
            let error = read(&mut Payloads::among(1), &packet, &zstd).unwrap_err();
            assert!(error.contains(says), "{count}: {error}");
        }
    }

    #[test]
    fn many_channels_get_no_more_memory_together_than_a_few() {
        const COUNT: usize = 8;
        let pages = pages(COUNT);
        // What a channel of level 20 wants. That of level 1 is had by any number.
        let compressed = |window: u32| {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(window).unwrap();
            std::io::Write::write_all(&mut encoder, &pages).unwrap();
            encoder.finish().unwrap()
        };
        for (channels, window, fits) in [
            (1, 27, true),
            (8, 27, true),
            (9, 27, false),
            (16, 26, true),
            (256, 23, false),
            (256, 22, true),
        ] {
            let payload = compressed(window);
            let packet = packet(Method::Zstd, COUNT, &payload);
            let result = read(&mut Payloads::among(channels), &packet, &payload);
            match result {
                Ok(read) => assert!(fits && read == pages, "{channels} {window}"),
                Err(error) => assert!(
                    !fits && error.contains("requires too much memory"),
                    "{channels} {window}: {error}"
                ),
            }
        }
    }

    #[test]
    fn a_payload_that_is_cut_anywhere_is_an_error() {
        let pages = pages(2);
        let zlib = deflated(std::iter::once(&pages[..])).remove(0);
        let zstd = zstd::encode_all(&*pages, 1).unwrap();
        for (method, whole) in [
            (Method::None, &pages),
            (Method::Zlib, &zlib),
            (Method::Zstd, &zstd),
        ] {
            let packet = packet(method, 2, whole);
            assert_eq!(
                read(&mut Payloads::among(1), &packet, whole).unwrap(),
                pages
            );
            for end in 0..whole.len() {
                let error = read(&mut Payloads::among(1), &packet, &whole[..end]).unwrap_err();
                assert!(
                    error.contains("ends inside"),
                    "{method:?} cut at {end}: {error}"
                );
            }
        }
    }

    #[test]
    fn pages_that_are_compressed_by_themselves_come_with_their_lengths() {
        let pages = pages(3);
        for (method, zlib_header) in [(Method::Qpl, false), (Method::Uadk, true)] {
            let mut lens = Vec::new();
            let mut rest = Vec::new();
            for (number, page) in pages.chunks(PAGE).enumerate() {
                let mut piece = Vec::with_capacity(2 * PAGE);
                if number == 1 {
                    piece.extend_from_slice(page);
                } else {
                    let mut state = Compress::new(Compression::fast(), zlib_header);
                    state
                        .compress_vec(page, &mut piece, FlushCompress::Finish)
                        .unwrap();
                }
                lens.extend(u32::try_from(piece.len()).unwrap().to_be_bytes());
                rest.extend(piece);
            }
            let payload = [lens, rest].concat();
            let packet = packet(method, 3, &payload);
            let mut state = Payloads::among(1);
            assert_eq!(read(&mut state, &packet, &payload).unwrap(), pages);
            let mut damaged = payload.clone();
            damaged[3] ^= 1;
            let error = read(&mut state, &packet, &damaged).unwrap_err();
            assert!(error.contains("as the packet says"), "{error}");
            damaged[1] = 1;
            let error = read(&mut state, &packet, &damaged).unwrap_err();
            assert!(error.contains("the limit is 4096"), "{error}");
        }
    }

    #[test]
    fn what_nobody_can_read_here_is_refused_by_its_name() {
        let packet = packet(Method::Qatzip, 1, b"");
        let error = read(&mut Payloads::among(1), &packet, b"").unwrap_err();
        assert!(
            error.contains("multifd-compression qatzip is not supported"),
            "{error}"
        );
    }
}
