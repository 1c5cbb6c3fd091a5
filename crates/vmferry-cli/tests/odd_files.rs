//! Files that are damaged below their stream, hold less than a machine, or are something else: what the program says of
//! them, and with which exit status.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use vmferry::container::libvirt::{self, Written};
use vmferry::container::{Compression, Compressor};
use vmferry::load::{Image, Options, load};
use vmferry::stream::Writer;
use vmferry::wire::SliceSource;

fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata");
    let file = fs::File::open(folder.join(name)).expect("testdata is there");
    zstd::decode_all(file).expect("it is unpacked")
}

fn stream() -> Vec<u8> {
    golden("streams/10.0-pc-small.stream.zst")
}

struct Place(TempDir);

struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.path().join(name), bytes).expect("a file");
    }

    fn run(&self, words: &str) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmferry"));
        command.args(words.split_whitespace());
        command.current_dir(self.0.path()).stdin(Stdio::null());
        command.env("VMFERRY_STORE", "store");
        let output = command.output().expect("vmferry runs");
        let text = |bytes| String::from_utf8(bytes).expect("it says UTF-8");
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        let code = output.status.code();
        let code = code.unwrap_or_else(|| panic!("{words}: {stderr}"));
        assert!(!stderr.contains("panicked"), "{words}: {stderr}");
        Ended {
            code,
            stdout,
            stderr,
        }
    }
}

impl Ended {
    #[track_caller]
    fn says(&self, code: i32, words: &[&str]) {
        let said = format!("{}{}", self.stdout, self.stderr);
        assert_eq!(self.code, code, "{said}");
        for word in words {
            assert!(said.contains(word), "no '{word}' in: {said}");
        }
    }
}

fn compressed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let channel = Compressor::new(compression, file.reopen().expect("a file"));
    let mut writer = Writer::new(channel.expect("its program is there"));
    writer.put_bytes(bytes);
    writer.close().expect("room");
    fs::read(file.path()).expect("a file")
}

fn libvirt_image(written: Written, stream: &[u8]) -> Vec<u8> {
    let image = libvirt::Image {
        xml: "<domain type='qemu'><name>web</name><memory>1024</memory></domain>".into(),
        cookie: None,
        was_running: true,
        format: libvirt::Format::Raw,
    };
    [&*image.encode(written).expect("it is short"), stream].concat()
}

#[test]
fn verify_ends_with_1_for_damage_whichever_layer_finds_it() {
    let place = Place::new();
    let whole = stream();
    for compression in [
        Compression::Gzip,
        Compression::Bzip2,
        Compression::Xz,
        Compression::Lzop,
        Compression::Zstd,
        Compression::Lz4,
    ] {
        let bytes = compressed(compression, &whole);
        place.put("whole", &bytes);
        place.run("verify whole").says(0, &["whole is sound"]);
        place.put("cut", &bytes[..bytes.len() / 2]);
        let said = ["cut is damaged", "ends early", "of the decompressed data"];
        place.run("verify cut").says(1, &said);
        place.run("inspect cut").says(1, &["ends early"]);
        // The last bytes of all of them are of a checksum, or of the end.
        place.put("end", &bytes[..bytes.len() - 1]);
        place
            .run("verify end")
            .says(1, &["end is damaged", "ends early"]);
        place
            .run("convert end --to stream -o out")
            .says(2, &["--rescue"]);
    }
    place.put("head", &libvirt_image(Written::Whole, b"")[..60]);
    place
        .run("verify head")
        .says(1, &["header of a libvirt save image"]);
    place
        .run("inspect head")
        .says(1, &["header of a libvirt save image"]);
    let mut disk = golden("streams/10.0-q35-savevm.qcow2.zst");
    let table = u64::from_be_bytes(disk[64..72].try_into().expect("8 bytes"));
    let at = usize::try_from(table).expect("a small one");
    disk[at + 2] = 0xff;
    place.put("disk", &disk);
    let said = ["L1 table", "disk,snapshot=first is damaged"];
    place.run("verify file:disk,snapshot=first").says(1, &said);
    place.put("stream", &whole);
    place.run("convert stream --to checkpoint web").says(0, &[]);
    let packs = fs::read_dir(place.0.path().join("store/packs")).expect("a store");
    for pack in packs {
        let path = pack.expect("an entry").path();
        let mut bytes = fs::read(&path).expect("a pack");
        bytes.truncate(bytes.len() / 2);
        fs::write(&path, bytes).expect("a pack");
    }
    place.run("verify web").says(1, &["web is damaged"]);
}

