//! libvirt's save images: what `virsh save`, managed save and memory snapshots write.
//!
//! ```text
//! header, 92 bytes │ data area: domain XML, NUL, cookie XML, NUL, padding │ QEMU's stream
//! ```
//!
//! The stream begins right behind the data area, and is compressed as the [`Format`] says. In a sparse image
//! it is a mapped-ram stream, whose offsets are those of the file.

mod header;
mod write;

pub use header::{Format, Header, LEN, MAGIC, Written};
pub use write::{WriteError, write};

use crate::error::FormatError;
use crate::load::Mode;
use crate::wire::Source;

/// Bytes of a data area. Domains have some 10 KiB of XML, and libvirt leaves 64 KiB for changes.
pub const DATA: u32 = 16 << 20;

/// What a libvirt save image holds besides the stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    /// The domain, as libvirt describes it.
    pub xml: String,
    /// What libvirt wants to know besides, where it does.
    pub cookie: Option<String>,
    /// Whether the domain goes on when it is restored. It counts, and not the run state in the stream.
    pub was_running: bool,
    /// In which form the stream is.
    pub format: Format,
}

/// What an image was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// What the header says.
    pub header: Header,
    /// What is in it.
    pub image: Image,
    /// What is wrong with its texts, where that is no error.
    pub damage: Option<FormatError>,
}

impl Image {
    /// Reads an image up to where its stream begins.
    ///
    /// # Errors
    /// It is none, ends early, or its texts are none.
    pub fn decode<S: Source>(source: &mut S) -> Result<Decoded, S::Error> {
        Self::decode_in(source, Mode::Strict)
    }

    /// As [`decode`](Self::decode); in rescue mode, texts that are cut or damaged are taken as far as they go. Then nothing
    /// more comes, or the stream.
    ///
    /// # Errors
    /// As for [`decode`](Self::decode); in rescue mode, only for the header.
    pub fn decode_in<S: Source>(source: &mut S, mode: Mode) -> Result<Decoded, S::Error> {
        let header = Header::decode(&source.array("the header of a libvirt save image")?)?;
        let at = source.position();
        let (data, mut damage) = data(source, header.data_len)?;
        if mode == Mode::Strict {
            damage.take().map_or(Ok(()), Err)?;
        }
        let cookie_at = header
            .cookie_offset
            .map_or(data.len(), |offset| data.len().min(offset as usize));
        let (xml, cookie) = data.split_at_checked(cookie_at).unwrap_or_default();
        let mut text = |bytes, at, what| match text(bytes, at, what) {
            Err((text, error)) if mode == Mode::Rescue => {
                damage.get_or_insert(error);
                Ok(text)
            }
            Err((_, error)) => Err(error),
            Ok(text) => Ok(text),
        };
        let cookie = text(
            cookie,
            at.saturating_add(cookie_at as u64),
            "the cookie of a libvirt save image",
        )?;
        let xml = text(xml, at, "the domain's XML")?;
        if xml.is_empty() && mode == Mode::Strict {
            let what = "the domain's XML";
            return Err(FormatError::unexpected(at, what, "some text", "none").into());
        }
        let image = Self {
            xml,
            cookie: Some(cookie).filter(|cookie| !cookie.is_empty()),
            was_running: header.was_running,
            format: header.format,
        };
        Ok(Decoded {
            header,
            image,
            damage,
        })
    }

    /// The header and the data area of an image, from the beginning to where the stream begins; `None`
    /// if it is more than libvirt could read, or of a format that it does not have.
    pub fn encode(&self, written: Written) -> Option<Vec<u8>> {
        let mut data = self.xml.clone().into_bytes();
        data.push(0);
        let mut cookie_offset = None;
        if let Some(cookie) = &self.cookie {
            cookie_offset = Some(u32::try_from(data.len()).ok()?);
            data.extend_from_slice(cookie.as_bytes());
            data.push(0);
        }
        // As libvirt does: 'virsh save-image-edit' may make the XML longer.
        data.resize(data.len() + PADDING, 0);
        let header = Header {
            written,
            version: 2,
            data_len: u32::try_from(data.len()).ok().filter(|len| *len <= DATA)?,
            was_running: self.was_running,
            format: self.format,
            cookie_offset,
        };
        let mut image = header.encode()?.to_vec();
        image.extend_from_slice(&data);
        Some(image)
    }
}

/// Room for changes behind the texts.
const PADDING: usize = 64 << 10;

/// The data area; or what there is of it, and where it ends early.
fn data<S: Source>(source: &mut S, len: u32) -> Result<(Vec<u8>, Option<FormatError>), S::Error> {
    const WHAT: &str = "the data area of a libvirt save image";
    let at = source.position();
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let mut data = Vec::with_capacity(len);
    while data.len() < len {
        let piece = source.peek_some()?.len().min(len - data.len());
        if piece == 0 {
            let got = data.len() as u64;
            let cut = FormatError::truncated(at, WHAT, len as u64, got);
            return Ok((data, Some(cut)));
        }
        data.extend_from_slice(source.take(piece, WHAT)?);
    }
    Ok((data, None))
}

/// The text in a part of the data area: it ends with a NUL, and the rest is padding. Where it is none, what of it is, and
/// what is wrong.
fn text(bytes: &[u8], at: u64, what: &'static str) -> Result<String, (String, FormatError)> {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    match std::str::from_utf8(text) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => {
            let at = at.saturating_add(error.valid_up_to() as u64);
            let error = FormatError::unexpected(at, what, "UTF-8 text", "other bytes");
            Err((String::from_utf8_lossy(text).into_owned(), error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SliceSource;

    fn image() -> Image {
        Image {
            xml: "<domain type='qemu'><name>web</name></domain>".into(),
            cookie: Some("<cookie/>".into()),
            was_running: true,
            format: Format::Raw,
        }
    }

    #[test]
    fn an_image_comes_back_as_it_was_written() {
        let bare = Image {
            cookie: None,
            was_running: false,
            ..image()
        };
        for image in [image(), bare] {
            let mut bytes = image.encode(Written::Whole).unwrap();
            let len = bytes.len() as u64;
            bytes.extend_from_slice(b"QEVM");
            let mut source = SliceSource::new(&bytes);
            assert_eq!(Image::decode(&mut source).unwrap().image, image);
            assert_eq!(source.position(), len);
            assert_eq!(source.rest(), b"QEVM");
        }
    }

    #[test]
    fn an_image_that_ends_anywhere_is_an_error() {
        let mut small = image();
        small.xml = "<domain/>".into();
        let bytes = small.encode(Written::Whole).unwrap();
        let step = |len: &usize| *len < 300 || len % 997 == 0;
        for len in (0..bytes.len()).filter(step) {
            let error = Image::decode(&mut SliceSource::new(&bytes[..len])).unwrap_err();
            assert!(
                error.to_string().contains("the stream ends inside"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_image_without_a_domain_or_with_other_bytes_is_none() {
        let mut bytes = image().encode(Written::Whole).unwrap();
        bytes[LEN] = 0;
        let error = Image::decode(&mut SliceSource::new(&bytes)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the domain's XML: expected some text, found none, at offset 0x5c"
        );
        bytes[LEN..LEN + 2].copy_from_slice(b"<\xff");
        let error = Image::decode(&mut SliceSource::new(&bytes)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the domain's XML: expected UTF-8 text, found other bytes, at offset 0x5d"
        );
    }
}
