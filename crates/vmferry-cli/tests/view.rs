//! Devices of real machines as trees of named values.

use std::path::Path;

use vmferry::load::{Image, Options, load};
use vmferry::machine::MachineState;
use vmferry::wire::SliceSource;
use vmferry::wire::vmstate::Value;
use vmferry_cli::view::devices::{Devices, Undecoded};
use vmferry_cli::view::{Tree, leaves, lookup, write_tree};

fn machine(name: &str) -> MachineState {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/streams");
    let packed = std::fs::read(folder.join(format!("{name}.stream.zst"))).expect("it is there");
    let bytes = zstd::decode_all(&packed[..]).expect("it is compressed");
    let mut image = Image::default();
    let options = Options::default();
    load(&mut SliceSource::new(&bytes), &mut image, &options).expect("it is sound");
    image.state
}

const MACHINES: [&str; 3] = ["7.2-q35-vmem", "10.0-q35-vmem", "10.0-pc-small-snapshot"];

#[test]
fn every_value_of_every_device_is_found_by_its_path() {
    for name in MACHINES {
        let state = machine(name);
        let devices = Devices::new(&state).expect("the description is sound");
        let mut values = 0;
        for device in devices.iter() {
            let state = device.decode().expect("it is as described");
            let all = leaves(&state);
            // Some have hundreds of thousands, all alike.
            let step = 1 + all.len() / 512;
            for leaf in all.into_iter().step_by(step) {
                let found = lookup(&state, &leaf.path);
                let found = found.unwrap_or_else(|| panic!("{}: {}", device.name(), leaf.path));
                assert_eq!(
                    (&found.value, found.bytes),
                    (leaf.value, leaf.bytes),
                    "{name}: {}: {}",
                    device.name(),
                    leaf.path
                );
                values += 1;
            }
            assert!(lookup(&state, "no.such[0].field").is_none());
            assert!(lookup(&state, "").is_none());
        }
        assert!(values > 1000, "{name}: {values}");
    }
}

#[test]
fn a_device_is_found_by_its_section_and_by_what_stands_behind_its_path() {
    let state = machine("10.0-q35-vmem");
    let devices = Devices::new(&state).expect("the description is sound");
    let find = |name: &str| {
        let found = devices.find(name).map(|device| device.name().to_string());
        found.map_err(|error| error.to_string())
    };
    assert_eq!(find("timer").as_deref(), Ok("timer"));
    let ahci = Ok("0000:00:1f.2/ich9_ahci");
    assert_eq!(find("0000:00:1f.2/ich9_ahci").as_deref(), ahci);
    assert_eq!(find("0000:00:1f.2/ich9_ahci:0").as_deref(), ahci);
    assert_eq!(find("ich9_ahci").as_deref(), ahci);
    assert_eq!(find("i8259:1").as_deref(), Ok("i8259:1"));
    assert_eq!(find("i8259").as_deref(), Ok("i8259"));
    assert_eq!(
        find("i8259:7"),
        Err("there is no device 'i8259:7': '--devices' lists those that there are".into())
    );
    assert_eq!(
        find("ahci"),
        Err("there is no device 'ahci', but 0000:00:1f.2/ich9_ahci".into())
    );
}

#[test]
fn a_processor_reads_like_this() {
    let state = machine("10.0-q35-vmem");
    let devices = Devices::new(&state).expect("the description is sound");
    let cpu = devices.find("cpu").expect("there is a processor");
    let state = cpu.decode().expect("it is as described");
    let eip = lookup(&state, "env.eip").expect("it has one");
    assert_eq!(eip.value, Value::Unsigned(0xfff0));
    let mut text = String::new();
    write_tree(&state, &mut text).expect("a string takes all");
    insta::assert_snapshot!(text);
    let json = serde_json::to_value(Tree(&state)).expect("it serialises");
    assert_eq!(json["name"], "cpu");
    let fields = json["fields"].as_array().expect("a list");
    let eip = fields.iter().find(|field| field["name"] == "env.eip");
    assert_eq!(eip.expect("it has one")["value"], 0xfff0);
}

#[test]
fn without_a_description_there_are_no_names() {
    let mut state = machine("10.0-pc-small");
    state.vmdesc = None;
    let devices = Devices::new(&state).expect("nothing is wrong");
    let timer = devices.find("timer").expect("it is there");
    assert_eq!(timer.decode(), Err(Undecoded::NotDescribed));
    state.vmdesc = Some(b"{".to_vec());
    assert!(Devices::new(&state).is_err());
}