#[test]
fn verify_ends_with_2_where_it_could_not_look() {
    let place = Place::new();
    place.run("verify ./nothing").says(2, &["cannot open"]);
    place.run("verify .").says(2, &["is a folder here"]);
    let disk = golden("streams/10.0-q35-savevm.qcow2.zst");
    place.put("disk", &disk);
    place.run("verify disk").says(2, &["several snapshots"]);
    place
        .run("verify file:disk,snapshot=third")
        .says(2, &["no snapshot 'third'"]);
}

#[test]
fn a_save_that_libvirt_did_not_finish_is_described_and_rescued() {
    let place = Place::new();
    place.put("part", &libvirt_image(Written::Part, &stream()));
    place
        .run("inspect part")
        .says(1, &["pc.ram", "domain        web", "not complete"]);
    let said = [
        "part is damaged",
        "not complete",
        "every page of every RAM block came",
    ];
    place.run("verify part").says(1, &said);
    place
        .run("convert part --to checkpoint")
        .says(2, &["not complete", "--rescue"]);
    place
        .run("convert part --to checkpoint --rescue")
        .says(0, &["web@", "not complete"]);
    place
        .run("inspect web")
        .says(0, &["rescued from a damaged file", "not complete"]);
    place
        .run("export part --rescue --format raw -o ram")
        .says(0, &["pc.ram"]);
}

#[test]
fn a_save_that_ends_inside_the_domains_description_is_described() {
    let place = Place::new();
    let whole = libvirt_image(Written::Part, &stream());
    for len in [92, 100, 130, 2000] {
        place.put("cut", &whole[..len]);
        let ended = place.run("inspect cut");
        ended.says(
            1,
            &["libvirt save image (raw)", "not complete", "data area"],
        );
        assert_eq!(ended.stdout.contains("domain        web"), len > 120);
        place
            .run("verify cut")
            .says(1, &["cut is damaged", "data area"]);
        let said = ["nothing of a machine is left", "data area"];
        place
            .run("export cut --rescue --format raw -o ram")
            .says(2, &said);
        place
            .run("convert cut --rescue --to stream -o out")
            .says(2, &said);
    }
}

#[test]
fn what_was_decompressed_before_the_damage_is_rescued() {
    let place = Place::new();
    let bytes = compressed(Compression::Gzip, &stream());
    place.put("cut", &bytes[..bytes.len() - 1]);
    place
        .run("convert cut --rescue --to stream -o out")
        .says(0, &["ends early"]);
    // Only the checksum was missing.
    place.put("stream", &stream());
    place.run("diff out stream").says(0, &[]);
}

#[test]
fn the_state_of_devices_alone_makes_no_checkpoint() {
    let place = Place::new();
    let mut image = Image::default();
    let bytes = stream();
    load(
        &mut SliceSource::new(&bytes),
        &mut image,
        &Options::default(),
    )
    .expect("a golden stream");
    // As xen-save-devices-state writes it: a header, the devices as they are, the end.
    let mut alone = bytes[..8].to_vec();
    for device in &image.state.devices {
        alone.extend(device.element());
    }
    alone.push(0);
    place.put("alone", &alone);
    let what = "the state of devices alone";
    place
        .run("verify alone")
        .says(0, &["alone is sound, but no machine", what]);
    let ended = place.run("inspect alone");
    ended.says(0, &[what]);
    assert!(!ended.stdout.contains("mode"), "{}", ended.stdout);
    for words in [
        "convert alone --to checkpoint web",
        "convert alone --to stream -o out",
        "export alone --format raw -o out",
        "map alone -o out",
    ] {
        place.run(words).says(2, &[what]);
    }
    assert!(!place.0.path().join("store").exists());
}

