//! Descriptors that a process was given when it was started: words that name them mean nothing to another.

use serde_json::Value;

use crate::option_list;

/// Paths that lead to a descriptor of the process that opens them.
const PATHS: &[&str] = &[
    "/dev/fd/",
    "/dev/fdset/",
    "/proc/self/fd/",
    "/proc/thread-self/fd/",
];

/// Options whose value is text for the guest, or a name.
const TEXTS: &[&str] = &["append", "name", "fw_cfg", "smbios", "kernel", "initrd"];

/// Those of `words`, a QEMU's command line, that refer to a descriptor.
pub(super) fn referring(words: &[String]) -> Vec<String> {
    let previous = std::iter::once("").chain(words.iter().map(String::as_str));
    let words = words.iter().zip(previous);
    let refers = words.filter(|(word, option)| {
        let option = option.trim_start_matches('-');
        !TEXTS.contains(&option) && refers(word)
    });
    refers.map(|(word, _)| word.clone()).collect()
}

fn refers(word: &str) -> bool {
    if word.starts_with(['{', '[']) {
        if let Ok(value) = serde_json::from_str(word) {
            return value_refers(&value);
        }
    }
    is_place(word)
        || option_list::parts(word)
            .iter()
            .any(|part| match part.split_once('=') {
                Some((key, value)) => {
                    let key = key.rsplit('.').next().unwrap_or(key);
                    (is_key(key) && are_numbers(value))
                        || (key == "type" && value == "fd")
                        || is_place(value)
                }
                None => is_place(part),
            })
}

fn value_refers(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(key, value)| match value {
            Value::Number(_) => is_key(key),
            Value::String(text) => {
                (is_key(key) && are_numbers(text))
                    || (key == "type" && text == "fd")
                    || is_place(text)
            }
            value => value_refers(value),
        }),
        Value::Array(values) => values.iter().any(value_refers),
        Value::String(text) => is_place(text),
        _ => false,
    }
}

/// `fd`, `fds`, `vhostfd`, `vhostfds`, `sock_fd`, …
fn is_key(key: &str) -> bool {
    key.ends_with("fd") || key.ends_with("fds")
}

/// `13`, or `13:14`.
fn are_numbers(value: &str) -> bool {
    let mut numbers = value.split(':');
    numbers.all(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `fd:13`, or a path to a descriptor; `file:/dev/fd/13`, too.
fn is_place(value: &str) -> bool {
    value.strip_prefix("fd:").is_some_and(are_numbers)
        || PATHS.iter().any(|path| value.contains(path))
        || of_a_process(value)
}

/// `/proc/123/fd/13`.
fn of_a_process(value: &str) -> bool {
    let mut rest = value;
    while let Some(at) = rest.find("/proc/") {
        rest = &rest[at + "/proc/".len()..];
        let number = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        if number.len() < rest.len() && number.starts_with("/fd/") {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_found_in_every_form_in_which_qemu_takes_them() {
        for word in [
            "tap,id=n,fd=7",
            "tap,id=n,fds=7:8,vhostfds=9:10",
            "socket,id=c,fd=3",
            "fd=5,set=2,opaque=x",
            "file=/dev/fdset/2,if=none",
            "local,id=f,sock_fd=4",
            "fd:13",
            "stream,id=n,addr.type=fd,addr.str=13",
            r#"{"type":"tap","id":"n","fd":"13"}"#,
            r#"{"driver":"file","filename":"/dev/fdset/0","node-name":"n"}"#,
            r#"{"type":"stream","addr":{"type":"fd","str":"13"}}"#,
            r#"{"qom-type":"x","fds":["a"],"deep":[{"vhostfd":13}]}"#,
            "/proc/self/fd/5",
            "file=/proc/self/fd/5,format=raw",
            "file:/proc/4321/fd/5",
            "/dev/fd/5",
        ] {
            assert_eq!(referring(&["-x".into(), word.into()]), [word], "{word}");
        }
    }

    #[test]
    fn what_only_looks_like_a_descriptor_is_left_alone() {
        for (option, word) in [
            ("-append", "fd=3 /proc/self/fd/5"),
            ("-drive", "file=/srv/sfd=a.raw"),
            ("-drive", "file=/srv/fd/5"),
            ("-device", "x,fd=name"),
            ("-netdev", r#"{"type":"user","id":"fd"}"#),
            ("-drive", "file=/proc/cpuinfo"),
        ] {
            let words = [option.to_owned(), word.to_owned()];
            assert!(referring(&words).is_empty(), "{word}");
        }
    }
}
