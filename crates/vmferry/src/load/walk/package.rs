//! Packages: elements that QEMU, too, has whole before it looks at them.

use super::{Level, Walk};
use crate::error::{Error, FormatError};
use crate::load::source::{Input, Source};
use crate::load::{LoadError, Visitor};
use crate::wire::{SliceSource, Source as _, limits};

const PACKAGE: &str = "a package";

impl<V: Visitor> Walk<'_, V> {
    /// Reads a package of `len` bytes, of which the command began at offset `at`.
    pub(super) fn package<S: Source>(
        &mut self,
        source: &mut S,
        at: u64,
        level: Level,
        len: u32,
    ) -> Result<(), LoadError<V::Error>> {
        if level == Level::Package {
            let error = FormatError::unsupported(at, "a package in a package");
            return Err(Error::from(error).into());
        }
        let limit = limits::PACKAGE;
        let Some(len) = usize::try_from(len).ok().filter(|len| *len <= limit) else {
            let error = FormatError::too_long(at, PACKAGE, len.into(), limit as u64);
            return Err(Error::from(error).into());
        };
        let start = source.position();
        let mut bytes = Vec::new();
        let whole = take_into(&mut bytes, source, len);
        match whole {
            Err(error) if !self.report.rescues(&error) => return Err(error.into()),
            _ => self.package_elements(&bytes, start)?,
        }
        Ok(whole?)
    }

    fn package_elements(&mut self, bytes: &[u8], start: u64) -> Result<(), LoadError<V::Error>> {
        let mut inner = Input(SliceSource::at(bytes, start));
        self.elements(&mut inner, Level::Package)?;
        // The stream goes on after it.
        self.is_cut = false;
        match inner.rest().len() {
            0 => Ok(()),
            left => {
                let what = format!("{left} bytes of a package behind its end");
                self.report.ignore(inner.position(), what)
            }
        }
    }
}

/// Takes `len` bytes, of which none is lost where they end early.
fn take_into<S: Source>(bytes: &mut Vec<u8>, source: &mut S, len: usize) -> Result<(), Error> {
    let start = source.position();
    while bytes.len() < len {
        let there = source.peek_some()?.len().min(len - bytes.len());
        if there == 0 {
            let (wanted, got) = (len as u64, bytes.len() as u64);
            return Err(FormatError::truncated(start, PACKAGE, wanted, got).into());
        }
        bytes.extend_from_slice(source.take(there, PACKAGE)?);
    }
    Ok(())
}
