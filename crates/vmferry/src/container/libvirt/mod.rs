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

use crate::error::{Error, FormatError};
use crate::wire::{Source, limits};

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
}

impl Image {
    /// Reads an image up to where its stream begins.
    ///
    /// # Errors
    /// It is none, ends early, or its texts are none.
    pub fn decode(source: &mut impl Source) -> Result<Decoded, Error> {
        const WHAT: &str = "the data area of a libvirt save image";
        let header = Header::decode(&source.array("the header of a libvirt save image")?)?;
        let at = source.position();
        let mut left = usize::try_from(header.data_len).unwrap_or(usize::MAX);
        let mut data = Vec::with_capacity(left);
        while left > 0 {
            let piece = left.min(limits::TAKE);
            data.extend_from_slice(source.take(piece, WHAT)?);
            left -= piece;
        }
        let cookie_at = header
            .cookie_offset
            .map_or(data.len(), |offset| offset as usize);
        let (xml, cookie) = data.split_at_checked(cookie_at).unwrap_or_default();
        let xml = text(xml, at, "the domain's XML")?;
        if xml.is_empty() {
            let what = "the domain's XML";
            return Err(FormatError::unexpected(at, what, "some text", "none").into());
        }
        let at = at.saturating_add(cookie_at as u64);
        let cookie = text(cookie, at, "the cookie of a libvirt save image")?;
        let image = Self {
            xml,
            cookie: Some(cookie).filter(|cookie| !cookie.is_empty()),
            was_running: header.was_running,
            format: header.format,
        };
        Ok(Decoded { header, image })
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

/// The text in a part of the data area: it ends with a NUL, and the rest is padding.
fn text(bytes: &[u8], at: u64, what: &'static str) -> Result<String, FormatError> {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = std::str::from_utf8(text);
    let text = text.map_err(|error| {
        let at = at.saturating_add(error.valid_up_to() as u64);
        FormatError::unexpected(at, what, "UTF-8 text", "other bytes")
    })?;
    Ok(text.to_owned())
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
