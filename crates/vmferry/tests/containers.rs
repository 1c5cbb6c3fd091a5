//! One machine in every container: from each of them come the same pages and the same devices, as a real
//! QEMU wrote them into a plain stream.

use std::fs::File;
use std::io::{Cursor, Seek, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use vmferry::channel;
use vmferry::container::libvirt::{self, Written};
use vmferry::container::{
    self, Compression, Compressor, Container, ContainerError, Opened, ReadAt, Wanted,
};
use vmferry::index::{Index, IndexError};
use vmferry::load::{ChannelName, Channels, Image, Options, VmDescRule, load};
use vmferry::machine::SavedState;
use vmferry::progress::Progress;
use vmferry::ram::{Page, PageIndex, PageKind, PageSize, PageSource};
use vmferry::save;
use vmferry::stream::{AbortHandle, Reader, Writer};
use vmferry::wire::SliceSource;
use vmferry::wire::multifd::{self, Method};

fn golden(name: &str) -> Vec<u8> {
    kept_stream(&format!("{name}.stream"))
}

fn kept_stream(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/streams");
    let path = folder.join(format!("{name}.zst"));
    let file = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    zstd::decode_all(&*file).expect("a golden stream is a zstd frame")
}

const GOLDEN: [&str; 3] = ["7.2-pc-small", "10.0-q35-small", "10.0-pc-small-snapshot"];

fn image_of(stream: &[u8]) -> Image {
    let mut image = Image::default();
    let mut source = SliceSource::new(stream);
    load(&mut source, &mut image, &Options::default()).expect("a golden stream is read");
    image
}

fn file() -> File {
    tempfile::tempfile().expect("there is room for a file")
}

fn file_with(bytes: &[u8]) -> File {
    let mut file = file();
    file.write_all(bytes).expect("there is room for a stream");
    file.rewind().expect("a file has a start");
    file
}

fn index(opened: Opened) -> Index {
    Index::open(opened, VmDescRule::Required).expect("it is read")
}

fn open(file: &File) -> Result<Opened, ContainerError> {
    container::open(file.try_clone().expect("a file can be had twice"), 0)
}

/// Whether both have the same pages, asked for one by one and all together, and the same devices.
fn assert_same(found: &Index, expected: &Image, what: &str) {
    assert_eq!(found.state().devices, expected.state.devices, "{what}");
    assert_eq!(found.state().vmdesc, expected.state.vmdesc, "{what}");
    assert_eq!(found.blocks(), expected.blocks(), "{what}");
    let (mut ours, mut theirs) = (vec![0; 4096], vec![0; 4096]);
    let mut count = 0;
    for (block, ram) in expected.blocks().iter() {
        for page in (0..ram.pages(expected.page_size())).map(PageIndex) {
            let Ok(there) = expected.page(block, page, &mut theirs);
            // A mapped-ram file has a place for every page.
            let absent_is_zero = what.contains("mapped") || what.contains("sparse");
            let there = match there {
                PageKind::Absent if absent_is_zero => PageKind::Zero,
                there => there,
            };
            let ours_is = found.page(block, page, &mut ours).expect("a page");
            assert_eq!(ours_is, there, "{what}");
            if there == PageKind::Data {
                assert_eq!(ours, theirs, "{what}: {} {page:?}", ram.idstr);
            }
            count += u64::from(there != PageKind::Absent);
        }
    }
    let mut shown = 0;
    for odd in [0, 1] {
        let wanted = |_, PageIndex(page)| page % 2 == odd;
        found
            .pages(&wanted, &mut |block, page, content| {
                assert!(wanted(block, page), "{what}");
                let Ok(expected) = expected.page(block, page, &mut theirs);
                match content {
                    Page::Zero => assert_ne!(expected, PageKind::Data, "{what}"),
                    Page::Data(data) => assert_eq!(data, theirs, "{what}"),
                }
                shown += 1;
                ControlFlow::Continue(())
            })
            .expect("all pages");
    }
    assert_eq!(shown, count, "{what}");
    assert_parts_are_the_whole(found, what);
}

/// Whether it has the same pages, asked for a part of a block at a time.
fn assert_parts_are_the_whole(found: &Index, what: &str) {
    const PART: usize = 37;
    let mut page_of = vec![0; 4096];
    for (block, ram) in found.blocks().iter() {
        let end = ram.pages(found.page_size());
        for start in (0..end).step_by(PART) {
            let part = start..end.min(start + PART as u64);
            let mut one_by_one = Vec::new();
            for page in part.clone().map(PageIndex) {
                match found.page(block, page, &mut page_of).expect("a page") {
                    PageKind::Absent => {}
                    PageKind::Zero => one_by_one.push((page, None)),
                    PageKind::Data => one_by_one.push((page, Some(page_of.clone()))),
                }
            }
            let mut shown = Vec::new();
            let pages = PageIndex(part.start)..PageIndex(part.end);
            let asked = found.pages_of(block, pages, &mut |page, content| {
                let data = match content {
                    Page::Zero => None,
                    Page::Data(data) => Some(data.to_vec()),
                };
                shown.push((page, data));
                ControlFlow::Continue(())
            });
            asked.expect("all pages");
            assert!(shown == one_by_one, "{what}: {} {part:?}", ram.idstr);
        }
    }
}

#[test]
fn a_stream_is_found_at_any_offset_of_its_file() {
    for name in GOLDEN {
        let stream = golden(name);
        let expected = image_of(&stream);
        for offset in [0, 1, 4096] {
            let file = file_with(&[vec![7; offset], stream.clone()].concat());
            let opened = container::open(file, offset as u64).unwrap();
            assert!(opened.place.is_some());
            assert_eq!(
                opened.container,
                Container::Stream {
                    offset: offset as u64
                }
            );
            assert_same(&index(opened), &expected, name);
        }
    }
}

#[test]
fn a_stream_comes_through_a_pipe() {
    let stream = golden(GOLDEN[0]);
    let expected = image_of(&stream);
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let mut writer = File::from(writer);
    let feed = std::thread::spawn(move || writer.write_all(&stream));
    let file = File::from(reader);
    let opened = container::open(file, 0).unwrap();
    assert!(opened.place.is_none());
    assert_same(&index(opened), &expected, "a pipe");
    feed.join().unwrap().unwrap();
}

#[test]
fn pages_in_several_channels_stay_where_they_are() {
    for method in [Method::None, Method::Zlib, Method::Zstd] {
        let expected = image_of(&golden(GOLDEN[1]));
        let (mut main, mut others) = (Vec::new(), vec![Vec::new(); 3]);
        let machine = (&expected.state, &expected);
        let options = save::MultifdOptions::new(method);
        let written = save::multifd(
            &mut main,
            &mut others,
            machine,
            &options,
            &AbortHandle::default(),
            &Progress::default(),
        );
        written.expect("memory takes all");
        let source = |bytes: &Vec<u8>| Reader::new(channel::Std::new(Cursor::new(bytes.clone())));
        let read = |places| {
            let mut channels = Channels::new(source(&main));
            channels.multifd = others.iter().map(source).collect();
            Index::read_channels(&mut channels, places, &Options::default()).expect("it is read")
        };
        let place = |bytes: &Vec<u8>| -> Arc<dyn ReadAt> { Arc::new(bytes.clone()) };
        let mut places = vec![(ChannelName::Main, place(&main))];
        for bytes in &others {
            let init = multifd::Init::decode(&mut SliceSource::new(bytes)).expect("it begins so");
            places.push((ChannelName::Multifd(init.id), place(bytes)));
        }
        assert_same(&read(places), &expected, "multifd, with places");
        assert_same(&read(Vec::new()), &expected, "multifd, without");
    }
}

#[test]
fn a_compressed_stream_is_recognised() {
    let stream = golden(GOLDEN[0]);
    let expected = image_of(&stream);
    for compression in [
        Compression::Gzip,
        Compression::Bzip2,
        Compression::Xz,
        Compression::Zstd,
        Compression::Lz4,
        Compression::Lzop,
    ] {
        let file = file();
        let channel = Compressor::new(compression, file.try_clone().unwrap()).unwrap();
        let mut writer = Writer::new(channel);
        writer.put_bytes(&stream);
        writer.close().unwrap();
        let opened = open(&file).unwrap();
        let offset = 0;
        assert_eq!(
            opened.container,
            Container::Compressed {
                offset,
                compression,
                inner: Box::new(Container::Stream { offset }),
            }
        );
        assert_same(&index(opened), &expected, compression.name());
    }
}

#[test]
fn a_mapped_ram_file_is_found_at_any_offset_and_read_without_its_pages() {
    for name in GOLDEN {
        let expected = image_of(&golden(name));
        for offset in [0, 0x12345] {
            let file = file();
            let channel = channel::File::from_offset(file.try_clone().unwrap(), offset).unwrap();
            let mut writer = Writer::new(channel);
            let (state, progress) = (&expected.state, Progress::default());
            save::mapped_ram_at(&mut writer, offset, state, &expected, &progress).unwrap();
            writer.close().unwrap();
            let opened = container::open(file.try_clone().unwrap(), offset).unwrap();
            assert_same(&index(opened), &expected, "a mapped-ram file");
        }
    }
}

fn domain() -> libvirt::Image {
    libvirt::Image {
        xml: "<domain type='qemu'><name>web</name></domain>".into(),
        cookie: Some("<cookie/>".into()),
        was_running: true,
        format: libvirt::Format::Raw,
    }
}

#[test]
fn a_libvirt_save_image_is_read_as_it_was_written_in_every_format() {
    let stream = golden(GOLDEN[1]);
    let expected = image_of(&stream);
    for format in ["raw", "gzip", "bzip2", "xz", "lzop", "zstd", "sparse"] {
        let image = libvirt::Image {
            format: libvirt::Format::from_name(format).unwrap(),
            ..domain()
        };
        let file = file();
        libvirt::write(
            &file,
            &image,
            &expected.state,
            &expected,
            &Progress::default(),
        )
        .unwrap();
        let opened = open(&file).unwrap();
        assert_eq!(opened.container, Container::Libvirt(Box::new(image)));
        assert_eq!(opened.place.is_some(), ["raw", "sparse"].contains(&format));
        let index = index(opened);
        assert_same(&index, &expected, format);
        assert_eq!(index.kept_in(), format!("a libvirt save image ({format})"));
    }
}

#[test]
fn an_image_that_libvirt_has_not_finished_is_none() {
    let head = domain().encode(Written::Part).unwrap();
    let Err(error) = open(&file_with(&head)) else {
        panic!("it is opened");
    };
    assert!(matches!(error, ContainerError::Incomplete), "{error}");
}

#[test]
fn what_a_cut_file_still_holds_is_rescued() {
    for (name, end, is_mapped) in [
        ("10.0-pc-small.stream", 0x3000, false),
        ("10.0-q35-xbzrle.stream", 40_000, false),
        ("10.0-q35-mapped.mapped", 0x18_0000, true),
    ] {
        let bytes = kept_stream(name);
        let whole = Index::rescue(open(&file_with(&bytes)).unwrap()).unwrap();
        assert!(whole.summary().assumptions.is_empty(), "{name}");
        // In the middle of the pages.
        let opened = || open(&file_with(&bytes[..end])).unwrap();
        let strict = Index::open(opened(), VmDescRule::Optional);
        assert!(matches!(strict, Err(IndexError::Read(_))), "{name}");
        let cut = Index::rescue(opened()).unwrap();
        assert!(!cut.summary().assumptions.is_empty(), "{name}");
        // Each page is what it was (in the first pass, at least), or absent; none is an error.
        let (mut out, mut same) = (vec![0; 4096], vec![0; 4096]);
        let (mut there, mut lost) = (0, 0);
        for (block, ram) in cut.blocks().iter() {
            let its = whole.blocks().find(&ram.idstr).unwrap();
            for page in (0..ram.pages(PageSize::X86)).map(PageIndex) {
                match cut.page(block, page, &mut out).unwrap() {
                    PageKind::Absent => lost += 1,
                    kind => {
                        there += 1;
                        if is_mapped {
                            assert_eq!(whole.page(its, page, &mut same).unwrap(), kind);
                            assert!(kind == PageKind::Zero || out == same, "{page:?}");
                        }
                    }
                }
            }
        }
        assert!(there > 0 && lost > 0, "{name}: {there} and {lost}");
    }
}

#[test]
fn a_file_that_changes_meanwhile_gives_no_page() {
    let stream = golden(GOLDEN[0]);
    let mut file = file_with(&stream);
    let index = index(open(&file).unwrap());
    file.seek(std::io::SeekFrom::End(0)).unwrap();
    file.write_all(b"more").unwrap();
    let pages = index.pages(&|_, _| true, &mut |_, _, _| ControlFlow::Continue(()));
    let error = pages.unwrap_err();
    assert!(
        error.to_string().contains("cannot be read again"),
        "{error}"
    );
}

fn kept(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/containers");
    let path = folder.join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A qcow2 image that a real QEMU wrote.
fn qcow2(name: &str) -> Vec<u8> {
    zstd::decode_all(&*kept(&format!("{name}.qcow2.zst"))).expect("it is a zstd frame")
}

const QCOW2: [&str; 3] = ["7.2-pc-compat-0.10", "10.0-pc", "10.0-q35-extended-l2"];

#[test]
fn both_snapshots_in_the_image_of_a_real_qemu_are_whole_streams() {
    for name in QCOW2 {
        let file = file_with(&qcow2(name));
        let open = |snapshot: &str| {
            let wanted = Wanted {
                snapshot: Some(snapshot.into()),
                ..Wanted::default()
            };
            let file = file.try_clone().expect("a file can be had twice");
            container::open_wanted(file, &wanted).expect("it is opened")
        };
        for (id, snapshot, state) in [("1", "one", "prelaunch"), ("2", "two", "paused")] {
            let opened = open(snapshot);
            let Container::Qcow2(found) = &opened.container else {
                panic!("{name}: {}", opened.container);
            };
            assert_eq!((&*found.id, &*found.name), (id, snapshot));
            assert_eq!(found.disk_size, 1 << 20);
            let size = found.vm_state_size;
            let index = index(opened);
            assert_eq!(index.summary().bytes, size, "{name}");
            assert_eq!(index.state().run_state(), Some(state), "{name}");
            let ram = index.blocks().find("pc.ram").expect("it has RAM");
            assert_eq!(
                index.blocks().get(ram).expect("it is there").used_length,
                1 << 20
            );
            // By its id, too.
            assert_eq!(self::index(open(id)).state(), index.state());
        }
    }
}

#[test]
fn the_image_of_a_real_qemu_cut_anywhere_gives_an_error_or_what_is_there() {
    let whole = qcow2(QCOW2[0]);
    for len in (0..whole.len()).filter(|len| *len < 600 || len % 397 == 0) {
        let wanted = Wanted {
            snapshot: Some("two".into()),
            ..Wanted::default()
        };
        let Ok(opened) = container::open_wanted(file_with(&whole[..len]), &wanted) else {
            continue;
        };
        // Behind its end there are zeros: no whole stream.
        let result = Index::open(opened, VmDescRule::Required);
        assert!(result.is_err() || len > whole.len() - 4096, "{len}");
    }
}

#[test]
fn the_images_of_a_real_libvirt_hold_the_same_domain_in_every_format() {
    for (version, format) in [
        ("9.0", "raw"),
        ("9.0", "gzip"),
        ("9.0", "bzip2"),
        ("9.0", "xz"),
        ("9.0", "lzop"),
        ("11.3", "zstd"),
        ("11.3", "sparse"),
    ] {
        let bytes = match format {
            "sparse" => {
                let packed = kept("libvirt-11.3-sparse.save.zst");
                zstd::decode_all(&packed[..]).expect("it is a zstd frame")
            }
            _ => kept(&format!("libvirt-{version}-{format}.save")),
        };
        let opened = open(&file_with(&bytes)).expect("it is opened");
        let Container::Libvirt(image) = &opened.container else {
            panic!("{format}: {}", opened.container);
        };
        assert!(image.xml.contains("<name>small</name>"), "{}", image.xml);
        let cookie = image.cookie.as_deref().expect("it has a cookie");
        assert!(
            cookie.starts_with("<cookie>") && cookie.ends_with("</cookie>\n"),
            "{cookie}"
        );
        assert_eq!((image.format.name(), image.was_running), (format, true));
        // What libvirt wrote before the stream is what vmferry would write there.
        let head = image.encode(Written::Whole).expect("it is not too long");
        assert_eq!(&bytes[..head.len()], head);
        let index = index(opened);
        assert_eq!(index.state().run_state(), Some("paused"), "{format}");
        assert!(index.blocks().find("pc.ram").is_some(), "{format}");
    }
}

#[test]
fn a_snapshot_is_asked_of_qcow2_images_only() {
    let wanted = Wanted {
        snapshot: Some("s".into()),
        ..Wanted::default()
    };
    let file = file_with(&golden(GOLDEN[0]));
    let Err(error) = container::open_wanted(file, &wanted) else {
        panic!("it is opened");
    };
    assert!(matches!(error, ContainerError::NotQcow2), "{error}");
}
