//! The command line that a machine was started with, made fit to start it again.

use std::path::Path;

use vmferry_store::manifest::Machine;

use super::descriptors;
use crate::option_list;

/// A recorded command line, made fit for a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The program, and its arguments.
    pub words: Vec<String>,
    /// The working directory that it had.
    pub cwd: Option<String>,
    /// Arguments that mean something only to the process that had them.
    pub lost: Vec<String>,
}

impl Recorded {
    /// The command line of `machine`; `None` if it was not recorded.
    ///
    /// The machine type is pinned to what the alias meant then, and what belongs to another start
    /// (`-incoming`, `-loadvm`, `-S`) is left out.
    pub fn of(machine: &Machine) -> Option<Self> {
        let (name, arguments) = machine.command_line.split_first()?;
        let exe = machine.exe.as_ref().filter(|exe| Path::new(exe).is_file());
        let mut words = vec![match exe {
            Some(exe) if !name.contains('/') => exe.clone(),
            _ => name.clone(),
        }];
        let mut pinned = false;
        let mut arguments = arguments.iter();
        while let Some(word) = arguments.next() {
            match option(word) {
                Some("incoming" | "loadvm") => drop(arguments.next()),
                Some("S") => {}
                Some("machine" | "M") => {
                    words.push(word.clone());
                    if let Some(value) = arguments.next() {
                        words.push(pin(value, machine.machine_type.as_deref()));
                        pinned = true;
                    }
                }
                _ => words.push(word.clone()),
            }
        }
        if let (false, Some(machine_type)) = (pinned, &machine.machine_type) {
            words.extend(["-machine".to_owned(), machine_type.clone()]);
        }
        Some(Self {
            lost: descriptors::referring(&words),
            words,
            cwd: machine.cwd.clone(),
        })
    }
}

fn option(word: &str) -> Option<&str> {
    let word = word.strip_prefix('-')?;
    Some(word.strip_prefix('-').unwrap_or(word))
}

/// The value of `-machine` with the recorded type in place of whatever stood there.
fn pin(value: &str, machine_type: Option<&str>) -> String {
    let Some(machine_type) = machine_type else {
        return value.to_owned();
    };
    let properties = option_list::raw(value)
        .into_iter()
        .enumerate()
        .filter(|(at, part)| !part.starts_with("type=") && (*at > 0 || part.contains('=')))
        .map(|(_, part)| part);
    std::iter::once(machine_type)
        .chain(properties)
        .collect::<Vec<_>>()
        .join(",")
}

/// Words as a shell would take them.
pub fn shell_words(words: &[String]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=/.,:+@%".contains(&byte);
    let quoted = words.iter().map(|word| {
        if !word.is_empty() && word.bytes().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(line: &[&str]) -> Recorded {
        Recorded::of(&Machine {
            machine_type: Some("pc-q35-10.0".into()),
            exe: Some("/no/such/qemu-system-x86_64".into()),
            command_line: line.iter().map(|word| (*word).to_owned()).collect(),
            ..Machine::default()
        })
        .unwrap()
    }

    #[test]
    fn an_alias_of_the_machine_type_is_pinned_to_what_it_meant() {
        for (value, pinned) in [
            ("q35", "pc-q35-10.0"),
            ("q35,accel=kvm", "pc-q35-10.0,accel=kvm"),
            ("type=q35,accel=kvm", "pc-q35-10.0,accel=kvm"),
            ("accel=tcg,usb=off", "pc-q35-10.0,accel=tcg,usb=off"),
            ("q35,firmware=/a,,b", "pc-q35-10.0,firmware=/a,,b"),
        ] {
            assert_eq!(recorded(&["qemu", "-M", value]).words[2], pinned);
        }
        assert_eq!(
            recorded(&["qemu", "-m", "64"]).words[3..],
            ["-machine", "pc-q35-10.0"]
        );
    }

    #[test]
    fn what_belongs_to_another_start_is_left_out() {
        let line = recorded(&[
            "q",
            "-incoming",
            "defer",
            "--incoming",
            "x",
            "-S",
            "-m",
            "1",
            "-M",
            "q35",
        ]);
        assert_eq!(line.words, ["q", "-m", "1", "-M", "pc-q35-10.0"]);
    }

    #[test]
    fn arguments_that_refer_to_inherited_descriptors_are_named() {
        let line = recorded(&["q", "-netdev", "tap,id=n,fd=7", "-chardev", "pty,id=c"]);
        assert_eq!(line.lost, ["tap,id=n,fd=7"]);
        let json = r#"{"type":"tap","id":"n","fd":"13"}"#;
        assert_eq!(recorded(&["q", "-netdev", json]).lost, [json]);
    }

    #[test]
    fn a_machine_without_a_command_line_has_none() {
        assert_eq!(Recorded::of(&Machine::default()), None);
    }

    #[test]
    fn words_are_quoted_as_a_shell_wants_them() {
        let words = ["a", "b c", "", "it's", "$x"].map(str::to_owned);
        assert_eq!(shell_words(&words), r"a 'b c' '' 'it'\''s' '$x'");
    }
}
