//! Waiting for a monitor's greeting, and recognising what greets instead.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::message::{Message, Version};
use super::transport::{self, Lines};
use super::{Error, Result};
use crate::ui;

/// After this long, a person who looks on wants to know what is waited for.
const SILENCE: Duration = Duration::from_secs(2);

/// The most that is shown of a line that is no greeting.
const SHOWN: usize = 80;

/// Waits for the greeting of a monitor that nobody has spoken to yet.
pub(super) fn wait(socket: &OwnedFd, lines: &mut Lines, patience: Duration) -> Result<Version> {
    let began = Instant::now();
    let deadline = began + patience;
    let mut tell_at = (patience > SILENCE).then_some(began + SILENCE);
    loop {
        if let Some(line) = lines.next() {
            return greeting(&line);
        }
        let until = tell_at.unwrap_or(deadline);
        let [came] = transport::readable([socket.as_fd()], Some(until))?;
        if came {
            if !lines.fill(socket.as_fd())? {
                return match lines.unfinished() {
                    [] => Err(Error::Closed),
                    beginning => Err(no_greeting(beginning)),
                };
            }
        } else if tell_at.take().is_some() {
            ui::note(format_args!(
                "still waiting for the greeting of the QMP monitor, for {} at most",
                ui::duration(patience)
            ));
        } else {
            return Err(match lines.unfinished() {
                [] => Error::NoGreeting { waited: patience },
                beginning => no_greeting(beginning),
            });
        }
    }
}

fn greeting(line: &[u8]) -> Result<Version> {
    match Message::parse(line) {
        Ok(Message::Greeting(version)) => Ok(version),
        // A greeting, but not one of QEMU's.
        Err(error) if line.starts_with(b"{\"QMP\"") => Err(error),
        _ => Err(no_greeting(line)),
    }
}

/// What came is not from a QMP monitor; it may be from QEMU's monitor for people.
fn no_greeting(line: &[u8]) -> Error {
    let text = String::from_utf8_lossy(line);
    if text.contains("(qemu)") || text.contains(" monitor - type ") {
        return Error::HumanMonitor;
    }
    Error::Protocol {
        what: format!(
            "'{}' where the greeting of a QMP monitor was expected: is this another socket?",
            text.chars().take(SHOWN).collect::<String>().escape_debug()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeted(bytes: &[u8]) -> Result<Version> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        std::io::Write::write_all(&mut &theirs, bytes).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let patience = Duration::from_secs(60);
        wait(&ours.into(), &mut Lines::default(), patience)
    }

    #[test]
    fn the_monitor_for_people_is_recognised_by_its_banner_or_its_prompt() {
        // As QEMU 7.2 and 10.0 send it.
        let banner = b"QEMU 10.0.2 monitor - type 'help' for more information\r\n(qemu) ";
        for bytes in [&banner[..], b"(qemu) "] {
            let error = greeted(bytes).unwrap_err();
            assert!(matches!(error, Error::HumanMonitor), "{error}");
        }
    }

    #[test]
    fn what_greets_in_another_language_is_shown() {
        for bytes in [&b"RFB 003.008\n"[..], b"RFB 003.008"] {
            let error = greeted(bytes).unwrap_err().to_string();
            assert!(error.contains("sent 'RFB 003.008' where"), "{error}");
        }
        assert!(matches!(greeted(b"").unwrap_err(), Error::Closed));
        let error = greeted(b"{\"QMP\": {}}\n").unwrap_err().to_string();
        assert!(error.contains("without a version"), "{error}");
    }
}
