//! Telling the connections of one migration apart.

use std::io;

use super::Channels;
use crate::channel::ReadChannel;
use crate::error::{Error, FormatError};
use crate::stream::{AbortHandle, Reader, StreamError};
use crate::wire::{header, multifd};

impl<C: ReadChannel> Channels<Reader<C>> {
    /// Takes the connections of a migration with so many multifd channels, in whatever order they come, and
    /// tells them apart by what they begin with. `next` accepts a connection.
    ///
    /// Nothing is read before all of them are there: a source may say nothing before it has them all.
    ///
    /// # Errors
    /// No connection is to be had, or they do not begin as those of one migration.
    pub fn accept(multifd: usize, mut next: impl FnMut() -> io::Result<C>) -> Result<Self, Error> {
        let mut connections = Vec::new();
        for _ in 0..=multifd {
            let channel = next().map_err(|error| StreamError::from_io(error, 0))?;
            connections.push(Reader::new(channel));
        }
        let mut main = None;
        let mut others = Vec::new();
        for mut connection in connections {
            let begin = connection.peek_up_to(4)?;
            if begin == multifd::MAGIC.to_be_bytes() {
                others.push(connection);
            } else if main.is_none() && begin == header::MAGIC.to_be_bytes() {
                main = Some(connection);
            } else {
                let expected = "one main channel, which begins with QEVM, and multifd channels";
                return Err(unexpected(expected, format_args!("{begin:02x?}")));
            }
        }
        match main {
            Some(main) => Ok(Self {
                main,
                preempt: None,
                multifd: others,
            }),
            None => Err(unexpected("a main channel", "multifd channels only")),
        }
    }

    /// What ends blocked reads of all channels.
    pub fn abort_handle(&self) -> AbortHandle {
        let others = self.preempt.iter().chain(&self.multifd);
        others.fold(self.main.abort_handle(), |all, other| {
            all.and(&other.abort_handle())
        })
    }
}

fn unexpected(expected: &'static str, found: impl std::fmt::Display) -> Error {
    FormatError::unexpected(0, "the connections of a migration", expected, found).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Bytes;

    const MAIN: &[u8] = b"QEVM\0\0\0\x03";
    const OTHER: &[u8] = b"\x11\x22\x33\x44\0\0\0\x01";

    fn accept(connections: &[&'static [u8]]) -> Result<Channels<Reader<Bytes<'static>>>, String> {
        let mut connections = connections.iter();
        let multifd = connections.len() - 1;
        let next = || Ok(Bytes::new(connections.next().unwrap()));
        Channels::accept(multifd, next).map_err(|error| error.to_string())
    }

    #[test]
    fn connections_are_told_apart_in_any_order() {
        for connections in [
            [MAIN, OTHER, OTHER],
            [OTHER, MAIN, OTHER],
            [OTHER, OTHER, MAIN],
        ] {
            let channels = accept(&connections).unwrap();
            assert_eq!(channels.main.position(), 0);
            assert_eq!(channels.multifd.len(), 2);
        }
        assert_eq!(accept(&[MAIN]).unwrap().multifd.len(), 0);
    }

    #[test]
    fn what_is_no_connection_of_one_migration_is_refused() {
        for (connections, says) in [
            (&[MAIN, MAIN][..], "found [51, 45, 56, 4d]"),
            (&[OTHER, OTHER], "found multifd channels only"),
            (&[MAIN, b"GET "], "found [47, 45, 54, 20]"),
            (&[MAIN, b""], "found []"),
        ] {
            let error = accept(connections).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
