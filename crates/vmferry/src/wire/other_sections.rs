//! Iterable sections of which it is known how long they are, and no more: nothing is made of them here.
//!
//! Those of POWER and s390 are held against streams of real machines that have not run; what is told of VFIO comes from
//! descriptions of the format, not from bytes of real streams: *not proven*.
//!
//! ```text
//! spapr/htab                u32 ffffffff: none; a shift: no more; 0: runs
//!                           run = u32 index  u16 valid  u16 invalid  16 bytes × valid; all 0: the last one
//! s390-storage_attributes   u64 address | flags   02 MORE: u64 n  n bytes;  08 DONE;  01 EOS: the last one
//! …/vfio                    u64 marker   2 CONFIG: a state without length;  3 SETUP;  4 DATA: u64 n  n bytes;
//!                                        5 INIT_DATA_SENT;  1 END_OF_STATE: the last one
//! ```

use super::{FormatError, Source};

/// What is known of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherSection {
    /// The page table of a guest on POWER.
    Htab,
    /// Storage attributes of a guest on s390.
    StorageAttributes,
    /// A device that is passed through.
    Vfio,
}

/// Where a piece of a section ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceEnd {
    /// Here.
    Here,
    /// At its footer: what comes has no length.
    Footer,
}

const VFIO: u64 = 0xffff_ffff_ef10_0000;

impl OtherSection {
    /// The section with this idstr.
    pub fn find(idstr: &str) -> Option<Self> {
        match idstr {
            "spapr/htab" => Some(Self::Htab),
            "s390-storage_attributes" => Some(Self::StorageAttributes),
            _ if idstr == "vfio" || idstr.ends_with("/vfio") => Some(Self::Vfio),
            _ => None,
        }
    }

    /// Goes over a piece of the section (START, PART or END), behind its header.
    ///
    /// # Errors
    /// It is something else, or the stream ends.
    pub fn skip<S: Source>(self, source: &mut S) -> Result<PieceEnd, S::Error> {
        match self {
            Self::Htab => htab(source).map(|()| PieceEnd::Here),
            Self::StorageAttributes => storage_attributes(source).map(|()| PieceEnd::Here),
            Self::Vfio => vfio(source),
        }
    }
}

fn htab<S: Source>(source: &mut S) -> Result<(), S::Error> {
    const WHAT: &str = "the page table of a guest (spapr/htab)";
    if source.be32(WHAT)? != 0 {
        return Ok(());
    }
    loop {
        let index = source.be32(WHAT)?;
        let valid = source.be16(WHAT)?;
        let invalid = source.be16(WHAT)?;
        if (index, valid, invalid) == (0, 0, 0) {
            return Ok(());
        }
        source.skip(u64::from(valid).saturating_mul(16), WHAT)?;
    }
}

fn storage_attributes<S: Source>(source: &mut S) -> Result<(), S::Error> {
    const WHAT: &str = "storage attributes (s390)";
    const EOS: u64 = 0x01;
    const MORE: u64 = 0x02;
    const DONE: u64 = 0x08;
    loop {
        let at = source.position();
        let word = source.be64(WHAT)?;
        match word & 0xfff {
            EOS => return Ok(()),
            DONE => {}
            MORE => {
                let count = source.be64(WHAT)?;
                source.skip(count, WHAT)?;
            }
            flags => {
                let found = format!("{flags:#x}");
                let expected = "one of the flags 1, 2 and 8";
                return Err(FormatError::unexpected(at, WHAT, expected, found).into());
            }
        }
    }
}

fn vfio<S: Source>(source: &mut S) -> Result<PieceEnd, S::Error> {
    const WHAT: &str = "the state of a device that is passed through (vfio)";
    loop {
        let at = source.position();
        let word = source.be64(WHAT)?;
        match word.checked_sub(VFIO) {
            Some(1) => return Ok(PieceEnd::Here),
            Some(2) => return Ok(PieceEnd::Footer),
            Some(3 | 5 | 6) => {}
            Some(4) => {
                let len = source.be64(WHAT)?;
                source.skip(len, WHAT)?;
            }
            _ => {
                let found = format!("{word:#x}");
                let expected = "a marker from ffffffffef100001 to 6";
                return Err(FormatError::unexpected(at, WHAT, expected, found).into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SliceSource;

    fn skip(idstr: &str, bytes: &[u8]) -> Result<(PieceEnd, usize), String> {
        let mut source = SliceSource::new(bytes);
        let section = OtherSection::find(idstr).unwrap();
        let end = section.skip(&mut source).map_err(|e| e.to_string())?;
        Ok((end, source.rest().len()))
    }

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn each_is_gone_over_to_its_last_byte_and_one_that_is_cut_is_an_error() {
        let runs = [&b"\0\0\0\0\0\0\0\x07\0\x01\0\x02"[..], &[9; 16], &[0; 8]].concat();
        let attributes = words(&[0x5002, 8, 0x0102_0304_0506_0708, 0x08, 0x01]);
        let device = words(&[VFIO + 3, VFIO + 4, 8, 77, VFIO + 5, VFIO + 1]);
        for (idstr, bytes) in [
            ("spapr/htab", &b"\0\0\0\x18"[..]),
            ("spapr/htab", &runs),
            ("s390-storage_attributes", &attributes),
            ("0000:00:01.0/vfio", &device),
        ] {
            let longer = [bytes, b"\x7e"].concat();
            assert_eq!(skip(idstr, &longer), Ok((PieceEnd::Here, 1)), "{idstr}");
            for end in 0..bytes.len() {
                let error = skip(idstr, &bytes[..end]).unwrap_err();
                assert!(error.contains("ends inside"), "{idstr} {end}: {error}");
            }
        }
        let config = words(&[VFIO + 2, 0]);
        assert_eq!(skip("vfio", &config), Ok((PieceEnd::Footer, 8)));
    }

    #[test]
    fn other_words_are_refused() {
        assert!(skip("vfio", &words(&[7])).unwrap_err().contains("a marker"));
        let error = skip("s390-storage_attributes", &words(&[0x1004])).unwrap_err();
        assert!(error.contains("one of the flags"), "{error}");
        assert_eq!(OtherSection::find("block"), None);
    }
}
