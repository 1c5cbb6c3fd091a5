//! Each kind is found, and says what it is.

use super::*;

fn named(head: &[u8]) -> &'static str {
    Foreign::of(head).map_or("nothing", |found| found.what)
}

#[test]
fn each_magic_is_found_and_none_hides_another() {
    for kind in KINDS {
        for magic in kind.magics {
            let mut head = vec![0x5a; HEAD];
            head[magic.at..magic.at + magic.bytes.len()].copy_from_slice(magic.bytes);
            assert_eq!(named(&head), kind.what);
            // A file that ends right there.
            head.truncate(magic.at + magic.bytes.len());
            assert_eq!(named(&head), kind.what);
        }
    }
}

#[test]
fn head_is_as_long_as_the_table_needs_it() {
    let magics = KINDS.iter().flat_map(|kind| kind.magics);
    let ends = magics.map(|magic| magic.at + magic.bytes.len());
    assert_eq!(ends.max(), Some(HEAD));
}

#[test]
fn what_we_read_is_not_foreign() {
    for ours in [
        &b"QEVM\0\0\0\x03"[..],
        b"LibvirtQemudSave",
        b"QFI\xfb\0\0\0\x03",
    ] {
        let mut head = ours.to_vec();
        head.resize(4096, 0xa5);
        assert_eq!(Foreign::of(&head), None);
    }
}

#[test]
fn what_has_no_magic_is_named_by_its_content() {
    // The vectors that SeaBIOS leaves, and nothing after them.
    let mut memory = b"\x53\xff\0\xf0".repeat(32);
    memory.resize(HEAD, 0);
    assert!(named(&memory).contains("bare memory of a PC"));
    assert_eq!(named(b""), "an empty file");
    assert!(named(&[0; 4096]).contains("zeros"));
    assert_eq!(named(b"a line of text\n"), "a text file");
    assert!(named(b"<?xml version='1.0'?>\n<domainsnapshot><domain>").contains("libvirt"));
    assert_eq!(named(b"\x01\x02\x03"), "nothing");
}

#[test]
fn what_was_found_is_said_in_one_sentence() {
    let found = Foreign::of(b"EMiL\x01").expect("it is known");
    let said = "is a memory image in LiME's or AVML's form: it has the guest's memory without the state of \
                its devices, from which no machine can be restored; open it with Volatility";
    assert_eq!(found.to_string(), format!("this {said}"));
    let within = found.in_compressed().to_string();
    assert_eq!(within, format!("what was compressed {said}"));
}
