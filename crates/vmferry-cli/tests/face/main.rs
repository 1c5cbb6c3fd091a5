//! What a person sees of `vmferry`, word for word: commands and what they say, in `snapshots/`.
//!
//! Lines with `2>` went to standard error. After a change that is meant, run the test with
//! `INSTA_UPDATE=always` and look at the difference.

mod convert;
mod export;
mod looking;
mod map;
mod place;
mod report;

use std::process::{Command, Stdio};

use clap::CommandFactory;
use insta::assert_snapshot;
use place::{Place, stream};

#[test]
fn help_in_short_and_at_length() {
    let mut place = Place::new();
    assert_snapshot!(
        place
            .run("")
            .run("-h")
            .run("--help")
            .run("help list")
            .transcript()
    );
}

#[test]
fn help_of_every_command() {
    let all = vmferry_cli::args::Cli::command();
    for command in all
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        let command = command.get_name();
        let mut place = Place::new();
        place.run(&format!("{command} --help"));
        assert_snapshot!(format!("help_of_{command}"), place.transcript());
    }
}

#[test]
fn arguments_that_mean_nothing() {
    let mut place = Place::new();
    for words in [
        "fly",
        "list --fast",
        "save",
        "save web",
        "save we/b --stdin",
        "save web --qmp unix:",
        "save web --qmp tcp:localhost:4444",
        "save web --qmp unix:/run/web.qmp,tls-creds=x",
        "save web --qmp unix:/run/web.qmp --stdin",
        "save web --qmp unix:/run/web.qmp --mode fast",
        "save web --stdin --mode live",
        "save web --stdin --stall-timeout 0",
        "save web --stdin --progress often",
        "restore",
        "restore web@",
        "restore web@latest@1",
        "restore web --qmp unix:/run/web.qmp -- qemu-system-x86_64",
        "restore web --trust-recorded -- qemu-system-x86_64",
        "serve web --host-page-size mem0=2M",
        "serve web --lazy --host-page-size mem0=3M",
        "list we,b",
        "delete",
        "delete web",
        "delete web@x",
        "inspect",
        "inspect a@b@c",
        "export web",
        "export web --format iso -o out",
        "export web --format raw",
    ] {
        place.run(words);
    }
    assert_snapshot!(place.transcript());
}

#[test]
fn a_monitor_that_is_not_there() {
    let mut place = Place::new();
    place.put("file", "");
    // A socket that nobody listens at any more.
    drop(std::os::unix::net::UnixListener::bind(place.path("left.qmp")).expect("a socket"));
    place
        .run("save web --store store --qmp unix:none.qmp")
        .run("save web --store store --qmp unix:left.qmp")
        .run("save web --store store --qmp unix:file")
        .run("list --store store");
    place.put_golden_store("golden");
    place.run("restore golden --store golden --qmp unix:none.qmp");
    assert_snapshot!(place.transcript());
}

#[test]
fn a_store_that_is_not_there_or_empty() {
    let mut place = Place::new();
    place
        .run("list")
        .run("list --json")
        .run("list web")
        .run("inspect web")
        .run("restore web --lazy")
        .run("delete web@latest")
        .run("list --store nowhere")
        .run_with("list", &[("HOME", "")], b"");
    place.put("folder/file", "");
    place
        .run("list --store folder")
        .run("list --store folder/file");
    place.run("delete web@latest --store folder");
    place.put_golden_store("store");
    place
        .run("delete golden@latest --store store")
        .run("list --store store")
        .run("list --store store --json")
        .run("restore golden --store store");
    assert_snapshot!(place.transcript());
}

#[test]
fn a_store_with_a_checkpoint() {
    let mut place = Place::new();
    place.put_golden_store("store");
    place
        .run("list --store store")
        .run("list golden --store store --json")
        .run("list other --store store")
        .run("inspect golden --store store")
        .run("inspect golden@2026 --store store --json")
        .run("inspect golden@2027 --store store")
        .run("inspect other --store store")
        .run("delete golden@latest other@latest --store store")
        .run_with("list", &[("VMFERRY_STORE", "store")], b"");
    assert_snapshot!(place.transcript());
}

