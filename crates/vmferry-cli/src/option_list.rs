//! Lists of options as QEMU writes them: `a,b=c`, where `,,` is a comma that separates nothing.

/// The parts of a list, with each `,,` as one comma.
pub(crate) fn parts(list: &str) -> Vec<String> {
    raw(list)
        .iter()
        .map(|part| part.replace(",,", ","))
        .collect()
}

/// The parts of a list as they are written.
pub(crate) fn raw(list: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut begin, mut at) = (0, 0);
    let bytes = list.as_bytes();
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b',', Some(b',')) => at += 2,
            (b',', _) => {
                parts.push(&list[begin..at]);
                at += 1;
                begin = at;
            }
            _ => at += 1,
        }
    }
    parts.push(&list[begin..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_commas_are_one_that_separates_nothing() {
        assert_eq!(parts("a,b=c"), ["a", "b=c"]);
        assert_eq!(parts("a,,b,c=,,"), ["a,b", "c=,"]);
        // From the left: a comma, and then the end of the part.
        assert_eq!(parts("a,,,b"), ["a,", "b"]);
        assert_eq!(parts("a,,,,b"), ["a,,b"]);
        assert_eq!(parts("a,"), ["a", ""]);
        assert_eq!(parts(""), [""]);
        assert_eq!(raw("é,,b,c"), ["é,,b", "c"]);
    }
}
