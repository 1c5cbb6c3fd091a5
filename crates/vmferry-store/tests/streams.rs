//! Streams that real QEMUs wrote go through the store unchanged.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;

use vmferry::load::{Image, Options, OtherSections, VmDescRule, load};
use vmferry::ram::{PageIndex, PageKind, PageSource};
use vmferry::wire::SliceSource;
use vmferry_store::{Details, ReadOptions, SaveOptions, Store};

#[test]
fn a_real_stream_is_read_from_the_store_as_it_came() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::create(directory.path(), vmferry_store::Defaults::default()).unwrap();
    let streams = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/streams");
    let mut count = 0;
    for entry in fs::read_dir(streams).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        // Other files are channels, or have places for pages. The rest is not read yet, or comes as differences,
        // which somebody else puts together, or without the memory of a block, of which a store keeps no address.
        let not_for_a_store = ["pc-2.2", "dirty-bitmap", "xbzrle", "ignore-shared"];
        if !name.ends_with(".stream.zst") || not_for_a_store.iter().any(|word| name.contains(word))
        {
            continue;
        }
        let stream = zstd::decode_all(fs::File::open(&path).unwrap()).unwrap();
        let options = Options {
            vmdesc: VmDescRule::Optional,
            other_sections: OtherSections::PassOver,
            ..Options::default()
        };
        let mut image = Image::default();
        load(&mut SliceSource::new(&stream), &mut image, &options).unwrap();
        let mut writer = store
            .save("vm".parse().unwrap(), &SaveOptions::default())
            .unwrap();
        load(&mut SliceSource::new(&stream), &mut writer, &options).unwrap();
        let manifest = writer.publish(Details::default()).unwrap();

        let checkpoint = store
            .checkpoint(&manifest.name(), ReadOptions::default())
            .unwrap();
        assert_eq!(
            checkpoint.device_state().unwrap().to_machine_state(),
            image.state
        );
        assert_eq!(checkpoint.blocks(), image.blocks());
        assert_eq!(checkpoint.page_size(), image.page_size());
        for (block, of_block) in image.blocks().iter() {
            for page in (0..of_block.pages(image.page_size())).map(PageIndex) {
                let (mut expected, mut found) = ([0; 4096], [0; 4096]);
                let kind = image.page(block, page, &mut expected).unwrap();
                assert_eq!(checkpoint.page(block, page, &mut found).unwrap(), kind);
                if kind == PageKind::Data {
                    assert_eq!(found, expected, "{block:?} {page:?} of {}", path.display());
                }
            }
        }
        count += 1;
    }
    assert!(count > 5, "{count} streams");
}