#[test]
fn a_checkpoint_that_cannot_be_restored() {
    let mut place = Place::new();
    place.put_golden_store("store");
    place
        .run("restore golden --store store")
        .run("restore golden --store store -- ./no-qemu")
        .run("restore other --store store --trust-recorded");
    // The golden machine's shared memory is not in it. QEMU is told by a header that it refuses.
    place
        .run("serve golden --store store")
        .run("serve golden --store store --lazy")
        .run("serve golden --store store --lazy --host-page-size mem0=2M")
        .run("serve other --store store");
    assert_snapshot!(place.transcript());
}

#[test]
fn a_stream_that_is_looked_into() {
    for name in ["7.2-q35-small", "10.0-pc-small-snapshot", "10.0-q35-vmem"] {
        let mut place = Place::new();
        place.put("stream", stream(name));
        assert_snapshot!(
            format!("inspect_{name}"),
            place.run("inspect stream").transcript()
        );
    }
    let mut place = Place::new();
    place.put("stream", stream("10.0-pc-small"));
    assert_snapshot!(
        "inspect_json",
        place.run("inspect stream --json").transcript()
    );
}

#[test]
fn a_stream_through_a_pipe_is_the_same() {
    let bytes = stream("10.0-pc-small");
    let mut place = Place::new();
    place.put("stream", &bytes);
    let said = |place: &Place| {
        place
            .transcript()
            .lines()
            .skip(1)
            .collect::<Vec<_>>()
            .join("\n")
    };
    place.run("inspect stream");
    let mut piped = Place::new();
    piped.run_with("inspect -", &[], &bytes);
    assert_eq!(said(&place), said(&piped));
}

#[test]
fn input_that_is_no_stream_or_a_damaged_one() {
    let whole = stream("10.0-pc-small");
    let mut place = Place::new();
    place.put("empty", "");
    place.put("text", "hello, world\n");
    place.put("short", &whole[..6]);
    place.put("in-the-blocks", &whole[..100]);
    place.put("in-the-ram", &whole[..1000]);
    place.put("in-the-description", &whole[..70_000]);
    let mut changed = whole.clone();
    changed[7] = 2;
    place.put("version-2", &changed);
    let mut changed = whole.clone();
    // The flags of the first page's record.
    changed[0xd1] ^= 0xff;
    place.put("changed", &changed);
    place.put("longer", [&whole[..], b"\n"].concat());
    let packed = zstd::encode_all(&whole[..], 1).expect("memory takes all");
    place.put("packed", packed);
    for name in [
        "empty",
        "text",
        "short",
        "in-the-blocks",
        "in-the-ram",
        "in-the-description",
        "version-2",
        "changed",
        "longer",
        "packed",
        "./none",
        "/",
    ] {
        place.run(&format!("inspect {name}"));
    }
    place.run("inspect in-the-blocks --json");
    assert_snapshot!(place.transcript());
}

#[test]
fn settings_that_mean_nothing() {
    let mut place = Place::new();
    place
        .run_with("list", &[("VMFERRY_PROGRESS", "often")], b"")
        .run_with("save web --qmp unix:q", &[("VMFERRY_MODE", "fast")], b"")
        .run_with("list", &[("VMFERRY_MODE", "fast")], b"");
    for text in [
        "stor = '/srv'\n",
        "store = 3\n",
        "store =\n",
        "mode = 'fast'\n",
    ] {
        place.put("home/.config/vmferry/config.toml", text);
        place.run("list");
    }
    place.put(
        "home/.config/vmferry/config.toml",
        "store = '/nonexistent/of-settings'\n",
    );
    place
        .run("list")
        .run_with("list", &[("VMFERRY_STORE", "of-environment")], b"")
        .run("list --store of-command-line");
    assert_snapshot!(place.transcript());
}

#[test]
fn a_reader_that_wants_no_more_is_no_error_but_a_full_disk_is() {
    let place = Place::new();
    place.put_golden_store("store");
    let vmferry = |out: Stdio| {
        Command::new(env!("CARGO_BIN_EXE_vmferry"))
            .args(["list", "--json", "--store"])
            .arg(place.path("store"))
            .env_clear()
            .stdout(out)
            .output()
            .expect("vmferry runs")
    };
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    drop(reader);
    let output = vmferry(writer.into());
    assert_eq!(
        (output.status.code(), &output.stderr[..]),
        (Some(0), &b""[..])
    );
    let full = std::fs::File::options().write(true).open("/dev/full");
    let output = vmferry(full.expect("it is there").into());
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).expect("it is text");
    assert!(
        said.contains("cannot write the result to standard output"),
        "{said}"
    );
}
