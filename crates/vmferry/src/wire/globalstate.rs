//! The run state that travels with the devices, in a section of its own.
//!
//! ```text
//! u32 length of the name, its NUL included
//! 32 bytes   name of the run state, NUL, zeros
//! 68 bytes   QEMU 7.2: zeros.  QEMU 10.0: u8 1, u8 "was suspended", 66 zeros
//! ```
//!
//! A full restore ends in this state; a postcopy destination ignores it. So whoever plays a saved
//! machine back may have to rewrite it: a guest that was stopped only to be saved says `paused`.

use super::{FormatError, FormatErrorKind, SliceSource, Source};

/// The idstr of the section.
pub const IDSTR: &str = "globalstate";

/// Bytes of the payload.
pub const LEN: usize = 104;

const NAME_LEN: usize = 32;

/// The run state in the payload, by QAPI's name: `running`, `paused`, …
///
/// # Errors
/// The payload has another length, or holds no name.
pub fn run_state(payload: &[u8]) -> Result<&str, FormatError> {
    let mut source = SliceSource::new(payload);
    source.be32("the length of the run state")?;
    source.take(LEN - 4, "the run state")?;
    if !source.rest().is_empty() {
        let kind = FormatErrorKind::Trailing {
            what: "the run state",
            left: source.rest().len() as u64,
        };
        return Err(FormatError::new(LEN as u64, kind));
    }
    let field = payload.get(4..4 + NAME_LEN).unwrap_or_default();
    let name = field.split(|byte| *byte == 0).next().unwrap_or_default();
    let terminated = name.len() < field.len();
    match std::str::from_utf8(name) {
        Ok(name) if terminated && !name.is_empty() => Ok(name),
        _ => {
            let found = format!("{:?}", String::from_utf8_lossy(field));
            let expected = "a name of less than 32 bytes";
            Err(FormatError::unexpected(4, "the run state", expected, found))
        }
    }
}

/// The same payload with another run state; one of 32 bytes or more is no run state, and leaves it
/// as it is.
pub fn with_run_state(payload: &[u8; LEN], run_state: &str) -> [u8; LEN] {
    let mut payload = *payload;
    let Some(len) = u32::try_from(run_state.len().saturating_add(1))
        .ok()
        .filter(|len| *len <= 32)
    else {
        return payload;
    };
    let (length, rest) = payload.split_at_mut(4);
    length.copy_from_slice(&len.to_be_bytes());
    let (field, _) = rest.split_at_mut(NAME_LEN);
    let name = run_state.bytes().chain(std::iter::repeat(0));
    field.iter_mut().zip(name).for_each(|(to, from)| *to = from);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(name: &[u8], tail: [u8; 2]) -> [u8; LEN] {
        let mut payload = [0; LEN];
        payload[3] = u8::try_from(name.len() + 1).unwrap();
        payload[4..4 + name.len()].copy_from_slice(name);
        payload[36..38].copy_from_slice(&tail);
        payload
    }

    #[test]
    fn the_run_state_of_both_layouts_is_read() {
        // QEMU 7.2.22 leaves the tail zero, 10.0.2 says there whether the guest was suspended.
        assert_eq!(
            run_state(&payload(b"prelaunch", [0, 0])).unwrap(),
            "prelaunch"
        );
        assert_eq!(run_state(&payload(b"running", [1, 0])).unwrap(), "running");
    }

    #[test]
    fn another_run_state_changes_nothing_else() {
        let before = payload(b"finish-migrate", [1, 1]);
        let after = with_run_state(&before, "running");
        assert_eq!(after, payload(b"running", [1, 1]));
        assert_eq!(with_run_state(&before, &"x".repeat(32)), before);
    }

    #[test]
    fn a_payload_of_another_length_or_without_a_name_is_refused() {
        let full = payload(b"running", [1, 0]);
        for end in 0..LEN {
            assert!(run_state(&full[..end]).is_err());
        }
        assert!(run_state(&[&full[..], &[0]].concat()).is_err());
        assert!(run_state(&payload(b"", [0, 0])).is_err());
        let mut endless = full;
        endless[4..36].fill(b'x');
        assert!(run_state(&endless).is_err());
    }
}
