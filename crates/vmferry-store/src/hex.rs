//! Lower-case hex digits.

/// A text that is not the expected number of lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} lower-case hex digits, found '{found}'")]
pub struct ParseHexError {
    expected: usize,
    found: String,
}

/// Hex digits of `bytes`, lower case.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

/// The `N` bytes whose hex digits are `text`; upper case is refused, so that a name has one spelling.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseHexError> {
    let error = || ParseHexError {
        expected: 2 * N,
        found: text.chars().take(80).collect(),
    };
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(error()),
    };
    if text.len() != 2 * N {
        return Err(error());
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}