#[test]
fn what_is_compressed_twice_is_read_and_more_has_a_limit() {
    let place = Place::new();
    let mut bytes = stream();
    for _ in 0..2 {
        bytes = compressed(Compression::Gzip, &bytes);
    }
    place.put("twice", &bytes);
    place.run("verify twice").says(0, &["twice is sound"]);
    place
        .run("inspect twice")
        .says(0, &["a compressed stream (gzip), compressed (gzip)"]);
    for _ in 0..1 {
        bytes = compressed(Compression::Zstd, &bytes);
    }
    place.put("more", &bytes);
    place
        .run("verify more")
        .says(2, &["compressed more than 2 times"]);
    // An image in an image in an image.
    let mut images = stream();
    for _ in 0..3 {
        let image = libvirt::Image {
            xml: "<domain/>".into(),
            format: libvirt::Format::Compressed(Compression::Gzip),
            ..libvirt::Image::default()
        };
        let head = image.encode(Written::Whole).expect("it is short");
        images = [head, compressed(Compression::Gzip, &images)].concat();
    }
    place.put("images", &images);
    let said = ["compressed more than 2 times"];
    place.run("inspect images").says(2, &said);
    place.put(
        "image.gz",
        &compressed(Compression::Gzip, &libvirt_image(Written::Whole, &stream())),
    );
    place
        .run("convert image.gz --to checkpoint")
        .says(0, &["web@"]);
}

#[test]
fn a_file_that_is_something_else_is_named() {
    let place = Place::new();
    place.put("stream", &stream());
    place.run("export stream --format elf -o elf").says(0, &[]);
    place
        .run("export stream --format lime -o lime")
        .says(0, &[]);
    place.run("convert stream --to checkpoint web").says(0, &[]);
    place.put("empty", b"");
    place.put("zeros", &[0; 4096]);
    place.put(
        "text",
        b"These are my notes on virtual machines, which are none.\n",
    );
    place.put("channel", &golden("streams/10.0-q35-multifd.0.zst"));
    place.put(
        "elf.gz",
        &compressed(
            Compression::Gzip,
            &fs::read(place.0.path().join("elf")).expect("a file"),
        ),
    );
    place.put(
        "noise",
        b"\x80\x81\x82 is nothing that anybody knows, or is it?",
    );
    fs::create_dir(place.0.path().join("folder")).expect("a folder");
    for (name, said) in [
        ("elf", "an ELF core"),
        ("lime", "LiME"),
        ("empty", "an empty file"),
        ("zeros", "nothing but zeros"),
        ("text", "a text file"),
        ("channel", "one of several channels"),
        ("store/vmferry-store.json", "describes a store"),
        ("elf.gz", "what was compressed is an ELF core"),
        ("noise", "this with '\\x80\\x81\\x82 is nothing"),
    ] {
        let ended = place.run(&format!("verify {name}"));
        ended.says(1, &["is no saved machine", said]);
        for command in [
            "inspect",
            "export --format raw -o out",
            "convert --to stream -o out",
        ] {
            place.run(&format!("{command} {name}")).says(2, &[said]);
        }
    }
    for (folder, said) in [
        ("store/packs", "a part of vmferry's own store"),
        ("store/maps", "a part of vmferry's own store"),
    ] {
        for entry in fs::read_dir(place.0.path().join(folder)).expect("a store") {
            let path = entry.expect("an entry").path();
            place
                .run(&format!("verify {}", path.display()))
                .says(1, &[said]);
        }
    }
    for entry in fs::read_dir(place.0.path().join("store/checkpoints/web")).expect("a store") {
        let path = entry.expect("an entry").path();
        let ended = place.run(&format!("verify {}", path.display()));
        ended.says(1, &["the manifest of a checkpoint"]);
    }
    place.run("verify ./store").says(2, &["is a store"]);
    place.run("verify ./folder").says(2, &["is a directory"]);
}

#[test]
fn standard_input_is_read_from_where_it_stands() {
    let place = Place::new();
    let (first, second) = (golden("streams/7.2-pc-small.stream.zst"), stream());
    place.put("two", &[&*first, &second].concat());
    let mut file = fs::File::open(place.0.path().join("two")).expect("a file");
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(first.len() as u64)).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmferry"));
    let output = command.args(["inspect", "-"]).stdin(file).output();
    let output = output.expect("vmferry runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("pc-i440fx-10.0"), "{said}");
    std::io::stderr()
        .write_all(&output.stderr)
        .expect("a terminal");
}
