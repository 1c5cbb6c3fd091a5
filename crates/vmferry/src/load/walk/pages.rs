//! Pieces of the `ram` section, and the channel of requested pages.

use super::Walk;
use crate::error::{Error, FormatError, FormatErrorKind};
use crate::load::records::Pause;
use crate::load::resync::Landmark;
use crate::load::source::Source;
use crate::load::{ChannelName, LoadError, Visitor};
use crate::wire::ram;

impl<V: Visitor> Walk<'_, V> {
    /// Reads records up to and including EOS, and the footer.
    pub(super) fn ram_section<S: Source>(
        &mut self,
        source: &mut S,
        section_id: u32,
    ) -> Result<(), LoadError<V::Error>> {
        loop {
            match self.ram_records(source) {
                Ok(()) => {
                    let (sections, report) = (&mut self.sections, &mut self.report);
                    return sections.footer(report, source, section_id, ram::IDSTR);
                }
                Err(LoadError::Read(error)) if self.report.rescues(&error) => {
                    let error = error.in_section(ram::IDSTR);
                    match self.resume(source, &error)? {
                        Some(Landmark::Records) => {}
                        // The footer was read already, or nothing is there any more.
                        Some(Landmark::Element) | None => return Ok(()),
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn ram_records<S: Source>(&mut self, source: &mut S) -> Result<(), LoadError<V::Error>> {
        loop {
            match self.records.read(&mut self.report, source)? {
                Pause::Meeting => self.meet()?,
                Pause::EndAndMeeting => return self.meet(),
                Pause::End => return Ok(()),
            }
        }
    }

    /// Reads the channel of requested pages: bare records, up to the end, or up to an EOS (QEMU 7.1 and
    /// 7.2).
    pub(super) fn requested_pages<S: Source>(
        &mut self,
        source: &mut S,
    ) -> Result<(), LoadError<V::Error>> {
        self.report.set_channel(ChannelName::Preempt);
        self.records.begin_requested_pages();
        while let Some(pause) = self.records.read_bare(&mut self.report, source)? {
            match pause {
                Pause::Meeting => self.meet()?,
                Pause::End | Pause::EndAndMeeting => return Ok(expect_end(source)?),
            }
        }
        Ok(())
    }
}

/// Makes sure that nothing follows.
fn expect_end<S: Source>(source: &mut S) -> Result<(), Error> {
    source.expect_end();
    match source.peek_some()?.len() as u64 {
        0 => Ok(()),
        left => {
            let what = "the channel of requested pages";
            let kind = FormatErrorKind::Trailing { what, left };
            Err(FormatError::new(source.position(), kind).into())
        }
    }
}
