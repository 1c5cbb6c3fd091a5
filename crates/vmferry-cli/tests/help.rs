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

/// What a shell prints that was told how to complete `vmferry`; the file for that is in the folder in which it runs.
fn completed_by(shell: &str, file: &str, words: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let told = printed(&["completions", shell]);
    std::fs::write(folder.path().join(file), told).expect("a file");
    let mut command = Command::new(shell);
    let output = command.args(words).current_dir(folder.path()).output();
    let output = output.unwrap_or_else(|error| {
        panic!("no {shell} ({error}): './x test' installs it, as 'apt-get install {shell}' does")
    });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn bash_completes_commands_and_values() {
    let said = completed_by(
        "bash",
        "vmferry",
        &[
            "--norc",
            "-c",
            "source ./vmferry
            COMP_WORDS=(vmferry ins) COMP_CWORD=1; _vmferry vmferry ins vmferry
            echo ${COMPREPLY[@]}
            COMP_WORDS=(vmferry export x --format '') COMP_CWORD=4; _vmferry vmferry '' --format
            echo ${COMPREPLY[@]}",
        ],
    );
    assert_eq!(said, "inspect\nraw elf lime blocks\n");
}

#[test]
fn fish_completes_commands_and_values() {
    let said = completed_by(
        "fish",
        "vmferry.fish",
        &[
            "--no-config",
            "--command",
            "source vmferry.fish
            complete --do-complete 'vmferry ins'
            complete --do-complete 'vmferry export x --format '",
        ],
    );
    let words: Vec<_> = said
        .lines()
        .filter_map(|line| line.split('\t').next())
        .collect();
    assert_eq!(words, ["inspect", "blocks", "elf", "lime", "raw"]);
}

#[test]
fn zsh_finds_what_completes_and_can_load_it() {
    let script = "fpath=($PWD $fpath)
        autoload -Uz compinit && compinit -u -D
        autoload +X _vmferry
        print $_comps[vmferry] $+functions[_vmferry_commands]
        _vmferry 2>/dev/null
        print $+functions[_vmferry_commands]";
    let said = completed_by("zsh", "_vmferry", &["-f", "-c", script]);
    assert_eq!(said, "_vmferry 0\n1\n");
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
