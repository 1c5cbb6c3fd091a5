//! Completions and manual pages, made from the same definitions as the help.

use std::process::{Command, Output};

use clap::CommandFactory;
use vmferry_cli::args::Cli;

fn vmferry(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmferry"));
    command.args(words).output().expect("vmferry runs")
}

fn printed(words: &[&str]) -> String {
    let output = vmferry(words);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    String::from_utf8(output.stdout).expect("it is text")
}

fn commands() -> Vec<String> {
    let all = Cli::command();
    let shown = all
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    shown.map(|command| command.get_name().to_owned()).collect()
}

#[test]
fn every_shell_completes_every_command_but_the_hidden_one() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let text = printed(&["completions", shell]);
        for command in commands() {
            assert!(text.contains(&command), "{shell}: {command}");
        }
        assert!(!text.contains("guardian"), "{shell}");
    }
    let output = vmferry(&["completions", "cmd"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn what_bash_is_told_is_sound_bash() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("vmferry");
    std::fs::write(&file, printed(&["completions", "bash"])).expect("a file");
    let checked = Command::new("bash").arg("-n").arg(&file).output();
    let checked = checked.expect("bash runs");
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn every_command_has_a_manual_page_with_its_options_and_examples() {
    let all = printed(&["man"]);
    for command in commands() {
        let listed = format!("vmferry\\-{command}(1)");
        assert!(all.contains(&listed), "{listed}");
        let page = printed(&["man", &command]);
        let (first, rest) = page.split_once(".SH NAME").expect("it has a name");
        assert!(first.contains(&format!(".TH vmferry-{command}")), "{first}");
        assert!(rest.contains("\\-\\-json"), "{command}");
        // What a person has to see before the first try.
        let examples = rest.contains("Examples:") || rest.contains("vmferry serve VM");
        assert!(examples, "{command} has no examples");
    }
    let output = vmferry(&["man", "guardian"]);
    assert_eq!(output.status.code(), Some(2));
}
